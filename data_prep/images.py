"""An image of a scene, whatever it is made of: one raster, several files on one grid, an array.

Each is small, pickles, and is opened where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from landmeta.arrays import array_header, is_array, read_array
from landmeta.errors import ConfigError, MissingBands, SizeMismatch
from landmeta.imagery import (
    Bands,
    Header,
    choose_bands,
    open_raster,
    read_header,
    read_image,
)
from landmeta.location import Location
from landmeta.warping import ReadWindow, ResamplingName, on_same_ground, open_on, same_grid


class Image(Protocol):
    """What an image of a scene can do."""

    @property
    def header(self) -> Header:
        """Its grid and bands."""
        ...

    @property
    def files(self) -> tuple[Location, ...]:
        """What it is read from."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it."""
        ...

    def open(self) -> AbstractContextManager[ReadWindow]:
        """Read windows of it."""
        ...


@dataclass(frozen=True)
class _OneFile:
    """An image that is a single file."""

    header: Header

    @property
    def files(self) -> tuple[Location, ...]:
        """The file."""
        return (self.header.path,)

    @property
    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class RasterImage(_OneFile):
    """One file that GDAL opens."""

    @contextmanager
    def open(self) -> Iterator[ReadWindow]:
        """Read windows of the file."""
        with closing(open_raster(self.header.path)) as dataset:
            yield lambda window: read_image(dataset, self.header, window)


