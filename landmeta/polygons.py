"""A map of classes as polygons in a GeoPackage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import rasterio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.features import shapes, sieve
from shapely.geometry import shape

from landmeta.atomic import write_failed
from landmeta.legend import IGNORE, Labels, Legend

PATCHES, CLASSES = "patches", "classes"
"""Layers of the GeoPackage."""
HECTARE = 10_000.0
"""Square metres."""


def write_polygons(raster: Path, target: Path, legend: Legend, mmu: float = 0) -> None:
    """Write a map's classes as polygons that follow the pixels' edges.

    Layer `patches` has a polygon for each patch: pixels of one class that share edges. Layer
    `classes` has one for each class. Together they cover exactly the pixels that have a class:
    neighbours share their borders, without holes or overlaps. Both tell id and name of the class,
    its colour, the number of pixels and the area in hectares. The map and its polygons are held in
    memory.

    Args:
        raster: a map of class ids with a coordinate reference system.
        target: GeoPackage to write.
        legend: of the map.
        mmu: minimum mapping unit in hectares, see `generalise`.

    Raises:
        WriteFailed: the disk is full or not writable.
    """
    with rasterio.open(raster) as dataset:
        ids: Labels = dataset.read(1)
        transform, crs = dataset.transform, pyproj.CRS.from_user_input(dataset.crs)
    hectares = Hectares(crs)
    if mmu:
        (pixel_area,) = hectares([_pixel_in_the_middle(ids.shape, transform)])
        ids = generalise(ids, math.ceil(mmu / pixel_area - 1e-9))
    patches = _patches(ids, transform, legend, crs)
    patches["area_ha"] = hectares(patches.geometry.values)
    try:
        patches.to_file(target, layer=PATCHES, driver="GPKG")
        _by_class(patches, legend).to_file(target, layer=CLASSES, driver="GPKG")
    except (DataSourceError, DataLayerError) as error:
        raise write_failed(target, OSError(str(error))) from error


def _pixel_in_the_middle(size: tuple[int, ...], transform: rasterio.Affine) -> shapely.Polygon:
    row, col = (n // 2 for n in size)
    return shapely.transform(
        shapely.box(col, row, col + 1, row + 1), lambda xy: _placed(xy, transform)
    )


def generalise(ids: Labels, size: int) -> Labels:
    """Give patches of fewer than `size` pixels to their largest neighbours.

    The smallest go first: a patch that grows by its neighbours may reach the size itself. One stays
    small only where it has no neighbour of that size, as an island in nodata. Nodata stays what it
    is.

    Args:
        ids: class ids, shape (row, col), 255 = nodata.
        size: pixels; patches are of pixels that share edges.
    """
    valid = ids != IGNORE
    steps = [2**power for power in range(1, max(1, (size - 1).bit_length()))]
    for least in (*steps, size) if size > 1 else ():
        before = None
        # Once over the map is not enough: a patch may get a large neighbour while others go. More
        # than the whole map is asked of none.
        while least < ids.size and (before is None or (ids != before).any()):
            before = ids
            ids = np.where(valid, sieve(ids, least, mask=valid, connectivity=4), np.uint8(IGNORE))
    return ids


def _patches(
    ids: Labels, transform: rasterio.Affine, legend: Legend, crs: pyproj.CRS
) -> gpd.GeoDataFrame:
    found = [
        (int(value), shape(outline))
        for outline, value in shapes(ids, mask=ids != IGNORE, connectivity=4)
    ]
    values = np.array([value for value, _ in found], np.int64)
    outlines = np.array([outline for _, outline in found], object)
    # In pixels the area is their number, exactly.
    pixels = np.rint(shapely.area(outlines)).astype(np.int64)
    classes = {land.id: land for land in legend.classes}
    return gpd.GeoDataFrame(
        {
            "id": values,
            "name": [classes[v].name for v in values.tolist()],
            "color": [classes[v].color for v in values.tolist()],
            "pixels": pixels,
        },
        geometry=shapely.transform(outlines, lambda xy: _placed(xy, transform)),
        crs=crs,
    )


def _placed(xy: NDArray[np.float64], transform: rasterio.Affine) -> NDArray[np.float64]:
    """(col, row) to coordinates, shape (point, 2)."""
    turn = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    placed: NDArray[np.float64] = xy @ turn.T + (transform.c, transform.f)
    return placed


def _by_class(patches: gpd.GeoDataFrame, legend: Legend) -> gpd.GeoDataFrame:
    """One multipolygon for each class that is there, in the legend's order.

    Patches of one class share corners at most, so that they need no union.
    """
    rows = []
    for land in legend.classes:
        own = patches[patches["id"] == land.id]
        if len(own):
            rows.append(
                {
                    "id": land.id,
                    "name": land.name,
                    "color": land.color,
                    "pixels": own["pixels"].sum(),
                    "area_ha": own["area_ha"].sum(),
                    "geometry": shapely.multipolygons(own.geometry.values),
                }
            )
    columns = ["id", "name", "color", "pixels", "area_ha", "geometry"]
    return gpd.GeoDataFrame(
        pd.DataFrame(rows, columns=columns), geometry="geometry", crs=patches.crs
    )


class Hectares:
    """Areas of polygons in a coordinate reference system.

    In a projected one they are those of the plane, which a survey of that country uses; on a grid
    of degrees, and in Mercator's projection, whose scale changes with latitude by any factor, they
    are those on the ellipsoid.
    """

    def __init__(self, crs: pyproj.CRS) -> None:
        self._metres = crs.axis_info[0].unit_conversion_factor
        method = crs.coordinate_operation.method_name if crs.coordinate_operation else ""
        mercator = "Mercator" in method and "Transverse" not in method and "Oblique" not in method
        self._plane = crs.is_projected and not mercator
        self._geod = crs.get_geod() or pyproj.Geod(ellps="WGS84")
        self._to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)

    def __call__(
        self, polygons: Sequence[shapely.Polygon] | NDArray[np.object_]
    ) -> NDArray[np.float64]:
        """Area of each in hectares."""
        if self._plane:
            areas: NDArray[np.float64] = shapely.area(polygons)
            return areas * self._metres**2 / HECTARE
        degrees = shapely.transform(
            np.asarray(polygons, object),
            lambda xy: np.column_stack(self._to_degrees.transform(xy[:, 0], xy[:, 1])),
        )
        found = [abs(self._geod.geometry_area_perimeter(p)[0]) for p in degrees]
        return np.array(found, np.float64) / HECTARE
