"""Which tiles look alike: a perceptual hash to find candidates, and a correlation to judge them.

Of each tile the bands that are shown as colours are averaged to 16 × 16 cells and turned into
cosines (DCT-II). The three slowest, level and slope, are left out. Signs of the others of the mean
of the bands make 64 bits, which hardly change with scale, contrast or JPEG; a tile and another
whose bits differ in at most `BITS` are then compared by correlation. Zauner 2010, "Implementation
and benchmarking of perceptual image hash functions"; search in sub-hashes after Norouzi, Punjani
and Fleet 2012, doi:10.1109/CVPR.2012.6248043.

Not found are tiles cut from the same image with an offset, turned or mirrored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from landmeta.pictures import true_colour_bands
from landmeta.taskset import TaskSet

Ids = NDArray[np.int64]
Wanted = Callable[[Ids, Ids], NDArray[np.bool_]]
"""Of pairs of tiles: which are of interest."""

CELLS = 16
BITS = 7
"""Hashes of tiles that are alike differ in at most so many of their 64 bits."""
ALIKE = 0.95
"""Least correlation of tiles that are alike."""
CHANCE = 1e-3
"""A correlation that two unrelated tiles as plain as these reach more often says nothing."""
PLAIN = 0.05
"""A tile whose cells vary by less than this share of the cells' spread over the set, such as open
sea, is compared with none."""
_SAMPLE = 256
_BATCH = 64
_PAIRS = 1_000_000
_JUDGED = 10_000
"""Pairs to hold at a time, of hashes and of cosines."""


@dataclass(frozen=True)
class Looks:
    """How tiles look.

    Attributes:
        cosines: in units of the bands' spread over the set, rounded, shape (tile, band × 256).
        hashes: 64 bits, shape (tile,).
        plain: whether there is too little to see, shape (tile,).
        digests: of a plain tile's pixels, equal where tiles are the same; 0 where all its pixels
            are of one value, and of tiles that are not plain; shape (tile,).
    """

    cosines: NDArray[np.int8]
    hashes: NDArray[np.uint64]
    plain: NDArray[np.bool_]
    digests: NDArray[np.uint64]


def cells(images: NDArray[np.floating]) -> NDArray[np.float64]:
    """Tiles averaged to 16 × 16 cells.

    Args:
        images: shape (…, row, col); NaN is taken to be like the mean of the band.

    Returns:
        Shape (…, 16, 16); NaN where a band of a tile has no value at all.
    """
    filled = images.astype(np.float64)
    missing = np.isnan(filled)
    if missing.any():
        count = (~missing).sum(axis=(-2, -1), keepdims=True)
        total = np.where(missing, 0, filled).sum(axis=(-2, -1), keepdims=True)
        mean = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
        filled = np.where(missing, mean, filled)
    rows, cols = (_averaging(size) for size in filled.shape[-2:])
    found: NDArray[np.float64] = rows @ filled @ cols.T
    return found


def _averaging(size: int) -> NDArray[np.float64]:
    """Matrix (16, size): the share of each pixel in the mean of each cell."""
    edge = np.linspace(0, size, CELLS + 1)
    pixel = np.arange(size)
    low = np.maximum(edge[:-1, None], pixel)
    high = np.minimum(edge[1:, None], pixel + 1)
    found: NDArray[np.float64] = np.clip(high - low, 0, None) * CELLS / size
    return found


def cosines(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines (DCT-II, orthonormal) of cells (…, 16, 16), level and slope left out; NaN is 0."""
    found: NDArray[np.float64] = dctn(np.nan_to_num(cells), axes=(-2, -1), norm="ortho")
    found[..., [0, 0, 1], [0, 1, 0]] = 0
    return found


