"""A map of a raster of any size: windows with overlap, blended, written row by row as they finish.

Memory is O(width × tile × classes), whatever the height. Reading ahead, classifying and writing
overlap in time; sums are always taken in the same order, so the batch size does not change them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from landmeta.errors import CheckpointMismatch, ConfigError, MissingCRS
from landmeta.legend import IGNORE, Legend
from landmeta.location import name_of
from landmeta.raster import Image, Layer, RowWriter, open_image, write_layers
from landmeta.taskset import Band
from landmeta.windows import Axis, Strip, cut, pad_by_mirror

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


@dataclass(frozen=True)
class Map:
    """What predicting wrote.

    Attributes:
        path: the map; `confidence`: its confidence, or None.
        pixels: number of pixels per class name; `nodata`: of those without a class.
        notes: what had to be assumed, in words for the user.
    """

    path: Path
    confidence: Path | None
    pixels: dict[str, int]
    nodata: int
    notes: tuple[str, ...]


def confidence_path(out: Path) -> Path:
    """Where the confidence of the map `out` goes: `map.tif` to `map.confidence.tif`."""
    return out.with_name(f"{out.stem}.confidence{out.suffix}")


def predict(
    classifier: Classifier,
    raster: Path,
    out: Path,
    *,
    overlap: int | None = None,
    batch: int = 8,
    confidence: bool = True,
    names: Sequence[str] | None = None,
    provenance: Mapping[str, str] | None = None,
    allow_no_crs: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Map:
    """Map a raster: a Cloud-Optimized GeoTIFF of class ids on the raster's own grid.

    255 (nodata) stands exactly where no band of the raster has data.

    Args:
        classifier: for example a `NetworkClassifier`.
        raster: GeoTIFF or anything else GDAL opens.
        out: map to write, uint8, with colour table, class names and overviews.
        overlap: pixels that neighbouring windows share; a quarter of a window if not given.
        batch: windows classified at once.
        confidence: write `confidence_path(out)` too: the highest blended class probability in
            percent, uint8 0-100, nodata 255.
        names: what the bands of the raster are, in its order, if it does not say so itself.
        provenance: kept in the metadata of the outputs, such as the model and its hash.
        allow_no_crs: map a raster that has no coordinate reference system, such as a photo; the
            map then lies on its pixels only.
        overwrite: replace outputs that exist.
        quiet: show no progress bar.

    Raises:
        SourceNotFound, UnreadableFile: the raster is not there, truncated or damaged.
        MissingBands: its bands are not those the classifier needs.
        MissingCRS: it has no coordinate reference system and `allow_no_crs` is False.
        ConfigError: `overlap` or `batch` makes no sense, or `out` is the raster itself.
        CheckpointMismatch: the classifier gave values that are no probabilities.
        OutputExists, WriteFailed: as `landmeta.raster.write_layers`; nothing half-written is left.
    """
    overlap = classifier.tile_size // 4 if overlap is None else overlap
    _check_options(classifier, raster, out, overlap, batch)
    layers = [Layer(out, "land cover", classifier.legend)]
    if confidence:
        layers.append(Layer(confidence_path(out), "confidence (percent)"))
    tags = {"landmeta_raster": raster.name, **(provenance or {})}
    with open_image(raster, classifier.band_specs, names) as image:
        if not allow_no_crs:
            _check_crs(image)
        rows = cut(image.grid.height, classifier.tile_size, overlap)
        cols = cut(image.grid.width, classifier.tile_size, overlap)
        with write_layers(layers, image.grid, tags, overwrite=overwrite) as writers:
            finish = _Finish(classifier.legend, writers)
            _map_windows(classifier, image, rows, cols, batch, finish, quiet)
        notes = list(image.notes)
    counts = dict(zip(classifier.legend.names, finish.pixels[:-1].tolist(), strict=True))
    if not any(counts.values()):
        notes.append(f"{raster} has no pixel with data; the map is empty")
    return Map(
        path=out,
        confidence=layers[1].path if confidence else None,
        pixels=counts,
        nodata=int(finish.pixels[-1]),
        notes=tuple(notes),
    )


def _check_options(
    classifier: Classifier, raster: Path, out: Path, overlap: int, batch: int
) -> None:
    if not 0 <= overlap < classifier.tile_size:
        raise ConfigError(
            f"windows of {classifier.tile_size} pixels cannot overlap by {overlap}",
            remedy=f"choose an overlap from 0 to {classifier.tile_size - 1}",
        )
    if batch < 1:
        raise ConfigError(f"a batch of {batch} windows", remedy="choose a batch of 1 or more")
    if out.exists() and raster.exists() and out.samefile(raster):
        raise ConfigError(
            "is both the raster to map and the map to write",
            remedy="choose another name for the map",
            path=out,
        )


def _check_crs(image: Image) -> None:
    if image.grid.crs is None:
        raise MissingCRS(
            "has no coordinate reference system, so nobody could tell where its map lies",
            remedy="georeference it, for instance with gdal_edit or gdalwarp, or pass "
            "--allow-no-crs to get a map on its pixel grid",
            path=image.path,
        )


@dataclass(frozen=True)
class _Batch:
    """Windows to classify: their (row, col) numbers and their images, (window, band, row, col).

    `passed` counts the windows read for it, with those that hold no data and are not classified.
    """

    windows: list[tuple[int, int]]
    images: NDArray[np.float32]
    passed: int


def _batches(image: Image, rows: Axis, cols: Axis, size: int) -> Iterator[_Batch]:
    """Read all windows, row by row; a window without any valid pixel needs no classifying.

    Neighbours are read in one go, as many as fit into a batch: each call of GDAL takes its time.
    """
    windows: list[tuple[int, int]] = []
    images: list[NDArray[np.float32]] = []
    passed = 0
    for row, top in enumerate(rows.starts):
        for col, left in enumerate(cols.starts):
            if col % size == 0:
                start, last = left, cols.starts[min(col + size, len(cols)) - 1]
                together = image.read(start, top, last + cols.span - start, rows.span)
            pixels = together[:, :, left - start : left - start + cols.span]
            passed += 1
            if not np.isnan(pixels).all():
                windows.append((row, col))
                images.append(pad_by_mirror(pixels, rows.tile))
            if len(windows) == size:
                yield _Batch(windows, np.stack(images), passed)
                windows, images, passed = [], [], 0
    if windows:
        yield _Batch(windows, np.stack(images), passed)


def _ahead(items: Iterator[Item], pool: ThreadPoolExecutor) -> Iterator[Item]:
    """Iterate in the pool's thread, always one item ahead of the one in use."""
    coming: Future[Item | None] = pool.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = pool.submit(next, items, None)
        yield item


