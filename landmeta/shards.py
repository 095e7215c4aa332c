"""Arrays of tiles on disk: zarr v3, one chunk a tile, `SHARD` chunks in one file.

zarr itself makes the arrays and reads them. Writing is taken apart here, so that many workers can
compress tiles while one process puts them into files: `encode` makes the chunk, `write_shard` puts
chunks into a file. The layout is that of zarr's codec *sharding_indexed*, version 1.0
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/): the chunks one after the
other, then their index, an offset and a length each in little-endian 64-bit numbers, all ones for
a chunk that is not there, and the index' CRC-32C.

Chunks are compressed by LZ4 after their bits are shuffled (Masui et al. 2015,
doi:10.1016/j.ascom.2015.07.002): of imagery, that is smaller than Zstandard alone makes it, and
several times as fast.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import google_crc32c
import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

ZarrArray: TypeAlias = "zarr.Array[Any]"
SHARD = 64
"""Tiles in one shard; each is read alone."""

_LEVEL = 5
_ABSENT = 2**64 - 1


def new_array(path: Path, shape: tuple[int, ...], dtype: str, fill: int | bool) -> None:
    """Describe an array (tile, …), as yet of no tiles; tiles all of `fill` take no room.

    Shards that are there already stay.
    """
    zarr.create_array(
        path,
        shape=(0, *shape),
        chunks=(1, *shape),
        shards=(SHARD, *shape),
        dtype=dtype,
        fill_value=fill,
        compressors=BloscCodec(cname="lz4", clevel=_LEVEL, shuffle="bitshuffle"),
    )


def encode(values: NDArray[Any], fill: int | bool) -> bytes | None:
    """One tile as a chunk; None if it is all of `fill`."""
    if (values == fill).all():
        return None
    codec = Blosc(cname="lz4", clevel=_LEVEL, shuffle=Blosc.BITSHUFFLE)
    return bytes(codec.encode(np.ascontiguousarray(values)))


def shard_path(array: Path, number: int, dimensions: int) -> Path:
    """The file of shard `number` of an array of so many dimensions, tiles included."""
    return array.joinpath("c", str(number), *["0"] * (dimensions - 1))


def write_shard(path: Path, chunks: Sequence[bytes | None]) -> None:
    """Write up to `SHARD` chunks to one file; none if all are absent.

    Raises:
        OSError: the disk is full or not writable.
    """
    if not any(chunks):
        return
    index, end = b"", 0
    for chunk in (*chunks, *[None] * (SHARD - len(chunks))):
        index += struct.pack("<QQ", *((_ABSENT, _ABSENT) if chunk is None else (end, len(chunk))))
        end += len(chunk or b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(chunk for chunk in chunks if chunk is not None)
        file.write(index + struct.pack("<I", google_crc32c.value(index)))


def set_length(path: Path, tiles: int) -> None:
    """Say how many tiles an array has."""
    array = zarr.open_array(path, mode="r+")
    array.resize((tiles, *array.shape[1:]))


def open_array(path: Path) -> ZarrArray:
    """Open an array to read single tiles, without zarr's detours for each.

    Raises:
        OSError, ValueError, KeyError: it is not there or damaged.
    """
    settings = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": 1}
    chosen: AbstractContextManager[object] = zarr.config.set(settings)
    with chosen:
        array = zarr.open_array(path, mode="r")
    assert isinstance(array, zarr.Array)
    return array
