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


def tile_accuracy(truth: Labels, predicted: Labels, classes: int) -> float:
    """Share of tiles whose most frequent predicted class is their most frequent true one.

    As in scene classification, with the scene's label made of its pixels' (SEN12MS: Schmitt et al.
    2019, doi:10.5194/isprs-annals-IV-2-W7-153-2019). Both are counted over the labelled pixels; of
    classes equally frequent the first of the legend is taken, on both sides. Tiles without labels
    do not count.

    Args:
        truth: class index (tile, row, col), 255 = not labelled.
        predicted: class index (tile, row, col).
        classes: of the legend.

    Returns:
        0-1; NaN if nothing is labelled.
    """
    hits = []
    for true, found in zip(truth, predicted, strict=True):
        keep = true != IGNORE
        if keep.any():
            majorities = [np.bincount(x[keep], minlength=classes).argmax() for x in (true, found)]
            hits.append(majorities[0] == majorities[1])
    return float(np.mean(hits)) if hits else float("nan")
