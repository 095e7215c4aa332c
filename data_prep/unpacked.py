"""Archives unpacked once into a working folder, where the next run finds them.

Each archive becomes a folder of its name, complete or absent: what an interrupted run left is
removed by the next, which begins that archive again and keeps the others.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from data_prep.archives import Choose, Limits, check_room, unpack, unpacked_size
from landmeta.atomic import write_failed
from landmeta.errors import ConfigError

_RECORD = "unpacked.json"
_ROOM = 1.05
"""The estimate of what is needed, and a little more."""


@dataclass(frozen=True)
class _Record:
    """What a folder was unpacked from, and what was left in the archive."""

    archive: str
    size: int
    changed: int
    other: tuple[str, ...] = ()


def unpack_all(
    archives: Sequence[Path],
    work: Path,
    choose: Choose,
    *,
    limits: Limits | None = None,
    quiet: bool = False,
) -> dict[Path, Path]:
    """Unpack what is not unpacked yet; the folder of each archive.

    Args:
        archives: each is read once, from its start to its end.
        work: the working folder, made if absent.
        choose: which members are wanted and where they go below the archive's folder.
        limits: see `data_prep.archives.unpack`.
        quiet: no progress bar.

    Raises:
        TooLittleDisk: the disk has no room for what is to be unpacked.
        ConfigError: another process unpacks into this folder.
        UnsafeFile, UnreadableFile: as in `data_prep.archives.unpack`.
        WriteFailed: the disk is full or not writable.
    """
    folders = {archive: work / archive.name.split(".")[0] for archive in archives}
    if all(_is_done(a, f) for a, f in folders.items()):
        return folders
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _alone(work):
            new = {a: f for a, f in folders.items() if not _is_done(a, f)}
            for folder in new.values():
                for old in (folder, _partial(folder)):
                    if old.exists():
                        shutil.rmtree(old)
            needed = int(sum(map(unpacked_size, new)) * _ROOM)
            check_room(work, needed, f"unpacking {len(new)} archives")
            for archive, folder in new.items():
                _unpack_one(archive, folder, choose, limits, quiet)
    except OSError as error:
        raise write_failed(work, error) from error
    return folders


def left_in_archive(folder: Path) -> tuple[str, ...]:
    """Names of the files that were not wanted."""
    return tuple(json.loads((folder / _RECORD).read_text(encoding="utf-8"))["other"])


def _partial(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.partial")


def _is_done(archive: Path, folder: Path) -> bool:
    try:
        found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(found == {**asdict(_record(archive)), "other": found.get("other")})


def _record(archive: Path, other: tuple[str, ...] = ()) -> _Record:
    status = archive.stat()
    return _Record(archive.name, status.st_size, status.st_mtime_ns, other)


def _unpack_one(
    archive: Path, folder: Path, choose: Choose, limits: Limits | None, quiet: bool
) -> None:
    partial = _partial(folder)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    try:
        partial.mkdir()
        with Progress(*columns, disable=quiet) as progress:
            bar = progress.add_task(f"unpacking {archive.name}", total=archive.stat().st_size)
            done = unpack(
                archive,
                partial,
                choose,
                limits=limits,
                advance=lambda count: progress.advance(bar, count),
            )
        record = _record(archive, done.other)
        (partial / _RECORD).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
        os.sync()  # once for thousands of small files
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Refuse to work beside another process in the same folder."""
    with (work / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "another process is unpacking here",
                remedy="wait for it, or choose another folder to unpack to",
                path=work,
            ) from None
        yield
