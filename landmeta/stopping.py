"""Early stopping: how many steps to adapt, chosen on labelled tiles that are held out for it.

Whole tiles are held out, never pixels of a tile that is adapted on: neighbours are alike, and would
say that more steps are always better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from landmeta.legend import IGNORE
from landmeta.meta.inner import Batch, Loss
from landmeta.model import Params

FEWEST_TILES = 4
"""Labelled tiles that are needed; as many parts are held out in turn."""

Follow = Callable[[Batch, Sequence[int]], Iterator[tuple[int, Params]]]
"""Adapts to a batch and yields (step, φ) at each of the numbers of steps."""


def milestones(steps: int) -> list[int]:
    """Numbers of steps to look at: from none to four times those tuned, ascending."""
    shares = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)
    return sorted({round(share * steps) for share in shares})


def best_steps(follow: Follow, loss: Loss, support: Batch, steps: Sequence[int]) -> int | None:
    """The number of steps with the lowest loss on held-out tiles; the fewest of equals.

    The labelled tiles are dealt into four parts; each is held out once while the others are adapted
    on, and the losses are averaged over all labelled pixels.

    Args:
        follow: the adaptation.
        loss: mean over labelled pixels.
        support: the labelled tiles.
        steps: to choose from, ascending.

    Returns:
        None with fewer than four labelled tiles.
    """
    counts = (support.label != IGNORE).flatten(1).sum(1).tolist()
    labelled = [tile for tile, count in enumerate(counts) if count]
    if len(labelled) < FEWEST_TILES:
        return None
    total = np.zeros(len(steps))
    for part in range(FEWEST_TILES):
        out = labelled[part::FEWEST_TILES]
        kept = [tile for tile in labelled if tile not in out]
        held_out = _chosen(support, out)
        pixels = sum(counts[tile] for tile in out)
        for column, (_, adapted) in enumerate(follow(_chosen(support, kept), steps)):
            with torch.no_grad():
                value = float(loss(adapted, held_out))
            total[column] += pixels * (value if math.isfinite(value) else math.inf)
    return steps[int(total.argmin())]


def _chosen(support: Batch, tiles: list[int]) -> Batch:
    return Batch(support.image[tiles], support.label[tiles])
