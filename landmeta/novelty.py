"""How unlike anything labelled a pixel is, in the features that the network's head sees.

The Mahalanobis distance to the nearest class mean, with one covariance for all classes (Lee et al.
2018, section 2.1, arXiv:1807.03888), which is shrunk, since labels are few and alike (Ledoit, Wolf
2004, doi:10.1016/S0047-259X(03)00096-4). A large distance says that the model was shown nothing of
the kind; a small one does not say that it is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from landmeta.meta.inner import Batch
from landmeta.methods import Method
from landmeta.model import Params

QUANTILE = 0.99
"""Share of labelled pixels whose distance is below the threshold when their group is left out."""
MOST_PIXELS = 20_000
PARTS = 5

Features = NDArray[np.floating]


@dataclass(frozen=True)
class Novelty:
    """Where the features of labelled pixels lie.

    Attributes:
        centres: (class, feature) means of the classes that are labelled.
        whitening: (feature, feature); the distance is Euclidean after it.
        threshold: distances above it are of nothing that was labelled.
    """

    centres: NDArray[np.float64]
    whitening: NDArray[np.float64]
    threshold: float

    def distance(self, features: Features) -> NDArray[np.float32]:
        """Distance of each pixel to the nearest class mean.

        Args:
            features: (feature, row, col), or any shape after the first axis.

        Returns:
            (row, col)
        """
        flat = features.reshape(len(features), -1).T.astype(np.float64) @ self.whitening
        squares = [((flat - centre) ** 2).sum(axis=1) for centre in self.centres @ self.whitening]
        found = np.sqrt(np.min(squares, axis=0)).astype(np.float32)
        nearest: NDArray[np.float32] = found.reshape(features.shape[1:])
        return nearest

    def tensors(self) -> Params:
        """As a region model keeps it."""
        return {
            "novelty.centres": torch.from_numpy(self.centres),
            "novelty.whitening": torch.from_numpy(self.whitening),
            "novelty.threshold": torch.tensor(self.threshold, dtype=torch.float64),
        }

    @classmethod
    def of(cls, tensors: Params) -> Novelty | None:
        """What a region model keeps; None if it keeps nothing of the kind."""
        if "novelty.centres" not in tensors:
            return None
        centres, whitening, threshold = (
            tensors[f"novelty.{name}"].cpu().numpy()
            for name in ("centres", "whitening", "threshold")
        )
        return cls(centres, whitening, float(threshold))


def fit_novelty(
    features: Features,
    label: NDArray[np.integer],
    group: NDArray[np.integer],
    seed: int = 0,
) -> Novelty:
    """Fit to labelled pixels; the threshold to groups of them that are left out in turn.

    With a single group nothing can be left out, and the threshold is too low.

    Args:
        features: (pixel, feature).
        label: class of each pixel.
        group: number of its group.
        seed: of how groups are dealt into parts.
    """
    groups = np.unique(group)
    part = np.random.default_rng(seed).permutation(len(groups)) % PARTS
    of = part[np.searchsorted(groups, group)]
    left_out = []
    for number in np.unique(of):
        out = of == number
        if not out.all():
            left_out.append(_fit(features[~out], label[~out]).distance(features[out].T))
    whole = _fit(features, label)
    distances = np.concatenate(left_out) if left_out else whole.distance(features.T)
    return Novelty(whole.centres, whole.whitening, float(np.quantile(distances, QUANTILE)))


def _fit(features: Features, label: NDArray[np.integer]) -> Novelty:
    from sklearn.covariance import ledoit_wolf  # takes a second to import

    values = features.astype(np.float64)
    classes, place = np.unique(label, return_inverse=True)
    centres = np.stack([values[place == i].mean(axis=0) for i in range(len(classes))])
    scale = values.std(axis=0)
    scale = np.where(scale > 1e-6 * scale.max(initial=1e-6), scale, 1.0)
    around = (values - centres[place]) / scale
    alone = len(around) < 2
    covariance = np.eye(len(scale)) if alone else ledoit_wolf(around, assume_centered=True)[0]
    spread, axes = np.linalg.eigh(covariance)
    floor = max(1e-6 * float(spread[-1]), 1e-12)  # pixels that are all the same
    whitening = axes / np.sqrt(np.maximum(spread, floor)) / scale[:, None]
    return Novelty(centres, whitening, float("nan"))


@torch.no_grad()
def novelty_of(
    method: Method, phi: Params, support: Batch, group: NDArray[np.integer], seed: int = 0
) -> Novelty:
    """Fit to the features of the labelled pixels of a support set.

    Args:
        method: whose features.
        phi: adapted parameters.
        support: labelled tiles.
        group: (tile, row, col) number of each pixel's group, -1 where nothing is labelled.
        seed: of the draw of pixels, where there are very many, and of the parts.
    """
    label = support.label.cpu().numpy()
    places = np.flatnonzero(group >= 0)
    if len(places) > MOST_PIXELS:
        places = np.sort(np.random.default_rng(seed).choice(places, MOST_PIXELS, replace=False))
    tile, row, col = np.unravel_index(places, group.shape)
    found = []
    for number in np.unique(tile):
        here = tile == number
        (feature,) = method.features(phi, support.image[number : number + 1]).cpu().numpy()
        found.append(feature[:, row[here], col[here]].T)
    return fit_novelty(np.concatenate(found), label[tile, row, col], group[tile, row, col], seed)
