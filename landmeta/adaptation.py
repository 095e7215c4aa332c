"""Adapting to a support set: what every method does at test time.

A method gives the parameters to start from, which may depend on the support set, and says which of
them gradient steps change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from landmeta.errors import ConfigError
from landmeta.meta.inner import Batch, gradient
from landmeta.meta.prior import draw_back, step_size
from landmeta.model import Params
from landmeta.stopping import best_steps, milestones

if TYPE_CHECKING:
    from landmeta.methods.base import Method


Share = Annotated[float, Field(ge=0, le=1)]


class Adaptation(BaseModel):
    """How to adapt: an optimiser, its rate (α), the number of steps (K), and what restrains it.

    `trained` is the method's own learned update; its rate is a factor on the learned rates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Literal["sgd", "adam", "trained"] = "sgd"
    rate: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=0)]
    layers: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Which parameters step, by the beginnings of their names; None: those the method chooses."""
    unfreeze: tuple[Share, Share] | None = None
    """Gradual unfreezing: the head steps alone, the decoder too after the first share of the steps,
    all after the second (Howard, Ruder 2018, section 3.3, arXiv:1801.06146)."""
    prior: Annotated[float, Field(ge=0)] = 0.0
    """λ of a Gaussian prior, λ/2·‖φ − φ₀‖²; see `landmeta.meta.prior`."""
    early_stopping: bool = False
    """Choose the number of steps on held-out support tiles; `steps` where they are too few."""

    @model_validator(mode="after")
    def _possible(self) -> Adaptation:
        if self.optimizer == "trained" and (self.layers or self.unfreeze or self.prior):
            raise ValueError(
                "'trained' is the update as it was learned: layers, unfreeze and prior need "
                "optimizer sgd or adam"
            )
        if self.unfreeze is not None and (self.layers or self.early_stopping):
            raise ValueError(
                "unfreeze has its own order of layers and needs to know the number of steps: leave "
                "out layers and early_stopping"
            )
        return self

    def text(self) -> str:
        """In words, for people."""
        if not self.steps:
            return "no step"
        parts = [f"{self.steps} steps of {self.optimizer} at rate {self.rate:g}"]
        if self.layers is not None:
            parts.append(f"of {' and '.join(self.layers)} only")
        if self.unfreeze is not None:
            shares = " and ".join(f"{share:.0%}" for share in self.unfreeze)
            parts.append(f"unfreezing decoder and encoder after {shares}")
        if self.prior:
            parts.append(f"prior {self.prior:g}")
        if self.early_stopping:
            parts.append("stopped early where tiles allow")
        return ", ".join(parts)


NO_ADAPTATION = Adaptation(rate=1.0, steps=0)
"""No step: a method that starts from the support set has used it all the same."""


def adapt_params(
    method: Method, params: Params, support: Batch | None, how: Adaptation, classes: int
) -> Params:
    """φ, the parameters after all steps on the whole support set; see `trajectory`."""
    how = settle(method, params, support, how, classes)
    ((_, adapted),) = trajectory(method, params, support, how, [how.steps], classes)
    return adapted


def settle(
    method: Method, params: Params, support: Batch | None, how: Adaptation, classes: int
) -> Adaptation:
    """The same with the number of steps that early stopping finds, where it is asked for.

    With fewer than four labelled tiles there is nothing to hold out: then it is `how.steps`.
    """
    if not how.early_stopping:
        return how
    found = None
    if support is not None:
        found = best_steps(
            lambda part, steps: trajectory(method, params, part, how, steps, classes),
            method.loss,
            support,
            [s for s in milestones(how.steps) if not _beyond(method, how, s)],
        )
    steps = how.steps if found is None else found
    return how.model_copy(update={"steps": steps, "early_stopping": False})


def _beyond(method: Method, how: Adaptation, steps: int) -> bool:
    """Whether the method's own update cannot go on for so many steps."""
    return (
        how.optimizer == "trained" and method.most_steps is not None and steps > method.most_steps
    )


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
        how: optimiser and rate (its `steps` are looked at for gradual unfreezing only).
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
    stages = moving_stages(method, start, how)
    moving = {name: start[name].detach().clone().requires_grad_() for name in stages[-1][1]}
    kind = torch.optim.SGD if how.optimizer == "sgd" else torch.optim.Adam
    optimizer = kind(list(moving.values()), lr=how.rate)
    adapted = start | moving
    for step in count():
        names = next(names for first, names in reversed(stages) if step >= first)
        grads = gradient(
            method.inner_loss(adapted, support), {name: moving[name] for name in names}
        )
        for name, p in moving.items():
            p.grad = grads.get(name)  # without one the optimiser passes over it
        optimizer.step()
        for name in names if how.prior else ():
            p = moving[name]
            draw_back(p, start[name].detach(), how.prior, step_size(optimizer, p))
        yield adapted


HEAD, DECODER = ("head.",), ("head.", "skip.", "unet.decoder.")
"""Beginnings of the names of what gradual unfreezing sets free first, and second."""


def moving_stages(method: Method, start: Params, how: Adaptation) -> list[tuple[int, list[str]]]:
    """From which step on which parameters step: (first step, names), ascending.

    Raises:
        ConfigError: none would at first.
    """
    if how.layers is not None:
        names = [name for name in start if name.startswith(how.layers)]
        if not names:
            known = sorted({name.partition(".")[0] for name in start})
            raise ConfigError(
                f"layers {list(how.layers)} are the beginning of no parameter",
                remedy=f"name parts of the network: {', '.join(known)}, or longer beginnings",
            )
        return [(0, names)]
    names = method.adapting(start)
    if how.unfreeze is None:
        return [(0, names)]
    first = [name for name in names if name.startswith(HEAD)]
    if not first:
        raise ConfigError(
            f"gradual unfreezing begins with the head, which {method.settings.method} does not "
            "adapt",
            remedy="leave out unfreeze for this method",
        )
    second = [name for name in names if name.startswith(DECODER)]
    starts = [0, *(round(share * how.steps) for share in sorted(how.unfreeze))]
    return list(zip(starts, (first, second, names), strict=True))
