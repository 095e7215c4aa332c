"""What there is to do, before any of it is done: files, bytes, tiles, and the disk it will take."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from rich.filesize import decimal

import landmeta
from data_prep.cut_encode import CutAndEncode
from data_prep.quarantine import Unreadable
from data_prep.source import Part, Source
from landmeta.errors import TooLittleDisk
from landmeta.taskset import TaskSetMeta

_DIGEST = 16


class _Stable(pickle.Pickler):
    """Equal things pickle alike, in every process."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.fast = True  # what is one object and what are two does not matter

    def reducer_override(self, thing: object) -> Any:  # noqa: ANN401
        """Models, of which a set would be pickled, as JSON."""
        if isinstance(thing, BaseModel):
            return type(thing).model_validate_json, (thing.model_dump_json(),)
        return NotImplemented


def _pickled(thing: object) -> bytes:
    file = io.BytesIO()
    _Stable(file).dump(thing)
    return file.getvalue()


SAMPLES = 8
"""Parts that are cut to see how well tiles compress, where that decides whether they fit."""


@dataclass(frozen=True)
class Survey:
    """What the parts of a source are.

    Attributes:
        images: how many there are.
        tiles: at most.
        done: bytes of raw data in all parts before each, and at the end in all.
        plan: changes if a part does, but not with the content of files.
        digests: of each part and the size and time of its files.
    """

    images: int
    tiles: int
    done: list[float]
    plan: str
    digests: bytes

    def prefix(self, parts: int) -> str:
        """Changes if one of the first so many parts does, or a file of theirs."""
        return hashlib.sha256(self.digests[: _DIGEST * parts]).hexdigest()


def survey(source: Source) -> Survey:
    """Look at the size and time of every file of a source."""
    stat = lru_cache(maxsize=256)(_stat)  # one archive or image may be in many parts
    sizes, digests, plan = [], bytearray(), hashlib.sha256()
    images, tiles = 0.0, 0
    for part in source.parts:
        found, pickled = [stat(file) for file in part.files], _pickled(part)
        digests += hashlib.blake2b(pickled + repr(found).encode(), digest_size=_DIGEST).digest()
        plan.update(pickled)
        sizes.append(part.share * sum(size for size, _ in found))
        images += part.share
        tiles += part.tiles
    done = list(accumulate(sizes, initial=0.0))
    return Survey(round(images), tiles, done, plan.hexdigest(), bytes(digests))


def _stat(file: Path | str) -> tuple[int, int]:
    """Bytes and time of change; none of what GDAL alone can open."""
    try:
        status = Path(file).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def settings(source: Source, found: Survey) -> dict[str, Any]:
    """What makes a task set what it is, but for the content of its files; as JSON has it."""
    meta = source.meta.model_dump_json(exclude={"notes", "splits", "versions"})
    return {
        "landmeta": landmeta.__version__,
        **json.loads(meta),
        "images and splits": found.plan,
        "how to cut": hashlib.sha256(_pickled(source.cut)).hexdigest(),
    }


@dataclass(frozen=True)
class Room:
    """What a task set takes on disk, and what there is, in bytes; `about` or at most."""

    needed: float
    free: int
    about: bool


def check_room(source: Source, found: Survey, out: Path, begin: int = 0) -> Room:
    """Compare what the parts from `begin` on will take with what is free where `out` will be.

    Raises:
        TooLittleDisk: it does not fit.
    """
    free = shutil.disk_usage(_existing(out)).free
    left = 1 - begin / max(1, len(source.parts))
    most = left * found.tiles * tile_bytes(source.meta)
    if most <= free:
        return Room(most, free, about=False)
    needed = left * found.tiles * _sampled(source, tile_bytes(source.meta))
    if needed > free:
        raise TooLittleDisk(
            f"needs about {decimal(round(needed))}, but {decimal(free)} are free there",
            remedy="free disk space, choose another disk, or prepare less: fewer bands, scenes or "
            "tiles",
            path=out,
        )
    return Room(needed, free, about=True)


def tile_bytes(meta: TaskSetMeta) -> int:
    """Of a tile that does not compress at all: image, labels and where it is valid."""
    pixels = meta.tile_size**2
    return pixels * (len(meta.bands) * (np.dtype(meta.dtype).itemsize + 1) + 1)


def _sampled(source: Source, most: int) -> float:
    """Bytes that a tile takes on average, tiles left out included, by some parts of all."""
    work = CutAndEncode.of(source)
    step = max(1, len(source.parts) // SAMPLES)
    taken: list[Part] = [source.parts[i] for i in range(0, len(source.parts), step)][:SAMPLES]
    stored = tiles = 0
    for part in taken:
        done = work(part)
        if not isinstance(done, Unreadable):
            stored += sum(tile.stored for tile in done.tiles)
            tiles += part.tiles
    return stored / tiles if tiles else most


def _existing(folder: Path) -> Path:
    """The nearest folder that is there."""
    folder = folder.resolve()
    while not folder.is_dir():
        folder = folder.parent
    return folder
