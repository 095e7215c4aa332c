"""Labelled pixels of a support set as rows of features: what heads are fitted to.

Pixels that are not labelled (255) are dropped before anything is computed. Of very many pixels a
draw is kept that is fair to rare classes; each pixel of it then stands for several, so that a fit
to the draw is a fit to all of them, up to the luck of the draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from landmeta.legend import IGNORE

_GOLDEN = 2654435769
"""2³² divided by the golden ratio: its multiples modulo 2³² are spread evenly (Knuth, TAOCP 6.4)"""


@dataclass(frozen=True)
class Pixels:
    """Labelled pixels.

    Attributes:
        feature: (pixel, feature) float.
        label: (pixel,) int64 class index.
        weight: (pixel,) float, for how many it counts; in sum the number of labelled pixels.
    """

    feature: Tensor
    label: Tensor
    weight: Tensor

    def onehot(self, classes: int) -> Tensor:
        """Labels as (pixel, class) of 0 and 1."""
        return F.one_hot(self.label, classes).to(self.feature.dtype)

    def present(self) -> Tensor:
        """Class indices that occur, ascending."""
        present: Tensor = torch.unique(self.label)
        return present


def no_pixels(features: int, like: Tensor) -> Pixels:
    """An empty set, with the type and device of `like`."""
    return Pixels(
        like.new_zeros(0, features), like.new_zeros(0, dtype=torch.int64), like.new_zeros(0)
    )


def draw_pixels(features: Tensor, label: Tensor, most: int, balance: float = 0.0) -> Pixels:
    """The labelled pixels, or a draw of at most about `most` of them.

    The draw takes the same number of each class, or all where there are fewer, and depends on
    labels and their places alone: the same support gives the same draw on every machine.

    Args:
        features: (tile, feature, row, col).
        label: (tile, row, col) int64, 255 = ignore.
        most: pixels to keep; never less than one of each class.
        balance: b from 0 to 1: a class of n pixels counts in proportion to n^(1 − b).
    """
    flat = label.flatten()
    place = (flat != IGNORE).nonzero().squeeze(1)
    weight = torch.ones_like(place, dtype=features.dtype)
    if len(place) > most:
        place, weight = _fair_draw(place, flat[place], most, weight)
    if balance:
        weight = _balanced(flat[place], weight, balance)
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)
    return Pixels(rows[place], flat[place], weight)


def _fair_draw(place: Tensor, label: Tensor, most: int, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Places that are kept, in order, and how many each stands for."""
    _, number, counts = torch.unique(label, return_inverse=True, return_counts=True)
    quota = fair_quota(counts.tolist(), most)
    spread = (place * _GOLDEN) % 2**32
    order = (number * 2**32 + spread).argsort()
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(order), device=order.device) - first[number[order]]
    kept = order[rank < quota].sort().values
    share = counts / counts.clamp(max=quota)
    return place[kept], share.to(weight.dtype)[number[kept]]


def _balanced(label: Tensor, weight: Tensor, balance: float) -> Tensor:
    _, number = torch.unique(label, return_inverse=True)
    share = torch.zeros_like(weight).index_add(0, number, weight)[number] ** -balance * weight
    return share * (weight.sum() / share.sum())


def fair_quota(counts: list[int], most: int) -> int:
    """The largest q ≥ 1 with Σ min(count, q) ≤ most, which is less than Σ count."""
    left, quota = most, 0
    for done, count in enumerate(sorted(counts)):
        quota = left // (len(counts) - done)
        if count > quota:
            break
        left -= count
    return max(quota, 1)


def with_one(feature: Tensor) -> Tensor:
    """Rows of features with a last column of 1, for the bias."""
    return F.pad(feature, (0, 1), value=1.0)
