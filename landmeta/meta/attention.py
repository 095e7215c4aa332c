"""Attention of query pixels to labelled support pixels.

Mishra et al. 2018, *A Simple Neural Attentive Meta-Learner* (SNAIL, arXiv:1707.03141) and Kim et
al. 2019, *Attentive Neural Processes* (arXiv:1901.05761): what is read of the support set depends
on the pixel that asks. The attention is that of Vaswani et al. 2017, equation 1 (arXiv:1706.03762).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FLOOR = 1e-6
"""Least share of attention that a class is taken to have got."""


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(QKᵀ/√d) V of each head; torch computes it in pieces, in linear memory.

    Args:
        queries: (head, query, d).
        keys: (head, entry, d).
        values: (head, entry, value).

    Returns:
        (head, query, value).
    """
    size = max(queries.shape[2], values.shape[2])  # the kernels in pieces want one size for all
    q, k, v = (F.pad(t, (0, size - t.shape[2]))[None] for t in (queries, keys, values))
    found = F.scaled_dot_product_attention(q, k, v, scale=queries.shape[2] ** -0.5)[0]
    return found[..., : values.shape[2]]


def class_logits(shares: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over heads of the logarithm of what share of attention each class got.

    Args:
        shares: (head, query, class).
        weights: (head,).

    Returns:
        (query, class).
    """
    return torch.einsum("h,hqc->qc", weights, (shares + FLOOR).log())


def draw_evenly(label: Tensor, most: int, classes: int) -> Tensor:
    """Which pixels to keep: at most so many, as evenly over the classes as they allow.

    The same pixels whatever the order of the classes; drawn at random, but the same at each call.

    Args:
        label: (pixel,) class index.
        most: number of pixels to keep.
        classes: of the legend.

    Returns:
        Positions, shape (kept pixel,).
    """
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(label), generator=generator).to(label.device)
    member = F.one_hot(label[order], classes)
    turn = (member.cumsum(0) * member).sum(1)  # the how-manieth of its class each one is
    return order[turn.argsort(stable=True)[:most]]
