"""What held-out labels say: which way to adapt is best, how right it is, and how sure to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from landmeta.adaptation import Adaptation
from landmeta.calibration import Reliability, fit_temperature, reliability
from landmeta.forest import mixed

FOREST_SHARES = (0.5, 0.0, 0.25, 0.75, 1.0)
"""Shares of the forest in the votes that are tried. The plain mean of two forecasts is seldom
beaten by weights that few data gave (Bates, Granger 1969, doi:10.1057/jors.1969.103; Stock, Watson
2004, doi:10.1002/for.928): the first is left only for one that is clearly better."""

_TINY = 1e-12
"""In place of a probability of 0, which has no logarithm."""

Probabilities = NDArray[np.floating]


@dataclass(frozen=True)
class Found:
    """What held-out labels say.

    Attributes:
        how: the way to adapt.
        how_changed: whether it is another than the tuned one.
        tried: number of ways.
        groups: held out in turn, of how many `parts` and, over again, `repeats`.
        accuracy: share of right pixels, each group counting alike.
        balanced: mean over classes of it.
        recall: share of right pixels and number of groups by class index.
        as_tuned: `balanced` of the checkpoint's own way.
        forest: share of the random forest in the votes.
        network_alone, forest_alone: `balanced` of each; None of the forest if it was not asked.
        temperature: that makes the confidence right; None if one fitted to the other parts makes
            held-out pixels less likely, or confidence less right.
        before, after: reliability without a temperature, and with one fitted to the other parts.
    """

    how: Adaptation
    how_changed: bool
    tried: int
    groups: int
    parts: int
    repeats: int
    accuracy: float
    balanced: float
    recall: dict[int, tuple[float, int]]
    as_tuned: float
    forest: float
    network_alone: float
    forest_alone: float | None
    temperature: float | None
    before: Reliability
    after: Reliability

    def record(self, names: Sequence[str]) -> dict[str, Any]:
        """As JSON, for the region model and for reports."""
        return {
            "groups": self.groups,
            "parts": self.parts,
            "repeats": self.repeats,
            "ways": self.tried,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced,
            "balanced_accuracy_as_tuned": self.as_tuned,
            "forest_share": self.forest,
            "balanced_accuracy_network_alone": self.network_alone,
            "balanced_accuracy_forest_alone": self.forest_alone,
            "recall": {names[i]: {"share": s, "groups": n} for i, (s, n) in self.recall.items()},
            "calibration_error": self.before.error,
            "calibration_error_with_temperature": self.after.error,
            "reliability": [_table(self.before), _table(self.after)],
        }


def _table(found: Reliability) -> list[list[float]]:
    """(share, confidence, accuracy) of the bins that are not empty."""
    rows = np.stack([found.weight, found.confidence, found.accuracy], axis=1)
    return np.round(rows[found.weight > 0], 4).tolist()  # type: ignore[no-any-return]


@dataclass
class Judged:
    """Logits of held-out pixels by one way, (pixel, class), in the order of `Sample`."""

    how: Adaptation
    logits: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Sample:
    """Held-out pixels: class index, number of group, and which part held them out."""

    truth: NDArray[np.int64]
    group: NDArray[np.int64]
    part: NDArray[np.int64]

    def weight(self) -> NDArray[np.float64]:
        """So that groups count alike."""
        _, place, counts = np.unique(self.group, return_inverse=True, return_counts=True)
        weight: NDArray[np.float64] = 1.0 / counts[place]
        return weight


@dataclass(frozen=True)
class _Cells:
    """Held-out pixels by group and class.

    Attributes:
        label: class of each cell.
        place: number of each pixel's cell.
        share: of each cell in the mean: alike in a class, and classes alike.
    """

    label: NDArray[np.int64]
    place: NDArray[np.int64]
    share: NDArray[np.float64]

    @classmethod
    def of(cls, sample: Sample) -> _Cells:
        pairs = np.stack([sample.group, sample.truth])
        cell, place = np.unique(pairs, axis=1, return_inverse=True)
        classes, sizes = np.unique(cell[1], return_counts=True)
        share = 1 / (len(classes) * sizes[np.searchsorted(classes, cell[1])])
        return cls(cell[1], place.ravel(), share)

    def mean(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean of the pixels of each cell."""
        return np.bincount(self.place, values) / np.bincount(self.place)

    def hits(self, votes: NDArray[np.floating], sample: Sample) -> NDArray[np.float64]:
        """Share of right pixels in each cell, of logits or probabilities (pixel, class)."""
        return self.mean(votes.argmax(axis=1) == sample.truth)

    def clear(self, gain: NDArray[np.float64]) -> bool:
        """Whether a gain in each cell is more than its standard error on average."""
        mean = float(self.share @ gain)
        few = len(gain) / max(1, len(gain) - 1)
        return mean > float(np.sqrt(few * (self.share**2) @ (gain - mean) ** 2)) + 1e-9


