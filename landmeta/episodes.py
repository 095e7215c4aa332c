"""Episodes: a few labelled tiles of one task to adapt on, and others of it to be judged on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from landmeta.errors import EmptyRegion, TooFewTiles
from landmeta.taskset import Split, TaskSet, Tiles, grid_numbers, overlapping

TileIds = NDArray[np.int64]


@dataclass(frozen=True)
class Episode:
    """Row numbers of disjoint support and query tiles of one task."""

    task: str
    support: TileIds
    query: TileIds


class EpisodeTiles(NamedTuple):
    """An episode in memory.

    Attributes:
        support, query: its tiles.
        classes: of the legend that both are labelled in.
        seed: of what a method draws at random on them.
    """

    support: Tiles
    query: Tiles
    classes: int
    seed: int = 0


class EpisodeSampler:
    """Seeded episodes of the tasks of one split.

    Episode number i is a function of (seed, i) alone: a resumed run goes on where it stopped, and
    any process can draw any episode. Query tiles that overlap a support tile on the ground (or in
    the source image, where there is no georeference) are left out.

    Args:
        taskset: where the tiles are.
        split: which tasks.
        shots: support tiles per episode.
        queries: query tiles per episode; fewer where a task has no more.
        seed: of all draws.

    Raises:
        EmptyRegion: the split has no task.
        TooFewTiles: a task cannot give `shots` support tiles and one query tile.
    """

    def __init__(
        self, taskset: TaskSet, split: Split, *, shots: int, queries: int, seed: int
    ) -> None:
        self.taskset = taskset
        self.shots = shots
        self.queries = queries
        self.seed = seed
        self.tasks = taskset.tasks(split)
        if not self.tasks:
            raise EmptyRegion(
                f"the split {split!r} has no task",
                remedy="prepare the task set again with regions for that split",
                path=taskset.folder,
            )
        for task in self.tasks:
            check_tiles(taskset, task, shots + 1)
        bounds = np.stack(taskset.table["native_bounds"].to_numpy())
        self._bounds: NDArray[np.float64] = bounds.astype(np.float64)
        self._grid = grid_numbers(taskset.table)

    def episode(self, number: int) -> Episode:
        """Episode `number`, of a task drawn at random."""
        rng = np.random.default_rng([self.seed, number])
        return self.of_task(self.tasks[rng.integers(len(self.tasks))], rng)

    def draw(self, task: str, number: int) -> Episode:
        """Draw `number` of one task. A smaller `shots` gives the first tiles of a larger one's."""
        return self.of_task(task, np.random.default_rng(self.draw_key(task, number)))

    def draw_key(self, task: str, number: int) -> list[int]:
        """What everything random about draw `number` of a task is seeded by."""
        return [self.seed, number, zlib.crc32(task.encode())]

    def of_task(self, task: str, rng: np.random.Generator) -> Episode:
        """Draw support, then query from what does not overlap it."""
        ids = rng.permutation(self.taskset.tile_ids(task))
        support, rest = ids[: self.shots], ids[self.shots :]
        clash = overlapping(self._bounds[rest], self._bounds[support])
        clash &= self._grid[rest][:, None] == self._grid[support][None, :]
        query = rest[~clash.any(axis=1)][: self.queries]
        if not len(query):
            raise TooFewTiles(
                f"task {task!r}: every tile overlaps one of the {self.shots} support tiles",
                remedy="use fewer shots, or prepare without overlapping tiles",
                path=self.taskset.folder,
            )
        return Episode(task, support, query)


def check_tiles(taskset: TaskSet, task: str, needed: int) -> None:
    """Raise `TooFewTiles` unless the task has `needed` tiles."""
    found = len(taskset.tile_ids(task))
    if found < needed:
        raise TooFewTiles(
            f"task {task!r} has {found} tiles, but {needed} are needed (support and query)",
            remedy="lower the shots, prepare smaller tiles, or leave this region out",
            path=taskset.folder,
        )


Turn = tuple[int, bool]
"""Quarters to turn a tile by, and whether to mirror it then."""


def draw_turns(count: int, rng: np.random.Generator) -> list[Turn]:
    """A random turn for each of `count` tiles."""
    return [(int(rng.integers(4)), bool(rng.integers(2))) for _ in range(count)]


def turned(tiles: Tiles, turns: Sequence[Turn]) -> Tiles:
    """Each tile turned and mirrored as it is said, image and label alike."""
    images, labels = np.empty_like(tiles.image), np.empty_like(tiles.label)
    for i, (quarter, mirror) in enumerate(turns):
        step = -1 if mirror else 1
        images[i] = np.rot90(tiles.image[i], quarter, axes=(1, 2))[:, :, ::step]
        labels[i] = np.rot90(tiles.label[i], quarter)[:, ::step]
    return Tiles(images, labels)


def dihedral(tiles: Tiles, rng: np.random.Generator) -> Tiles:
    """Each tile turned by a random quarter and perhaps mirrored, image and label alike."""
    return turned(tiles, draw_turns(len(tiles), rng))


def concatenate(parts: Sequence[Tiles]) -> Tiles:
    """Several batches of tiles as one."""
    return Tiles(np.concatenate([p.image for p in parts]), np.concatenate([p.label for p in parts]))
