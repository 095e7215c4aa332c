"""Cutting images and their labels into tiles, a strip of tiles at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from data_prep.pairs import Pair
from data_prep.quarantine import Attempt, Unreadable, refuse, sort_out
from data_prep.source import Cut, Source
from landmeta.errors import EmptyRegion
from landmeta.imagery import (
    Header,
    check_same_grid,
    open_raster,
    read_header,
    read_image,
    read_label,
)
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.taskset import SourceTile, Split, TaskSetMeta, tile_windows

ReadLabel = Callable[[rasterio.DatasetReader, Legend, Window], Labels]

PART = 32 * 2**20
"""Bytes of pixels that a worker reads at a time; one strip of tiles if that is more."""


def size_notes(pairs: Sequence[Pair], headers: Sequence[Header], tile: int) -> list[str]:
    """A note naming the images that are smaller than a tile.

    Raises:
        EmptyRegion: a region has no other images.
    """
    small = {h.path for h in headers if min(h.height, h.width) < tile}
    empty = {p.region for p in pairs} - {p.region for p in pairs if p.image not in small}
    if empty:
        region = min(empty)
        sizes = [h for p, h in zip(pairs, headers, strict=True) if p.region == region]
        largest = max(min(h.height, h.width) for h in sizes)
        raise EmptyRegion(
            f"region {region!r} yields no tile: its images are smaller than {tile} × {tile} pixels",
            remedy=f"choose a tile of at most {largest} pixels, or take the region out",
            path=sizes[0].path.parent,
        )
    if not small:
        return []
    names = ", ".join(sorted(str(p) for p in small)[:10]) + (" …" if len(small) > 10 else "")
    return [f"{len(small)} images are smaller than a tile and were left out: {names}"]


def grid_notes(headers: Sequence[Header]) -> list[str]:
    """Notes on images without georeference and on pixels of different size."""
    notes = []
    bare = sum(1 for h in headers if h.crs is None)
    if bare:
        notes.append(
            f"{bare} of {len(headers)} images have no georeference; maps made from such images "
            "carry no coordinate reference system"
        )
    sizes = [h.gsd for h in headers if h.gsd is not None]
    if sizes and max(sizes) > 1.05 * min(sizes):
        notes.append(
            f"pixels measure {min(sizes):g} to {max(sizes):g} m; gsd is the median over the images"
        )
    return notes


def pair_source(
    root: Path,
    pairs: Sequence[Pair],
    headers: Sequence[Header],
    meta: TaskSetMeta,
    splits: Mapping[str, Split],
    *,
    min_labelled: float,
    read: ReadLabel = read_label,
    unreadable: Sequence[Unreadable] = (),
) -> Source:
    """The source that cuts images with labels into tiles and keeps those with enough labels.

    A pixel is labelled only where at least one band has data. While it is cut, `UnknownClass` is
    raised for a label value that the legend lacks.

    Args:
        root: folder that the tiles' sources are told relative to.
        pairs: the images with their labels.
        headers: of the images, in the same order.
        meta: of the task set; says tile size, dtype and legend.
        splits: split of each region.
        min_labelled: least share of labelled pixels; a tile without any is left out in any case.
        read: reads the labels of a window; a function of a module, so that it pickles.
        unreadable: files that were already found damaged.
    """
    parts = [
        part
        for pair, header in zip(pairs, headers, strict=True)
        for part in _parts(pair, header, splits[pair.region], meta.tile_size)
    ]
    return Source(
        meta,
        parts,
        _Cutter(root, meta.legend, meta.dtype, meta.tile_size, min_labelled, read),
        regions=tuple(dict.fromkeys(pair.region for pair in pairs)),
        why_left_out=f"with less than {min_labelled:.0%} labelled pixels",
        unreadable=tuple(unreadable),
    )


def readable_pairs(
    pairs: Sequence[Pair], bands: Sequence[str] | None = None
) -> tuple[list[Pair], list[Header], list[Unreadable]]:
    """The pairs whose headers can be read, the headers of their images, and what cannot be read.

    Raises:
        UnreadableFile: no pair of a region can be read.
        SizeMismatch: a label is of another size or on another grid than its image.
        MissingBands: an image lacks a band.
    """

    def look(pair: Pair) -> Header:
        header = read_header(pair.image, bands)
        check_same_grid(header, read_header(pair.label))
        return header

    sound, headers, bad = sort_out(pairs, map(Attempt(look, lambda pair: pair.region), pairs))
    left = {pair.region for pair in sound}
    if lost := [b for b in bad if b.region not in left]:
        refuse(lost, len(pairs))
    return sound, headers, bad


def _labelled_share(label: Labels) -> float:
    return np.count_nonzero(label != IGNORE) / label.size


@dataclass(frozen=True)
class Strips:
    """Some strips of tiles of one image: their first rows. A part of the work."""

    pair: Pair
    header: Header
    split: Split
    size: int
    rows: tuple[int, ...]
    share: float

    @property
    def files(self) -> tuple[Path, ...]:
        """Image and label."""
        return self.pair.image, self.pair.label

    @property
    def region(self) -> str:
        """Of the image."""
        return self.pair.region

    @property
    def tiles(self) -> int:
        """In all strips."""
        return len(self.rows) * (self.header.width // self.size)


def _parts(pair: Pair, header: Header, split: Split, size: int) -> Iterator[Strips]:
    windows = tile_windows(header.width, header.height, size)
    rows = sorted({row for _, row, _, _ in windows})
    strip = len(header.bands) * header.width * size * header.dtype.itemsize
    count = max(1, PART // strip)
    starts = range(0, len(rows), count)
    for first in starts:
        yield Strips(pair, header, split, size, tuple(rows[first : first + count]), 1 / len(starts))


class _Files(threading.local):
    """The pair of files that a thread has open.

    They stay open from part to part: a photo can only be decoded from its top.
    """

    key: object = None
    image: rasterio.DatasetReader
    label: rasterio.DatasetReader

    def open(self, pair: Pair) -> tuple[rasterio.DatasetReader, rasterio.DatasetReader]:
        key = [(path, _stamp(path)) for path in (pair.image, pair.label)]
        if key != self.key:
            self.close()
            self.image, self.label = open_raster(pair.image), open_raster(pair.label)
            self.key = key
        return self.image, self.label

    def close(self) -> None:
        if self.key is not None:
            self.key = None
            self.image.close()
            self.label.close()


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes when another file takes the place of this one, which threads that stay may meet."""
    with suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return ()