@dataclass(frozen=True)
class ArrayImage(_OneFile):
    """One NumPy file, held in memory while it is open."""

    @contextmanager
    def open(self) -> Iterator[ReadWindow]:
        """Read windows of the array; NaN and infinity are no data."""
        array = read_array(self.header.path)

        def read(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
            rows, cols = window.toslices()
            pixels = array[[i - 1 for i in self.header.indexes], rows, cols]
            return pixels, np.isfinite(pixels)

        yield read


@dataclass(frozen=True)
class StackedImage:
    """Several files that show the same ground, their bands one after the other.

    Attributes:
        header: of the whole; its grid is that of the file with the smallest pixels.
        layers: headers of the files.
        order: place of each band of the whole among the bands of all layers.
        resampling: how layers of other pixel sizes come to the grid; None if there are none.
    """

    header: Header
    layers: tuple[Header, ...]
    order: tuple[int, ...]
    resampling: ResamplingName | None

    @property
    def files(self) -> tuple[Location, ...]:
        """All of them."""
        return tuple(layer.path for layer in self.layers)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which bands are resampled, and how."""
        names = [band.name for band in self.header.bands]
        coarser = [not same_grid(self.header, layer) for layer in self.layers]
        places = [c for layer, c in zip(self.layers, coarser, strict=True) for _ in layer.bands]
        moved = [n for n, p in zip(names, self.order, strict=True) if places[p]]
        if not moved:
            return ()
        return (f"{', '.join(moved)} were brought to the smallest pixels by {self.resampling}",)

    @contextmanager
    def open(self) -> Iterator[ReadWindow]:
        """Read windows of all files."""
        with ExitStack() as stack:
            readers = [stack.enter_context(self._open(layer)) for layer in self.layers]

            def read(window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
                found = [reader(window) for reader in readers]
                pixels = np.concatenate([p.astype(self.header.dtype) for p, _ in found])
                valid = np.concatenate([v for _, v in found])
                return pixels[list(self.order)], valid[list(self.order)]

            yield read

    def _open(self, layer: Header) -> AbstractContextManager[ReadWindow]:
        if self.resampling is None or same_grid(self.header, layer):
            return RasterImage(layer).open()
        return open_on(self.header, layer, self.resampling)


def image_of(path: Location, bands: Bands | None) -> Image:
    """The image in one file.

    Raises:
        SourceNotFound, UnreadableFile, MissingBands: as `landmeta.imagery.read_header`.
    """
    if is_array(path):
        return ArrayImage(array_header(path, bands))
    return RasterImage(read_header(path, bands))


def stack_of(
    path: Location,
    files: Mapping[str, Location],
    bands: Sequence[str] | None,
    resampling: ResamplingName | None = None,
) -> StackedImage:
    """Several files as one image.

    A file of one band gives it its own name; the bands of a file of several are called FILE.BAND.

    Args:
        path: what to call the whole.
        files: by name.
        bands: which to take, by name, in that order; all, in the order of the files, without it.
        resampling: how to bring files with larger pixels to the grid of the smallest; without it,
            they are refused.

    Raises:
        MissingBands: a band that no file has.
        SizeMismatch: the files show different ground, or are of different pixel size.
        SourceNotFound, UnreadableFile: as `landmeta.imagery.read_header`.
    """
    names: list[str] = []
    layers: list[Header] = []
    for name, file in files.items():
        if bands is not None and not any(b == name or b.startswith(f"{name}.") for b in bands):
            continue
        layer = _header(
            file, [b.partition(".")[2] for b in bands or () if b.startswith(f"{name}.")]
        )
        layers.append(layer)
        several = len(layer.bands) > 1
        names += [f"{name}.{band.name}" if several else name for band in layer.bands]
    missing = [band for band in bands or () if band not in names]
    if missing:
        raise MissingBands(
            f"has no band {', '.join(missing)}; its files are {', '.join(files)}"
            + (f", with the bands {', '.join(names)}" if names else ""),
            remedy="choose among these names, or leave the choice of bands out",
            path=path,
        )
    chosen = choose_bands(tuple(names), bands, len(names), path)
    layers, order = _only_needed(layers, [position for position, _ in chosen])
    finest = min(layers, key=lambda layer: abs(layer.transform.determinant))
    others = [layer for layer in layers if not same_grid(finest, layer)]
    for layer in layers:
        on_same_ground(finest, layer)
    if others and resampling is None:
        raise SizeMismatch(
            f"has {others[0].height} × {others[0].width} pixels (rows × columns), "
            f"{finest.path} {finest.height} × {finest.width}",
            remedy="have them brought to the smallest pixels with --resample, for instance "
            "bilinear, or choose bands of one pixel size",
            path=others[0].path,
        )
    if any(layer.palette for layer in others) and resampling != "nearest":
        raise ConfigError(
            "has colours from a table, which cannot be averaged",
            remedy="use --resample nearest",
            path=others[0].path,
        )
    specs = [band for layer in layers for band in layer.bands]
    whole = replace(
        finest,
        path=path,
        bands=tuple(
            specs[place].model_copy(update={"name": name})
            for place, (_, name) in zip(order, chosen, strict=True)
        ),
        indexes=tuple(range(1, len(chosen) + 1)),
        palette=False,
        alpha=False,
        dtype=np.result_type(*(layer.dtype for layer in layers)),
    )
    return StackedImage(whole, tuple(layers), order, resampling if others else None)


def _header(file: Location, wanted: Sequence[str]) -> Header:
    """Of a file in a stack. A band b4 that it marks as transparency is a band if it is wanted."""
    header = read_header(file)
    strange = set(wanted) - {band.name for band in header.bands}
    if header.alpha and any(re.fullmatch(r"b\d+", name) for name in strange):
        return read_header(file, {f"b{i + 1}": i + 1 for i in range(len(header.bands) + 1)})
    return header


def _only_needed(
    layers: Sequence[Header], wanted: Sequence[int]
) -> tuple[list[Header], tuple[int, ...]]:
    """The layers without the bands that nobody wants, and where each wanted one is then."""
    kept: list[Header] = []
    place: dict[int, int] = {}
    first = 0
    for layer in layers:
        mine = [p for p in range(first, first + len(layer.bands)) if p in set(wanted)]
        for position in mine:
            place[position] = len(place)
        if mine:
            kept.append(
                replace(
                    layer,
                    bands=tuple(layer.bands[p - first] for p in mine),
                    indexes=tuple(layer.indexes[p - first] for p in mine),
                )
            )
        first += len(layer.bands)
    return kept, tuple(place[position] for position in wanted)
