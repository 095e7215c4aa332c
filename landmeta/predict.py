"""A map of a raster of any size: windows with overlap, blended, written row by row as they finish.

Memory is O(width × tile × classes), whatever the height. Reading ahead, classifying and writing
overlap in time; sums are always taken in the same order, so the batch size does not change them.
What is done is kept beside the map until all of it is, so that a map that was killed goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import landmeta
from landmeta.aoi import read_area
from landmeta.atomic import refuse_existing
from landmeta.companions import Companions
from landmeta.errors import AlreadyMade, CheckpointMismatch, ConfigError, MissingCRS
from landmeta.flips import Flipped
from landmeta.legend import IGNORE
from landmeta.location import name_of
from landmeta.mapping import Classifier, Job, Tiling, mapped
from landmeta.mosaic import Source, open_rasters
from landmeta.raster import Layer, RowWriter, quietly_open, write_layers
from landmeta.uncertainty import Quantities, beside, split
from landmeta.unfinished import Chunk, Unfinished, unfinished

RUN_TAG = "landmeta_run"
"""Where a map keeps the fingerprint of everything it was made of."""

__all__ = ["Classifier", "Companions", "Map", "confidence_path", "predict"]


@dataclass(frozen=True)
class Map:
    """What predicting wrote.

    Attributes:
        path: the map; `confidence`: its confidence, or None.
        files: all that was written, the map first.
        pixels: number of pixels per class name; `nodata`: of those without a class.
        notes: what had to be assumed, in words for the user.
    """

    path: Path
    confidence: Path | None
    files: tuple[Path, ...]
    pixels: dict[str, int]
    nodata: int
    notes: tuple[str, ...]


def confidence_path(out: Path) -> Path:
    """Where the confidence of the map `out` goes: `map.tif` to `map.confidence.tif`."""
    return beside(out, "confidence")


def predict(
    classifier: Classifier,
    raster: Path | Sequence[Path],
    out: Path,
    *,
    overlap: int | None = None,
    batch: int = 8,
    flips: bool = False,
    aoi: Path | None = None,
    confidence: bool = True,
    entropy: bool = False,
    probabilities: bool = False,
    novelty: bool = False,
    companions: Companions | None = None,
    names: Sequence[str] | None = None,
    provenance: Mapping[str, str] | None = None,
    dask: str | None = None,
    allow_no_crs: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Map:
    """Map a raster: a Cloud-Optimized GeoTIFF of class ids on the raster's own grid.

    255 (nodata) stands exactly where no band of the raster has data, and outside of `aoi`.

    A map that was killed goes on where it was when it is asked for again: rows that are done are
    kept in a hidden folder beside it, and used if the classifier has a `fingerprint` (as a
    `NetworkClassifier` has) and it, the rasters and the settings are the same. The result is then
    the same, bit for bit.

    Args:
        classifier: for example a `NetworkClassifier`.
        raster: GeoTIFF or anything else GDAL opens; or several of one grid, which are mapped as
            one: where they overlap, the first one that has data counts.
        out: map to write, uint8, with colour table, class names and overviews.
        overlap: pixels that neighbouring windows share; a quarter of a window if not given.
        batch: windows classified at once.
        flips: classify each window mirrored in three ways too and take the mean.
        aoi: file of polygons outside which nothing is mapped; the map inside is what it would be
            without.
        confidence: write `confidence_path(out)` too: the highest blended class probability in
            percent, uint8 0-100, nodata 255.
        entropy: write `map.entropy.tif`: Shannon's entropy in percent of the logarithm of the
            number of classes.
        probabilities: write `map.probabilities.tif`: a band for each class, uint8 0-250 × 0.004.
        novelty: write `map.novelty.tif`: how unlike every labelled place a pixel is, in percent of
            the threshold of `landmeta.novelty`: above 100 the map is a guess. Needs a model that
            was adapted to a region.
        companions: files that other programs read beside the map; by default a style of QGIS.
        names: what the bands of the raster are, in its order, if it does not say so itself.
        provenance: kept in the metadata of the outputs, such as the model and its hash.
        dask: address of the scheduler of a Dask cluster to classify on; the result is the same.
        allow_no_crs: map a raster that has no coordinate reference system, such as a photo; the
            map then lies on its pixels only.
        overwrite: replace outputs that exist.
        quiet: show no progress bar.

    Raises:
        SourceNotFound, UnreadableFile: the raster is not there, truncated or damaged.
        MissingBands: its bands are not those the classifier needs.
        SizeMismatch: several rasters do not lie on one grid.
        MissingCRS: it has no coordinate reference system and `allow_no_crs` is False, or something
            asked for needs one.
        ConfigError: `overlap` or `batch` makes no sense, `out` is the raster itself, `aoi` holds no
            polygon that touches it, or there is no such cluster.
        CheckpointMismatch: the classifier gave values that are no probabilities, or knows no
            labelled places that pixels could be unlike.
        ProcessLost: the cluster was lost.
        AlreadyMade: the map is there, made of the same.
        OutputExists, WriteFailed: as `landmeta.raster.write_layers`; nothing half-written is left.
    """
    rasters = (raster,) if isinstance(raster, Path) else tuple(raster)
    overlap = classifier.tile_size // 4 if overlap is None else overlap
    companions = companions or Companions()
    wanted = Quantities(confidence, entropy, probabilities, novelty)
    if novelty:
        _check_knows_labels(classifier)
    calibration = calibration_of(classifier)
    layers = wanted.layers(out, classifier.legend, calibration)
    files = [*(layer.path for layer in layers), *companions.paths(out)]
    _check_options(classifier, rasters, out, overlap, batch)
    tags = {
        "landmeta_raster": ", ".join(path.name for path in rasters),
        "landmeta_confidence": calibration,
        **(provenance or {}),
    }
    with open_rasters(rasters, classifier.band_specs, names) as image:
        if not allow_no_crs:
            _check_crs(image)
        companions.check(image)
        area = None if aoi is None else read_area(aoi, image.grid)
        absolute = tuple(path.resolve() for path in rasters)
        job = Job(absolute, tuple(names) if names else None, overlap, batch, wanted, area)
        own = fingerprint(classifier, job, flips)
        if not overwrite:
            _refuse_existing(files, own)
        if own:
            tags[RUN_TAG] = own
        makers = companions.makers(layers, image, tags)
        with unfinished(out, own) as chunks:
            notes = [*image.notes, *_gone_on(chunks)]
            _map(Flipped(classifier) if flips else classifier, image, job, chunks, dask, quiet)
            tiling = job.tiling(image.grid, classifier.tile_size)
            with write_layers(layers, image.grid, tags, beside=makers, overwrite=overwrite) as to:
                counts = _assemble(chunks, tiling, layers, to)
    pixels = {land.name: int(counts[land.id]) for land in classifier.legend.classes}
    if not any(pixels.values()):
        notes.append(f"{rasters[0]} has no pixel with data; the map is empty")
    return Map(
        path=out,
        confidence=confidence_path(out) if confidence else None,
        files=tuple(files),
        pixels=pixels,
        nodata=int(counts[IGNORE]),
        notes=tuple(notes),
    )


def calibration_of(classifier: Classifier) -> str:
    """What its probabilities are worth, in words: whether a temperature was fitted to labels."""
    found = getattr(classifier, "temperature", None)
    return "not calibrated" if found is None else f"calibrated by temperature {found:.4g}"


def _check_knows_labels(classifier: Classifier) -> None:
    if getattr(classifier, "novelty", None) is None:
        raise CheckpointMismatch(
            "knows no labelled places that pixels could be unlike: it is not adapted to a region",
            remedy="adapt it by 'landmeta adapt' and map with the region model, or leave --novelty "
            "out",
            path=getattr(classifier, "path", None),
        )


def _check_options(
    classifier: Classifier, rasters: Sequence[Path], out: Path, overlap: int, batch: int
) -> None:
    if not rasters:
        raise ConfigError("no raster to map", remedy="name at least one")
    if not 0 <= overlap < classifier.tile_size:
        raise ConfigError(
            f"windows of {classifier.tile_size} pixels cannot overlap by {overlap}",
            remedy=f"choose an overlap from 0 to {classifier.tile_size - 1}",
        )
    if batch < 1:
        raise ConfigError(f"a batch of {batch} windows", remedy="choose a batch of 1 or more")
    if out.exists() and any(raster.exists() and out.samefile(raster) for raster in rasters):
        raise ConfigError(
            "is both the raster to map and the map to write",
            remedy="choose another name for the map",
            path=out,
        )


def _refuse_existing(files: Sequence[Path], own: str | None) -> None:
    if own and all(path.exists() for path in files):
        with suppress(RasterioError), quietly_open(files[0]) as dataset:
            if dataset.tags().get(RUN_TAG) == own:
                raise AlreadyMade(
                    "is there already, made of the same raster by the same model and settings",
                    remedy="use it, or pass --overwrite to make it again",
                    path=files[0],
                )
    for path in files:
        refuse_existing(path, overwrite=False)


def _check_crs(image: Source) -> None:
    if image.grid.crs is None:
        raise MissingCRS(
            "has no coordinate reference system, so nobody could tell where its map lies",
            remedy="georeference it, for instance with gdal_edit or gdalwarp, or pass "
            "--allow-no-crs to get a map on its pixel grid",
            path=image.path,
        )


def fingerprint(classifier: Classifier, job: Job, flips: bool) -> str | None:
    """A hash of everything that the bytes of a map depend on; None if the classifier has none.

    Rasters count by size and time, as in make: hashing terabytes would take as long as mapping.
    """
    own = getattr(classifier, "fingerprint", None)
    if own is None:
        return None
    files = [(path, path.stat()) for path in job.rasters]
    record = {
        "landmeta": landmeta.__version__,
        "classifier": own,
        "flips": flips,
        "rasters": [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in files],
        "names": job.names,
        "windows": [classifier.tile_size, job.overlap, job.batch],
        "quantities": asdict(job.quantities),
        "area": None if job.area is None else [shapely.to_wkb(p, True) for p in job.area.polygons],
    }
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _gone_on(chunks: Unfinished) -> list[str]:
    if not chunks.done:
        return []
    return [f"went on with a map that was begun before ({len(chunks.done)} parts were done)"]


def _map(
    classifier: Classifier,
    image: Source,
    job: Job,
    chunks: Unfinished,
    dask: str | None,
    quiet: bool,
) -> None:
    """Make all chunks that are not done, here or on a cluster."""
    tiling = job.tiling(image.grid, classifier.tile_size)
    missing = [number for number in range(tiling.chunks) if number not in chunks.done]
    with _bar(f"mapping {name_of(image.path)}", len(tiling.rows) * len(tiling.cols), quiet) as tick:
        if dask is None:
            _map_here(classifier, image, job, chunks, missing, tick)
        else:
            from landmeta.cluster import map_on_cluster

            def keep(number: int, content: bytes) -> None:
                chunks.put(number, content)
                tick(sum(len(tiling.windows_of(n)) for n in chunks.done) * len(tiling.cols))

            map_on_cluster(dask, classifier, job, missing, keep)


def _map_here(
    classifier: Classifier,
    image: Source,
    job: Job,
    chunks: Unfinished,
    missing: Sequence[int],
    tick: Callable[[int], None],
) -> None:
    with ThreadPoolExecutor(1, "write") as writer:
        for run in _runs(missing):
            rows = mapped(classifier, image, job, run, tick)
            for number, parts in groupby(rows, key=itemgetter(0)):
                with chunks.chunk(number) as chunk:
                    writing: Future[None] = writer.submit(lambda: None)
                    for _, make in parts:
                        writing.result()  # at most one strip waits to be written
                        writing = writer.submit(_add, chunk, make)
                    writing.result()


def _add(chunk: Chunk, make: Callable[[], NDArray[np.uint8]]) -> None:
    chunk.add(make())


def _runs(numbers: Sequence[int]) -> Iterator[range]:
    """Ascending numbers as ranges."""
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        yield range(found[0], found[-1] + 1)


def _assemble(
    chunks: Unfinished, tiling: Tiling, layers: Sequence[Layer], writers: Sequence[RowWriter]
) -> NDArray[np.int64]:
    """Write all chunks; returns the number of pixels of each value of the map, shape (256,)."""
    counts = np.zeros(256, np.int64)
    bands = sum(layer.count for layer in layers)
    for number in range(tiling.chunks):
        for rows in chunks.read(number, bands, tiling.cols.length):
            counts += np.bincount(rows[0].ravel(), minlength=256)
            for writer, values in zip(writers, split(rows, layers), strict=True):
                writer.write(values)
    return counts


@contextmanager
def _bar(what: str, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar; yields how to tell it how many windows are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("windows"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=quiet) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda done: progress.update(bar, completed=done)