def conclude(
    judged: Sequence[Judged],
    sample: Sample,
    parts: int,
    repeats: int,
    forest: Probabilities | None = None,
    shares: Sequence[float] = FOREST_SHARES,
) -> Found:
    """Compare ways, the first being the tuned one, and describe the chosen one.

    The tuned way is left only for one that is better by more than the standard error of the
    difference over groups. Of equals, the one with the fewest steps is taken. Then the forest gets
    the share in the votes that gives the held-out labels the highest likelihood (stacking: Yao et
    al. 2018, eq. 4, doi:10.1214/17-BA1091), if that is better than the first share by more than the
    standard error as well. A temperature is fitted to what both say together, since a mean of two
    forecasts is less sure than it could be (Ranjan, Gneiting 2010,
    doi:10.1111/j.1467-9868.2009.00726.x).

    Args:
        judged: ways and what they say of the sample.
        sample: held-out pixels.
        parts: that were held out in turn.
        repeats: how often that was done over again.
        forest: class probabilities (pixel, class) of a random forest that learned from the same
            labels; None without one.
        shares: of it in the votes, the first being the one that must be beaten.
    """
    cells = _Cells.of(sample)
    hits = [cells.hits(np.concatenate(one.logits), sample) for one in judged]
    order = sorted(range(len(judged)), key=lambda i: judged[i].how.steps)
    best = max(order, key=lambda i: round(float(cells.share @ hits[i]), 9))
    if not cells.clear(hits[best] - hits[0]):
        best = 0
    network, weight = softmax(np.concatenate(judged[best].logits), axis=1), sample.weight()
    share, pool = 0.0, network
    if forest is not None:
        share = _forest_share(network, forest, sample, cells, shares)
        pool = mixed(network, forest, share)
    logits = np.log(np.maximum(pool, _TINY))
    crossed = _cross_fitted(logits, sample)
    cooled = softmax(logits / crossed[:, None], axis=1)
    before, after = (
        reliability(p.argmax(axis=1) == sample.truth, p.max(axis=1), weight) for p in (pool, cooled)
    )
    likely, cooled_likely = (np.average(_score(p, sample), weights=weight) for p in (pool, cooled))
    heated = bool(cooled_likely > likely and after.error <= before.error)
    chosen = cells.hits(pool, sample)
    classes, sizes = np.unique(cells.label, return_counts=True)
    return Found(
        how=judged[best].how,
        how_changed=best != 0,
        tried=len({one.how for one in judged}),
        groups=len(np.unique(sample.group)),
        parts=parts,
        repeats=repeats,
        accuracy=float(np.average(pool.argmax(axis=1) == sample.truth, weights=weight)),
        balanced=float(cells.share @ chosen),
        recall={
            int(c): (float(chosen[cells.label == c].mean()), int(n))
            for c, n in zip(classes, sizes, strict=True)
        },
        as_tuned=float(cells.share @ hits[0]),
        forest=share,
        network_alone=float(cells.share @ hits[best]),
        forest_alone=None if forest is None else float(cells.share @ cells.hits(forest, sample)),
        temperature=(_temperature(logits, sample, np.ones(len(logits), bool)) if heated else None),
        before=before,
        after=after,
    )


def _score(probabilities: NDArray[np.floating], sample: Sample) -> NDArray[np.float64]:
    """Logarithm of what each pixel's own class was given."""
    own = probabilities[np.arange(len(sample.truth)), sample.truth]
    score: NDArray[np.float64] = np.log(np.maximum(own, _TINY))
    return score


def _forest_share(
    network: Probabilities,
    forest: Probabilities,
    sample: Sample,
    cells: _Cells,
    shares: Sequence[float],
) -> float:
    """The likeliest share, unless the first is about as good."""
    scores = [cells.mean(_score(mixed(network, forest, share), sample)) for share in shares]
    best = max(range(len(shares)), key=lambda i: round(float(cells.share @ scores[i]), 9))
    return shares[best if cells.clear(scores[best] - scores[0]) else 0]


def _cross_fitted(logits: NDArray[np.floating], sample: Sample) -> NDArray[np.float64]:
    """For each pixel, the temperature fitted to groups of other parts than its own."""
    fitted = np.ones(len(logits))
    for part in np.unique(sample.part):
        out = np.isin(sample.group, sample.group[sample.part == part])
        if not out.all():
            fitted[sample.part == part] = _temperature(logits, sample, ~out)
    return fitted


def _temperature(logits: NDArray[np.floating], sample: Sample, which: NDArray[np.bool_]) -> float:
    """The temperature fitted to some of the pixels, in which groups count alike."""
    groups = len(np.unique(sample.group[which]))
    doubt = 1 / (groups + 2)
    return fit_temperature(logits[which], sample.truth[which], sample.weight()[which], doubt)
