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
        temperature: that makes the confidence right; None if one fitted to the other parts makes
            held-out pixels less likely than none does.
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

    def hits(self, judged: Judged, sample: Sample) -> NDArray[np.float64]:
        """Share of right pixels in each cell."""
        right = np.concatenate(judged.logits).argmax(axis=1) == sample.truth
        return np.bincount(self.place, right) / np.bincount(self.place)


def conclude(judged: Sequence[Judged], sample: Sample, parts: int, repeats: int) -> Found:
    """Compare ways, the first being the tuned one, and describe the chosen one.

    The tuned way is left only for one that is better by more than the standard error of the
    difference over groups. Of equals, the one with the fewest steps is taken.
    """
    cells = _Cells.of(sample)
    hits = [cells.hits(one, sample) for one in judged]
    order = sorted(range(len(judged)), key=lambda i: judged[i].how.steps)
    best = max(order, key=lambda i: round(float(cells.share @ hits[i]), 9))
    gain = hits[best] - hits[0]
    mean = float(cells.share @ gain)
    few = len(gain) / max(1, len(gain) - 1)
    if mean <= np.sqrt(few * (cells.share**2) @ (gain - mean) ** 2) + 1e-9:
        best = 0
    logits, weight = np.concatenate(judged[best].logits), sample.weight()
    right = logits.argmax(axis=1) == sample.truth
    crossed = _cross_fitted(logits, sample)
    plain, cooled = (softmax(logits / t, axis=1) for t in (np.float64(1), crossed[:, None]))
    likely, cooled_likely = (
        np.average(np.log(p[np.arange(len(p)), sample.truth] + 1e-12), weights=weight)
        for p in (plain, cooled)
    )
    whole = _temperature(logits, sample, np.ones(len(logits), bool))
    classes, sizes = np.unique(cells.label, return_counts=True)
    return Found(
        how=judged[best].how,
        how_changed=best != 0,
        tried=len({one.how for one in judged}),
        groups=len(np.unique(sample.group)),
        parts=parts,
        repeats=repeats,
        accuracy=float(np.average(right, weights=weight)),
        balanced=float(cells.share @ hits[best]),
        recall={
            int(c): (float(hits[best][cells.label == c].mean()), int(n))
            for c, n in zip(classes, sizes, strict=True)
        },
        as_tuned=float(cells.share @ hits[0]),
        temperature=whole if cooled_likely > likely else None,
        before=reliability(right, plain.max(axis=1), weight),
        after=reliability(right, cooled.max(axis=1), weight),
    )


def _cross_fitted(logits: NDArray[np.float32], sample: Sample) -> NDArray[np.float64]:
    """For each pixel, the temperature fitted to groups of other parts than its own."""
    fitted = np.ones(len(logits))
    for part in np.unique(sample.part):
        out = np.isin(sample.group, sample.group[sample.part == part])
        if not out.all():
            fitted[sample.part == part] = _temperature(logits, sample, ~out)
    return fitted


def _temperature(logits: NDArray[np.float32], sample: Sample, which: NDArray[np.bool_]) -> float:
    """The temperature fitted to some of the pixels, in which groups count alike."""
    groups = len(np.unique(sample.group[which]))
    doubt = 1 / (groups + 2)
    return fit_temperature(logits[which], sample.truth[which], sample.weight()[which], doubt)
