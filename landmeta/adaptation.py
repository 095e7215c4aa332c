"""Adapting parameters to a support set: what every method does at test time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from landmeta.checkpoint import Adaptation
from landmeta.meta.inner import Batch, Loss, gradient
from landmeta.model import Params


def adapt_params(loss: Loss, params: Params, support: Batch, how: Adaptation) -> Params:
    """φ, the parameters after `how.steps` steps from θ = `params` on the whole support set."""
    ((_, adapted),) = trajectory(loss, params, support, how, [how.steps])
    return adapted


def trajectory(
    loss: Loss, params: Params, support: Batch, how: Adaptation, milestones: Sequence[int]
) -> Iterator[tuple[int, Params]]:
    """Yield (step, φ) at each milestone of one adaptation; `params` stay as they are.

    Args:
        loss: scalar loss of parameters on a batch.
        params: θ to start from.
        support: the labelled tiles; every step uses all of them.
        how: optimiser and rate (its `steps` are not looked at).
        milestones: numbers of steps, ascending, 0 allowed.
    """
    adapted = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    kind = torch.optim.SGD if how.optimizer == "sgd" else torch.optim.Adam
    optimizer = kind(list(adapted.values()), lr=how.rate)
    done = 0
    for milestone in milestones:
        for _ in range(milestone - done):
            grads = gradient(loss(adapted, support), adapted)
            for name, p in adapted.items():
                p.grad = grads[name]
            optimizer.step()
        done = milestone
        yield milestone, adapted
