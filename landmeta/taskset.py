"""The on-disk task set: tiles of labelled imagery grouped into tasks, with their splits.

A folder that opens with ordinary tools::

    taskset.json    bands, legend, gsd, tile size, splits, versions
    tiles.parquet   GeoParquet, one row a tile, footprint in EPSG:4326
    images.zarr     (tile, band, row, col), stored values; physical = stored × scale + offset
    labels.zarr     (tile, row, col) uint8 class index, 255 = ignore
    valid.zarr      (tile, band, row, col) bool, True where data exist
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import zarr
from affine import Affine
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import landmeta
from landmeta.atomic import atomic_folder
from landmeta.errors import EmptyRegion, SourceNotFound, UnreadableFile
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.shards import (
    SHARD,
    ZarrArray,
    encode,
    new_array,
    open_array,
    set_length,
    shard_path,
    write_shard,
)
from landmeta.tile_table import (
    Columns,
    Row,
    corners,
    outlines,
    read_rows,
    write_rows,
    write_table,
)

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


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


@dataclass(frozen=True)
class EncodedTile:
    """A tile ready to be written: its row of the table without `id`, and its compressed arrays."""

    row: Row
    image: bytes | None
    label: bytes | None
    valid: bytes | None

    @property
    def stored(self) -> int:
        """Bytes of the arrays."""
        return sum(len(chunk or b"") for chunk in (self.image, self.label, self.valid))


def encode_tiles(tiles: Sequence[SourceTile], meta: TaskSetMeta) -> list[EncodedTile]:
    """Check tiles against the metadata of their set, and compress them.

    Raises:
        ValueError: a tile is of another size, type or legend.
    """
    systems = [None if tile.transform is None else tile.crs for tile in tiles]
    rings = [
        [] if tile.transform is None else corners(tile.transform, *tile.label.shape)
        for tile in tiles
    ]
    return [
        EncodedTile(
            row=_row(tile, meta) | {"geometry": geometry},
            image=encode(tile.image.astype(meta.dtype, copy=False), 0),
            label=encode(tile.label, IGNORE),
            valid=encode(tile.valid, True),
        )
        for tile, geometry in zip(tiles, outlines(rings, systems), strict=True)
    ]


def _row(tile: SourceTile, meta: TaskSetMeta) -> Row:
    size, bands = meta.tile_size, len(meta.bands)
    expected = (bands, size, size)
    if tile.image.shape != expected or tile.valid.shape != expected:
        raise ValueError(f"tile of shape {tile.image.shape}, expected {expected}")
    if tile.label.shape != (size, size) or tile.label.dtype != np.uint8:
        raise ValueError(f"label {tile.label.dtype}{tile.label.shape}, expected uint8 {size}²")
    classes = len(meta.legend)
    counts = np.bincount(tile.label.ravel(), minlength=256)
    if counts[classes:IGNORE].any():
        raise ValueError(f"label index beyond the legend's {classes} classes")
    return {
        "region": tile.region,
        "season": tile.season,
        "task": tile.task,
        "split": tile.split,
        "crs": tile.crs,
        "transform": None if tile.transform is None else list(tile.transform)[:6],
        "native_bounds": list(_native_bounds(tile)),
        "valid_share": np.count_nonzero(tile.valid) / tile.valid.size,
        "labelled_share": float(counts[:classes].sum() / tile.label.size),
        "class_pixels": counts[:classes].tolist(),
        "source": tile.source,
        "window": list(tile.window),
    }


class TaskSetWriter:
    """Collects tiles and writes whole shards; made by `create_taskset`, or to be resumed.

    Memory does not grow with the number of tiles: their rows go to files of a folder of their own,
    one a shard, until the table is written.

    Args:
        folder: of the task set; made if it is not there.
        meta: of the set; `close` adds splits and versions.
        rows: folder for the rows.
        shards: of an earlier writer, with the same folders, that are kept; nothing else of the
            set is there.
    """

    def __init__(self, folder: Path, meta: TaskSetMeta, rows: Path, shards: int = 0) -> None:
        self.folder, self.meta = folder, meta
        self.shards = shards
        """Written so far."""
        self._rows = rows
        self._tiles: list[EncodedTile] = []
        size, bands = meta.tile_size, len(meta.bands)
        rows.mkdir(parents=True, exist_ok=True)
        new_array(folder / "images.zarr", (bands, size, size), meta.dtype, 0)
        new_array(folder / "labels.zarr", (size, size), "uint8", IGNORE)
        new_array(folder / "valid.zarr", (bands, size, size), "bool", True)

    def add(self, tile: SourceTile) -> None:
        """Append one tile (image and label in the set's tile size, bands in the set's order)."""
        (encoded,) = encode_tiles([tile], self.meta)
        self.put(encoded)

    def put(self, tile: EncodedTile) -> bool:
        """Append one tile; True if that made a shard whole, and it was written."""
        self._tiles.append(tile)
        if len(self._tiles) < SHARD:
            return False
        self._flush()
        return True

    @property
    def is_even(self) -> bool:
        """True if no tile waits for others to fill a shard."""
        return not self._tiles

    def _flush(self) -> None:
        for path, chunks in zip(
            self.files(self.shards),
            zip(*((t.image, t.label, t.valid) for t in self._tiles), strict=True),
            strict=False,
        ):
            write_shard(path, chunks)
        first = self.shards * SHARD
        rows = [{"id": first + i} | tile.row for i, tile in enumerate(self._tiles)]
        write_rows(self.files(self.shards)[-1], rows)
        self._tiles.clear()
        self.shards += 1

    def files(self, shard: int) -> list[Path]:
        """Where a shard is: its images, labels, valid (if there are any that differ), and rows."""
        return [
            *(
                shard_path(self.folder / f"{name}.zarr", shard, dimensions)
                for name, dimensions in (("images", 4), ("labels", 3), ("valid", 4))
            ),
            self._rows / f"{shard}.arrow",
        ]

    def close(self) -> None:
        """Write what is left, the tile table and the metadata.

        Raises:
            EmptyRegion: there is no tile.
        """
        if self._tiles:
            self._flush()
        if not self.shards:
            raise EmptyRegion(
                f"no tile with labels came out of the source {self.meta.source!r}",
                remedy="check the folder, the tile size, and that labels are not all 'ignore'",
            )
        tasks: dict[str, set[str]] = {split: set() for split in SPLITS}
        tiles = 0

        def tables() -> Iterator[pa.Table]:
            nonlocal tiles
            for shard in range(self.shards):
                table = read_rows(self.files(shard)[-1])
                tiles += len(table)
                for split, task in zip(table["split"], table["task"], strict=True):
                    tasks[split.as_py()].add(task.as_py())
                yield table

        write_table(self.folder / "tiles.parquet", tables())
        for name in ("images", "labels", "valid"):
            set_length(self.folder / f"{name}.zarr", tiles)
        self.meta.splits = {split: sorted(tasks[split]) for split in SPLITS}
        self.meta.versions |= {"landmeta": landmeta.__version__, "zarr": zarr.__version__}
        (self.folder / "taskset.json").write_text(
            self.meta.model_dump_json(indent=2) + "\n", encoding="utf-8"
        )


def _native_bounds(tile: SourceTile) -> tuple[float, float, float, float]:
    """Bounds in the native CRS, or in pixels of the source file where there is none."""
    if tile.transform is None or tile.crs is None:
        col, row, width, height = tile.window
        return float(col), float(row), float(col + width), float(row + height)
    xs, ys = zip(*corners(tile.transform, *tile.label.shape), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


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
        rows = temporary / "rows"
        writer = TaskSetWriter(temporary, meta, rows)
        yield writer
        writer.close()
        shutil.rmtree(rows)
        last(temporary)


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
            self._columns = Columns(self.folder / "tiles.parquet")
            self._images = open_array(self.folder / "images.zarr")
            self._labels = open_array(self.folder / "labels.zarr")
            self._valid = open_array(self.folder / "valid.zarr")
        except (OSError, ValueError, KeyError, ValidationError) as error:
            raise self._damaged(f"is a damaged task set or of another version: {error}") from error
        arrays = (self._images, self._labels, self._valid)
        if {a.shape[0] for a in arrays} != {len(self)}:
            raise self._damaged(
                f"has {len(self)} rows but arrays of {[a.shape[0] for a in arrays]} tiles"
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

    def _damaged(self, what: str) -> UnreadableFile:
        remedy = "prepare it again with 'landmeta prepare'"
        return UnreadableFile(what, remedy=remedy, path=self.folder)

    def __len__(self) -> int:
        return len(self._columns)

    @cached_property
    def table(self) -> gpd.GeoDataFrame:
        """All of the table, one row a tile, footprints in EPSG:4326.

        It takes some kilobytes a tile; what training needs comes from single columns instead.

        Raises:
            UnreadableFile: the table is damaged.
        """
        with self._reading_table():
            return gpd.read_parquet(self.folder / "tiles.parquet")

    @contextmanager
    def _reading_table(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(f"has a damaged table: {error}") from error

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
        with self._reading_table():
            names, codes = self._columns.categories("task")
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(names)))
        return dict(zip(names, np.split(order, ends[:-1]), strict=True))

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
        names, codes = self._split_of_tiles
        return np.flatnonzero(codes == names.index(split)) if split in names else np.empty(0, int)

    @cached_property
    def _split_of_tiles(self) -> tuple[list[str], NDArray[np.int32]]:
        with self._reading_table():
            return self._columns.categories("split")

    @cached_property
    def _valid_shares(self) -> NDArray[np.float64]:
        with self._reading_table():
            return self._columns.numbers("valid_share")

    @cached_property
    def _class_pixels(self) -> NDArray[np.int64]:
        with self._reading_table():
            return self._columns.lists("class_pixels", len(self.legend))

    @cached_property
    def native_bounds(self) -> NDArray[np.float64]:
        """Left, lower, right, upper of each tile on its grid, shape (tile, 4); see `grids`."""
        with self._reading_table():
            return self._columns.lists("native_bounds", 4)

    @cached_property
    def grids(self) -> NDArray[np.int32]:
        """A number for the grid of each tile's bounds: its CRS, or without one its source file."""
        with self._reading_table():
            return self._columns.categories("crs", otherwise="source")[1]

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
        shares = self._valid_shares
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
            where = f"tile {tile} in {array.store_path}"
            raise self._damaged(f"has a damaged {where}: {error}") from error

    def class_pixels(self, ids: Sequence[int] | NDArray[np.int64]) -> pd.Series[int]:
        """Labelled pixels per class name over some tiles."""
        counts = self._class_pixels[np.asarray(ids)].sum(axis=0)
        return pd.Series(counts, index=list(self.legend.names))


SLACK = 1e-3
"""Tiles may overlap by this share of the smaller one's width: that is rounding."""


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