def hash_of(cosines: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Signs of 64 slow cosines of the mean of the bands; (tile, band, 16, 16) to (tile,)."""
    grey = cosines.mean(axis=1)
    slow = grey[:, :8, :8].copy()
    slow[:, [0, 0, 1], [0, 1, 0]] = grey[:, [8, 8, 0], [0, 1, 8]]  # what level and slope leave free
    bits = np.packbits(slow.reshape(len(slow), -1) > 0, axis=1)
    return np.ascontiguousarray(bits).view(np.uint64)[:, 0]


def look(taskset: TaskSet, workers: int = 2, seen: Callable[[int], None] | None = None) -> Looks:
    """Read all tiles and describe how they look.

    Args:
        taskset: to read.
        workers: threads that read.
        seen: told how many more tiles have been read.

    Raises:
        UnreadableFile: an array of the set is damaged.
    """
    bands = sorted(set(true_colour_bands(taskset.bands)))
    count = len(taskset)
    spread = _spread(taskset, bands)
    found = Looks(
        np.zeros((count, len(bands) * CELLS**2), np.int8),
        np.zeros(count, np.uint64),
        np.ones(count, bool),
        np.zeros(count, np.uint64),
    )

    def describe(ids: Ids) -> None:
        images = taskset.read_images(ids)
        values = cosines(cells(images[:, bands])) / spread[:, None, None]
        found.hashes[ids] = hash_of(values)
        flat = values.reshape(len(ids), -1)
        found.plain[ids] = np.sqrt(np.square(flat).mean(axis=1)) < PLAIN
        dull = found.plain[ids]
        found.digests[ids[dull]] = [_digest(image) for image in images[dull]]
        largest = np.maximum(np.abs(flat).max(axis=1, keepdims=True), 1e-12)
        found.cosines[ids] = np.rint(127 * flat / largest)
        if seen is not None:
            seen(len(ids))

    batches = [np.arange(i, min(i + _BATCH, count)) for i in range(0, count, _BATCH)]
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(describe, batches):
            pass
    return found


def _spread(taskset: TaskSet, bands: Sequence[int]) -> NDArray[np.float64]:
    """Standard deviation of the cells of each band over some tiles; 1 for a constant band."""
    ids = np.unique(np.linspace(0, len(taskset) - 1, _SAMPLE).astype(int)).tolist()
    some = np.stack([cells(taskset.read_images([i])[0, bands]) for i in ids])
    spread = np.ma.masked_invalid(some).std(axis=(0, 2, 3)).filled(0)
    return np.where(spread > 0, spread, 1.0)


def _digest(image: NDArray[np.float32]) -> int:
    """Of the pixels; 0 where every band is constant, or without data throughout."""
    corner = image[:, :1, :1]
    if ((image == corner) | (np.isnan(image) & np.isnan(corner))).all():
        return 0
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Alike:
    """Pairs of tiles that look alike, all of shape (pair,).

    Attributes:
        first, second: row numbers of the tiles.
        bits: in which their hashes differ.
        correlation: of their cosines; 1 of tiles that are the same pixel by pixel.
    """

    first: Ids
    second: Ids
    bits: NDArray[np.uint8]
    correlation: NDArray[np.float64]


def alike(looks: Looks, wanted: Wanted) -> Iterator[Alike]:
    """Pairs of tiles that look alike, among those `wanted`.

    Of plain tiles only those that are the same pixel by pixel, and are not all of one value, count;
    of several such not every pair is told, but one at least of each two neighbours in the order of
    the tiles.
    """
    eyed = np.flatnonzero(~looks.plain)
    for i, j in hamming_pairs(looks.hashes[eyed]):
        first, second = eyed[i], eyed[j]
        chosen = wanted(first, second)
        first, second = first[chosen], second[chosen]
        for part in np.array_split(np.arange(len(first)), 1 + len(first) // _JUDGED):
            found, same = _judge(looks, first[part], second[part])
            part = part[same]
            if len(part):
                bits = np.bitwise_count(looks.hashes[first[part]] ^ looks.hashes[second[part]])
                yield Alike(first[part], second[part], bits, found[same])
    plain = np.flatnonzero(looks.plain & (looks.digests > 0))
    plain = plain[np.argsort(looks.digests[plain], kind="stable")]
    first, second = plain[:-1], plain[1:]
    same = (looks.digests[first] == looks.digests[second]) & wanted(first, second)
    if same.any():
        none = np.zeros(same.sum(), np.uint8)
        yield Alike(first[same], second[same], none, np.ones(same.sum()))


def _judge(looks: Looks, first: Ids, second: Ids) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Correlation of pairs, and whether it is high and beyond chance.

    Of n independent values, |r| is above r by chance with (1 - r²)^((n - 1) / 2) at most. How many
    of two tiles' cosines count as independent follows from the variance of r under random signs.
    """
    a, b = (looks.cosines[ids].astype(np.float64) for ids in (first, second))
    norm = np.square(a).sum(axis=1) * np.square(b).sum(axis=1)
    correlation = (a * b).sum(axis=1) / np.sqrt(norm)
    independent = norm / np.maximum(np.square(a * b).sum(axis=1), 1e-12)
    chance = np.clip(1 - correlation**2, 0, 1) ** ((independent - 1) / 2)
    return correlation, (correlation >= ALIKE) & (chance <= CHANCE)


def hamming_pairs(hashes: NDArray[np.uint64]) -> Iterator[tuple[Ids, Ids]]:
    """All pairs i < j of hashes that differ in at most `BITS` bits, each once.

    Of four parts of 16 bits one at least then differs in at most one bit, so that it is found among
    17 neighbours in a table.
    """
    parts = hashes.view(np.uint16).reshape(-1, 4)
    for place in range(4):
        keys = parts[:, place].astype(np.int64)
        order = np.argsort(keys, kind="stable")
        ends = np.searchsorted(keys[order], np.arange(2**16 + 1))
        for flip in (0, *(1 << bit for bit in range(16))):
            start = ends[keys ^ flip]
            count = ends[(keys ^ flip) + 1] - start
            total = np.cumsum(count)
            for block in (
                np.split(
                    np.arange(len(hashes)),
                    np.searchsorted(total, np.arange(_PAIRS, total[-1], _PAIRS)),
                )
                if len(hashes)
                else ()
            ):
                many = count[block]
                i = np.repeat(block, many)
                step = np.arange(len(i)) - np.repeat(np.cumsum(many) - many, many)
                j = order[np.repeat(start[block], many) + step]
                close = (i < j) & (np.bitwise_count(hashes[i] ^ hashes[j]) <= BITS)
                i, j = i[close], j[close]
                new = np.ones(len(i), bool)
                for earlier in range(place):
                    new &= np.bitwise_count(parts[i, earlier] ^ parts[j, earlier]) > 1
                if new.any():
                    yield i[new], j[new]
