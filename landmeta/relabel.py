"""Legends of episodes: some classes merged, some dropped, the rest permuted.

A network that is to take any legend must not learn which class has which number. With an open
legend each episode therefore has its own. Only classes that the support shows count: nobody can
map what no label was given for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landmeta.config import RelabelConfig
from landmeta.episodes import EpisodeTiles
from landmeta.legend import IGNORE, Labels
from landmeta.taskset import Tiles


def present(label: Labels) -> Labels:
    """Indices of the classes that have a labelled pixel, ascending."""
    found: Labels = np.unique(label[label != IGNORE])
    return found


def numbering(classes: Labels) -> Labels:
    """Table, shape (256,), that numbers these classes from 0 in their order; all else is 255."""
    table = np.full(256, IGNORE, np.uint8)
    table[classes] = np.arange(len(classes))
    return table


def draw_legend(
    classes: Labels, how: RelabelConfig, rng: np.random.Generator
) -> tuple[Labels, int]:
    """Draw an episode's own legend.

    Args:
        classes: indices of the classes to draw from.
        how: chances and bounds.
        rng: generator of the draw.

    Returns:
        Table, shape (256,), from old to new class index (255 = dropped), and the number of ways.
    """
    order = rng.permutation(classes)
    most_to_lose = max(0, len(order) - how.min_ways)
    dropped = min(int(rng.binomial(len(order), how.drop)), most_to_lose)
    merged = min(int(rng.binomial(len(order) - dropped, how.merge)), most_to_lose - dropped)
    joining, left = np.split(order[dropped:], [merged])
    own = left[: how.max_ways]
    table = numbering(own)
    if len(own):
        table[joining] = rng.integers(len(own), size=merged)
    return table, len(own)


def with_table(tiles: Tiles, table: Labels) -> Tiles:
    """The tiles with their labels looked up in `table`, shape (256,)."""
    return Tiles(tiles.image, table[tiles.label])


def with_legend(
    support: Tiles, query: Tiles, classes: int, how: RelabelConfig | None, key: Sequence[int]
) -> EpisodeTiles:
    """An episode with a legend of its own, or with that of the task set where `how` is None.

    Args:
        support: tiles whose classes are drawn from.
        query: tiles to relabel likewise.
        classes: of the task set.
        how: chances and bounds of the draw.
        key: what it is seeded by, together with what tells it from other draws of the episode.
    """
    if how is None:
        return EpisodeTiles(support, query, classes)
    table, ways = draw_legend(present(support.label), how, np.random.default_rng([*key, 2]))
    # Support without any label has no class; one without pixels stands for it.
    return EpisodeTiles(with_table(support, table), with_table(query, table), max(1, ways))
