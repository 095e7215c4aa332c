"""What every reader hands to `prepare`: the metadata and a stream of tiles."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from landmeta.taskset import SourceTile, TaskSet, TaskSetMeta, create_taskset


@dataclass(frozen=True)
class Source:
    """A raw data set, ready to be read.

    Attributes:
        meta: bands, legend, gsd, tile size, dtype; `splits` and `versions` are left empty. The
            reader may append to `meta.notes` while its tiles are being read.
        items: number of steps `tiles` goes through (usually files), for the progress bar.
        tiles: yields, per item, the tiles cut from it (possibly none).
    """

    meta: TaskSetMeta
    items: int
    tiles: Generator[list[SourceTile]]


def prepare(source: Source, out: Path, *, overwrite: bool = False, quiet: bool = False) -> TaskSet:
    """Read `source` to the end and write it as the task set `out`, with a progress bar.

    Raises:
        OutputExists: `out` exists and `overwrite` is False.
        EmptyRegion: no tile came out of the source.
        WriteFailed: the disk is full or not writable; nothing is left behind.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with (
        create_taskset(out, source.meta, overwrite=overwrite) as writer,
        Progress(*columns, disable=quiet) as progress,
        closing(source.tiles) as reading,  # its threads end, whatever happens
        # Each file is opened without this warning, but threads that do so at a time would undo it
        # for each other.
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
    ):
        for tiles in progress.track(
            reading, total=source.items, description=f"preparing {out.name}"
        ):
            for tile in tiles:
                writer.add(tile)
    return TaskSet(out)
