"""Reptile: move θ towards where ordinary gradient descent on a task ends.

Nichol, Achiam, Schulman 2018, *On First-Order Meta-Learning Algorithms*, algorithm 2
(doi:10.48550/arXiv.1803.02999).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from landmeta.meta.hessian import ParamLoss, plain_gradient
from landmeta.meta.sweep import stepped
from landmeta.model import Params


def direction(
    losses: Sequence[ParamLoss], params: Params, rates: Mapping[str, float]
) -> tuple[Tensor, Params]:
    """Mean loss along K steps of gradient descent, and (φ₀ − φ_K) / (K·α).

    Divided by K·α the direction is the mean of the K gradients, so that the outer rate means the
    same for any α and K (section 3 of the paper, for an outer optimiser such as Adam).

    Args:
        losses: of each of the K steps: on another part of the task each, or what is learnt is the
            average of the tasks and no more (section 5).
        params: φ₀.
        rates: α of each parameter that adapts; the direction is 0 in the others.
    """
    phi = {name: p.detach() for name, p in params.items()}
    total = {name: torch.zeros_like(p) for name, p in phi.items()}
    values = []
    for loss in losses:
        value, grads = plain_gradient(loss, phi)
        values.append(value)
        phi = stepped(phi, grads, rates)
    for name, alpha in rates.items():
        total[name] = (params[name].detach() - phi[name]) / (len(losses) * alpha)
    return torch.stack(values).mean(), total
