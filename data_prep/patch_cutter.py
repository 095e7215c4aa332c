"""Cutting a patch of Sentinel-1 and -2 with labels into tiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from data_prep.patches import FILES, Patch, check_count, system_of
from data_prep.sen12ms_splits import DAMAGED
from data_prep.source import Cut
from landmeta.errors import MissingCRS, SizeMismatch, UnreadableFile
from landmeta.imagery import open_raster, unreadable
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.taskset import Band, SourceTile


@dataclass(frozen=True)
class PatchCutter:
    """Cuts a patch into the tiles that have a labelled pixel.

    A Sentinel-2 pixel that is 0 in all its bands, a Sentinel-1 pixel that is 0 in both or not
    finite, and what a file declares as nodata, is not valid; a pixel with no valid band is not
    labelled.

    Attributes:
        bands: to keep, in that order.
        legend: of the labels.
        kind: of the label file, `lc` or `dfc`; `label`: the place of its band, from 0.
        dtype: of the task set.
        expected: rows and columns of every patch.
        placed: whether a file without coordinate reference system is an error.
    """

    bands: tuple[Band, ...]
    legend: Legend
    kind: str
    label: int
    dtype: str
    expected: tuple[int, int]
    placed: bool = True

    def __call__(self, part: Patch) -> Cut:
        """The tiles of one patch.

        Raises:
            UnreadableFile: a file is truncated or damaged.
            MissingBands, SizeMismatch, MissingCRS: a file is not as its kind should be, or does not
                lie on its partners.
            UnknownClass: a label that the legend lacks.
        """
        image, valid, label, s2 = self._read(part)
        tiles = []
        for window in part.windows:
            place = Window(*window)
            rows, cols = place.toslices()
            if (label[rows, cols] == IGNORE).all():
                continue
            tiles.append(
                SourceTile(
                    image=image[:, rows, cols],
                    label=label[rows, cols],
                    valid=valid[:, rows, cols],
                    region=part.region,
                    season=part.season,
                    split=part.split,
                    source=part.source,
                    window=window,
                    crs=s2.crs,
                    transform=None if s2.crs is None else window_transform(place, s2.transform),
                )
            )
        return Cut(tiles, left_out=len(part.windows) - len(tiles))

    def _read(self, part: Patch) -> tuple[NDArray[Any], NDArray[np.bool_], Labels, _Layer]:
        """Image, validity (band, row, col), labels (row, col) of a patch, and its s2 layer."""
        # Read even if no band of it is wanted: a triplet is only sound as a whole.
        layers = {
            kind: _read_layer(path, kind, self.placed)
            for kind, path in zip(("s2", "s1", self.kind), part.files, strict=True)
        }
        s2 = layers["s2"]
        for layer in layers.values():
            _check_grid(layer, s2, self.expected)
        stacked = [
            (layers[kind], FILES[kind].index(band))
            for kind, band in ((b.name[:2].lower(), b.name[3:]) for b in self.bands)
        ]
        for layer, _ in stacked:
            _check_dtype(layer, self.dtype)
        shape = (len(stacked), *self.expected)
        image, valid = np.empty(shape, self.dtype), np.empty(shape, bool)
        for i, (layer, place) in enumerate(stacked):
            image[i], valid[i] = layer.pixels[place], layer.valid[place]
        if not valid.all():
            image[~valid] = 0
        labels = layers[self.kind]
        ids = np.where(labels.valid[self.label], labels.pixels[self.label], IGNORE)
        label = self.legend.from_ids(ids, path=labels.path)
        label[~valid.any(axis=0)] = IGNORE
        return image, valid, label, s2


@dataclass(frozen=True)
class _Layer:
    """One file of a patch: pixels (band, row, col), where they are valid, and the grid."""

    path: Path
    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    crs: str | None
    transform: Affine


def _read_layer(path: Path, kind: str, placed: bool) -> _Layer:
    with open_raster(path) as dataset:
        check_count(dataset, kind)
        crs = system_of(dataset)
        if crs is None and placed:
            raise MissingCRS(
                "has no coordinate reference system",
                remedy="take the file from the data set's archive again; SEN12MS is in UTM",
                path=path,
            )
        try:
            pixels = dataset.read()
            declared = dataset.nodata is not None
            valid = dataset.read_masks() > 0 if declared else np.ones(pixels.shape, bool)
        except RasterioError as error:
            cause = error.__cause__  # says what went wrong, the error itself only that it did
            raise unreadable(path, cause if isinstance(cause, Exception) else error) from error
        transform = dataset.transform
    if pixels.dtype.kind == "f":
        valid &= np.isfinite(pixels)
    if kind in ("s1", "s2"):
        valid &= (pixels != 0).any(axis=0)
    if path.name == DAMAGED:
        valid[:] = False
    return _Layer(path, pixels, valid, crs, transform)


def _check_grid(layer: _Layer, other: _Layer, expected: tuple[int, int]) -> None:
    """Refuse another size than all patches have, or another grid than the patch's s2 file."""
    if layer.pixels.shape[1:] != expected:
        raise SizeMismatch(
            "is {} × {} pixels (rows × columns), the other patches are {} × {}".format(
                *layer.pixels.shape[1:], *expected
            ),
            remedy="take the file from the data set's archive again, or remove the triplet",
            path=layer.path,
        )
    if layer.crs != other.crs or not layer.transform.almost_equals(other.transform, 1e-2):
        raise SizeMismatch(
            f"lies on {layer.crs} {tuple(layer.transform)[:6]}, its partner {other.path.name} on "
            f"{other.crs} {tuple(other.transform)[:6]}",
            remedy="take the triplet from the data set's archive again, or remove it",
            path=layer.path,
        )


def _check_dtype(layer: _Layer, dtype: str) -> None:
    if layer.pixels.dtype.kind == "f" and np.dtype(dtype).kind != "f":
        raise UnreadableFile(
            f"holds {layer.pixels.dtype}, the first file of its kind {dtype}",
            remedy="take the files from one release of the data set",
            path=layer.path,
        )
