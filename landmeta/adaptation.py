"""Adapting to a support set: what every method does at test time.

A method gives the parameters to start from, which may depend on the support set, and says which of
them gradient steps change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from landmeta.meta.inner import Batch, gradient
from landmeta.model import Params

if TYPE_CHECKING:
    from landmeta.methods.base import Method


class Adaptation(BaseModel):
    """How to adapt: an optimiser, its rate (α) and the number of steps (K).

    `trained` is the method's own learned update; its rate is a factor on the learned rates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Literal["sgd", "adam", "trained"] = "sgd"
    rate: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=0)]


NO_ADAPTATION = Adaptation(rate=1.0, steps=0)
"""No step: a method that starts from the support set has used it all the same."""


def adapt_params(
    method: Method, params: Params, support: Batch | None, how: Adaptation, classes: int
) -> Params:
    """φ, the parameters after `how.steps` steps on the whole support set; see `trajectory`."""
    ((_, adapted),) = trajectory(method, params, support, how, [how.steps], classes)
    return adapted


def trajectory(
    method: Method,
    params: Params,
    support: Batch | None,
    how: Adaptation,
    milestones: Sequence[int],
    classes: int,
) -> Iterator[tuple[int, Params]]:
    """Yield (step, φ) at each milestone of one adaptation; `params` stay as they are.

    Args:
        method: what starts and steps.
        params: θ.
        support: the labelled tiles; None without any: then steps change nothing.
        how: optimiser and rate (its `steps` are not looked at).
        milestones: numbers of steps, ascending, 0 allowed.
        classes: of the task's legend.
    """
    with torch.no_grad():
        start = method.start(params, support, classes)
    steps = _steps(method, params, start, support, how)
    adapted, done = start, 0
    for milestone in milestones:
        for _ in range(milestone - done):
            adapted = next(steps)
        done = milestone
        yield milestone, adapted


def _steps(
    method: Method, params: Params, start: Params, support: Batch | None, how: Adaptation
) -> Iterator[Params]:
    """Yield φ after each step, without end."""
    if support is None:
        return repeat(start)
    if how.optimizer == "trained":
        return method.trained_steps(params, start, support, how.rate)
    return _optimizer_steps(method, start, support, how)


def _optimizer_steps(
    method: Method, start: Params, support: Batch, how: Adaptation
) -> Iterator[Params]:
    """Yield φ after each step of an optimiser of torch, always in the same tensors."""
    moving = {name: start[name].detach().clone() for name in method.adapting(start)}
    moving = {name: p.requires_grad_() for name, p in moving.items()}
    kind = torch.optim.SGD if how.optimizer == "sgd" else torch.optim.Adam
    optimizer = kind(list(moving.values()), lr=how.rate)
    adapted = start | moving
    while True:
        grads = gradient(method.inner_loss(adapted, support), moving)
        for name, p in moving.items():
            p.grad = grads[name]
        optimizer.step()
        yield adapted
