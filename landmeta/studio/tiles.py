"""PNG tiles of rasters for the page: pixels as they lie in the file, whatever their CRS.

Tiles of 256 pixels; at level `levels - 1` one pixel is a pixel of the raster, at each level below
twice as many. Row 0 is the raster's first row.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rio_tiler.errors import NoOverviewWarning, TileOutsideBounds
from rio_tiler.io import ImageReader
from rio_tiler.models import ImageData

from landmeta.raster import Grid
from landmeta.studio.view import offset

Resampling = Literal["nearest", "average"]
Stretch = tuple[tuple[float, float], ...]

SAMPLE = 512
"""Rows and columns at most that the stretch of an image is taken from."""


class OutsideRaster(LookupError):
    """No such tile."""


def levels(width: int, height: int) -> int:
    """Number of levels of a raster, at least 1."""
    return max(0, int(np.ceil(np.log2(max(width, height, 1) / 256)))) + 1


def stretch(path: Path, bands: tuple[int, int, int]) -> Stretch:
    """Values shown black and white in each of three bands: their 2 % and 98 % quantiles.

    Args:
        path: raster.
        bands: numbers from 1.
    """
    with rasterio.open(path) as dataset:
        shape = (3, min(SAMPLE, dataset.height), min(SAMPLE, dataset.width))
        pixels = dataset.read(bands, out_shape=shape, masked=True).astype(np.float32)
    pixels = np.ma.filled(pixels, np.nan)
    ranges = []
    for band in pixels:
        seen = band[np.isfinite(band)]
        low, high = np.quantile(seen, (0.02, 0.98)) if seen.size else (0.0, 1.0)
        ranges.append((float(low), float(max(high, low + 1e-6))))
    return tuple(ranges)


def image_tile(
    path: Path, bands: tuple[int, int, int], shown: Stretch, level: int, x: int, y: int
) -> bytes:
    """A tile of an image in colour; transparent where it has no data.

    Raises:
        OutsideRaster: there is no such tile.
    """
    with ImageReader(str(path)) as reader:
        part = _tile(reader, level, x, y, bands, "average")
        return bytes(part.rescale(in_range=shown).render(img_format="PNG"))


def class_tile(path: Path, image: Grid, level: int, x: int, y: int) -> bytes:
    """A tile of a map in the colours of its table. Errors as in `image_tile`.

    The map is of an image with the grid `image`, or of a part of it; tiles are those of the image.
    """
    with ImageReader(str(path)) as reader:
        part = _tile(reader, level, x, y, (1,), "nearest", image)
        return bytes(part.render(img_format="PNG", colormap=reader.colormap))


def percent_tile(path: Path, image: Grid, level: int, x: int, y: int) -> bytes:
    """A tile of percentages from black (0) to white (100). As `class_tile`."""
    with ImageReader(str(path)) as reader:
        part = _tile(reader, level, x, y, (1,), "average", image)
        return bytes(part.rescale(in_range=((0, 100),)).render(img_format="PNG"))


def _tile(
    reader: ImageReader,
    level: int,
    x: int,
    y: int,
    bands: tuple[int, ...],
    resampling: Resampling,
    image: Grid | None = None,
) -> ImageData:
    assert reader.dataset is not None
    width, height = reader.dataset.width, reader.dataset.height
    first_col, first_row = 0, 0
    if image is not None:
        first_col, first_row = offset(reader.dataset.transform, image)
        width, height = image.width, image.height
    top = levels(width, height) - 1
    if level > top or min(level, x, y) < 0:
        raise OutsideRaster
    side = 256 * 2 ** (top - level)
    left, upper = x * side, y * side
    if left >= width or upper >= height:
        raise OutsideRaster
    left, upper = left - first_col, upper - first_row
    try:
        part = reader.part(
            (left, upper + side, left + side, upper),
            indexes=bands,
            width=256,
            height=256,
            resampling_method=resampling,
        )
    except TileOutsideBounds as error:
        raise OutsideRaster from error
    part.array = np.ma.masked_invalid(part.array, copy=False)
    return part


def ignore_warnings() -> None:
    """Rasters without georeference or overviews are no reason to warn a person at a page."""
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    warnings.simplefilter("ignore", NoOverviewWarning)
