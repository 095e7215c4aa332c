"""Images and labels as NumPy files: `.npy`, or `.npz` with one array in it. No georeference."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from landmeta.errors import SourceNotFound, UnreadableFile, UnsafeFile
from landmeta.imagery import Bands, Header, choose_bands, unreadable
from landmeta.location import Location, is_virtual, name_of
from landmeta.taskset import Band

LARGEST = 4 * 2**30
"""Bytes that a file may unpack to: it is held in memory whole."""


def is_array(path: Location) -> bool:
    """True of NumPy's files, by their names."""
    return not is_virtual(path) and name_of(path).lower().endswith((".npy", ".npz"))


def read_array(path: Location) -> NDArray[Any]:
    """The array of a file, shape (band, row, col); of an .npz, the only one in it.

    Raises:
        SourceNotFound: the file is not there.
        UnreadableFile: it is damaged, of another shape or type, too large, or of several arrays.
        UnsafeFile: it holds pickled objects.
    """
    if not Path(path).is_file():
        raise SourceNotFound("is not there", remedy="check the name of the file", path=path)
    try:
        array = _load(path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        if "pickle" in str(error):
            raise UnsafeFile(
                "holds pickled objects, which could run code when loaded",
                remedy="save it as a plain array of numbers: numpy.savez(file, array)",
                path=path,
            ) from error
        raise unreadable(path, error) from error
    while array.ndim > 3 and array.shape[0] == 1:  # a batch of one
        array = array[0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.dtype.kind not in "uif":
        raise unreadable(path, ValueError(f"{array.dtype} of shape {array.shape}"))
    return array


def _load(path: Location) -> NDArray[Any]:
    if name_of(path).lower().endswith(".npy"):
        plain: NDArray[Any] = np.load(path, allow_pickle=False)
        return plain
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if len(entries) != 1 or entries[0].file_size > LARGEST:
        names = ", ".join(e.filename.removesuffix(".npy") for e in entries[:8])
        raise UnreadableFile(
            f"holds {len(entries)} arrays ({names}) of "
            f"{sum(e.file_size for e in entries) / 2**20:.0f} MB, where one of at most "
            f"{LARGEST / 2**20:.0f} MB can be read",
            remedy="save bands and labels as one array (band, row, col)",
            path=path,
        )
    with np.load(path, allow_pickle=False) as arrays:
        array: NDArray[Any] = arrays[arrays.files[0]]
        return array


def array_header(path: Location, bands: Bands | None = None) -> Header:
    """What is known of an array as an image; `bands` as of `landmeta.imagery.read_header`.

    Raises:
        MissingBands: too many or few names, or a place beyond the last band.
        SourceNotFound, UnreadableFile, UnsafeFile: as `read_array`.
    """
    array = read_array(path)
    count, height, width = array.shape
    chosen = choose_bands(None, bands, count, path)
    return Header(
        path=path,
        height=height,
        width=width,
        bands=tuple(Band(name=name) for _, name in chosen),
        indexes=tuple(position + 1 for position, _ in chosen),
        palette=False,
        alpha=False,
        dtype=array.dtype,
        crs=None,
        transform=Affine.identity(),
    )