_FILES = _Files()


@dataclass(frozen=True)
class _Cutter:
    """Cuts parts of images into tiles; several at a time, in threads or processes of their own."""

    root: Path
    legend: Legend
    dtype: str
    size: int
    min_labelled: float
    read: ReadLabel

    def __call__(self, part: Strips) -> Cut:
        header, size = part.header, self.size
        window = Window(0, part.rows[0], header.width, len(part.rows) * size)
        image, label_file = _FILES.open(part.pair)
        pixels, valid = read_image(image, header, window)
        label = self.read(label_file, self.legend, window)
        label[~valid.any(axis=0)] = IGNORE
        pixels = pixels.astype(self.dtype, copy=False)
        tiles = [t for row in part.rows for t in self._strip(part, row, pixels, label, valid)]
        enough = max(self.min_labelled, 1e-9)
        kept = [t for t in tiles if _labelled_share(t.label) >= enough]
        return Cut(kept, left_out=len(tiles) - len(kept))

    def _strip(
        self,
        part: Strips,
        row: int,
        pixels: NDArray[Any],
        label: Labels,
        valid: NDArray[np.bool_],
    ) -> Iterator[SourceTile]:
        pair, header, size = part.pair, part.header, self.size
        rows = slice(row - part.rows[0], row - part.rows[0] + size)
        for col, *_ in tile_windows(header.width, size, size):
            cols = slice(col, col + size)
            shift = Affine.translation(col, row)
            yield SourceTile(
                image=pixels[:, rows, cols],
                label=label[rows, cols],
                valid=valid[:, rows, cols],
                region=pair.region,
                season=pair.season,
                split=part.split,
                source=pair.image.relative_to(self.root).as_posix(),
                window=(col, row, size, size),
                crs=header.crs,
                transform=None if header.crs is None else header.transform * shift,
            )
