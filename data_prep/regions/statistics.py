"""An image described by its colours and textures, without a pretrained network.

So the regions do not depend on weights that must be fetched, nor on what these were trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Features = NDArray[np.float64]
Mask = NDArray[np.bool_]

_PERCENTILES = (5, 25, 50, 75, 95)
_SCALES = (1, 4)
"""Texture is measured in pixels and in blocks of 4 × 4 pixels."""


def lab(rgb: NDArray[np.uint8]) -> Features:
    """SRGB to CIE L*a*b* with white D65; (3, row, col) to (3, row, col).

    IEC 61966-2-1 for the linear light, CIE 15 for L*a*b*.
    """
    srgb = np.arange(256) / 255
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)[rgb]
    to_xyz = np.array(
        [
            [0.4124, 0.3576, 0.1805],
            [0.2126, 0.7152, 0.0722],
            [0.0193, 0.1192, 0.9505],
        ]
    )
    to_xyz /= to_xyz.sum(axis=1, keepdims=True)  # white is (1, 1, 1)
    x, y, z = np.tensordot(to_xyz, light, axes=1)
    delta = 6 / 29
    fx, fy, fz = (
        np.where(v > delta**3, np.cbrt(v), v / (3 * delta**2) + 4 / 29) for v in (x, y, z)
    )
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def local_binary_patterns(grey: Features, seen: Mask | None = None) -> Features:
    """Shares of the ten rotation-invariant uniform patterns of 8 neighbours at distance 1.

    The neighbours are the eight adjacent pixels. Bins 0-8: patterns of that many brighter
    neighbours in one arc; bin 9: all others. Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623.

    Args:
        grey: brightness, shape (row, col), at least 3 × 3.
        seen: which of the inner pixels count, shape (row - 2, col - 2); all without it.
    """
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    rows, cols = grey.shape
    inner = grey[1:-1, 1:-1]
    brighter = np.stack(
        [grey[1 + r : rows - 1 + r, 1 + c : cols - 1 + c] >= inner for r, c in ring]
    )
    changes = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0)
    pattern = np.where(changes <= 2, brighter.sum(axis=0), 9)
    counted = pattern.ravel() if seen is None else pattern[seen]
    return np.bincount(counted, minlength=10) / max(1, counted.size)


def _texture(grey: Features, valid: Mask) -> Features:
    """Edge strength (mean, deviation), energy of fine detail, and local binary patterns."""
    seen = ndimage.binary_erosion(valid, np.ones((3, 3)), border_value=1)
    if not seen.any():
        return np.zeros(13)
    gradient = np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))[seen]
    detail = (grey - ndimage.uniform_filter(grey, 3))[seen]
    energies = np.log1p([gradient.mean(), gradient.std(), detail.std()])
    return np.concatenate([energies, local_binary_patterns(grey, seen[1:-1, 1:-1])])


def image_features(rgb: NDArray[np.uint8], valid: Mask | None = None) -> Features:
    """Describe an image by its colours and textures.

    Args:
        rgb: red, green, blue 0-255, shape (3, row, col), at least 12 × 12 pixels.
        valid: which pixels have data, shape (row, col); at least one. All without it.

    Returns:
        Shape (47,): mean, deviation and five percentiles of L*, a*, b*, then edge and pattern
        statistics of L* in pixels and in blocks of 4 × 4 pixels.
    """
    colours = lab(rgb)
    if valid is None:
        valid = np.ones(colours.shape[1:], bool)
    flat = colours[:, valid]
    statistics = [flat.mean(axis=1), flat.std(axis=1), *np.percentile(flat, _PERCENTILES, axis=1)]
    brightness = np.where(valid, colours[0], flat[0].mean())
    textures = []
    for scale in _SCALES:
        grey = _blocks(brightness, scale).mean(axis=(1, 3))
        textures.append(_texture(grey, _blocks(valid, scale).all(axis=(1, 3))))
    return np.concatenate([*statistics, *textures])


def _blocks(values: NDArray[Any], side: int) -> Any:  # noqa: ANN401 - numpy's reductions
    """Shape (row, col) to (block row, row in it, block column, column in it)."""
    rows, cols = (length // side for length in values.shape)
    return values[: rows * side, : cols * side].reshape(rows, side, cols, side)
