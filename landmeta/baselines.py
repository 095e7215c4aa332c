"""What a few labelled tiles give without any training on other regions.

Each learns from the labelled pixels of the support alone, so it needs at least one.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier

from landmeta.legend import IGNORE
from landmeta.taskset import Tiles

WINDOW = 5
"""Width of the neighbourhood of a pixel, in pixels."""
TREES = 100


class PixelClassifier(Protocol):
    """Learns from labelled tiles and gives class probabilities of images."""

    def fit(self, support: Tiles) -> None:
        """Learn from the labelled pixels."""
        ...

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape (tile, class, row, col) of images (tile, band, row, col), NaN = no data."""
        ...

    def parameters(self) -> int:
        """How many numbers were learned."""
        ...


class RandomForest:
    """A random forest on pixel features (Breiman 2001, doi:10.1023/A:1010933404324).

    Features of a pixel are its bands, and mean and standard deviation of each band over the valid
    pixels of the 5 x 5 around it (within the tile). Missing values are passed to scikit-learn,
    whose trees send them the way that separates best.

    Args:
        classes: of the legend.
        seed: of the trees.
    """

    def __init__(self, classes: int, seed: int = 0) -> None:
        self.classes = classes
        self.forest = RandomForestClassifier(
            TREES, random_state=seed, n_jobs=torch.get_num_threads()
        )

    def fit(self, support: Tiles) -> None:
        """Grow the trees."""
        keep = support.label != IGNORE
        features = pixel_features(support.image).transpose(0, 2, 3, 1)[keep]
        self.forest.fit(features, support.label[keep])
        self.forest.n_jobs = 1  # threads would add the trees' votes in any order

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean over the trees of the class shares in their leaves; 0 of classes never seen."""
        tiles, _, rows, cols = image.shape
        features = pixel_features(image).transpose(0, 2, 3, 1)
        found = np.zeros((tiles, self.classes, rows, cols), np.float32)
        for tile, pixels in enumerate(features):
            votes = self.forest.predict_proba(pixels.reshape(rows * cols, -1))
            found[tile, self.forest.classes_] = votes.T.reshape(-1, rows, cols)
        return found

    def parameters(self) -> int:
        """Nodes of all trees."""
        return sum(int(tree.tree_.node_count) for tree in self.forest.estimators_)


class NearestPrototype:
    """The class whose mean is nearest, on bands standardised over the labelled pixels.

    Probabilities are those of normal distributions of unit variance around the means, all classes
    being equally likely; a class that is not in the support has none. Missing values count as the
    mean of their band.

    Args:
        classes: of the legend.
        seed: unused: nothing is drawn.
    """

    def __init__(self, classes: int, seed: int = 0) -> None:
        self.classes = classes

    def fit(self, support: Tiles) -> None:
        """Average each class's pixels."""
        keep = support.label != IGNORE
        pixels = support.image.transpose(0, 2, 3, 1)[keep].astype(np.float64)
        labels = support.label[keep]
        known = np.isfinite(pixels)
        counts = np.maximum(known.sum(axis=0), 1)
        self.mean = np.where(known, pixels, 0).sum(axis=0) / counts
        std = np.sqrt(np.where(known, (pixels - self.mean) ** 2, 0).sum(axis=0) / counts)
        self.std = np.where(std < 1e-8, 1.0, std)
        self.seen = np.unique(labels)
        standard = self._standardised(pixels)
        self.prototypes = np.stack([standard[labels == c].mean(axis=0) for c in self.seen])

    def _standardised(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Pixels (…, band)."""
        found: NDArray[np.float64] = np.nan_to_num((pixels - self.mean) / self.std, nan=0.0)
        return found

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Softmax of minus half the squared distances."""
        pixels = self._standardised(image.transpose(0, 2, 3, 1))
        score = -0.5 * np.stack([((pixels - p) ** 2).sum(axis=-1) for p in self.prototypes], axis=1)
        weight = np.exp(score - score.max(axis=1, keepdims=True))
        tiles, _, rows, cols = image.shape
        found = np.zeros((tiles, self.classes, rows, cols), np.float32)
        found[:, self.seen] = weight / weight.sum(axis=1, keepdims=True)
        return found

    def parameters(self) -> int:
        """Numbers in the means."""
        return int(self.prototypes.size)


BASELINES: dict[str, type[RandomForest] | type[NearestPrototype]] = {
    "random_forest": RandomForest,
    "nearest_prototype": NearestPrototype,
}


def pixel_features(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bands, then their local means, then their local standard deviations.

    Args:
        image: (tile, band, row, col), NaN where not valid.

    Returns:
        Shape (tile, 3 x band, row, col); NaN where a band (or its whole neighbourhood) has no data.
    """
    known = np.isfinite(image)
    values = np.where(known, image, 0).astype(np.float64)
    # Around the tile's mean, so that the difference of squares below loses no digits.
    centre = values.sum(axis=(2, 3), keepdims=True) / np.maximum(
        known.sum(axis=(2, 3), keepdims=True), 1
    )
    values = np.where(known, values - centre, 0)
    share = _local_mean(known.astype(np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(share > 1e-9, _local_mean(values) / share, np.nan)
        square = np.where(share > 1e-9, _local_mean(values**2) / share, np.nan)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    return np.concatenate([image, mean + centre, spread], axis=1).astype(np.float32)


def _local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the window, 0 counting beyond the tile's edge."""
    found: NDArray[np.float64] = uniform_filter(
        values, size=(1, 1, WINDOW, WINDOW), mode="constant", cval=0.0
    )
    return found


def fit_baseline(name: str, support: Tiles, classes: int, seed: int) -> PixelClassifier:
    """The baseline of that name, learned from the labelled pixels of `support`."""
    model: PixelClassifier = BASELINES[name](classes, seed)
    model.fit(support)
    return model
