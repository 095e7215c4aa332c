"""An update rule that is learned: a recurrent cell whose memory are the parameters themselves.

Ravi, Larochelle 2017, *Optimization as a Model for Few-Shot Learning* (ICLR,
openreview.net/forum?id=rJY0-Kcll). Each coordinate of the parameters moves by

    c_t = f_t · c_{t−1} − i_t · ∇L_t

(eq. 2), with gates i_t and f_t (eqs. 3 and 4) that see the state of an ordinary LSTM which reads
gradient and loss, the parameter, and the gate before. All coordinates share the weights. Gradients
and losses are taken as constants (section 3.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landmeta.model import Params

SHRINK = 10.0
"""p of the paper's preprocessing."""


@dataclass(frozen=True)
class Cell:
    """What the rule remembers of each coordinate.

    Attributes:
        hidden, memory: of the LSTM that reads, (coordinate, unit).
        forget, input: gates of the step before, (coordinate,).
    """

    hidden: Tensor
    memory: Tensor
    forget: Tensor
    input: Tensor


def initial_weights(hidden: int, rate: float, generator: torch.Generator) -> Params:
    """A rule that starts out as gradient descent at `rate`, nearly: gates i ≈ α and f ≈ 0.999."""

    def small(*shape: int) -> Tensor:
        return 0.01 * torch.randn(shape, generator=generator)

    closed = math.log(min(rate, 0.99) / (1 - min(rate, 0.99)))
    return {
        "read.weight": small(4 * hidden, 4 + hidden),
        "read.bias": torch.zeros(4 * hidden),
        "input.weight": small(hidden + 2),
        "input.bias": torch.tensor(closed),
        "forget.weight": small(hidden + 2),
        "forget.bias": torch.tensor(7.0),
    }


def fresh_cell(coordinates: int, hidden: int, like: Tensor) -> Cell:
    """Before the first step: nothing read, the input gate shut and nothing forgotten."""
    empty = like.new_zeros((coordinates, hidden))
    return Cell(empty, empty, like.new_ones(coordinates), like.new_zeros(coordinates))


def squeezed(x: Tensor) -> Tensor:
    """Size and sign of numbers of any magnitude, (..., 2) (appendix of the paper).

    (log|x| / p, sign x) where |x| ≥ e⁻ᵖ, and (−1, eᵖ·x) below.
    """
    edge = math.exp(-SHRINK)
    large = torch.stack([x.abs().clamp(min=edge).log() / SHRINK, x.sign()], dim=-1)
    small = torch.stack([-torch.ones_like(x), x / edge], dim=-1)
    return torch.where(x.abs()[..., None] >= edge, large, small)


def update(
    weights: Params, cell: Cell, values: Tensor, gradient: Tensor, loss: Tensor
) -> tuple[Tensor, Cell]:
    """One step of the rule, differentiable in `weights`, `cell` and `values`.

    Args:
        weights: of the rule; see `initial_weights`.
        cell: from the step before.
        values: c_{t−1}, the parameters, (coordinate,).
        gradient: ∇L_t of them, (coordinate,), a constant.
        loss: L_t, a constant.
    """
    seen = torch.cat([squeezed(gradient), squeezed(loss).expand(len(values), 2)], dim=1)
    gates = torch.cat([seen, cell.hidden], dim=1) @ weights["read.weight"].T + weights["read.bias"]
    let_in, keep, let_out, new = gates.chunk(4, dim=1)
    memory = keep.sigmoid() * cell.memory + let_in.sigmoid() * new.tanh()
    hidden = let_out.sigmoid() * memory.tanh()

    def gate(name: str, before: Tensor) -> Tensor:
        known = torch.cat([hidden, values[:, None], before[:, None]], dim=1)
        return (known @ weights[f"{name}.weight"] + weights[f"{name}.bias"]).sigmoid()

    forget, take = gate("forget", cell.forget), gate("input", cell.input)
    return forget * values - take * gradient, Cell(hidden, memory, forget, take)
