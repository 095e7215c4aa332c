"""Expected calibration error: how far confidence is from the share of right pixels.

Guo et al. 2017, eq. 3 (arXiv:1706.04599): pixels are put into 15 bins of equal width by the
probability of their most likely class; the error is the mean over pixels of the distance between
the mean probability and the accuracy of a bin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from landmeta.legend import IGNORE, Labels

BINS = 15


def expected_calibration_error(
    truth: Labels, predicted: Labels, confidence: NDArray[np.float32], bins: int = BINS
) -> float:
    """The error over labelled pixels, 0-1; NaN if there is none.

    Args:
        truth: class index of any shape, 255 = not labelled.
        predicted: most likely class index, of the same shape.
        confidence: its probability, of the same shape.
        bins: of equal width from 0 to 1; a probability on an edge is in the upper one.
    """
    keep = truth != IGNORE
    if not keep.any():
        return float("nan")
    sure = confidence[keep].astype(np.float64)
    right = (predicted[keep] == truth[keep]).astype(np.float64)
    place = np.clip((sure * bins).astype(np.int64), 0, bins - 1)
    apart = np.bincount(place, weights=right - sure, minlength=bins)
    return float(np.abs(apart).sum() / len(sure))
