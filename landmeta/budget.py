"""What a training cost, so that a comparison can say whether the budgets were equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landmeta.checkpoint import load_checkpoint

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


def cost_before(init: Path | None) -> dict[str, float]:
    """What the checkpoint a training starts from has cost; zeros without one."""
    if init is None or not init.is_file():
        return dict.fromkeys(COSTS, 0)
    return cost_of(load_checkpoint(init).meta.provenance) or dict.fromkeys(COSTS, 0)


def cost_of(provenance: Mapping[str, Any]) -> dict[str, float] | None:
    """Cost of a checkpoint with all that it was started from; None if it does not say so."""
    cost = provenance.get("cost")
    return None if cost is None else {name: cost[name] for name in COSTS}


def together(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """The sum of two costs."""
    return {name: first[name] + second[name] for name in COSTS}
