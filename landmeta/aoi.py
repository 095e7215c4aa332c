"""An area of interest: polygons of a file, as pixels of a raster's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from landmeta.errors import ConfigError, MissingCRS
from landmeta.raster import Grid
from landmeta.vectorfile import read_frame

PARTS = 256
"""Into at least so many pieces an edge as long as the area is cut before it is reprojected: a
straight line of one map is none of another."""


@dataclass(frozen=True)
class Area:
    """Polygons on a grid. A pixel belongs to them if its centre lies inside.

    Attributes:
        polygons: in the grid's coordinates.
        transform: from (col, row) to these.
    """

    polygons: tuple[BaseGeometry, ...]
    transform: Affine

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.polygons)

    def mask(self, col: int, row: int, width: int, height: int) -> NDArray[np.bool_]:
        """Whether the pixels of a window belong to the area, shape (height, width)."""
        corners = [(col + c, row + r) for c in (0, width) for r in (0, height)]
        window = shapely.MultiPoint([self.transform @ corner for corner in corners]).envelope
        near = [self.polygons[i] for i in self._tree.query(window)]
        if not near:
            return np.zeros((height, width), bool)
        there = self.transform @ Affine.translation(col, row)
        mask: NDArray[np.uint8] = rasterize(near, (height, width), transform=there, dtype="uint8")
        return mask.astype(bool)


def read_area(path: Path, grid: Grid) -> Area:
    """Read the polygons of a GeoPackage, GeoJSON, Shapefile, GeoParquet or the like.

    Args:
        path: the file, in any coordinate reference system.
        grid: of the raster they are for.

    Raises:
        SourceNotFound, UnreadableFile: the file is not there or holds no geometries.
        MissingCRS: it, or the raster, has no coordinate reference system.
        ConfigError: it has no polygon, or none that lies on the raster.
    """
    frame = read_frame(path, what="polygons")
    if frame.crs is None:
        raise MissingCRS(
            "has no coordinate reference system, so nobody could tell where its polygons lie",
            remedy="set it, for instance with ogr2ogr -a_srs",
            path=path,
        )
    if grid.crs is None or grid.gcps:
        raise MissingCRS(
            "is an area of interest for a raster that has no grid in a coordinate reference system",
            remedy="georeference the raster, for instance with gdalwarp",
            path=path,
        )
    shapes = frame.geometry[frame.geometry.notna()]
    polygons = [p for p in shapely.get_parts(shapely.make_valid(shapes.values)) if _is_area(p)]
    if not polygons:
        raise ConfigError(
            f"has no polygon among its {len(frame)} features",
            remedy="an area of interest is given as polygons",
            path=path,
        )
    return Area(_on_grid(polygons, frame, grid, path), grid.transform)


def _is_area(geometry: BaseGeometry) -> bool:
    return geometry.geom_type in ("Polygon", "MultiPolygon") and not geometry.is_empty


def _on_grid(
    polygons: Sequence[BaseGeometry], frame: gpd.GeoDataFrame, grid: Grid, path: Path
) -> tuple[BaseGeometry, ...]:
    """The polygons in the grid's coordinates, those that touch it.

    Raises:
        ConfigError: none does.
    """
    crs = grid.crs.to_wkt() if grid.crs else None
    own = gpd.GeoSeries(list(polygons), crs=frame.crs)
    if own.crs != crs:
        west, south, east, north = own.total_bounds
        own = own.segmentize(max(east - west, north - south) / PARTS).to_crs(crs)
    corners = [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)]
    outline = shapely.Polygon([grid.transform @ corner for corner in corners])
    valid = shapely.make_valid(own.values)
    there = tuple(p for p in valid if p.intersects(outline))
    if not there:
        bounds = ", ".join(f"{v:.6g}" for v in own.total_bounds)
        raise ConfigError(
            f"does not touch the raster: its polygons lie within {bounds}, the raster within "
            f"{', '.join(f'{v:.6g}' for v in outline.bounds)} (west, south, east, north)",
            remedy="give polygons of this place",
            path=path,
        )
    return there
