"""Drive a source to its end: read, cut, write, whole or not at all."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
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

from data_prep.parallel import default_workers, in_order
from data_prep.quarantine import Attempt, Unreadable, refuse
from data_prep.source import Part, Source
from landmeta.errors import EmptyRegion
from landmeta.taskset import TaskSet, create_taskset

MAX_UNREADABLE = 0.01
"""Share of the images that may be unreadable if nobody says how many."""


def prepare(
    source: Source,
    out: Path,
    *,
    workers: int | None = None,
    max_unreadable: float = MAX_UNREADABLE,
    overwrite: bool = False,
    quiet: bool = False,
) -> TaskSet:
    """Read `source` to the end and write it as the task set `out`, with a progress bar.

    Args:
        source: from a reader.
        out: folder of the task set.
        workers: that read and cut; how many changes nothing in the result.
        max_unreadable: images that may be set aside as unreadable: a share below 1, or a number.
        overwrite: replace `out` if it exists.
        quiet: no progress bar.

    Raises:
        OutputExists: `out` exists and `overwrite` is False.
        UnreadableFile: more images than `max_unreadable`, or all of a region, are unreadable.
        EmptyRegion: no tile came out of the source, or of a region that must have one.
        WriteFailed: the disk is full or not writable; nothing is left behind.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    images = round(sum(part.share for part in source.parts)) + len(source.unreadable)
    most = int(max_unreadable * images if max_unreadable < 1 else max_unreadable)
    bad = {b.file: b for b in source.unreadable}
    if len(bad) > most:
        refuse(list(bad.values()), images)
    kept: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    meta = source.meta.model_copy(deep=True)
    reading = in_order(Attempt(source.cut, _region), source.parts, workers or default_workers())
    with (
        create_taskset(out, meta, overwrite=overwrite) as writer,
        Progress(*columns, disable=quiet) as progress,
        closing(reading),  # its threads end, whatever happens
        # Each file is opened without this warning, but threads that do so at a time would undo it
        # for each other.
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
    ):
        steps = progress.track(
            zip(source.parts, reading, strict=True),
            total=len(source.parts),
            description=f"preparing {out.name}",
        )
        for part, result in steps:
            if isinstance(result, Unreadable):
                bad.setdefault(result.file, result)
                if len(bad) > most:
                    refuse(list(bad.values()), images)
                continue
            left_out[part.region] += result.left_out
            kept[part.region] += len(result.tiles)
            for tile in result.tiles:
                writer.add(tile)
        _check_regions(source, kept, left_out, list(bad.values()), images)
        if left_out.total():
            meta.notes.append(f"left out {left_out.total()} tiles {source.why_left_out}")
    return TaskSet(out)


def _region(part: Part) -> str:
    return part.region


def _check_regions(
    source: Source,
    kept: Counter[str],
    left_out: Counter[str],
    bad: Sequence[Unreadable],
    images: int,
) -> None:
    for region in dict.fromkeys(b.region for b in bad if b.region):
        if not kept[region]:
            refuse([b for b in bad if b.region == region], images)
    for region in source.regions:
        if not kept[region]:
            raise EmptyRegion(
                f"region {region!r} has no tile to keep: {left_out[region]} tiles "
                f"{source.why_left_out} were left out",
                remedy="label more of it, ask for fewer labels, or take the region out",
                path=_folder(source, region),
            )


def _folder(source: Source, region: str) -> Path | None:
    files = next((part.files for part in source.parts if part.region == region), ())
    return Path(files[0]).parent if files else None
