"""What a training cost, so that a comparison can say whether the budgets were equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

COSTS = ("steps", "images", "passes", "seconds")
"""Outer steps; tiles read, a tile once each time; tiles through the network; seconds."""


class PassCounter:
    """Counts the tiles that go forward through a network while it trains.

    Each is followed by a backward pass, and by two where second derivatives are taken: it is the
    number of gradients of one tile, counted and not reckoned, for any method.

    Attributes:
        passes: tiles so far.
    """

    def __init__(self) -> None:
        self.passes = 0

    @contextmanager
    def counting(self, net: nn.Module) -> Iterator[None]:
        """Count inside the block."""

        def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.passes += inputs[0].shape[0]

        handle = net.register_forward_pre_hook(count)
        try:
            yield
        finally:
            handle.remove()


def cost_of(provenance: Mapping[str, Any]) -> dict[str, float] | None:
    """Cost of a checkpoint with all that it was started from; None if it does not say so."""
    cost = provenance.get("cost")
    return None if cost is None else {name: cost[name] for name in COSTS}


def together(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """The sum of two costs."""
    return {name: first[name] + second[name] for name in COSTS}


def budget_sentence(costs: Mapping[str, Mapping[str, float] | None]) -> str:
    """Whether the methods that were trained had equal budgets, and of what."""
    trained = {name: c for name, c in costs.items() if c is not None and c["passes"]}
    if len(trained) < 2:
        return "Budgets: fewer than two methods say what their training cost"
    equal, unequal = [], []
    for cost, unit in (("passes", "tiles through the network"), ("seconds", "seconds")):
        order = sorted(trained, key=lambda name: trained[name][cost])
        low, high = (trained[name][cost] for name in (order[0], order[-1]))
        if high <= 1.1 * low:
            equal.append(unit)
        unequal.append(f"{unit} from {low:,.0f} ({order[0]}) to {high:,.0f} ({order[-1]})")
    if equal:
        return f"Budgets of training are equal within 10 % in {' and in '.join(equal)}"
    return f"Budgets of training are not equal: {'; '.join(unequal)}"
