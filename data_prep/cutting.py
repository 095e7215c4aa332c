"""Cutting images and their labels into tiles, a strip of tiles at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from data_prep.pairs import Pair
from data_prep.parallel import in_order
from landmeta.errors import EmptyRegion
from landmeta.imagery import Header, open_raster, read_image, read_label
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


def count_strips(headers: Sequence[Header], tile: int) -> int:
    """How many strips `cut_pairs` yields."""
    return sum(h.height // tile for h in headers if h.width >= tile)


def cut_pairs(
    root: Path,
    pairs: Sequence[Pair],
    headers: Sequence[Header],
    meta: TaskSetMeta,
    splits: Mapping[str, Split],
    *,
    min_labelled: float,
    read: ReadLabel = read_label,
    workers: int = 1,
) -> Generator[list[SourceTile]]:
    """Yield, strip by strip, the tiles with enough labels.

    A pixel is labelled only where at least one band has data. How many tiles were left out is
    noted in `meta` at the end.

    Args:
        root: folder that the tiles' sources are told relative to.
        pairs: the images with their labels.
        headers: of the images, in the same order.
        meta: of the task set; says tile size, dtype and legend.
        splits: split of each region.
        min_labelled: least share of labelled pixels; a tile without any is left out in any case.
        read: reads the labels of a window.
        workers: threads that read and cut; how many changes nothing in the result.

    Raises:
        UnreadableFile: a file is damaged.
        UnknownClass: a label value that the legend lacks.
        EmptyRegion: a region got no tile; raised at the end.
    """
    kept = dict.fromkeys((pair.region for pair in pairs), 0)
    cut = 0
    parts = [
        part
        for pair, header in zip(pairs, headers, strict=True)
        for part in _parts(pair, header, meta.tile_size)
    ]
    cutter = _Cutter(root, meta, splits, read)
    for part, strips in zip(parts, in_order(cutter.cut, parts, workers), strict=True):
        for tiles in strips:
            enough = [t for t in tiles if _labelled_share(t.label) >= max(min_labelled, 1e-9)]
            cut += len(tiles)
            kept[part.pair.region] += len(enough)
            yield enough
    for region, count in kept.items():
        if not count:
            raise EmptyRegion(
                f"region {region!r} has no tile with at least {min_labelled:.0%} labelled pixels",
                remedy="label more of it, lower that share, or take the region out",
                path=root,
            )
    if left := cut - sum(kept.values()):
        meta.notes.append(f"{left} tiles with less than {min_labelled:.0%} labels were left out")


def _labelled_share(label: Labels) -> float:
    return np.count_nonzero(label != IGNORE) / label.size


@dataclass(frozen=True)
class _Part:
    """Some strips of tiles of one image: their first rows."""

    pair: Pair
    header: Header
    rows: tuple[int, ...]


def _parts(pair: Pair, header: Header, size: int) -> Iterator[_Part]:
    windows = tile_windows(header.width, header.height, size)
    rows = sorted({row for _, row, _, _ in windows})
    strip = len(header.bands) * header.width * size * header.dtype.itemsize
    count = max(1, PART // strip)
    for first in range(0, len(rows), count):
        yield _Part(pair, header, tuple(rows[first : first + count]))


class _Files(threading.local):
    """The pair of files that a thread has open.

    They stay open from part to part: a photo can only be decoded from its top.
    """

    pair: Pair | None = None
    image: rasterio.DatasetReader
    label: rasterio.DatasetReader

    def open(self, pair: Pair) -> None:
        if pair == self.pair:
            return
        self.close()
        self.image, self.label = open_raster(pair.image), open_raster(pair.label)
        self.pair = pair

    def close(self) -> None:
        if self.pair is not None:
            self.image.close()
            self.label.close()
            self.pair = None


class _Cutter:
    """Cuts parts of images into tiles, several at a time in threads of their own."""

    def __init__(
        self, root: Path, meta: TaskSetMeta, splits: Mapping[str, Split], read: ReadLabel
    ) -> None:
        self._root, self._meta, self._splits, self._read = root, meta, splits, read
        self._files = _Files()

    def cut(self, part: _Part) -> list[list[SourceTile]]:
        """The tiles of each strip."""
        pair, header, size = part.pair, part.header, self._meta.tile_size
        window = Window(0, part.rows[0], header.width, len(part.rows) * size)
        self._files.open(pair)
        pixels, valid = read_image(self._files.image, header, window)
        label = self._read(self._files.label, self._meta.legend, window)
        label[~valid.any(axis=0)] = IGNORE
        pixels = pixels.astype(self._meta.dtype, copy=False)
        return [self._strip(part, row, pixels, label, valid) for row in part.rows]

    def _strip(
        self,
        part: _Part,
        row: int,
        pixels: NDArray[Any],
        label: Labels,
        valid: NDArray[np.bool_],
    ) -> list[SourceTile]:
        pair, header, size = part.pair, part.header, self._meta.tile_size
        rows = slice(row - part.rows[0], row - part.rows[0] + size)
        tiles = []
        for col, *_ in tile_windows(header.width, size, size):
            cols = slice(col, col + size)
            shift = Affine.translation(col, row)
            tiles.append(
                SourceTile(
                    image=pixels[:, rows, cols],
                    label=label[rows, cols],
                    valid=valid[:, rows, cols],
                    region=pair.region,
                    season=pair.season,
                    split=self._splits[pair.region],
                    source=pair.image.relative_to(self._root).as_posix(),
                    window=(col, row, size, size),
                    crs=header.crs,
                    transform=None if header.crs is None else header.transform * shift,
                )
            )
        return tiles