def _classify(classifier: Classifier, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of a batch; all 0 at pixels that have no data in any band."""
    probabilities = classifier.probabilities(images)
    valid = ~np.isnan(images).all(axis=1, keepdims=True)
    probabilities = np.where(valid, probabilities, np.float32(0))
    if not np.isfinite(probabilities).all():
        raise CheckpointMismatch(
            "the model gives values that are not numbers for this raster",
            remedy="check that the raster's values are scaled like the training data; if they "
            "are, adapt again with fewer steps or a lower rate",
        )
    return probabilities


def _map_windows(
    classifier: Classifier,
    image: Image,
    rows: Axis,
    cols: Axis,
    batch: int,
    finish: Callable[[NDArray[np.float32]], None],
    quiet: bool,
) -> None:
    """Classify all windows and hand every row of the raster, blended, to `finish`, in order."""
    strip = Strip(rows, cols, len(classifier.legend))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("windows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with (
        Progress(*columns, disable=quiet) as progress,
        ThreadPoolExecutor(1, "read") as reader,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        total = len(rows) * len(cols)
        bar = progress.add_task(f"mapping {name_of(image.path)}", total=total)
        writing: Future[None] = writer.submit(lambda: None)
        for item in _ahead(_batches(image, rows, cols, batch), reader):
            probabilities = _classify(classifier, item.images)
            for (row, col), values in zip(item.windows, probabilities, strict=True):
                while strip.row < row:
                    writing.result()  # at most one strip waits to be written
                    writing = writer.submit(finish, strip.finished())
                strip.add(col, values)
            progress.advance(bar, item.passed)
        while strip.row < len(rows):
            writing.result()
            writing = writer.submit(finish, strip.finished())
        writing.result()
        progress.update(bar, completed=total)


@dataclass
class _Finish:
    """Turns blended rows into class ids and confidence, writes them, and counts the classes."""

    legend: Legend
    writers: Sequence[RowWriter]
    pixels: NDArray[np.int64] = field(init=False)
    """Per class; the last number is that of pixels without data."""

    def __post_init__(self) -> None:
        self.pixels = np.zeros(len(self.legend) + 1, np.int64)

    def __call__(self, blended: NDArray[np.float32]) -> None:
        """Write rows of blended probabilities, shape (class, row, col); all 0 means no data."""
        best = blended.max(axis=0)
        nodata = best == 0
        index = blended.argmax(axis=0).astype(np.uint8)
        index[nodata] = len(self.legend)
        self.pixels += np.bincount(index.ravel(), minlength=len(self.pixels))
        index[nodata] = IGNORE
        percent = np.rint(best * 100).clip(0, 100).astype(np.uint8)
        percent[nodata] = IGNORE
        for writer, values in zip(self.writers, (self.legend.to_ids(index), percent), strict=False):
            writer.write(values)
