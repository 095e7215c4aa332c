"""The on-disk task set: tiles of labelled imagery grouped into tasks, with their splits.

A folder that opens with ordinary tools::

    taskset.json    bands, legend, gsd, tile size, splits, versions
    tiles.parquet   GeoParquet, one row a tile, footprint in EPSG:4326
    images.zarr     (tile, band, row, col), stored values; physical = stored × scale + offset
    labels.zarr     (tile, row, col) uint8 class index, 255 = ignore
    valid.zarr      (tile, band, row, col) bool, True where data exist

The arrays are compressed by LZ4 after their bits are shuffled (Masui et al. 2015,
doi:10.1016/j.ascom.2015.07.002): of imagery, that is smaller than Zstandard alone makes it, and
several times as fast.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, TypeAlias

import geopandas as gpd
import numpy as np
import pandas as pd
import zarr
from affine import Affine
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rasterio.crs import CRS
from rasterio.warp import transform_geom
from shapely.geometry import Polygon, mapping, shape
from shapely.geometry.base import BaseGeometry
from zarr.codecs import BloscCodec

import landmeta
from landmeta.atomic import atomic_folder
from landmeta.errors import EmptyRegion, SourceNotFound, UnreadableFile
from landmeta.legend import IGNORE, Labels, Legend

Split = Literal["train", "val", "test"]
ZarrArray: TypeAlias = "zarr.Array[Any]"
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SHARD = 64
"""Tiles in one zarr shard (one file); a tile is one chunk in it and is read alone."""


class Band(BaseModel):
    """One band: its name and how stored values become physical ones (`stored × scale + offset`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""


class TaskSetMeta(BaseModel):
    """What the tiles of a task set have in common."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["landmeta-taskset"] = "landmeta-taskset"
    format_version: Literal[1] = 1
    source: str
    bands: Annotated[tuple[Band, ...], Field(min_length=1)]
    legend: Legend
    gsd: float | None = None
    """Ground sampling distance in metres; None where the source has no georeference."""
    tile_size: Annotated[int, Field(ge=8)]
    dtype: str
    splits: dict[Split, list[str]] = Field(default_factory=dict)
    """Task names of each split; filled from the tiles when the set is written."""
    options: dict[str, Any] = Field(default_factory=dict)
    """How it was prepared."""
    notes: list[str] = Field(default_factory=list)
    """What a user of the set should know: skipped files, missing georeference, …"""
    versions: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class SourceTile:
    """A tile as a reader hands it over.

    Attributes:
        image: stored values, shape (band, row, col), in the task set's dtype.
        label: class index, shape (row, col), uint8, 255 = ignore.
        valid: True where a band has data, shape (band, row, col).
        region: name of the region; `season`: name of the season or "".
        split: train, val or test. All tiles of one task are in one split.
        source: image file the tile was cut from, relative to the source's root.
        window: (col_off, row_off, width, height) in that file, pixels.
        crs, transform: native grid of the tile, or None where the source has no georeference.
    """

    image: NDArray[Any]
    label: Labels
    valid: NDArray[np.bool_]
    region: str
    split: Split
    source: str
    window: tuple[int, int, int, int]
    season: str = ""
    crs: str | None = None
    transform: Affine | None = None

    @property
    def task(self) -> str:
        """One region (x season)."""
        return f"{self.region}/{self.season}" if self.season else self.region


class _Shard:
    """Room for the tiles of one shard, used again and again: fresh memory costs time."""

    def __init__(self, bands: int, size: int, dtype: str) -> None:
        self.images = np.empty((SHARD, bands, size, size), dtype)
        self.labels = np.empty((SHARD, size, size), np.uint8)
        self.valid = np.empty((SHARD, bands, size, size), bool)
        self.count = 0

    def add(self, tile: SourceTile) -> None:
        i = self.count
        self.images[i], self.labels[i], self.valid[i] = tile.image, tile.label, tile.valid
        self.count += 1


class TaskSetWriter:
    """Collects tiles and writes whole shards in the background; made by `create_taskset`."""

    def __init__(self, folder: Path, meta: TaskSetMeta) -> None:
        self.folder = folder
        self.meta = meta
        self.rows: list[dict[str, Any]] = []
        self._outlines: list[Polygon | None] = []
        size, bands = meta.tile_size, len(meta.bands)
        # One is filled while the other is written.
        self._filling, self._other = (_Shard(bands, size, meta.dtype) for _ in range(2))
        self._images = new_array(folder / "images.zarr", (bands, size, size), meta.dtype, 0)
        self._labels = new_array(folder / "labels.zarr", (size, size), "uint8", IGNORE)
        self._valid = new_array(folder / "valid.zarr", (bands, size, size), "bool", True)
        self._pool = ThreadPoolExecutor(1, "shards")
        self._written: Future[None] = self._pool.submit(lambda: None)

    def add(self, tile: SourceTile) -> None:
        """Append one tile (image and label in the set's tile size, bands in the set's order)."""
        size, bands = self.meta.tile_size, len(self.meta.bands)
        expected = (bands, size, size)
        if tile.image.shape != expected or tile.valid.shape != expected:
            raise ValueError(f"tile of shape {tile.image.shape}, expected {expected}")
        if tile.label.shape != (size, size) or tile.label.dtype != np.uint8:
            raise ValueError(f"label {tile.label.dtype}{tile.label.shape}, expected uint8 {size}²")
        classes = len(self.meta.legend)
        counts = np.bincount(tile.label.ravel(), minlength=256)
        if counts[classes:IGNORE].any():
            raise ValueError(f"label index beyond the legend's {classes} classes")
        bounds = _native_bounds(tile)
        self.rows.append(
            {
                "id": len(self.rows),
                "region": tile.region,
                "season": tile.season,
                "task": tile.task,
                "split": tile.split,
                "crs": tile.crs,
                "transform": None if tile.transform is None else list(tile.transform)[:6],
                "native_bounds": list(bounds),
                "valid_share": np.count_nonzero(tile.valid) / tile.valid.size,
                "labelled_share": float(counts[:classes].sum() / tile.label.size),
                "class_pixels": counts[:classes].tolist(),
                "source": tile.source,
                "window": list(tile.window),
            }
        )
        self._outlines.append(_native_outline(tile))
        self._filling.add(tile)
        if self._filling.count == SHARD:
            self._flush()

    def _flush(self) -> None:
        self._written.result()
        self._written = self._pool.submit(self._write, self._filling)
        self._filling, self._other = self._other, self._filling

    def _write(self, shard: _Shard) -> None:
        """Append a shard, or what is left at the end, to the arrays."""
        for array, values in (
            (self._images, shard.images),
            (self._labels, shard.labels),
            (self._valid, shard.valid),
        ):
            append(array, values[: shard.count])
        shard.count = 0

    def stop(self) -> None:
        """Wait until nothing is being written any more, whether it went well or not."""
        self._pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Write what is left, the tile table and the metadata."""
        self._flush()
        self._written.result()
        if not self.rows:
            raise EmptyRegion(
                f"no tile with labels came out of the source {self.meta.source!r}",
                remedy="check the folder, the tile size, and that labels are not all 'ignore'",
            )
        rows = pd.DataFrame(self.rows)
        outlines = _to_lonlat(self._outlines, rows["crs"])
        table = gpd.GeoDataFrame(rows, geometry=outlines, crs="EPSG:4326")
        self.meta.splits = {
            split: sorted(table.loc[table["split"] == split, "task"].unique()) for split in SPLITS
        }
        self.meta.versions |= {"landmeta": landmeta.__version__, "zarr": zarr.__version__}
        table.to_parquet(self.folder / "tiles.parquet", index=False)
        (self.folder / "taskset.json").write_text(
            self.meta.model_dump_json(indent=2) + "\n", encoding="utf-8"
        )


def _native_outline(tile: SourceTile) -> Polygon | None:
    if tile.crs is None or tile.transform is None:
        return None
    return Polygon(_corners(tile.transform, *tile.label.shape))


def _to_lonlat(
    outlines: Sequence[Polygon | None], systems: pd.Series[str]
) -> list[BaseGeometry | None]:
    """Outlines in EPSG:4326 (x = longitude); GDAL cuts them in two at the antimeridian."""
    found: list[BaseGeometry | None] = list(outlines)
    for crs, group in systems.groupby(systems).indices.items():  # no group for tiles without CRS
        if CRS.from_user_input(crs) == CRS.from_epsg(4326):
            continue
        places = [i for i in group if outlines[i] is not None]
        # All at once: setting a transformation up takes ten times as long as doing it.
        moved = transform_geom(crs, "EPSG:4326", [mapping(outlines[i]) for i in places])
        for i, outline in zip(places, moved, strict=True):
            found[i] = shape(outline)
    return found


def _corners(grid: Affine, rows: int, cols: int) -> list[tuple[float, float]]:
    """Outer corners (x, y) of an array on a grid, in the grid's CRS."""
    return [
        (grid.a * col + grid.b * row + grid.c, grid.d * col + grid.e * row + grid.f)
        for col, row in ((0, 0), (cols, 0), (cols, rows), (0, rows))
    ]


def _native_bounds(tile: SourceTile) -> tuple[float, float, float, float]:
    """Bounds in the native CRS, or in pixels of the source file where there is none."""
    if tile.transform is None or tile.crs is None:
        col, row, width, height = tile.window
        return float(col), float(row), float(col + width), float(row + height)
    xs, ys = zip(*_corners(tile.transform, *tile.label.shape), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def new_array(path: Path, shape: tuple[int, ...], dtype: str, fill: int | bool) -> ZarrArray:
    """Make an array (tile, …) without tiles, to `append` to; tiles all of `fill` take no room."""
    with _codecs():
        return zarr.create_array(
            path,
            shape=(0, *shape),
            chunks=(1, *shape),
            shards=(SHARD, *shape),
            dtype=dtype,
            fill_value=fill,
            compressors=BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
            config={"write_empty_chunks": False},
        )


def append(array: ZarrArray, tiles: NDArray[Any]) -> None:
    """Write a shard, `SHARD` tiles, or what is left at the end.

    Raises:
        OSError: the disk is full or not writable.
    """
    start = array.shape[0]
    if not len(tiles):
        return
    try:
        array.resize((start + len(tiles), *array.shape[1:]))
        array[start:] = tiles
    except RuntimeError as error:  # how zarrs passes on what the operating system refused
        raise OSError(str(error)) from error


def _codecs() -> AbstractContextManager[object]:
    """Arrays opened herein are coded by zarrs, without zarr's detours for each tile.

    In one thread: with several, the order of the tiles in a shard's file is that of the clock.
    """
    settings = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": 1}
    chosen: AbstractContextManager[object] = zarr.config.set(settings)
    return chosen


@contextmanager
def create_taskset(
    folder: Path,
    meta: TaskSetMeta,
    *,
    overwrite: bool = False,
    last: Callable[[Path], object] = lambda folder: None,
) -> Iterator[TaskSetWriter]:
    """Write a task set; the folder appears when the block ends well, or not at all.

    Args:
        folder: of the task set.
        meta: of the task set.
        overwrite: replace the folder if it exists.
        last: called with the folder when all is written, before it gets its name.

    Raises:
        OutputExists: the folder exists and `overwrite` is False.
        EmptyRegion: no tile was added.
        WriteFailed: the disk is full or not writable.
    """
    with atomic_folder(Path(folder), overwrite=overwrite) as temporary:
        writer = TaskSetWriter(temporary, meta)
        try:
            yield writer
            writer.close()
            last(temporary)
        finally:
            writer.stop()


def write_taskset(
    folder: Path, meta: TaskSetMeta, tiles: Iterable[SourceTile], *, overwrite: bool = False
) -> TaskSet:
    """Write all `tiles` and open the result. Errors as in `create_taskset`."""
    with create_taskset(folder, meta, overwrite=overwrite) as writer:
        for tile in tiles:
            writer.add(tile)
    return TaskSet(folder)


@dataclass(frozen=True)
class Tiles:
    """Some tiles in memory.

    Attributes:
        image: float32 physical values, shape (tile, band, row, col); NaN where not valid.
        label: class index, shape (tile, row, col), uint8, 255 = ignore.
    """

    image: NDArray[np.float32]
    label: Labels

    def __len__(self) -> int:
        return len(self.image)


class TaskSet:
    """An open task set. Reading tiles is thread-safe and touches only the chunks asked for.

    Raises:
        SourceNotFound: the folder is not there or is no task set.
        UnreadableFile: its metadata or arrays are damaged or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "taskset.json").is_file():
            raise SourceNotFound(
                "is no task set (it has no taskset.json)",
                remedy="name a folder written by 'landmeta prepare'",
                path=folder,
            )
        try:
            text = (self.folder / "taskset.json").read_text(encoding="utf-8")
            self.meta = TaskSetMeta.model_validate(json.loads(text))
            self.table: gpd.GeoDataFrame = gpd.read_parquet(self.folder / "tiles.parquet")
            self._images = _open_array(self.folder / "images.zarr")
            self._labels = _open_array(self.folder / "labels.zarr")
            self._valid = _open_array(self.folder / "valid.zarr")
        except (OSError, ValueError, KeyError, ValidationError) as error:
            raise UnreadableFile(
                f"is a damaged task set or of another version: {error}",
                remedy="prepare it again with 'landmeta prepare'",
                path=folder,
            ) from error
        arrays = (self._images, self._labels, self._valid)
        if {a.shape[0] for a in arrays} != {len(self.table)}:
            raise UnreadableFile(
                f"has {len(self.table)} rows but arrays of {[a.shape[0] for a in arrays]} tiles",
                remedy="prepare it again with 'landmeta prepare'",
                path=folder,
            )
        self._kept: dict[tuple[str, int], NDArray[Any]] = {}
        self._room = 0
        self._keeping = Lock()

    def keep_in_memory(self, limit: int) -> None:
        """Keep tiles as they are read, until those kept take `limit` bytes.

        None is given up for another: of a set that is larger than `limit`, drawn from at random,
        that would keep no more of it.
        """
        self._room = limit

    def __len__(self) -> int:
        return len(self.table)

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names in order."""
        return tuple(b.name for b in self.meta.bands)

    @property
    def legend(self) -> Legend:
        """The classes of the labels."""
        return self.meta.legend

    def tasks(self, split: Split) -> list[str]:
        """Names of the tasks of a split, sorted."""
        return self.meta.splits.get(split, [])

    @cached_property
    def _by_task(self) -> dict[str, NDArray[np.int64]]:
        groups = self.table.groupby("task").indices
        return {str(task): np.sort(np.asarray(ids)) for task, ids in groups.items()}

    def tile_ids(self, task: str) -> NDArray[np.int64]:
        """Row numbers of a task's tiles, ascending.

        Raises:
            EmptyRegion: no tile belongs to that task.
        """
        if task not in self._by_task:
            raise EmptyRegion(
                f"has no task {task!r}",
                remedy=f"choose one of: {', '.join(sorted(self._by_task)[:30])}",
                path=self.folder,
            )
        return self._by_task[task]

    def split_ids(self, split: Split) -> NDArray[np.int64]:
        """Row numbers of all tiles of a split, ascending."""
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def read(self, ids: Sequence[int] | NDArray[np.int64]) -> Tiles:
        """Read tiles, in the order of `ids`.

        Raises:
            UnreadableFile: an array of the set is truncated or damaged.
        """
        size = self.meta.tile_size
        label = np.empty((len(ids), size, size), np.uint8)
        for i, tile in enumerate(np.asarray(ids).tolist()):
            label[i] = self._tile(self._labels, tile)
        return Tiles(self.read_images(ids), label)

    def read_images(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Read tiles without their labels: physical values (tile, band, row, col), NaN not valid.

        Raises:
            UnreadableFile: an array of the set is truncated or damaged.
        """
        scale = np.array([b.scale for b in self.meta.bands], np.float32)[:, None, None]
        offset = np.array([b.offset for b in self.meta.bands], np.float32)[:, None, None]
        shares = self.table["valid_share"].to_numpy()
        size = self.meta.tile_size
        image = np.empty((len(ids), len(self.meta.bands), size, size), np.float32)
        for i, tile in enumerate(np.asarray(ids).tolist()):
            image[i] = self._tile(self._images, tile).astype(np.float32) * scale + offset
            if shares[tile] < 1:
                image[i][~self._tile(self._valid, tile)] = np.nan
        return image

    def _tile(self, array: ZarrArray, tile: int) -> NDArray[Any]:
        key = (str(array.store_path), tile)
        values = self._kept.get(key)
        if values is None:
            values = self._read_tile(array, tile)
            with self._keeping:
                if values.nbytes <= self._room and key not in self._kept:
                    self._kept[key] = values
                    self._room -= values.nbytes
        return values

    def _read_tile(self, array: ZarrArray, tile: int) -> NDArray[Any]:
        try:
            return np.asarray(array[tile])
        except (OSError, ValueError, RuntimeError) as error:  # what zarr's codecs raise
            raise UnreadableFile(
                f"has a damaged tile {tile} in {array.store_path}: {error}",
                remedy="prepare it again with 'landmeta prepare'",
                path=self.folder,
            ) from error

    def class_pixels(self, ids: Sequence[int] | NDArray[np.int64]) -> pd.Series[int]:
        """Labelled pixels per class name over some tiles."""
        counts = np.stack(self.table["class_pixels"].to_numpy()[np.asarray(ids)]).sum(axis=0)
        return pd.Series(counts, index=list(self.legend.names))


def _open_array(path: Path) -> ZarrArray:
    with _codecs():
        array = zarr.open_array(path, mode="r")
    assert isinstance(array, zarr.Array)
    return array


SLACK = 1e-3
"""Tiles may overlap by this share of the smaller one's width: that is rounding."""


def grid_numbers(table: pd.DataFrame) -> NDArray[np.int64]:
    """A number for each tile, equal where bounds can be compared: in one CRS, or in one file."""
    grid = table["crs"].fillna("") + np.where(table["crs"].isna(), table["source"], "")
    return np.unique(grid.to_numpy(dtype=str), return_inverse=True)[1]


def overlapping(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of two sets of bounds (n, 4) and (m, 4) overlap by more than an edge; shape (n, m)."""
    return overlap(first[:, None], second[None, :])


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which bounds (…, 4) overlap by more than an edge, pair by pair."""
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    slack = SLACK * np.minimum(a[..., 2] - a[..., 0], b[..., 2] - b[..., 0])
    found: NDArray[np.bool_] = (width > slack) & (height > slack)
    return found


def tile_windows(width: int, height: int, size: int) -> list[tuple[int, int, int, int]]:
    """Non-overlapping windows (col_off, row_off, size, size) that fit whole, centred.

    What does not fit is left off in equal parts at both ends.
    """
    left, top = (width % size) // 2, (height % size) // 2
    return [
        (col, row, size, size)
        for row in range(top, height - size + 1, size)
        for col in range(left, width - size + 1, size)
    ]
