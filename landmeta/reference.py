"""What people say is on the ground: points, polygons or a raster, read against a map.

Nothing is dropped silently: whatever does not count is counted, in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.windows import Window

from landmeta.classnames import empty, finder
from landmeta.errors import (
    ConfigError,
    EmptyRegion,
    MissingCRS,
    UnknownClass,
)
from landmeta.imagery import check_same_grid, open_raster, read_header, read_label
from landmeta.landmap import LandMap
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.translation import Coding
from landmeta.vectorfile import read_frame

Ints = NDArray[np.int64]
_KINDS = ("Point", "MultiPoint"), ("Polygon", "MultiPolygon")


@dataclass(frozen=True)
class Points:
    """Places and their classes, in the order of the file.

    Attributes:
        row, col: pixel of the map's grid, outside of it too.
        reference: class index; -1 where none was written.
        id: number in the sheet, or None of files that landmeta did not write.
        cluster: number of the cluster, from 0, or None.
        notes: what did not count, in words.
    """

    row: Ints
    col: Ints
    reference: Ints
    id: Ints | None
    cluster: Ints | None
    notes: list[str] = field(default_factory=list)


def read_shapes(path: Path, column: str, land: LandMap, coding: Coding) -> gpd.GeoDataFrame:
    """Read shapes into the map's CRS, with their class index in the column "_class" (-1: none).

    Raises:
        UnreadableFile: the file is damaged.
        ConfigError: it has no such column.
        UnknownClass: a value is no class that `coding` knows.
        MissingCRS: it or the map has no coordinate reference system.
        EmptyRegion: it has no shape.
    """
    frame = read_frame(path)
    if not len(frame):
        raise EmptyRegion("holds no shape", remedy="add points with a class", path=path)
    frame = _to_map(frame, path, land)
    frame["_class"] = _classes(frame, column, path, coding)
    return frame


def _to_map(frame: gpd.GeoDataFrame, path: Path, land: LandMap) -> gpd.GeoDataFrame:
    if land.grid.gcps or (land.grid.crs is None) != (frame.crs is None):
        without = "the map has" if frame.crs is not None else "the shapes have"
        raise MissingCRS(
            f"{without} no coordinate reference system (or control points only), so that places "
            "cannot be compared",
            remedy="say what it is, for instance with ogr2ogr -a_srs or gdal_edit -a_srs, or warp "
            "the map",
            path=path,
        )
    return frame if land.grid.crs is None else frame.to_crs(land.grid.crs.to_wkt())


def _classes(frame: gpd.GeoDataFrame, column: str, path: Path, coding: Coding) -> Ints:
    columns = [str(c) for c in frame.columns if c != frame.geometry.name]
    if column not in columns:
        raise ConfigError(
            f"has no column {column!r}; its columns are {', '.join(columns) or 'none'}",
            remedy="name the one that holds the true class with --column",
            path=path,
        )
    values = frame[column].astype(object).tolist()
    find = finder(coding.legend)
    known = {v: find(v) for v in set(values) if not empty(v)}
    unknown = Counter(str(v) for v in values if not empty(v) and known[v] is None)
    if unknown:
        told = [f"{name!r} ({count} times)" for name, count in unknown.most_common(8)]
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise UnknownClass(
            f"its column {column!r} has classes that the legend does not know: "
            f"{', '.join(told)}{more}; it has {', '.join(coding.legend.names)}",
            remedy="correct them, choose another column with --column, or say what they mean with "
            "--reference-legend",
            path=path,
        )
    own = np.array([IGNORE if empty(v) else known[v] for v in values], np.int64)
    index = coding.table[own].astype(np.int64)
    return np.where(index == IGNORE, -1, index)


def geometry_kind(frame: gpd.GeoDataFrame, path: Path) -> str:
    """What the shapes are: "points" or "polygons".

    Raises:
        ConfigError: the file has both, or other shapes.
    """
    kinds = set(frame.geom_type.dropna())
    for name, fitting in zip(("points", "polygons"), _KINDS, strict=True):
        if kinds and kinds <= set(fitting):
            return name
    raise ConfigError(
        f"holds {', '.join(sorted(kinds)) or 'no shapes'}",
        remedy="give points or polygons, one of both in a file",
        path=path,
    )


def to_points(
    frame: gpd.GeoDataFrame, path: Path, land: LandMap, cluster: str | None = None
) -> Points:
    """Points as pixels of the map's grid.

    Raises:
        ConfigError: the file has no column `cluster`, or a point without one.
    """
    notes = []
    lost = frame.geometry.is_empty | frame.geometry.isna()
    if lost.any():
        notes.append(f"{int(lost.sum())} points have no place and do not count")
        frame = frame[~lost]
    several = frame.geometry.count_geometries() > 1
    if several.any():
        raise ConfigError(
            f"{int(several.sum())} of its shapes are several points each",
            remedy="take them apart, one point a row (multipart to singleparts)",
            path=path,
        )
    xy = shapely.get_coordinates(frame.geometry.to_numpy())
    a, b, c, d, e, f = tuple(~land.grid.transform)[:6]
    col = np.floor(a * xy[:, 0] + b * xy[:, 1] + c)
    row = np.floor(d * xy[:, 0] + e * xy[:, 1] + f)
    far = ~np.isfinite(col) | ~np.isfinite(row)
    col[far] = row[far] = -1
    ids = None
    if "id" in frame.columns and pd.api.types.is_numeric_dtype(frame["id"]):
        ids = frame["id"].fillna(-1).to_numpy().astype(np.int64)
    return Points(
        row.astype(np.int64),
        col.astype(np.int64),
        frame["_class"].to_numpy().astype(np.int64),
        ids,
        None if cluster is None else _clusters(frame, cluster, path),
        notes,
    )


def _clusters(frame: gpd.GeoDataFrame, column: str, path: Path) -> Ints:
    if column not in frame.columns or frame[column].isna().any():
        what = "has points without" if column in frame.columns else "has no column"
        raise ConfigError(
            f"{what} {column!r}, which says the cluster of each point",
            remedy="name the column with --cluster, and fill it",
            path=path,
        )
    numbers: Ints = pd.factorize(frame[column])[0].astype(np.int64)
    return numbers


def count_polygons(frame: gpd.GeoDataFrame, land: LandMap) -> tuple[Ints, list[str]]:
    """Pixels whose centre lies in a polygon, by (map class, reference class), and notes.

    A pixel in polygons of several classes does not count.
    """
    classes = len(land.legend)
    counts = np.zeros((classes, classes), np.int64)
    frame = frame[frame["_class"] >= 0]
    shapes, truth = frame.geometry.to_numpy(), frame["_class"].to_numpy()
    tree = shapely.STRtree(shapes)
    torn = empty = 0
    for top, labels in land.strips():
        shift = land.grid.transform * Affine.translation(0, top)
        hits = tree.query(_outline(shift, labels.shape))
        if not len(hits):
            continue
        painted, several = _paint(shapes[hits], truth[hits], shift, labels.shape)
        torn += int(several.sum())
        told = (painted != IGNORE) & ~several
        empty += int((told & (labels == IGNORE)).sum())
        told &= labels != IGNORE
        flat = labels[told].astype(np.int64) * classes + painted[told]
        counts += np.bincount(flat, minlength=classes**2).reshape(classes, classes)
    notes = []
    if torn:
        notes.append(f"{torn:,} pixels lie in polygons of different classes and do not count")
    if empty:
        notes.append(f"{empty:,} pixels of polygons lie where the map has no data")
    return counts, notes


def _outline(transform: Affine, shape: tuple[int, ...]) -> shapely.Polygon:
    height, width = shape
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    a, b, c, d, e, f = tuple(transform)[:6]
    return shapely.Polygon([(a * x + b * y + c, d * x + e * y + f) for x, y in corners])


def _paint(
    shapes: NDArray[np.object_], truth: Ints, transform: Affine, shape: tuple[int, ...]
) -> tuple[Labels, NDArray[np.bool_]]:
    """Class index of each pixel, 255 for none, and where polygons of several classes meet."""
    painted = np.full(shape, IGNORE, np.uint8)
    several = np.zeros(shape, bool)
    for value in np.unique(truth):
        mine = [(s, 1) for s in shapes[truth == value] if not s.is_empty]
        if not mine:
            continue
        here = rasterize(mine, shape, transform=transform, dtype="uint8") > 0
        several |= here & (painted != IGNORE)
        painted[here] = value
    return painted, several


def reference_strips(
    path: Path, land: LandMap, coding: Coding
) -> Iterator[tuple[int, Labels, Labels]]:
    """First row, the map's and the reference's class indices of a raster on the map's grid.

    Raises:
        SizeMismatch: it lies on another grid.
        UnreadableFile, UnknownClass: it is damaged, or has values that `coding` does not know.
    """
    check_same_grid(read_header(land.path), read_header(path))
    with open_raster(path) as dataset:
        for top, labels in land.strips():
            window = Window(0, top, labels.shape[1], len(labels))
            yield top, labels, coding.table[_read(dataset, coding.legend, window)]


def _read(dataset: rasterio.DatasetReader, legend: Legend, window: Window) -> Labels:
    try:
        return read_label(dataset, legend, window)
    except UnknownClass as error:
        raise UnknownClass(
            error.what,
            remedy="say what the reference's values mean with --reference-legend",
            path=dataset.name,
        ) from error
