"""A hidden folder next to the output in which it grows, found again by the same command.

::

    .NAME.preparing/
        settings.json   of the command that began it
        journal.jsonl   one line each time what was done is safe on the disk
        lock            held by the process at work; the system takes it back from a dead one
        taskset/        becomes the output when it is whole
        rows/           of the tile table, one file a shard
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from landmeta.atomic import refuse_existing
from landmeta.errors import UnfinishedWork, WriteFailed


@dataclass(frozen=True)
class Entry:
    """A line of the journal: how far the work was when it was safe.

    Attributes:
        shards: whole ones.
        part: the first that is not done; `skip`: its tiles that are in those shards.
        prefix: the digest of the parts before it; see `Survey.prefix`.
        kept, left_out: tiles of each region, of the parts before it.
        unreadable: what was set aside since the line before; fields of `Unreadable`.
    """

    shards: int = 0
    part: int = 0
    skip: int = 0
    prefix: str = ""
    kept: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    unreadable: list[dict[str, Any]] = field(default_factory=list)


class Workplace:
    """The folder, while this process has it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(f".{out.name}.preparing")
        self.taskset = self.folder / "taskset"
        self.rows = self.folder / "rows"
        self._journal = self.folder / "journal.jsonl"
        self._settings = self.folder / "settings.json"

    def entries(self) -> list[Entry]:
        """The journal; what comes after a line that was cut short is not there."""
        found = []
        with suppress(OSError, ValueError, TypeError):
            for line in self._journal.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                found.append(Entry(**json.loads(line)))
        return found

    def rewind(self, entries: Iterable[Entry]) -> None:
        """Go on after these lines of the journal; what was written after them is removed."""
        entries = list(entries)
        text = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
        _write(self._journal, text)
        shards = entries[-1].shards if entries else 0
        for stale in (*self.rows.glob("*"), *self.taskset.glob("*.zarr/c/*")):
            if int(stale.stem) >= shards:
                _remove(stale)
        for stale in (*self.taskset.glob("*"), *self.taskset.glob("*.zarr/*")):
            if stale.is_file():  # of an earlier end; the arrays' descriptions are made anew
                stale.unlink()

    def note(self, entry: Entry, files: Iterable[Path]) -> None:
        """Make files safe on the disk, then the line that vouches for them."""
        for path in files:
            sync(path)
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def differences(self, settings: dict[str, Any]) -> list[str] | None:
        """In what the settings that the work was begun with differ; None if none was begun."""
        try:
            text = self._settings.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            old: dict[str, Any] = json.loads(text)
        except ValueError:
            return ["everything: its settings are damaged"]
        return [
            f"{key} ({_short(old.get(key))}, now {_short(settings.get(key))})"
            for key in sorted(old.keys() | settings.keys())
            if old.get(key) != settings.get(key)
        ]

    def begin(self, settings: dict[str, Any]) -> None:
        """Start with nothing but these settings."""
        for old in self.folder.iterdir():
            if old.name != "lock":
                _remove(old)
        _write(self._settings, json.dumps(settings) + "\n")

    def finish(self, overwrite: bool) -> None:
        """The task set takes its place; the old one goes."""
        for path in self.taskset.iterdir():
            if path.is_file():
                sync(path)
        refuse_existing(self.out, overwrite)
        if self.out.exists():
            self.out.replace(self.folder / "replaced")
        self.taskset.replace(self.out)
        sync(self.out.parent)
        shutil.rmtree(self.folder)


@contextmanager
def workplace(out: Path, settings: dict[str, Any], overwrite: bool) -> Iterator[Workplace]:
    """Have the working folder of `out` for this process alone.

    When the block ends, `finish` has been called or it fails. What was done by then stays, if
    there is a line in the journal for it; otherwise nothing is left behind.

    Args:
        out: the output.
        settings: what makes the output what it is.
        overwrite: unfinished work of other settings may go.

    Raises:
        UnfinishedWork: another process is at it, or it was begun with other settings.
        WriteFailed: the folder cannot be made.
    """
    place = Workplace(out)
    try:
        missing = [p for p in (out.parent, *out.parent.parents) if not p.exists()]
        place.folder.mkdir(parents=True, exist_ok=True)
        lock = (place.folder / "lock").open("a")
    except OSError as error:
        raise failed(out, error) from error
    with lock:
        _take(lock.fileno(), out)
        try:
            _claim(place, settings, overwrite)
            yield place
        finally:
            if place.folder.exists() and not place.entries():
                shutil.rmtree(place.folder, ignore_errors=True)
                for parent in missing:
                    with suppress(OSError):
                        parent.rmdir()


def _take(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UnfinishedWork(
            "is being prepared by another process",
            remedy="wait for it, or choose another name",
            path=out,
        ) from error


def _claim(place: Workplace, settings: dict[str, Any], overwrite: bool) -> None:
    differences = place.differences(settings)
    if differences and place.entries() and not overwrite:
        raise UnfinishedWork(
            f"there is unfinished work for it in {place.folder}, which differs in "
            + ", ".join(differences),
            remedy="finish it by the command that began it, choose another name, or pass "
            "--overwrite to throw it away",
            path=place.out,
        )
    if differences or differences is None:
        try:
            place.begin(settings)
        except OSError as error:
            raise failed(place.out, error) from error


def failed(out: Path, error: OSError, kept: bool = False) -> WriteFailed:
    """The error for a disk that is full or not writable."""
    reason: object = error.strerror or error
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        reason = f"{error.filename} is not a directory"
    left = "what was done is kept" if kept else "nothing was left behind"
    return WriteFailed(
        f"could not be written ({reason}); {left}",
        remedy="free disk space or choose a folder you may write to, then run the same command",
        path=out,
    )


def sync(path: Path) -> None:
    """Have the system put a file or folder on the disk; one that is not there needs nothing."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    sync(new)
    new.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"
