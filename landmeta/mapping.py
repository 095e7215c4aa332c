"""From windows of an image to blended class probabilities, row of windows by row of windows.

Rows of windows go together in chunks. A batch never holds windows of two chunks, so that a chunk
comes out the same, bit for bit, whether its neighbours are mapped in the same process or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from landmeta.aoi import Area
from landmeta.errors import CheckpointMismatch
from landmeta.legend import Legend
from landmeta.mosaic import Source, open_rasters
from landmeta.raster import Grid
from landmeta.taskset import Band
from landmeta.uncertainty import MOST_NOVEL, Quantities
from landmeta.windows import Axis, Strip, cut, pad_by_mirror

CHUNK = 8
"""Rows of windows in a chunk."""

Item = TypeVar("Item")


class Classifier(Protocol):
    """Something that turns images into class probabilities.

    Attributes:
        bands: names of the bands it needs, in order; `band_specs`: the same with scale and offset.
        legend: its classes.
        tile_size: size in pixels of the windows it was trained at.
    """

    @property
    def bands(self) -> tuple[str, ...]: ...  # noqa: D102 - said above

    @property
    def band_specs(self) -> tuple[Band, ...]: ...  # noqa: D102

    @property
    def legend(self) -> Legend: ...  # noqa: D102

    @property
    def tile_size(self) -> int: ...  # noqa: D102

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class probabilities, shape (tile, class, row, col), that sum to 1 over the classes.

        Args:
            image: physical values, shape (tile, band, row, col), NaN where not valid.
        """
        ...


class Wary(Classifier, Protocol):
    """A classifier that also tells what it knows nothing of."""

    def unlikeness(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """How unlike anything labelled each pixel is, (tile, row, col); above 1, it is."""
        ...


@dataclass(frozen=True)
class Tiling:
    """The windows of an image, in chunks.

    Attributes:
        rows, cols: the windows along each axis.
        batch: most windows classified at once.
    """

    rows: Axis
    cols: Axis
    batch: int

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self.rows) // CHUNK)

    def windows_of(self, chunk: int) -> range:
        """The numbers of the rows of windows of a chunk."""
        return range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.rows)))

    def pixels_of(self, chunk: int) -> range:
        """The rows of pixels that a chunk finishes."""
        windows = self.windows_of(chunk)
        return range(self.rows.starts[windows.start], self.rows.end(windows[-1]))


@dataclass(frozen=True)
class Job:
    """Everything but the classifier that the bytes of a map depend on.

    Attributes:
        rasters: what to map, as one.
        names: what their bands are, if they do not say so themselves.
        overlap: pixels that neighbouring windows share.
        batch: windows classified at once.
        quantities: the layers of the map.
        area: what of the raster to map; None for all of it.
    """

    rasters: tuple[Path, ...]
    names: tuple[str, ...] | None
    overlap: int
    batch: int
    quantities: Quantities
    area: Area | None = None

    def tiling(self, grid: Grid, tile: int) -> Tiling:
        """The windows."""
        rows, cols = (cut(length, tile, self.overlap) for length in (grid.height, grid.width))
        return Tiling(rows, cols, self.batch)

    def open(self, classifier: Classifier) -> AbstractContextManager[Source]:
        """The rasters, as the bands that the classifier needs."""
        return open_rasters(self.rasters, classifier.band_specs, self.names)


def mapped(
    classifier: Classifier,
    image: Source,
    job: Job,
    chunks: range,
    tick: Callable[[int], None] = lambda windows: None,
) -> Iterator[tuple[int, Callable[[], NDArray[np.uint8]]]]:
    """Map chunks that follow each other.

    Args:
        classifier: what to map with.
        image: the job's rasters.
        job: how.
        chunks: which.
        tick: as `blended`.

    Yields:
        Number of the chunk, and the making of its next rows as bytes, (band, row, width), which is
        work of its own that another thread may do.
    """
    tiling = job.tiling(image.grid, classifier.tile_size)
    novelty = job.quantities.novelty
    for row, values in blended(classifier, image, tiling, chunks, job.area, tick, novelty=novelty):
        yield row // CHUNK, partial(job.quantities.to_bytes, values, classifier.legend)


