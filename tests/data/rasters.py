"""Small rasters for tests, written with rasterio alone."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine


def write_raster(path: Path, pixels, *, descriptions=None, colormap=None, **profile) -> Path:
    """Write (band, row, col) or (row, col); the format follows the name."""
    pixels = np.atleast_3d(np.asarray(pixels).T).T
    path.parent.mkdir(parents=True, exist_ok=True)
    driver = {".tif": "GTiff", ".png": "PNG", ".jpg": "JPEG"}[path.suffix]
    count, height, width = pixels.shape
    profile = {
        "driver": driver, "count": count, "height": height, "width": width, "dtype": pixels.dtype
    } | profile  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
        if descriptions:
            dataset.descriptions = descriptions
        if colormap:
            dataset.write_colormap(1, colormap)
    return path


def utm(col: float = 0, row: float = 0, gsd: float = 10) -> dict:
    """CRS and transform somewhere in UTM zone 33."""
    return {
        "crs": "EPSG:32633",
        "transform": Affine(gsd, 0, 500_000 + col * gsd, 0, -gsd, 5_000_000 - row * gsd),
    }


def write_tree(
    root: Path, regions=("a", "b", "c"), *, images=1, size=(40, 50), bands=2, classes=3, seed=0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`region/name_img.tif` (int16) with `region/name_lab.tif` (ids from 1), in UTM.

    Returns the image and the label ids by `region/name`.
    """
    rng = np.random.default_rng(seed)
    truth = {}
    for place, region in enumerate(regions):
        for number in range(images):
            image = rng.integers(-500, 4000, (bands, *size)).astype(np.int16)
            label = rng.integers(1, classes + 1, size).astype(np.uint8)
            grid = utm(1000 * place, 100 * number)
            stem = f"{region}/{number}"
            write_raster(root / f"{stem}_img.tif", image, **grid)
            write_raster(root / f"{stem}_lab.tif", label, **grid)
            truth[stem] = (image, label)
    return truth
