"""The inner loop that all gradient-based methods share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landmeta.meta.hessian import ParamLoss, plain_gradient
from landmeta.model import Params


@dataclass(frozen=True)
class Batch:
    """Labelled tiles on a device.

    Attributes:
        image: (tile, band, row, col) float32, NaN where not valid.
        label: (tile, row, col) int64 class index, 255 = ignore.
    """

    image: Tensor
    label: Tensor


Loss = Callable[[Params, Batch], Tensor]
"""A scalar loss of parameters on a batch, differentiable in the parameters."""


def on(loss: Loss, batch: Batch) -> ParamLoss:
    """The loss on one batch, as a function of parameters alone."""
    return lambda params: loss(params, batch)


def gradient(loss: Tensor, params: Params, *, create_graph: bool = False) -> Params:
    """Gradient of `loss` with respect to `params`; zeros where it does not depend on them."""
    grads = torch.autograd.grad(
        loss, list(params.values()), create_graph=create_graph, materialize_grads=True
    )
    return dict(zip(params, grads, strict=True))


def inner_loop(loss: Loss, params: Params, support: Batch, *, steps: int, rate: float) -> Params:
    """K steps of gradient descent on the support set: φ ← φ − α ∇L_support(φ).

    Finn et al. 2017, eq. 1 (doi:10.48550/arXiv.1703.03400). The result carries no graph.
    """
    adapted = params
    for _ in range(steps):
        _, grads = plain_gradient(on(loss, support), adapted)
        adapted = {name: p.detach() - rate * grads[name] for name, p in adapted.items()}
    return adapted
