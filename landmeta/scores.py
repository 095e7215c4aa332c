"""Accuracy figures from a confusion matrix, shape (truth class, predicted class), pixel counts.

A class counts towards the means if it occurs in the truth: a region is not judged on classes it
does not have, but pixels wrongly given to such a class still count against the class they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmeta.legend import IGNORE, Labels

Confusion = NDArray[np.int64]


def confusion_matrix(truth: Labels, predicted: Labels, classes: int) -> Confusion:
    """Count (truth, predicted) pairs over all pixels whose truth is not 255."""
    keep = truth != IGNORE
    pairs = truth[keep].astype(np.int64) * classes + predicted[keep]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class Scores:
    """Mean intersection over union, overall accuracy and macro F1, each 0-1."""

    miou: float
    accuracy: float
    macro_f1: float


def scores(confusion: Confusion) -> Scores:
    """The figures of one confusion matrix; all NaN if it is empty."""
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    hit = np.diag(confusion)
    present = truth > 0
    if not present.any():
        return Scores(np.nan, np.nan, np.nan)
    iou = hit[present] / (truth + predicted - hit)[present]
    f1 = 2 * hit[present] / (truth + predicted)[present]
    return Scores(float(iou.mean()), float(hit.sum() / truth.sum()), float(f1.mean()))
