"""Regions for images of unknown place: groups of images that look alike.

Colour and texture statistics are computed here, without a pretrained network, so that the regions
do not depend on weights that must be fetched and do not leak what such a network was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

from landmeta.errors import ConfigError

Features = NDArray[np.float64]

_PERCENTILES = (5, 25, 50, 75, 95)
_SCALES = (1, 4)
"""Texture is measured in pixels and in blocks of 4 × 4 pixels."""
_KEPT_VARIANCE = 0.95
_SMALL = 0.1
"""A cluster below this share of the mean size is merged with the nearest."""


def lab(rgb: NDArray[np.uint8]) -> Features:
    """SRGB to CIE L*a*b* with white D65; (3, row, col) to (3, row, col).

    IEC 61966-2-1 for the linear light, CIE 15 for L*a*b*.
    """
    srgb = rgb.astype(np.float64) / 255
    light = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
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


def local_binary_patterns(grey: Features) -> Features:
    """Shares of the ten rotation-invariant uniform patterns of 8 neighbours at distance 1.

    The neighbours are the eight adjacent pixels. Bins 0-8: patterns of that many brighter
    neighbours in one arc; bin 9: all others. Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623.

    Args:
        grey: brightness, shape (row, col), at least 3 × 3.
    """
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    rows, cols = grey.shape
    inner = grey[1:-1, 1:-1]
    brighter = np.stack(
        [grey[1 + r : rows - 1 + r, 1 + c : cols - 1 + c] >= inner for r, c in ring]
    )
    changes = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0)
    pattern = np.where(changes <= 2, brighter.sum(axis=0), 9)
    return np.bincount(pattern.ravel(), minlength=10) / pattern.size


def _texture(grey: Features) -> Features:
    """Edge strength (mean, deviation), energy of fine detail, and local binary patterns."""
    gradient = np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))
    detail = grey - ndimage.uniform_filter(grey, 3)
    energies = np.log1p([gradient.mean(), gradient.std(), detail.std()])
    return np.concatenate([energies, local_binary_patterns(grey)])


def image_features(rgb: NDArray[np.uint8]) -> Features:
    """Describe an image by its colours and textures.

    Args:
        rgb: red, green, blue 0-255, shape (3, row, col), at least 12 × 12 pixels.

    Returns:
        Shape (47,): mean, deviation and five percentiles of L*, a*, b*, then edge and pattern
        statistics of L* in pixels and in blocks of 4 × 4 pixels.
    """
    colours = lab(rgb)
    flat = colours.reshape(3, -1)
    statistics = [flat.mean(axis=1), flat.std(axis=1), *np.percentile(flat, _PERCENTILES, axis=1)]
    rows, cols = colours.shape[1:]
    textures = []
    for scale in _SCALES:
        grey = colours[0, : rows // scale * scale, : cols // scale * scale]
        blocks = grey.reshape(rows // scale, scale, cols // scale, scale)
        textures.append(_texture(blocks.mean(axis=(1, 3))))
    return np.concatenate([*statistics, *textures])


@dataclass(frozen=True)
class Clusters:
    """A grouping of images.

    Attributes:
        of: number of each image's cluster, shape (image,); the largest cluster is 0.
        silhouette: mean silhouette of the grouping, -1 to 1, by the k that was tried.
        notes: which small clusters were merged.
    """

    of: NDArray[np.int64]
    silhouette: dict[int, float]
    notes: list[str]


def cluster_images(features: Features, k: int | Sequence[int], *, seed: int = 0) -> Clusters:
    """Group images by k-means on the principal components of their standardised features.

    Args:
        features: shape (image, feature).
        k: how many clusters, or the numbers among which the mean silhouette chooses
            (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7).
        seed: of k-means.

    Raises:
        ConfigError: fewer than 2 clusters, or more than half the images.
    """
    choices = [k] if isinstance(k, int) else [c for c in k if 2 <= c <= len(features) // 2]
    if not choices or not 2 <= choices[0] <= len(features) // 2:
        raise ConfigError(
            f"cannot make {k if isinstance(k, int) else 'any of the allowed numbers of'} clusters "
            f"of {len(features)} images",
            remedy="choose k from 2 to half the number of images",
        )
    components = PCA(_KEPT_VARIANCE, svd_solver="full").fit_transform(
        StandardScaler().fit_transform(features)
    )
    groupings = {
        c: KMeans(c, n_init=10, random_state=seed).fit_predict(components) for c in choices
    }
    quality = {
        c: float(silhouette_score(components, of)) if len(set(of)) > 1 else -1.0
        for c, of in groupings.items()
    }
    best = max(choices, key=lambda c: quality[c])
    smallest = max(2.0, _SMALL * len(features) / best)
    of, notes = _merge_small(components, groupings[best].astype(np.int64), smallest)
    return Clusters(_by_size(of), quality, notes)


def _merge_small(
    points: Features, of: NDArray[np.int64], smallest: float
) -> tuple[NDArray[np.int64], list[str]]:
    of = of.copy()
    notes: list[str] = []
    while True:
        numbers, sizes = np.unique(of, return_counts=True)
        if len(numbers) == 1 or sizes.min() >= smallest:
            return of, notes
        small = numbers[np.argmin(sizes)]
        others = numbers[numbers != small]
        centres = np.stack([points[of == c].mean(axis=0) for c in others])
        distances = np.linalg.norm(centres - points[of == small].mean(axis=0), axis=1)
        of[of == small] = others[np.argmin(distances)]
        notes.append(f"a cluster of only {sizes.min()} images was merged with the nearest one")


def _by_size(of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber clusters: largest first, of equal ones the one with the earliest image."""
    numbers, first, sizes = np.unique(of, return_index=True, return_counts=True)
    order = numbers[np.lexsort((first, -sizes))]
    rank = np.empty(numbers.max() + 1, np.int64)
    rank[order] = np.arange(len(order))
    return rank[of]
