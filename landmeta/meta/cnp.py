"""Summaries of labelled pixels that do not depend on their order: conditional neural processes.

Garnelo et al. 2018, *Conditional Neural Processes*, equations 1 to 3 (arXiv:1807.01613): each
observation (x_i, y_i) is encoded alone, and the mean of the codes stands for the task. Here the
mean is taken over the pixels of each class first and then over the classes, so that a rare class
counts as much as a frequent one.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from landmeta.legend import IGNORE


def labelled_pixels(features: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Features and classes of the labelled pixels, in the order of tiles, rows and columns.

    Args:
        features: (tile, feature, row, col).
        label: (tile, row, col), 255 = ignore.

    Returns:
        (pixel, feature) and (pixel,) int64.
    """
    known = label != IGNORE
    return features.movedim(1, -1)[known], label[known]


def class_means(values: Tensor, label: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean of the values of each class.

    Args:
        values: (pixel, value).
        label: (pixel,) class index.
        classes: of the legend.

    Returns:
        Means, shape (class, value), zero where a class has no pixel; and how many pixels it has,
        shape (class,).
    """
    member = F.one_hot(label, classes).to(values.dtype)
    count = member.sum(0)
    return (member / count.clamp(min=1)).T @ values, count


def pooled(means: Tensor, count: Tensor) -> Tensor:
    """Mean over the classes that have pixels, shape (value,); zero without any."""
    present = (count > 0).to(means.dtype)
    return present @ means / present.sum().clamp(min=1)
