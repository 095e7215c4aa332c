"""A random forest on the pixels of one image (Breiman 2001, doi:10.1023/A:1010933404324).

It learns from the labelled pixels alone. scikit-learn grows it; it is kept as plain arrays, since
nothing in a model file may be a pickle.

Features of a pixel are its bands, and mean and standard deviation of each band over the valid
pixels of the 5 x 5 around it (within the tile). Missing values are passed to scikit-learn, whose
trees send them the way that separates best.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from landmeta.legend import IGNORE, Labels
from landmeta.model import Params

WINDOW = 5
"""Width of the neighbourhood of a pixel, in pixels."""
TREES = 100
MOST_PIXELS = 20_000
"""Neighbours are alike: more labelled pixels make trees large rather than right."""
FEWEST_PIXELS = 100
"""So many of each class are among them, if there are."""

AT_ONCE = 2**17
"""Pixels that go through the trees together: fewer take longer, more take memory."""

_NODE = {
    "left_child": np.int32,
    "right_child": np.int32,
    "feature": np.int32,
    "threshold": np.float64,
    "missing_go_to_left": np.uint8,
}
"""What a decision needs of scikit-learn's record of a node."""
_PREFIX = "forest."


@dataclass(frozen=True)
class PixelForest:
    """The nodes of all trees, one tree after the other.

    Attributes:
        nodes: (node,) arrays by scikit-learn's names; children count from the tree's first node.
        values: (node, class) share of each class among the pixels that grew the node.
        sizes: (tree,) nodes of each tree.
        features: number of features.
    """

    nodes: dict[str, NDArray[Any]]
    values: NDArray[np.float32]
    sizes: NDArray[np.int64]
    features: int

    @cached_property
    def _trees(self) -> list[Any]:
        """scikit-learn's trees, in the way in which a pickle makes them."""
        from sklearn.tree import _tree

        ends = np.cumsum(self.sizes)
        classes = np.array([self.values.shape[1]], np.intp)
        trees = []
        for start, end in zip(ends - self.sizes, ends, strict=True):
            nodes = np.zeros(end - start, _tree.NODE_DTYPE)
            for name, column in self.nodes.items():
                nodes[name] = column[start:end]
            values = self.values[start:end, None].astype(np.float64)
            state = {
                "max_depth": len(nodes),
                "node_count": len(nodes),
                "nodes": nodes,
                "values": values,
            }
            tree = _tree.Tree(self.features, classes, 1)
            tree.__setstate__(state)
            trees.append(tree)
        return trees

    def shares(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean over the trees of the class shares in the leaves that pixels come to.

        Args:
            features: (pixel, feature), NaN where missing.

        Returns:
            Shape (pixel, class); 0 of classes that nothing was labelled.

        Raises:
            ValueError: there are not the features that it learned from.
        """
        if features.shape[1] != self.features:
            raise ValueError(f"{features.shape[1]} features for a forest of {self.features}")
        rows = np.ascontiguousarray(features, np.float32)
        total = np.zeros((len(rows), self.values.shape[1]))
        # Votes are added in the order of the trees, whoever counted them.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for votes in pool.map(lambda tree: tree.predict(rows), self._trees):
                total += votes.reshape(total.shape)
        return total / len(self._trees)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """`shares` with one more vote for each class: what no tree says is not impossible."""
        trees, classes = len(self.sizes), self.values.shape[1]
        found: NDArray[np.float64] = (trees * self.shares(features) + 1) / (trees + classes)
        return found

    def tensors(self) -> Params:
        """As a region model keeps it."""
        arrays = self.nodes | {"values": self.values, "sizes": self.sizes}
        found = {f"{_PREFIX}{name}": torch.from_numpy(array) for name, array in arrays.items()}
        return found | {f"{_PREFIX}features": torch.tensor(self.features)}

    @classmethod
    def of(cls, tensors: Params) -> PixelForest | None:
        """What a region model keeps; None if it keeps no forest.

        Raises:
            ValueError: its trees are none; scikit-learn would follow them out of their memory.
        """
        if f"{_PREFIX}values" not in tensors:
            return None
        names = {*_NODE, "values", "sizes", "features"}
        if lacking := {name for name in names if f"{_PREFIX}{name}" not in tensors}:
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
        nodes = {name: tensors[f"{_PREFIX}{name}"].cpu().numpy() for name in _NODE}
        values, sizes = (tensors[f"{_PREFIX}{name}"].cpu().numpy() for name in ("values", "sizes"))
        made = cls(nodes, values, sizes, int(tensors[f"{_PREFIX}features"]))
        made._check()
        return made

    def _check(self) -> None:
        """That from every node a walk ends in a leaf of the same tree, and asks for known features.

        scikit-learn numbers a node before its children.
        """
        count = int(self.sizes.sum())
        if (self.sizes < 1).any() or {len(self.values), *map(len, self.nodes.values())} != {count}:
            raise ValueError("the numbers of its nodes do not agree")
        starts = np.cumsum(self.sizes) - self.sizes
        own = np.arange(count) - np.repeat(starts, self.sizes)
        inside = np.repeat(self.sizes, self.sizes)
        left, right, feature = (
            self.nodes[name] for name in ("left_child", "right_child", "feature")
        )
        leaf = (left == -1) & (right == -1)
        split = (left > own) & (right > own) & (left < inside) & (right < inside)
        if not (leaf | (split & (feature >= 0) & (feature < self.features))).all():
            raise ValueError("a node leads nowhere")


def grow(
    features: NDArray[np.float32], label: NDArray[np.integer], classes: int, seed: int = 0
) -> PixelForest:
    """Grow a forest on labelled pixels.

    Args:
        features: (pixel, feature), NaN where missing.
        label: class index of each pixel.
        classes: of the legend.
        seed: of the trees.
    """
    from sklearn.ensemble import RandomForestClassifier  # takes a second to import

    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=torch.get_num_threads())
    forest.fit(features, label)
    trees = [tree.tree_.__getstate__() for tree in forest.estimators_]
    own = np.concatenate([tree["values"][:, 0] for tree in trees])
    values = np.zeros((len(own), classes), np.float32)
    values[:, forest.classes_.astype(np.int64)] = own
    nodes = {
        name: np.concatenate([tree["nodes"][name] for tree in trees]).astype(kind)
        for name, kind in _NODE.items()
    }
    sizes = np.array([tree["node_count"] for tree in trees], np.int64)
    return PixelForest(nodes, values, sizes, features.shape[1])


def grow_on_tiles(
    image: NDArray[np.float32], label: Labels, classes: int, seed: int = 0
) -> PixelForest:
    """Grow a forest on labelled tiles, where there are very many pixels on some of them.

    Args:
        image: (tile, band, row, col), NaN where not valid.
        label: (tile, row, col), 255 = not labelled.
        classes: of the legend.
        seed: of the trees, and of the draw of pixels.
    """
    places = some_pixels(label, seed)
    return grow(features_at(image, places), label.ravel()[places], classes, seed)


def some_pixels(label: Labels, seed: int) -> NDArray[np.int64]:
    """Ascending places in `label.ravel()` of labelled pixels: all, or `MOST_PIXELS` at random.

    A class keeps `FEWEST_PIXELS`, or all if it has fewer.
    """
    flat = label.ravel()
    places = np.flatnonzero(flat != IGNORE)
    if len(places) <= MOST_PIXELS:
        return places
    order = np.random.default_rng(seed).permutation(places)
    first = [order[:MOST_PIXELS]]
    first += [order[flat[order] == c][:FEWEST_PIXELS] for c in np.unique(flat[places])]
    return np.unique(np.concatenate(first))


def features_at(image: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features (place, feature) of pixels.

    Args:
        image: (tile, band, row, col), NaN where not valid.
        places: ascending, as of an array (tile, row, col) that is made flat.
    """
    size = image.shape[2] * image.shape[3]
    found = [np.empty((0, 3 * image.shape[1]), np.float32)]
    for tile in np.unique(places // size):
        (features,) = pixel_features(image[tile : tile + 1])
        here = places[places // size == tile] % size
        found.append(features.reshape(len(features), size)[:, here].T)
    return np.concatenate(found)


def over_tiles(
    forest: PixelForest, image: NDArray[np.float32], *, smooth: bool = True
) -> NDArray[np.float32]:
    """Class probabilities (tile, class, row, col) of images (tile, band, row, col), NaN = no data.

    Args:
        forest: that votes.
        image: NaN where not valid.
        smooth: with one more vote for each class.
    """
    votes = forest.probabilities if smooth else forest.shares
    tiles, _, rows, cols = image.shape
    found = []
    together = max(1, AT_ONCE // (rows * cols))
    for first in range(0, tiles, together):
        some = image[first : first + together]
        features = np.concatenate(
            [pixel_features(tile[None])[0].reshape(-1, rows * cols).T for tile in some]
        )
        shape = len(some), rows, cols, -1
        found.append(votes(features).astype(np.float32).reshape(shape).transpose(0, 3, 1, 2))
    return np.ascontiguousarray(np.concatenate(found))


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


def mixed(
    network: NDArray[np.floating], forest: NDArray[np.floating], share: float
) -> NDArray[np.float32]:
    """The linear opinion pool of two sets of class probabilities.

    Stone 1961, doi:10.1214/aoms/1177704873.

    Args:
        network: probabilities of any shape.
        forest: those of the same shape.
        share: of the forest, 0-1.
    """
    found: NDArray[np.float32] = ((1 - share) * network + share * forest).astype(np.float32)
    return found
