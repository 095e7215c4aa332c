"""What a few labelled tiles give without any training on other regions.

Each learns from the labelled pixels of the support alone, so it needs at least one.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from landmeta.forest import features_at, grow, over_tiles
from landmeta.legend import IGNORE
from landmeta.taskset import Tiles


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
    """A random forest on pixel features, see `landmeta.forest`; it grows on all labelled pixels.

    Args:
        classes: of the legend.
        seed: of the trees.
    """

    def __init__(self, classes: int, seed: int = 0) -> None:
        self.classes, self.seed = classes, seed

    def fit(self, support: Tiles) -> None:
        """Grow the trees."""
        places = np.flatnonzero(support.label != IGNORE)
        features = features_at(support.image, places)
        self.forest = grow(features, support.label.ravel()[places], self.classes, self.seed)

    def probabilities(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean over the trees of the class shares in their leaves; 0 of classes never seen."""
        return over_tiles(self.forest, image, smooth=False)

    def parameters(self) -> int:
        """Nodes of all trees."""
        return int(self.forest.sizes.sum())


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


def fit_baseline(name: str, support: Tiles, classes: int, seed: int) -> PixelClassifier:
    """The baseline of that name, learned from the labelled pixels of `support`."""
    model: PixelClassifier = BASELINES[name](classes, seed)
    model.fit(support)
    return model
