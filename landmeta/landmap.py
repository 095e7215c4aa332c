"""A map of classes as a raster file: its legend, its rows, what it has of each class."""

from __future__ import annotations

import colorsys
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from landmeta.errors import ConfigError, EmptyRegion, UnknownClass, UnreadableFile
from landmeta.imagery import open_raster, unreadable
from landmeta.legend import IGNORE, Labels, LandClass, Legend
from landmeta.pixelarea import PixelArea, pixel_area
from landmeta.raster import Grid, bytes_of_blocks, few_blocks_kept

STRIP = 2**21
"""Pixels that are held at a time, unless one row of the map is more."""


@dataclass(frozen=True)
class LandMap:
    """A raster of one band of class ids; made by `open_map`.

    Attributes:
        path: the file.
        grid: where it lies.
        legend: its classes.
        area: of its pixels.
        notes: what had to be assumed, in words for the user.
    """

    path: Path
    grid: Grid
    legend: Legend
    area: PixelArea
    notes: tuple[str, ...]

    def strips(self) -> Iterator[tuple[int, Labels]]:
        """First row and class indices (row, col), 255 = no data, from the top down.

        Raises:
            UnreadableFile: the file is damaged.
            UnknownClass: an id that the legend does not have.
        """
        with open_raster(self.path) as dataset, few_blocks_kept(bytes_of_blocks(dataset)):
            for window in _windows(dataset):
                yield window.row_off, _indices(dataset, self.legend, window)

    def windows(self, windows: Iterable[Window]) -> Iterator[Labels]:
        """Class indices of windows inside the map, (row, col), 255 = no data."""
        with open_raster(self.path) as dataset:
            for window in windows:
                yield _indices(dataset, self.legend, window)

    def at(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Labels:
        """Class indices of some pixels; 255 where there is no data or no map."""
        found = np.full(len(rows), IGNORE, np.uint8)
        inside = (cols >= 0) & (cols < self.grid.width)
        order = np.argsort(rows, kind="stable")
        sorted_rows = rows[order]
        with open_raster(self.path) as dataset, few_blocks_kept(bytes_of_blocks(dataset)):
            for window in _windows(dataset):
                top = window.row_off
                low, high = np.searchsorted(sorted_rows, [top, top + window.height])
                some = order[low:high]
                some = some[inside[some]]
                if len(some):
                    labels = _indices(dataset, self.legend, window)
                    found[some] = labels[rows[some] - top, cols[some]]
        return found


@dataclass(frozen=True)
class Content:
    """What a map holds.

    Attributes:
        pixels: by class index; `areas`: the same in the unit of the map's `PixelArea`.
        hash: SHA-256 of its grid, its classes and all its pixels, whatever the file's compression.
    """

    pixels: NDArray[np.int64]
    areas: NDArray[np.float64]
    hash: str


def open_map(path: Path, legend: Legend | None = None) -> LandMap:
    """Read what a map says of itself.

    Args:
        path: GeoTIFF or anything else GDAL opens, of one band of class ids (beside transparency).
        legend: what the ids mean; if not given, the one that landmeta keeps in its maps, or else
            each id is a class of the name "class ID".

    Raises:
        SourceNotFound: the file is not there.
        UnreadableFile: it is damaged or no map of classes.
        ConfigError: the map names its own classes and `legend` remaps ids.
    """
    notes = []
    with open_raster(path) as dataset, few_blocks_kept(bytes_of_blocks(dataset)):
        _check_classes(dataset, path)
        grid = Grid.of(dataset)
        own = _own_legend(dataset)
        if legend is not None and own is not None and legend.remap:
            raise ConfigError(
                "names its own classes, and the legend given says what other ids mean",
                remedy="leave --legend out; what the values of a reference mean, say with "
                "--reference-legend",
                path=path,
            )
        found = legend or own
        if found is None:
            found = _legend_of_ids(dataset, path)
            notes.append(
                f"{path} does not name its classes; they are called by their ids. Name them with "
                "--legend"
            )
    return LandMap(path, grid, found, pixel_area(grid), tuple(notes))


def content(land: LandMap) -> Content:
    """Count a map's pixels in one pass, a few rows at a time.

    Raises:
        EmptyRegion: no pixel has a class.
        UnreadableFile, UnknownClass: as `LandMap.strips`.
    """
    classes = len(land.legend)
    pixels = np.zeros(classes, np.int64)
    areas = np.zeros(classes)
    grid = land.grid
    about = [grid.height, grid.width, list(grid.transform)[:6], list(land.legend.ids)]
    digest = hashlib.sha256(json.dumps(about).encode())
    for top, labels in land.strips():
        digest.update(labels.tobytes())
        weight = land.area.rows(top, top + len(labels))
        if weight.shape[1] == 1:  # alike within a row
            rows = np.broadcast_to(np.arange(len(labels))[:, None] * 256, labels.shape)
            counts = np.bincount((rows + labels).ravel(), minlength=len(labels) * 256)
            by_row = counts.reshape(len(labels), 256)[:, :classes]
            pixels += by_row.sum(axis=0)
            areas += (by_row * weight).sum(axis=0)
        else:
            pixels += np.bincount(labels.ravel(), minlength=256)[:classes]
            areas += np.bincount(labels.ravel(), weight.ravel(), minlength=256)[:classes]
    if not pixels.any():
        raise EmptyRegion(
            "the map has no pixel with a class", remedy="map an image with data", path=land.path
        )
    return Content(pixels, areas, digest.hexdigest())


def _check_classes(dataset: rasterio.DatasetReader, path: Path) -> None:
    bands = [i for i, c in enumerate(dataset.colorinterp, 1) if c.name != "alpha"]
    if len(bands) != 1 or np.dtype(dataset.dtypes[0]).kind not in "ui":
        raise UnreadableFile(
            f"is no map of classes: {len(bands)} bands of {dataset.dtypes[0]}",
            remedy="give a raster of one band of whole numbers, as 'landmeta predict' writes",
            path=path,
        )


def _windows(dataset: rasterio.DatasetReader) -> Iterator[Window]:
    height = max(1, STRIP // dataset.width)
    for top in range(0, dataset.height, height):
        yield Window(0, top, dataset.width, min(height, dataset.height - top))


def _values(
    dataset: rasterio.DatasetReader, window: Window
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    try:
        return dataset.read(1, window=window), dataset.read_masks(1, window=window) > 0
    except rasterio.errors.RasterioError as error:
        cause = error.__cause__
        raise unreadable(
            Path(dataset.name), cause if isinstance(cause, Exception) else error
        ) from error


def _indices(dataset: rasterio.DatasetReader, legend: Legend, window: Window) -> Labels:
    values, valid = _values(dataset, window)
    index: Labels = np.full(values.shape, IGNORE, np.uint8)
    try:
        if values.dtype == np.uint8:  # by a table: much less memory, and faster
            used = np.flatnonzero(np.bincount(values[valid], minlength=256))
            table = np.full(256, IGNORE, np.uint8)
            table[used] = legend.from_ids(used, path=dataset.name)
            index[valid] = table[values[valid]]
        else:
            index[valid] = legend.from_ids(values[valid], path=dataset.name)
    except UnknownClass as error:
        raise UnknownClass(
            error.what,
            remedy="give a legend with all classes of the map with --legend; under 'ignore' in it "
            "stand the ids that are no class",
            path=dataset.name,
        ) from error
    return index


def _own_legend(dataset: rasterio.DatasetReader) -> Legend | None:
    """The legend that landmeta's maps carry."""
    with suppress(KeyError, ValueError):
        return Legend(classes=json.loads(dataset.tags()["landmeta_classes"]))
    return None


def _legend_of_ids(dataset: rasterio.DatasetReader, path: Path) -> Legend:
    """A class of each id that the map holds, with the colours of its colour table."""
    used: set[int] = set()
    for window in _windows(dataset):
        values, valid = _values(dataset, window)
        used |= set(pd.unique(values[valid]).tolist())
    used.discard(IGNORE)
    if not used:
        raise EmptyRegion(
            "the map has no pixel with a class", remedy="map an image with data", path=path
        )
    if min(used) < 0 or max(used) > IGNORE or len(used) > IGNORE:
        raise UnreadableFile(
            f"is no map of classes that can be read by itself: its ids go from {min(used)} to "
            f"{max(used)}",
            remedy="give a legend that maps its ids to ids of 0 to 254 with --legend (remap)",
            path=path,
        )
    table: dict[int, tuple[int, ...]] = {}
    with suppress(ValueError):
        table = dataset.colormap(1)
    return Legend(
        classes=tuple(
            LandClass(id=i, name=f"class {i}", color=_colour(table.get(i), n))
            for n, i in enumerate(sorted(used))
        )
    )


def _colour(entry: tuple[int, ...] | None, number: int) -> str:
    """Of the colour table, or a hue a golden angle from the last."""
    rgb = entry[:3] if entry else [round(255 * v) for v in _hue(number)]
    return "#" + "".join(f"{part:02x}" for part in rgb)


def _hue(number: int) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb((0.11 + 0.618034 * number) % 1, 0.7, 0.85)
