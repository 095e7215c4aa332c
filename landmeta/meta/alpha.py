"""Hyper-gradients of the inner and the outer rate.

Behl, Baydin, Torr 2019, *Alpha MAML* (doi:10.48550/arXiv.1905.07435), applies hyper-gradient
descent (Baydin et al. 2018, doi:10.48550/arXiv.1703.04782) to both rates of MAML. Both rules are
taken here in a multiplicative form, which has no unit: logarithms of rates move, by numbers from
−1 to 1 times a speed. So the speeds need no tuning to the size of losses and gradients, and rates
stay above 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from landmeta.meta.hessian import norm
from landmeta.model import Params


def inner_move(loss: Tensor, derivative: Tensor) -> Tensor:
    """Where log α should go: −∂ log L / ∂ log α, cut to [−1, 1].

    L is the query loss after adaptation. For one inner step ∂L/∂α is −∇L_query(φ₁)·∇L_support(θ),
    as in the paper; for more steps it is the whole derivative.

    Args:
        loss: L.
        derivative: ∂L / ∂ log α.
    """
    return (-derivative / loss.clamp(min=1e-12)).clamp(-1, 1)


def outer_move(gradient: Params, last: Params) -> Tensor:
    """Where log β should go: the cosine of the angle between this gradient and the last step.

    β grows while steps go the same way and falls when they go back and forth: −∂L/∂β is
    ∇L(θ_t)·u_{t−1} for θ_t = θ_{t−1} − β·u_{t−1} (Baydin et al. 2018; for Adam u is its step for
    rate 1). 0 before the first step.

    Args:
        gradient: ∇L(θ_t).
        last: u_{t−1}, by the same names.
    """
    product = torch.stack([(gradient[name] * last[name]).sum() for name in gradient]).sum()
    lengths = norm(gradient) * norm({name: last[name] for name in gradient})
    return product / lengths.clamp(min=1e-30)
