"""Groups of images whose features are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering, KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from data_prep.regions.statistics import Features
from landmeta.errors import ConfigError

Method = Literal["kmeans", "agglomerative", "mixture"]
METHODS: tuple[Method, ...] = get_args(Method)
Groups = NDArray[np.int64]
"""Number of each image's cluster, shape (image,)."""

_KEPT_VARIANCE = 0.95
_MOST_COMPONENTS = 50
MANY = 10_000
"""Beyond so many images, k-means goes by mini-batches."""
_MOST_PAIRS = 20_000
"""Beyond so many images, the distances of all pairs take more than 1.6 GB."""


def components(features: Features, *, standardise: bool, seed: int = 0) -> Features:
    """Principal components that keep 95 % of the variance, at most 50.

    They are divided by the deviation of the first, so that what follows knows no units; the later
    ones stay smaller than the first (they are not whitened).

    Args:
        features: shape (image, feature).
        standardise: divide each feature by its deviation first, and squash what lies beyond two
            deviations, so that a few strange images do not become clusters of their own.
        seed: of the approximation that is used for many features.

    Returns:
        Shape (image, component).

    Raises:
        ConfigError: all images have the same features.
    """
    values = np.tanh(StandardScaler().fit_transform(features) / 2) if standardise else features
    if np.ptp(values, axis=0).max() <= 1e-9 * max(1e-300, np.abs(values).max()):
        raise ConfigError(
            f"all {len(features)} images look the same: nothing tells regions apart",
            remedy="check that the folder does not hold copies of one image",
        )
    pca = PCA(min(_MOST_COMPONENTS, *values.shape), random_state=seed)
    scores = pca.fit_transform(values)
    enough = int(np.searchsorted(pca.explained_variance_ratio_.cumsum(), _KEPT_VARIANCE)) + 1
    scaled: Features = scores[:, :enough] / scores[:, 0].std()
    return scaled


def distinct(points: Features) -> int:
    """How many of the points differ."""
    return len(np.unique(points.round(9), axis=0))


def partition(points: Features, k: int, method: Method, *, seed: int, starts: int = 10) -> Groups:
    """Part points into `k` groups.

    `kmeans` (Lloyd 1982, doi:10.1109/TIT.1982.1056489), beyond `MANY` points by mini-batches
    (Sculley 2010, doi:10.1145/1772690.1772862); `agglomerative` by Ward's criterion (1963,
    doi:10.1080/01621459.1963.10500845); `mixture` of Gaussians with axes along the components,
    fitted by expectation maximisation (Dempster et al. 1977).

    Args:
        points: shape (image, component).
        k: number of groups.
        method: see above.
        seed: of the starts.
        starts: of k-means, of which the best is taken; a mixture has a third of them.

    Raises:
        ConfigError: too many points for the method.
    """
    if method == "kmeans":
        kind = KMeans if len(points) <= MANY else MiniBatchKMeans
        found = kind(k, n_init=starts, random_state=seed).fit_predict(points)
    elif method == "agglomerative":
        if len(points) > _MOST_PAIRS:
            raise ConfigError(
                f"{len(points)} images are too many to compare all pairs of them",
                remedy="cluster them by kmeans",
            )
        found = AgglomerativeClustering(k).fit_predict(points)
    else:
        found = GaussianMixture(
            k, covariance_type="diag", n_init=max(1, starts // 3), reg_covar=1e-3, random_state=seed
        ).fit_predict(points)
    return np.asarray(found, np.int64)


def merge_small(points: Features, of: Groups, smallest: int) -> tuple[Groups, list[str]]:
    """Give groups of fewer than `smallest` points to the group whose mean is nearest.

    Returns:
        The groups, and a note for each that was merged.
    """
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
        count = "1 image" if sizes.min() == 1 else f"{sizes.min()} images"
        notes.append(
            f"a cluster of only {count} was merged with the nearest one (the least is {smallest})"
        )


def by_size(of: Groups) -> Groups:
    """Renumber groups from 0: largest first, of equal ones the one with the earliest point."""
    numbers, first, sizes = np.unique(of, return_index=True, return_counts=True)
    order = numbers[np.lexsort((first, -sizes))]
    rank = np.empty(numbers.max() + 1, np.int64)
    rank[order] = np.arange(len(order))
    return rank[of]


def check_k(k: int | Sequence[int], images: int) -> list[int]:
    """The numbers of clusters to try that are possible: from 2 to half the images.

    Raises:
        ConfigError: none is.
    """
    choices = [k] if isinstance(k, int) else list(k)
    possible = [c for c in choices if 2 <= c <= images // 2]
    if possible:
        return possible
    if images < 4:
        raise ConfigError(
            f"{images} images are too few to make regions of",
            remedy="give at least 4 images, two for each of two regions",
        )
    number = choices[0] if len(choices) == 1 else f"{choices[0]} to {choices[-1]}"
    raise ConfigError(
        f"cannot make {number} regions of {images} images",
        remedy=f"choose k from 2 to half the number of images, {images // 2}",
    )
