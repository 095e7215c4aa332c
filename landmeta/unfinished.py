"""What of a map is done, kept beside it until all of it is: a map that was killed goes on."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from landmeta.atomic import write_failed
from landmeta.errors import ConfigError, LandmetaError, ProcessLost, UnreadableFile

RECORD, LOCK = "run.json", "lock"
ROWS = 64
"""Rows read back at a time."""


class DamagedChunk(UnreadableFile):
    """A part of an unfinished map is not what was written."""


class Chunk:
    """Rows of bytes on their way into a file, compressed: (row, band, col) one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        # Without a name and a time in it the same rows are the same bytes.
        self._stream = gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0)

    def add(self, bands: NDArray[np.uint8]) -> None:
        """Append rows, shape (band, row, col)."""
        self._stream.write(np.ascontiguousarray(bands.swapaxes(0, 1)).data)

    def close(self) -> None:
        """Finish the stream; the file stays open."""
        self._stream.close()


def chunk_in_memory(rows: Iterator[NDArray[np.uint8]]) -> bytes:
    """A chunk as the bytes of its file."""
    memory = BytesIO()
    chunk = Chunk(memory)
    for bands in rows:
        chunk.add(bands)
    chunk.close()
    return memory.getvalue()


class Unfinished:
    """The chunks of a map that are done, as files of a hidden folder; made by `unfinished`.

    Attributes:
        folder: where they are.
        done: their numbers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done = {int(file.stem) for file in folder.glob("*.gz")}

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.gz"

    @contextmanager
    def chunk(self, number: int) -> Iterator[Chunk]:
        """A chunk to write; it counts as done when the block ends well."""
        temporary = self._file(number).with_suffix(".partial")
        with temporary.open("wb") as file:
            chunk = Chunk(file)
            yield chunk
            chunk.close()
            self._keep(file, number)

    def put(self, number: int, content: bytes) -> None:
        """Keep a chunk made elsewhere."""
        with self._file(number).with_suffix(".partial").open("wb") as file:
            file.write(content)
            self._keep(file, number)

    def _keep(self, file: BinaryIO, number: int) -> None:
        file.flush()
        os.fsync(file.fileno())
        Path(file.name).replace(self._file(number))
        self.done.add(number)

    def read(self, number: int, bands: int, width: int) -> Iterator[NDArray[np.uint8]]:
        """The rows of a chunk, some at a time, shape (band, row, col).

        Raises:
            UnreadableFile: the file was damaged since it was written.
        """
        row = bands * width
        try:
            with gzip.open(self._file(number)) as stream:
                while content := stream.read(ROWS * row):
                    yield np.frombuffer(content, np.uint8).reshape(-1, bands, width).swapaxes(0, 1)
        except (EOFError, OSError, ValueError, zlib.error) as error:
            self._file(number).unlink(missing_ok=True)
            raise DamagedChunk(
                f"was damaged since it was written: {error}",
                remedy="run the same command again: it is made anew, the rest is kept",
                path=self._file(number),
            ) from error


def folder_of(out: Path) -> Path:
    """The hidden folder beside a map that can be gone on with."""
    return out.with_name(f".{out.name}.unfinished")


@contextmanager
def unfinished(out: Path, fingerprint: str | None) -> Iterator[Unfinished]:
    """Make or go on with the folder of unfinished work on `out`; it goes when the block ends well.

    It also goes after an error about the input: that has to change, so nothing can be used again.
    After anything else (a kill, an interruption, a crash, a cluster that is lost) it stays.

    Args:
        out: the map.
        fingerprint: of everything the map depends on; chunks of another one are deleted. None if
            that cannot be told: then nothing is used again.

    Raises:
        ConfigError: another process is at work on it.
        WriteFailed: the disk is full or not writable.
    """
    keep = False
    folder = folder_of(out) if fingerprint else folder_of(out).with_suffix(f".{uuid.uuid4().hex}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, out):
            try:
                _prepare(folder, fingerprint)
                yield Unfinished(folder)
            except BaseException as error:
                about_input = isinstance(error, LandmetaError | OSError)
                other = isinstance(error, ProcessLost | DamagedChunk)
                keep = bool(fingerprint) and (other or not about_input) and _has_chunks(folder)
                raise
            finally:
                if not keep:
                    shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise write_failed(out, error) from error


def _has_chunks(folder: Path) -> bool:
    return any(folder.glob("*.gz"))


def _prepare(folder: Path, fingerprint: str | None) -> None:
    """Empty the folder unless what is in it was made for the same."""
    record = folder / RECORD
    kept = None
    with suppress(OSError, ValueError):
        kept = json.loads(record.read_text(encoding="utf-8"))["fingerprint"]
    if kept is None or kept != fingerprint:
        for file in folder.glob("*.gz"):
            file.unlink()
    for file in folder.glob("*.partial"):
        file.unlink()
    record.write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """Keep other processes out; the system lifts the lock when this one ends, however it does."""
    import fcntl

    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                "another process is making this map",
                remedy="wait until it has ended, or choose another name for the map",
                path=out,
            ) from error
        yield
