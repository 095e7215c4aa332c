"""Tiny SEN12MS trees, made by the synthetic generator, and ways to damage their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from data_prep.sen12ms_splits import Season, patch_path
from data_prep.synthetic import write_sen12ms

SCENES: Mapping[Season, Sequence[int]] = {"spring": [63, 83], "summer": [57, 126]}
"""57 is a train, 63 and 83 are validation ids, 126 a test id of the few-shot split."""


def tree(root: Path, scenes: Mapping[Season, Sequence[int]] | int = SCENES, **how: Any) -> Path:
    """A tree of small patches (32 pixels) that overlap by half."""
    return write_sen12ms(root, scenes=scenes, **{"patches": 2, "size": 32, **how})


def patch(
    root: Path, modality: str, season: Season = "spring", number: int = 63, p: int = 1
) -> Path:
    return root / patch_path(modality, (season, number), p)


def rewrite(
    path: Path, change: Callable[[np.ndarray], np.ndarray] = lambda a: a, **profile: Any
) -> None:
    """Change a GeoTIFF's pixels (band, row, col) or profile in place."""
    with rasterio.open(path) as file:
        pixels, old = change(file.read()), file.profile
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **{**old, **shape, **profile}) as file:
        file.write(pixels)
