"""Whether images are like those that a network was trained with, band by band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FAR = 3.0
"""Standard deviations of the training images' pixels."""
MANY = 0.25
"""Share of pixels beyond that."""


def out_of_range(
    image: NDArray[np.float32],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    bands: Sequence[str],
) -> list[str]:
    """Which bands are unlike the training's, in words; empty if none is.

    A band is if its mean is more than three of the training's standard deviations away from the
    training's mean, or a quarter of its pixels are.

    Args:
        image: physical values, (…, band, row, col), NaN where not valid.
        mean: of each band over the training tiles, shape (band,).
        std: its standard deviation, shape (band,).
        bands: their names.
    """
    told = []
    for number, name in enumerate(bands):
        values = image[..., number, :, :]
        values = values[np.isfinite(values)]
        if not len(values):
            told.append(f"band {name} has no data")
            continue
        away = (values - mean[number]) / std[number]
        middle, beyond = float(away.mean(dtype=np.float64)), float((abs(away) > FAR).mean())
        if abs(middle) > FAR or beyond > MANY:
            told.append(
                f"band {name} has mean {values.mean(dtype=np.float64):.4g}, where training had "
                f"{mean[number]:.4g} ± {std[number]:.4g} ({beyond:.0%} of the pixels are more than "
                f"{FAR:g} σ away)"
            )
    return told
