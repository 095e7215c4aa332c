"""Writing that either happens completely or not at all.

Everything goes to a temporary name beside the target, is flushed to the disk, and is renamed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from landmeta.errors import OutputExists, WriteFailed


def refuse_existing(
    path: Path,
    overwrite: bool,
    remedy: str = "choose another name, or pass --overwrite to replace it",
) -> None:
    """Raise `OutputExists` if `path` is there and may not be replaced."""
    if path.exists() and not overwrite:
        raise OutputExists("the output already exists", remedy=remedy, path=path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path) -> Path:
    # The suffix stays last: GDAL and others choose the format by it.
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def write_failed(path: Path, error: OSError) -> WriteFailed:
    """Turn an operating-system error while writing `path` into one with a remedy."""
    reason = error.strerror or error
    if isinstance(error, FileExistsError):  # where a folder was to be made
        reason = f"{error.filename} is not a directory"
    return WriteFailed(
        f"could not be written ({reason}); nothing was left behind",
        remedy="free disk space or choose a folder you may write to, then run the same command",
        path=path,
    )


@contextmanager
def atomic_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` when the block succeeds.

    Raises:
        OutputExists: `path` exists and `overwrite` is False (checked before and after).
        WriteFailed: the operating system refused to write (disk full, no permission).
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary)
        refuse_existing(path, overwrite)
        temporary.replace(path)
        _fsync(path.parent)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        _remove(temporary)


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Like `atomic_file` for a folder: it appears complete under its name, or not at all."""
    path = Path(path)
    refuse_existing(path, overwrite)
    temporary = _temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        refuse_existing(path, overwrite)
        old = _temporary(path)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        _fsync(path.parent)
        _remove(old)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        _remove(temporary)


SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL keeps beside a raster: `map.tif.aux.xml` and so on."""


@contextmanager
def atomic_files(paths: Sequence[Path], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a hidden folder beside `paths`, which lie in one folder; keep those files from it.

    The block makes files of the same names in that folder. When it succeeds they move to their
    places together with their `SIDECARS`, and sidecars of replaced files go; anything else in the
    folder was scratch. When it fails, nothing is left.

    Raises:
        OutputExists: one of `paths` exists and `overwrite` is False (checked before and after).
        WriteFailed: the operating system refused to write (disk full, no permission).
    """
    parent = paths[0].parent
    if any(path.parent != parent for path in paths):
        raise ValueError(f"not in one folder: {', '.join(map(str, paths))}")
    for path in paths:
        refuse_existing(path, overwrite)
    scratch = _temporary(paths[0]).with_suffix("")
    try:
        scratch.mkdir(parents=True)
        yield scratch
        _move_with_sidecars(scratch, paths, overwrite)
    except OSError as error:
        raise write_failed(paths[0], error) from error
    finally:
        _remove(scratch)


def _move_with_sidecars(scratch: Path, paths: Sequence[Path], overwrite: bool) -> None:
    for file in scratch.iterdir():
        _fsync(file)
    for path in paths:
        refuse_existing(path, overwrite)
    for path in paths:
        for suffix in SIDECARS:
            new, old = scratch / f"{path.name}{suffix}", path.with_name(f"{path.name}{suffix}")
            if new.exists():
                new.replace(old)
            else:
                old.unlink(missing_ok=True)
        (scratch / path.name).replace(path)
    _fsync(paths[0].parent)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with atomic_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