def blended(
    classifier: Classifier,
    image: Source,
    tiling: Tiling,
    chunks: range,
    area: Area | None = None,
    tick: Callable[[int], None] = lambda windows: None,
    *,
    novelty: bool = False,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Map chunks that follow each other.

    Windows of earlier chunks that reach into the first one are classified again.

    Args:
        classifier: what to map with.
        image: what to map.
        tiling: its windows.
        chunks: which to map.
        area: pixels outside are not mapped, and windows outside neither read nor classified.
        tick: is told how many windows of the image are done, those before `chunks` included.
        novelty: ask a `Wary` classifier for its unlikeness too: one more channel, the last.

    Yields:
        Number of the row of windows, and the rows of pixels that no later one reaches: blended
        probabilities, shape (class, row, width), all 0 where there is no data or no `area`.

    Raises:
        UnreadableFile: part of the image is missing or damaged.
        CheckpointMismatch: the classifier gave values that are no probabilities.
    """
    first = tiling.windows_of(chunks[0]).start
    end = tiling.windows_of(chunks[-1]).stop
    lead, across = tiling.rows.lead(first), len(tiling.cols)
    strip = Strip(tiling.rows, tiling.cols, len(classifier.legend) + novelty, lead)

    def finished(until: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        while strip.row < until:
            row, values = strip.row, strip.finished()
            if row >= first:
                tick((row + 1) * across)
                yield row, values

    with ThreadPoolExecutor(1, "read") as reader:
        coming = _ahead(_batches(image, tiling, lead, end, area), reader)
        for batch in coming:
            probabilities = _classify(classifier, batch, novelty)
            for (row, col), values in zip(batch.windows, probabilities, strict=True):
                yield from finished(row)
                if row >= lead:
                    strip.add(col, values)
                    tick(max(first, row) * across + col)
    yield from finished(end)


@dataclass(frozen=True)
class _Batch:
    """Windows to classify.

    Attributes:
        windows: their (row, col) numbers.
        images: (window, band, row, col).
        wanted: what of them is to be mapped, (window, row, col).
    """

    windows: list[tuple[int, int]]
    images: NDArray[np.float32]
    wanted: NDArray[np.bool_]


def _batches(
    image: Source, tiling: Tiling, lead: int, end: int, area: Area | None
) -> Iterator[_Batch]:
    """The batches that hold a window of the rows `lead` to `end`."""
    for chunk in range(lead // CHUNK, tiling.chunks):
        windows: list[tuple[int, int]] = []
        images: list[NDArray[np.float32]] = []
        wanted: list[NDArray[np.bool_]] = []
        numbers = tiling.windows_of(chunk)
        if numbers.start >= end:
            return
        for window, pixels, mapped in _read(image, tiling, numbers, area):
            windows.append(window)
            images.append(pad_by_mirror(pixels, tiling.rows.tile))
            wanted.append(pad_by_mirror(mapped, tiling.rows.tile))
            if len(windows) == tiling.batch:
                if window[0] >= lead:
                    yield _Batch(windows, np.stack(images), np.stack(wanted))
                windows, images, wanted = [], [], []
        if windows and windows[-1][0] >= lead:
            yield _Batch(windows, np.stack(images), np.stack(wanted))


def _read(
    image: Source, tiling: Tiling, numbers: range, area: Area | None
) -> Iterator[tuple[tuple[int, int], NDArray[np.float32], NDArray[np.bool_]]]:
    """Windows with something to map: number, pixels (band, row, col), what to map (row, col).

    Neighbours are read in one go, as many as fit into a batch: each call of GDAL takes its time.
    """
    rows, cols = tiling.rows, tiling.cols
    for row in numbers:
        top = rows.starts[row]
        inside = None if area is None else area.mask(0, top, cols.length, rows.span)
        needed = [
            col
            for col, start in enumerate(cols.starts)
            if inside is None or inside[:, start : start + cols.span].any()
        ]
        for group in _neighbours(needed, tiling.batch):
            start, stop = cols.starts[group[0]], cols.starts[group[-1]] + cols.span
            together = image.read(start, top, stop - start, rows.span)
            for col in group:
                left = cols.starts[col]
                pixels = together[:, :, left - start : left - start + cols.span]
                wanted: NDArray[np.bool_] = np.array(~np.isnan(pixels).all(axis=0))
                if inside is not None:
                    wanted &= inside[:, left : left + cols.span]
                if wanted.any():
                    yield (row, col), pixels, wanted


def _neighbours(numbers: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """Cut ascending numbers where one is left out, and after `most`."""
    breaks = [i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if b != a + 1]
    for start, stop in pairwise([0, *breaks, len(numbers)]):
        for at in range(start, stop, most):
            yield numbers[at : min(at + most, stop)]


def _ahead(items: Iterator[Item], pool: ThreadPoolExecutor) -> Iterator[Item]:
    """Iterate in the pool's thread, always one item ahead of the one in use."""
    coming: Future[Item | None] = pool.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = pool.submit(next, items, None)
        yield item


def _classify(classifier: Classifier, batch: _Batch, novelty: bool) -> NDArray[np.float32]:
    """Probabilities of a batch, and unlikeness; all 0 at pixels that are not to be mapped."""
    probabilities = classifier.probabilities(batch.images)
    if novelty:
        unlike = cast("Wary", classifier).unlikeness(batch.images)[:, None]
        # What is beyond is not told apart, and would outweigh its neighbours where windows blend.
        unlike = np.minimum(unlike, np.float32(MOST_NOVEL))
        probabilities = np.concatenate([probabilities, unlike], axis=1)
    probabilities = np.where(batch.wanted[:, None], probabilities, np.float32(0))
    if not np.isfinite(probabilities).all():
        raise CheckpointMismatch(
            "the model gives values that are not numbers for this raster",
            remedy="check that the raster's values are scaled like the training data; if they "
            "are, adapt again with fewer steps or a lower rate",
        )
    return probabilities
