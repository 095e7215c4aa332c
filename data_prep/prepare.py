"""Drive a source to its end: read, cut, write, whole or not at all, and again after a kill."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, astuple, fields, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal

from data_prep.cut_encode import CutAndEncode, Encoded
from data_prep.meter import Meter
from data_prep.parallel import Crew, default_workers, processes, results, threads
from data_prep.quarantine import Unreadable, refuse
from data_prep.source import Part, Source
from data_prep.survey import Survey, check_room, settings, survey
from data_prep.workplace import Entry, Workplace, failed, sync, workplace
from landmeta.atomic import refuse_existing
from landmeta.errors import ConfigError, EmptyRegion
from landmeta.leakage.prove import prove_folder
from landmeta.taskset import TaskSet, TaskSetWriter

MAX_UNREADABLE = 0.01
"""Share of the images that may be unreadable if nobody says how many."""
UNREADABLE = "unreadable.csv"
"""In a task set: the images that were set aside, if there are any."""
MISSING = "missing.txt"
"""In a task set: the files that images lack which were left out for that, if there are any."""
SAFE_EVERY = 5.0
"""Seconds of work that a kill may cost."""
PROCESSES_FROM = 1e9
"""Bytes of raw data from which on more than two workers are processes, not threads.

A process takes seconds to start and 0.1 GB. Two threads lose nothing to Python's lock, as was
measured: they take no more CPU than two processes.
"""


def prepare(
    source: Source,
    out: Path,
    *,
    workers: int | None = None,
    dask: str | None = None,
    max_unreadable: float = MAX_UNREADABLE,
    buffer: float = 0.0,
    overwrite: bool = False,
    quiet: bool = False,
) -> TaskSet:
    """Read `source` to the end and write it as the task set `out`.

    The result is the same to the byte whoever does the work, and however often it was broken off
    and taken up again by the same call. More than two workers of a large source are processes,
    which import the calling program anew: a script needs its ``if __name__ == "__main__":``.

    The task set ends with the proof that its splits do not leak, or with what leaks.

    Args:
        source: from a reader.
        out: folder of the task set. It appears when it is whole; until then the work is in a
            hidden folder beside it.
        workers: that read and cut.
        dask: address of the scheduler of a Dask cluster, whose workers read and cut instead.
        max_unreadable: images that may be set aside as unreadable: a share below 1, or a number.
            They are listed in ``unreadable.csv`` in the set.
        buffer: metres that tiles of different splits must be apart.
        overwrite: replace `out` if it exists, and unfinished work for it of other settings.
        quiet: say nothing.

    Raises:
        OutputExists: `out` exists and `overwrite` is False.
        ConfigError: there is no such cluster, or the raw data's paths are not absolute for it.
        UnfinishedWork: other settings began to write `out`, or another process is at it.
        UnreadableFile: more images than `max_unreadable`, or all of a region, are unreadable.
        EmptyRegion: no tile came out of the source, or of a region that must have one.
        TooLittleDisk: the task set will not fit.
        WriteFailed: the disk is full or not writable.
        ProcessLost: a worker process has died.
    """
    out = Path(out)
    refuse_existing(out, overwrite)
    console = None if quiet else Console(markup=False, highlight=False, soft_wrap=True)
    found = survey(source)
    with workplace(out, settings(source, found), overwrite) as place:
        proving = partial(prove_folder, buffer=buffer, quiet=quiet)
        run = _Run(source, found, place, max_unreadable, proving)
        try:
            run.take_up(console)
            with _crew(source, workers, dask, found) as crew:
                run.do(crew, console)
            run.finish(overwrite)
        finally:
            if console and place.entries():
                console.print(
                    f"what was done is kept in {place.folder}; the same command goes on from there"
                )
    return TaskSet(out)


def _crew(
    source: Source, workers: int | None, dask: str | None, found: Survey
) -> AbstractContextManager[Crew]:
    work, count = CutAndEncode.of(source), workers or default_workers()
    if dask is not None:
        from data_prep.cluster import cluster

        first = next((file for part in source.parts for file in part.files), None)
        if first is not None and not Path(first).is_absolute():
            raise ConfigError(
                f"the workers of a cluster would look for {first} in folders of their own",
                remedy="give the raw data's folder as an absolute path",
            )
        return cluster(work, dask)
    if count > 2 and found.done[-1] >= PROCESSES_FROM:
        return processes(work, count)
    return threads(work, count)


class _Run:
    """One start of the work: what was done before, what it does, and its end."""

    def __init__(
        self,
        source: Source,
        found: Survey,
        place: Workplace,
        max_unreadable: float,
        prove: Callable[[Path], object],
    ) -> None:
        self._source, self._found, self._place, self._prove = source, found, place, prove
        self._max_unreadable = max_unreadable
        self._bad: dict[str, Unreadable] = {}
        self._untold: list[Unreadable] = []
        self._begin = Entry()
        self._part = 0
        self._kept: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._meta = source.meta.model_copy(deep=True)
        self._set_aside(source.unreadable)

    @property
    def images(self) -> int:
        """Those that can be read and those that the reader already found unreadable."""
        return self._found.images + len(self._source.unreadable)

    def _set_aside(self, more: Iterable[Unreadable]) -> None:
        for new in more:
            old = self._bad.get(new.file)  # an image may be in several parts
            self._bad[new.file] = replace(new, tiles=old.tiles + new.tiles) if old else new
        most = self._max_unreadable * (self.images if self._max_unreadable < 1 else 1)
        if len(self._bad) > most:
            refuse(list(self._bad.values()), self.images)

    def take_up(self, console: Console | None) -> None:
        """Go back to the last line of the journal before which no file has changed."""
        entries = self._place.entries()
        valid = [i for i, e in enumerate(entries, 1) if self._found.prefix(e.part) == e.prefix]
        kept = entries[: valid[-1]] if valid else []
        self._begin = kept[-1] if kept else Entry()
        room = check_room(self._source, self._found, self._place.out, self._begin.part)
        for entry in kept:
            self._set_aside(Unreadable(**fields) for fields in entry.unreadable)
        self._part = self._begin.part
        self._kept.update(self._begin.kept)
        self._left_out.update(self._begin.left_out)
        with self._writing():
            self._place.rewind(kept)
            self._writer = TaskSetWriter(
                self._place.taskset, self._meta, self._place.rows, self._begin.shards
            )
        self._safe, self._safe_shards = time.monotonic(), self._begin.shards
        if console is None:
            return
        size = round(self._found.done[-1])
        reading = f", {decimal(size)} to read" if size else ""  # 0: what packages hold
        console.print(
            f"{self.images:,} images{reading}; "
            f"{'about' if room.about else 'at most'} {decimal(round(room.needed))} to write, "
            f"{decimal(room.free)} free"
        )
        if len(kept) < len(entries):
            console.print("files that had been read have changed: they are read again")
        if kept:
            console.print(
                f"going on at part {self._part:,} of {len(self._source.parts):,}, with what is in "
                f"{self._place.folder}"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise failed(self._place.out, error, bool(self._place.entries())) from error

    def do(self, crew: Crew, console: Console | None) -> None:
        """What is left to do."""
        todo = (self._source.parts[i] for i in range(self._part, len(self._source.parts)))
        skip = self._begin.skip
        with (
            Meter(self._found, self._part, self._place.out.name, console) as meter,
            closing(results(crew, todo)) as reading,  # its workers end, whatever happens
        ):
            for done in reading:
                self._take(self._source.parts[self._part], done, skip)
                skip = 0
                meter.did(self._part)

    def _take(self, part: Part, done: Encoded | Unreadable, skip: int) -> None:
        """Write a part's tiles but for the first few, which an earlier start has written."""
        if isinstance(done, Unreadable):
            self._untold.append(done)
            self._set_aside([done])
            self._part += 1
            return
        for number, tile in enumerate(done.tiles[skip:], skip + 1):
            with self._writing():
                whole = self._writer.put(tile)
                if whole and number < len(done.tiles):
                    self._make_safe(number)
        self._kept[part.region] += len(done.tiles)
        self._left_out[part.region] += done.left_out
        self._part += 1
        if self._writer.is_even:
            with self._writing():
                self._make_safe(0)

    def _make_safe(self, tiles: int) -> None:
        """If it is time to: all shards are whole, after so many tiles of the part to do next."""
        if time.monotonic() - self._safe < SAFE_EVERY:
            return
        self._place.note(
            Entry(
                shards=self._writer.shards,
                part=self._part,
                skip=tiles,
                prefix=self._found.prefix(self._part),
                kept=dict(self._kept),
                left_out=dict(self._left_out),
                unreadable=[asdict(bad) for bad in self._untold],
            ),
            self._unsafe_files(),
        )
        self._untold.clear()
        self._safe, self._safe_shards = time.monotonic(), self._writer.shards

    def _unsafe_files(self) -> list[Path]:
        shards = range(self._safe_shards, self._writer.shards)
        return [path for shard in shards for path in self._writer.files(shard)]

    def finish(self, overwrite: bool) -> None:
        """Check that no region is missing, write the rest, and put it all in its place."""
        self._check_regions()
        if count := self._left_out.total():
            self._meta.notes.append(f"left out {count} tiles {self._source.why_left_out}")
        with self._writing():
            if self._bad:
                self._list_unreadable(self._place.taskset / UNREADABLE)
            if self._source.missing:
                lines = "".join(f"{name}\n" for name in self._source.missing)
                (self._place.taskset / MISSING).write_text(lines, encoding="utf-8")
            self._writer.close()
            if self._source.finish is not None:
                self._source.finish(TaskSet(self._place.taskset))
            self._prove(self._place.taskset)
            for path in self._unsafe_files():
                sync(path)
            self._place.finish(overwrite)

    def _check_regions(self) -> None:
        for region in dict.fromkeys(bad.region for bad in self._bad.values() if bad.region):
            if not self._kept[region]:
                lost = [bad for bad in self._bad.values() if bad.region == region]
                refuse(lost, self.images)
        for region in self._source.regions:
            if not self._kept[region]:
                raise EmptyRegion(
                    f"region {region!r} has no tile to keep: {self._left_out[region]} tiles "
                    f"{self._source.why_left_out} were left out",
                    remedy="label more of it, ask for fewer labels, or take the region out",
                    path=_folder(self._source, region),
                )

    def _list_unreadable(self, path: Path) -> None:
        bad = list(self._bad.values())
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow([each.name for each in fields(Unreadable)])
            table.writerows(astuple(each) for each in bad)
        names = ", ".join(each.file for each in bad[:3]) + (", …" if len(bad) > 3 else "")
        self._meta.notes.append(
            f"{len(bad)} of {self.images} images cannot be read and were left out, with "
            f"{sum(each.tiles for each in bad)} tiles; {UNREADABLE} tells why: {names}"
        )


def _folder(source: Source, region: str) -> Path | None:
    files = next((part.files for part in source.parts if part.region == region), ())
    return Path(files[0]).parent if files else None
