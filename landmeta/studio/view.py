"""The part of a large image that somebody looks at, cut out so that it is mapped in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from landmeta.raster import Grid

AT_ONCE = 1_000_000
"""Pixels of an image that is mapped whole each time."""
SIDE = 768
"""Rows and columns at most of a part of a larger one."""


@dataclass(frozen=True)
class View:
    """A part of an image, in whole pixels."""

    col: int
    row: int
    width: int
    height: int

    @classmethod
    def of(cls, seen: Sequence[float], grid: Grid) -> View:
        """The middle of what is seen, within the image.

        Args:
            seen: column and row of the first pixel, width and height, as far as the page shows.
            grid: of the image.
        """
        col, width = _part(seen[0], seen[2], grid.width)
        row, height = _part(seen[1], seen[3], grid.height)
        return cls(col, row, width, height)

    @property
    def window(self) -> Window:
        """As rasterio has it."""
        return Window(self.col, self.row, self.width, self.height)


def is_large(grid: Grid) -> bool:
    """Whether an image is mapped by parts."""
    return grid.width * grid.height > AT_ONCE and not grid.gcps


def _part(first: float, length: float, whole: int) -> tuple[int, int]:
    """First pixel and number of pixels along one axis."""
    begin, end = (min(max(x, 0.0), float(whole)) for x in (first, first + length))
    size = min(SIDE, whole, max(1, round(end - begin)))
    middle = (begin + end) / 2
    return min(max(0, round(middle - size / 2)), whole - size), size


def cut_out(raster: Path, view: View, out: Path) -> None:
    """Write a part of an image as GeoTIFF, with all that says what its pixels are.

    Raises:
        RasterioError: it cannot be read.
    """
    with rasterio.open(raster) as dataset:
        profile = {
            "driver": "GTiff",
            "width": view.width,
            "height": view.height,
            "count": dataset.count,
            "dtype": np.result_type(*dataset.dtypes),
            "nodata": dataset.nodata,
            "crs": dataset.crs,
            "transform": dataset.window_transform(view.window),
            "photometric": "minisblack",  # or GDAL takes the fourth band for transparency
        }
        with rasterio.open(out, "w", **profile) as part:
            part.colorinterp = dataset.colorinterp
            part.descriptions = dataset.descriptions
            part.scales, part.offsets = dataset.scales, dataset.offsets
            part.update_tags(**dataset.tags())
            part.write(dataset.read(window=view.window))
            flags = dataset.mask_flag_enums[0]
            if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
                part.write_mask(dataset.dataset_mask(window=view.window))


def offset(part: Affine, grid: Grid) -> tuple[int, int]:
    """Column and row in an image of the first pixel of what was cut out of it, by its transform."""
    col, row = ~grid.transform @ (part.c, part.f)
    return round(col), round(row)
