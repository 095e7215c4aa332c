"""How far confidence is from the share of right pixels, and what temperature brings it nearer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from landmeta.legend import IGNORE, Labels

BINS = 15
HOTTEST = 20.0
"""Temperatures are sought from its inverse to this."""
_LOWEST = 30.0
"""Classes that are ruled out have logits without bound: so far below the highest counts as that."""


@dataclass(frozen=True)
class Reliability:
    """What a reliability diagram shows: one number for each bin of confidence, shape (bin,).

    Attributes:
        weight: share of the pixels, or of their weight, that is in the bin; they sum to 1.
        confidence: mean probability of their most likely class; NaN in empty bins.
        accuracy: share of them that is right; NaN in empty bins.
    """

    weight: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error, 0-1: Guo et al. 2017, eq. 3 (arXiv:1706.04599)."""
        apart = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(self.weight * apart)) if self.weight.any() else float("nan")


def reliability(
    right: NDArray[np.bool_],
    confidence: NDArray[np.floating],
    weight: NDArray[np.float64] | None = None,
    bins: int = BINS,
) -> Reliability:
    """Compare confidence and accuracy in bins of equal width.

    Args:
        right: whether each pixel's most likely class is its own, shape (pixel,).
        confidence: probability of the most likely class, shape (pixel,).
        weight: of each pixel; all alike if not given.
        bins: of equal width from 0 to 1; a probability on an edge is in the upper one.
    """
    sure = confidence.astype(np.float64)
    counted = np.ones(len(sure)) if weight is None else weight
    place = np.clip((sure * bins).astype(np.int64), 0, bins - 1)
    total, sum_sure, sum_right = (
        np.bincount(place, weights=counted * values, minlength=bins)
        for values in (np.ones(len(sure)), sure, right.astype(np.float64))
    )
    with np.errstate(invalid="ignore"):
        all_of_it = total.sum() or 1.0
        return Reliability(total / all_of_it, sum_sure / total, sum_right / total)


def expected_calibration_error(
    truth: Labels, predicted: Labels, confidence: NDArray[np.float32], bins: int = BINS
) -> float:
    """The error over labelled pixels, 0-1; NaN if there is none.

    Args:
        truth: class index of any shape, 255 = not labelled.
        predicted: most likely class index, of the same shape.
        confidence: its probability, of the same shape.
        bins: as of `reliability`.
    """
    keep = truth != IGNORE
    return reliability(predicted[keep] == truth[keep], confidence[keep], bins=bins).error


def fit_temperature(
    logits: NDArray[np.floating],
    truth: NDArray[np.integer],
    weight: NDArray[np.float64] | None = None,
    doubt: float = 0.0,
) -> float:
    """The T for which softmax(logits / T) gives the truth the highest likelihood.

    Guo et al. 2017, section 4.2. The logarithm of the likelihood is concave in 1/T, so there is one
    best T; it is sought from 1/20 to 20.

    Args:
        logits: (pixel, class), of pixels that were not learned from.
        truth: class index of each, shape (pixel,).
        weight: of each pixel; all alike if not given.
        doubt: share of the truth that the other classes get, so that some places which all happen
            to be right do not make the model sure of everything; after Platt's 1/(n + 2) for n of
            them (Lin et al. 2007, eq. 5, doi:10.1007/s10994-007-5018-6).
    """
    scores = logits.astype(np.float64)
    scores = np.maximum(scores - scores.max(axis=1, keepdims=True), -_LOWEST)
    own = np.take_along_axis(scores, truth.astype(np.int64)[:, None], axis=1)[:, 0]
    others = (scores.sum(axis=1) - own) / max(1, scores.shape[1] - 1)
    hoped = (1 - doubt) * own + doubt * others

    def loss(log_of_inverse: float) -> float:
        factor = np.exp(log_of_inverse)
        return float(
            np.average(logsumexp(factor * scores, axis=1) - factor * hoped, weights=weight)
        )

    bound = np.log(HOTTEST)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded")
    return float(np.exp(-found.x))
