"""Random fields from which the synthetic worlds are made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Field = NDArray[np.float32]
Shape = tuple[int, int]


def _filtered(rng: np.random.Generator, shape: Shape, power: NDArray[np.floating[Any]]) -> Field:
    """White noise of `shape` filtered by an amplitude spectrum; mean 0, variance 1."""
    rows, cols = shape
    padded = (fft.next_fast_len(rows, real=True), fft.next_fast_len(cols, real=True))
    spectrum = fft.rfft2(rng.standard_normal(padded, np.float32)) * power.astype(np.float32)
    field: Field = fft.irfft2(spectrum, padded)[:rows, :cols].astype(np.float32)
    field -= field.mean()
    field /= field.std() + 1e-6
    return field


def _frequency(shape: Shape) -> Field:
    """Spatial frequency in cycles a pixel, on the grid of the padded transform."""
    rows, cols = (fft.next_fast_len(n, real=True) for n in shape)
    frequency: Field = np.hypot(fft.fftfreq(rows)[:, None], fft.rfftfreq(cols)).astype(np.float32)
    return frequency


def fractal(rng: np.random.Generator, shape: Shape, largest: float, slope: float = 1.5) -> Field:
    """Noise like relief: amplitude falls with frequency to the power `slope`.

    Args:
        rng: source of randomness.
        shape: (row, col).
        largest: wavelength in pixels beyond which amplitude does not grow any more.
        slope: 1 is rough, 2 is smooth.
    """
    frequency = np.maximum(_frequency(shape), np.float32(1 / largest))
    return _filtered(rng, shape, frequency**-slope)


def grain(rng: np.random.Generator, shape: Shape, wavelength: float) -> Field:
    """Texture of one size: a band of frequencies about 1/`wavelength` (pixels)."""
    octaves = np.log2(np.maximum(_frequency(shape), 1e-6) * wavelength)
    return _filtered(rng, shape, np.exp(-2 * octaves**2))
