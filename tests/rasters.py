"""Small rasters and a classifier without a network, for tests of reading, predicting, writing."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from landmeta.legend import LandClass, Legend
from landmeta.taskset import Band

UTM = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}

THREE = Legend(
    classes=(
        LandClass(id=1, name="Forest & scrub", color="#009900"),
        LandClass(id=4, name="Grassland", color="#b6ff05"),
        LandClass(id=10, name="Wasser <ä>", color="#1c0dff"),
    )
)
"""Ids with gaps, names that XML must escape."""


def write_raster(
    path: Path, array: NDArray[Any], names: tuple[str | None, ...] = (), **profile: Any
) -> Path:
    """Write (band, row, col); georeferenced unless `crs=None` is given."""
    count, height, width = array.shape
    known: dict[str, Any] = {"driver": "GTiff", "dtype": array.dtype} | UTM | profile
    if known["crs"] is None:
        known = {k: v for k, v in known.items() if k not in ("crs", "transform")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", count=count, height=height, width=width, **known) as dataset:
            dataset.write(array)
            for band, name in enumerate(names, start=1):
                if name:
                    dataset.set_band_description(band, name)
    return path


def read_raster(path: Path) -> NDArray[Any]:
    """All bands, (band, row, col), by rasterio alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            pixels: NDArray[Any] = dataset.read()
            return pixels


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over axis 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


@dataclass
class NearestCentroid:
    """Each pixel for itself: softmax of minus the squared distance to each class's centroid.

    `centroids` has shape (class, band); a missing band counts as 0.
    """

    centroids: NDArray[np.float32]
    tile_size: int = 16
    bands: tuple[str, ...] = ("red", "nir")
    legend: Legend = THREE
    scale: float = 1.0
    offset: float = 0.0
    batches: list[int] = field(default_factory=list)

    @property
    def band_specs(self) -> tuple[Band, ...]:
        return tuple(Band(name=n, scale=self.scale, offset=self.offset) for n in self.bands)

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        assert image.shape[1:] == (len(self.bands), self.tile_size, self.tile_size)
        self.batches.append(len(image))
        filled = np.nan_to_num(image)
        distance = (filled[:, None] - self.centroids[:, :, None, None]) ** 2
        return softmax(-distance.sum(axis=2))


@dataclass
class PlaceInTile(NearestCentroid):
    """Depends on where in its window a pixel lies and on the window's mean, as networks do.

    `fingerprint` and `pause` (seconds a batch) are for maps that are interrupted.
    """

    fingerprint: str | None = None
    pause: float = 0

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(self.pause)
        self.batches.append(len(image))
        rows, cols = np.mgrid[: self.tile_size, : self.tile_size] / self.tile_size
        filled = np.nan_to_num(image)
        value = filled[:, 0] - filled.mean(axis=(1, 2, 3))[:, None, None]
        return softmax(np.stack([rows * value, -cols * value, 0 * value], axis=1) * 5)


def nearest(image: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each pixel of (band, row, col), written down independently of windows."""
    distance = np.linalg.norm(
        np.moveaxis(np.nan_to_num(image), 0, -1)[..., None, :] - centroids, axis=-1
    )
    return distance.argmin(axis=-1)
