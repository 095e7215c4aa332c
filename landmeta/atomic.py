"""Writing that either happens completely or not at all.

Everything goes to a temporary name beside the target, is flushed to the disk, and is renamed.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landmeta.errors import OutputExists, WriteFailed


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise `OutputExists` if `path` is there and may not be replaced."""
    if path.exists() and not overwrite:
        raise OutputExists(
            "the output already exists",
            remedy="choose another name, or pass --overwrite to replace it",
            path=path,
        )


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
        path.unlink(missing_ok=True)


def write_failed(path: Path, error: OSError) -> WriteFailed:
    """Turn an operating-system error while writing `path` into one with a remedy."""
    return WriteFailed(
        f"could not be written ({error.strerror or error}); nothing was left behind",
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


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    with atomic_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
