"""Labels as polygons and points: read from a file and put on an image's grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from shapely import GeometryType

from landmeta.classnames import empty
from landmeta.drawing import Placed
from landmeta.errors import (
    ConfigError,
    EmptyRegion,
    MissingCRS,
    SizeMismatch,
)
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.naming import legend_of, match_classes
from landmeta.raster import Grid
from landmeta.vectorfile import layers, read_frame

_KEPT = (GeometryType.POLYGON, GeometryType.POINT)


@dataclass(frozen=True)
class Shapes:
    """Polygons and points of one file, each with a class.

    Attributes:
        path: the file.
        crs: of the coordinates, as geopandas has it; None if the file does not say.
        geometry: shapely polygons and points, none of them empty or invalid.
        index: class index of each, in `legend`.
        legend: the classes.
        notes: what was left out or repaired, in words for the user.
    """

    path: Path
    crs: Any
    geometry: NDArray[np.object_]
    index: Labels
    legend: Legend
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.geometry)

    def on(self, grid: Grid) -> Placed:
        """The shapes in pixels of a grid, reprojected if need be.

        Raises:
            MissingCRS: one of both has a coordinate reference system and the other has not.
            SizeMismatch: the grid is known by ground control points only.
        """
        if grid.gcps:
            raise SizeMismatch(
                "the image lies on the map by ground control points only, shapes cannot be put "
                "on its pixels",
                remedy="warp the image first, for instance with gdalwarp",
                path=self.path,
            )
        _check_crs(self.crs, grid.crs, self.path)
        geometry = self.geometry
        if grid.crs is not None:
            geometry = gpd.GeoSeries(geometry, crs=self.crs).to_crs(grid.crs.to_wkt()).to_numpy()
        inverse = ~grid.transform
        matrix = np.array([[inverse.a, inverse.b], [inverse.d, inverse.e]])
        shift = np.array([inverse.c, inverse.f])
        pixels = shapely.transform(geometry, lambda xy: xy @ matrix.T + shift)
        beyond = ~np.isfinite(shapely.bounds(pixels)).all(axis=1)
        pixels[beyond] = shapely.Polygon()  # what the image's projection has no place for
        return Placed(self.index, grid, pixels)


def read_shapes(
    path: Path,
    column: str | None,
    legend: Legend | None,
    *,
    layer: str | None = None,
    open_legend: bool = False,
) -> Shapes:
    """Read labelled polygons and points.

    Multi-part shapes and collections are taken apart; invalid polygons are repaired; lines, empty
    shapes and those without a class are left out and counted in the notes.

    Args:
        path: GeoPackage, GeoJSON, Shapefile (also zipped), GeoParquet or anything else GDAL reads.
        column: that holds the class, by name or id.
        legend: what the values mean, see `landmeta.naming.match_classes`; None to make one of them.
        layer: of a file that has several.
        open_legend: make a legend of the values; `legend` then only lends colours and ids.

    Raises:
        SourceNotFound, UnreadableFile: the file is not there or damaged.
        MissingCRS: it says that its coordinates are degrees, and they are not.
        ConfigError: no such column or layer, or none was named.
        UnknownClass: a value that is no class of the legend.
        EmptyRegion: no shape is left.
    """
    path = Path(path)
    frame = _read(path, layer)
    column = _find_column(frame, column, path)
    values = frame[column].astype(object).tolist()
    if open_legend or legend is None:
        if all(empty(value) for value in values):
            raise _nothing(path, f"no class is named in the column {column!r}")
        legend = legend_of(values, legend)
    index = match_classes(values, legend, f"{path}, column {column!r},")
    geometry, owner, notes = _usable(frame.geometry.to_numpy(), path)
    unnamed = int((index == IGNORE).sum())
    if unnamed:
        notes.append(f"{path}: {unnamed} of {len(index)} shapes have no class and do not count")
    _check_degrees(frame.crs, geometry, path)
    keep = index[owner] != IGNORE
    if not keep.any():
        raise _nothing(path, f"of {len(frame)} shapes none is a polygon or point with a class")
    kept, classes = geometry[keep], index[owner][keep]
    return Shapes(path, frame.crs, kept, classes, legend, tuple(notes))


# ---- reading ------------------------------------------------------------------------------------


def read_places(path: Path, layer: str | None = None) -> Shapes:
    """Polygons and points of a file whatever class they have. Errors as of `read_shapes`."""
    frame = _read(path, layer)
    geometry, _, notes = _usable(frame.geometry.to_numpy(), path)
    if not len(geometry):
        raise _nothing(path, "it has no polygon or point")
    _check_degrees(frame.crs, geometry, path)
    index = np.zeros(len(geometry), np.uint8)
    return Shapes(path, frame.crs, geometry, index, legend_of(["labelled"]), tuple(notes))


def _read(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    known = layers(path)
    if (layer is None and len(known) > 1) or (layer is not None and layer not in known):
        asked = "no layer was named" if layer is None else f"it has no layer {layer!r}"
        raise ConfigError(
            f"{asked}; its layers are {', '.join(known)}",
            remedy="choose one of them with --layer",
            path=path,
        )
    if not known:
        raise _nothing(path, "it has no layer with shapes")
    return read_frame(path, layer or known[0])


def _find_column(frame: gpd.GeoDataFrame, column: str | None, path: Path) -> str:
    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    alike = [name for name in columns if column and name.casefold() == column.casefold()]
    if column in columns:
        return str(column)
    if len(alike) == 1:
        return alike[0]
    asked = (
        "no column was named that holds the class" if column is None else f"no column {column!r}"
    )
    raise ConfigError(
        f"{asked}; the columns are {', '.join(_example(frame, c) for c in columns) or 'none'}",
        remedy="choose the one that holds the class with --class-column",
        path=path,
    )


def _example(frame: gpd.GeoDataFrame, column: str) -> str:
    some = pd.unique(frame[column].dropna())[:3]
    return f"{column} ({', '.join(str(value)[:20] for value in some)} …)"


def _usable(
    geometry: NDArray[np.object_], path: Path
) -> tuple[NDArray[np.object_], NDArray[np.int64], list[str]]:
    """Valid polygons and points, which shape of the file each is of, and notes."""
    notes = []
    void = shapely.is_missing(geometry) | shapely.is_empty(geometry)
    if void.any():
        notes.append(f"{path}: {int(void.sum())} shapes are empty and do not count")
    owner = np.flatnonzero(~void)
    flat = shapely.force_2d(geometry[owner])
    finite = np.array([bool(np.isfinite(shapely.get_coordinates(g)).all()) for g in flat], bool)
    broken = ~shapely.is_valid(flat) & finite
    if not finite.all():
        notes.append(
            f"{path}: {int((~finite).sum())} shapes have coordinates that are not numbers and do "
            "not count"
        )
    flat[broken] = shapely.make_valid(flat[broken])
    if broken.any():
        rows = ", ".join(str(i + 1) for i in owner[broken][:8])
        notes.append(
            f"{path}: {int(broken.sum())} shapes were invalid and have been repaired (number "
            f"{rows}{' …' if broken.sum() > 8 else ''}): look at them"
        )
    flat, owner = flat[finite], owner[finite]
    for _ in range(3):  # a collection of multi-part shapes
        flat, origin = shapely.get_parts(flat, return_index=True)
        owner = owner[origin]
    kept = np.isin(shapely.get_type_id(flat), _KEPT) & ~shapely.is_empty(flat)
    lost = len(np.setdiff1d(owner, owner[kept]))
    if lost:
        notes.append(f"{path}: {lost} shapes are lines; draw polygons or points instead")
    return flat[kept], owner[kept].astype(np.int64), notes


def _check_crs(shapes: Any, image: CRS | None, path: Path) -> None:  # noqa: ANN401 - pyproj's
    if (shapes is None) != (image is None):
        without, other = ("labels", "image") if shapes is None else ("image", "labels")
        raise MissingCRS(
            f"the {without} have no coordinate reference system, but the {other} has one"
            if without == "labels"
            else "the image has no coordinate reference system, but the labels have one",
            remedy="say what it is, for instance with ogr2ogr -a_srs or gdal_edit -a_srs",
            path=path,
        )


def _check_degrees(crs: Any, geometry: NDArray[np.object_], path: Path) -> None:  # noqa: ANN401
    """GeoJSON without a CRS is in degrees by its standard, whatever was written into it."""
    if crs is None or not crs.is_geographic or not len(geometry):
        return
    west, south, east, north = shapely.total_bounds(geometry)
    if max(abs(west), abs(east)) > 360.1 or max(abs(south), abs(north)) > 90.1:
        raise MissingCRS(
            f"is in degrees ({crs.to_string()}), but its coordinates reach from {west:g}, "
            f"{south:g} to {east:g}, {north:g}",
            remedy="say in which coordinate reference system it is (export it from QGIS as "
            "GeoPackage, or use ogr2ogr -a_srs)",
            path=path,
        )


def _nothing(path: Path, what: str) -> EmptyRegion:
    return EmptyRegion(what, remedy="label some places of the image in it", path=path)
