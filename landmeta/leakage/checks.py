"""The checks of which a proof consists; none of them changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from landmeta.leakage.ground import Ground, Ids, Near
from landmeta.leakage.looks import Looks, alike
from landmeta.leakage.proof import Check, CheckName, Offence
from landmeta.taskset import SLACK, SPLITS, TaskSet, overlap

KEPT = 100
"""Offences of a check that are told one by one."""
ENOUGH = 100_000
"""A check that has found so many looks for no more."""


@dataclass
class Findings:
    """Offences as they are found: all are counted, the first are kept."""

    table: pd.DataFrame
    found: int = 0
    kept: list[Offence] = field(default_factory=list)

    def add(self, tiles: list[int], what: str) -> None:
        """One offence by some tiles."""
        self.found += 1
        if len(self.kept) < KEPT:
            some = tiles[:4]
            sources = dict.fromkeys(str(s) for s in self.table["source"].iloc[some])
            self.kept.append(Offence(tiles=tuple(some), sources=tuple(sources), what=what))

    def pair(self, first: int, second: int, what: str) -> None:
        """One offence by two tiles; says whose tiles they are."""
        names = [
            f"{self.table['task'].iloc[i]} ({self.table['split'].iloc[i]})" for i in (first, second)
        ]
        of = names[0] if names[0] == names[1] else " and ".join(names)
        self.add([first, second], f"{what}, of {of}")

    @property
    def number(self) -> str:
        """How many, in words."""
        return f"{self.found}" if self.found < ENOUGH else f"at least {self.found}"

    def check(self, name: CheckName, said: str, **figures: object) -> Check:
        """The check that ends with these findings."""
        return Check(
            name=name,
            passed=not self.found,
            said=said,
            found=self.found,
            offences=tuple(self.kept),
            figures=figures,
        )


def check_ground(taskset: TaskSet, ground: Ground, buffer: float) -> Check:
    """Tiles of different splits do not overlap and are `buffer` metres apart, in any season."""
    table = taskset.table
    found = Findings(table)
    for tile in ground.lost.tolist():
        crs = table["crs"].iloc[tile]
        found.add([tile], f"lies nowhere on the Earth by its transform in {crs}")
    split = table["split"].to_numpy()
    season = table["season"].to_numpy()
    for near in _between_splits(ground, split, buffer):
        for i, j, metres, overlaps in zip(
            near.first.tolist(), near.second.tolist(), near.metres, near.overlap, strict=True
        ):
            what = "the same place" if overlaps else f"{metres:.0f} m apart"
            if season[i] != season[j]:
                what += f" in different seasons ({season[i] or '–'}, {season[j] or '–'})"
            found.pair(i, j, what)
        if found.found >= ENOUGH:
            break
    located, count = len(ground.located), len(table)
    if not located and not len(ground.lost):
        said = "no tile has a georeference: what lies where cannot be checked"
    elif found.found:
        said = f"{found.number} pairs of tiles of different splits overlap"
        said += f" or are nearer than {buffer:g} m" if buffer else ""
    else:
        said = f"no tile overlaps one of another split; {located} of {count} tiles have a place"
        said += f"; different splits are at least {buffer:g} m apart" if buffer else ""
    return found.check("ground", said, located=located)


def _between_splits(ground: Ground, split: NDArray[np.object_], buffer: float) -> Iterator[Near]:
    places = [np.flatnonzero(split == name) for name in SPLITS]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        yield from ground.near(places[one], places[other], buffer)


def check_looks(taskset: TaskSet, looks: Looks) -> Check:
    """No tile is a copy of one of another split, or of one of its task that does not overlap it."""
    table = taskset.table
    split = np.unique(table["split"].to_numpy(dtype=str), return_inverse=True)[1]
    task = np.unique(table["task"].to_numpy(dtype=str), return_inverse=True)[1]
    kept_apart = _KeptApart(taskset)

    def wanted(first: Ids, second: Ids) -> NDArray[np.bool_]:
        chosen: NDArray[np.bool_] = split[first] != split[second]
        within = np.flatnonzero(task[first] == task[second])
        chosen[within] |= ~kept_apart(first[within], second[within])
        return chosen

    found = Findings(table)
    for pairs in alike(looks, wanted):
        for i, j, bits, r in zip(
            pairs.first.tolist(),
            pairs.second.tolist(),
            pairs.bits.tolist(),
            pairs.correlation.tolist(),
            strict=True,
        ):
            found.pair(i, j, f"look alike ({bits} of 64 bits differ, correlation {r:.3f})")
        if found.found >= ENOUGH:
            break
    plain = int(looks.plain.sum())
    aside = f"; {plain} too plain to tell" if plain else ""
    if found.found:
        said = f"{found.number} pairs of tiles look like copies of each other{aside}"
    else:
        said = f"no tile looks like a copy of one of another split, or of its own task{aside}"
    return found.check("looks", said, compared=len(table) - plain, plain=plain)


class _KeptApart:
    """Which pairs of one task an episode never splits into support and query (`EpisodeSampler`)."""

    def __init__(self, taskset: TaskSet) -> None:
        self.bounds, self.grid = taskset.native_bounds, taskset.grids

    def __call__(self, first: Ids, second: Ids) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = self.grid[first] == self.grid[second]
        return same & overlap(self.bounds[first], self.bounds[second])


def check_names(taskset: TaskSet) -> Check:
    """No task, and no file or region without georeference, is in two splits."""
    table = pd.DataFrame(taskset.table[["task", "region", "split", "source", "crs"]])
    found = Findings(table)
    for task, listed in _listed(taskset).items():
        own = sorted(table.loc[table["task"] == task, "split"].unique())
        if own != sorted(listed):
            tiles = np.flatnonzero(table["task"] == task).tolist()
            what = f"task {task!r} is listed under {_and(listed)}, its tiles under {_and(own)}"
            found.add(tiles, what)
    nowhere = table[table["crs"].isna()]
    for what, column, rows in (
        ("task", "task", table),
        ("region", "region", nowhere),
        ("file", "source", nowhere),
    ):
        splits = rows.groupby(column)["split"].nunique()
        for name in splits.index[splits > 1]:
            own = rows[rows[column] == name].drop_duplicates("split")
            where = _and(own["split"].tolist())
            found.add(own.index.tolist(), f"{what} {str(name)!r} is in {where}")
    of_file = table.groupby("source")["split"].nunique()
    shared = int((of_file > 1).sum())
    if found.found:
        said = f"{found.number} names are in two splits"
    else:
        said = "no task is in two splits"
        if len(nowhere):
            said += ", nor is a region or file"
        elif shared:
            said += f"; {shared} georeferenced files give tiles to several"
    return found.check("names", said, files=len(of_file), files_in_several_splits=shared)


def _listed(taskset: TaskSet) -> dict[str, list[str]]:
    """Splits under which the metadata lists each task; none for a task that it forgets."""
    listed: dict[str, list[str]] = {str(task): [] for task in taskset.table["task"].unique()}
    for split in SPLITS:
        for task in taskset.tasks(split):
            listed.setdefault(task, []).append(split)
    return listed


def _and(names: list[str]) -> str:
    return " and ".join(names) or "none"


def check_neighbours(taskset: TaskSet, ground: Ground) -> Check:
    """Overlapping tiles of a task never become support and query of an episode.

    Episodes leave out query tiles whose bounds overlap those of a support tile in one grid (one
    CRS, or one file without). What remains are tiles of a task in different CRSs: those overlap on
    the Earth or not.
    """
    table = taskset.table
    found = Findings(table)
    apart = _KeptApart(taskset)
    pairs, tiles = 0, 0
    groups = table.reset_index(drop=True).groupby(["task", pd.Series(apart.grid)]).indices
    by_task: dict[str, list[Ids]] = {}
    for (task, _), ids in groups.items():
        own, members = _overlapping(apart.bounds[ids])
        pairs, tiles = pairs + own, tiles + members
        by_task.setdefault(str(task), []).append(np.asarray(ids))
    for grids in by_task.values():
        for k, one in enumerate(grids):
            for other in grids[k + 1 :]:
                for near in ground.near(one, other):
                    for i, j in zip(near.first.tolist(), near.second.tolist(), strict=True):
                        found.pair(i, j, "the same place in different CRSs")
        if found.found >= ENOUGH:
            break
    kept = (
        f"{pairs} pairs of {tiles} tiles overlap within a task; episodes keep them apart"
        if pairs
        else "no tiles overlap within a task"
    )
    said = kept
    if found.found:
        said = (
            f"{found.number} pairs of a task overlap in different CRSs, which episodes cannot see; "
            f"{kept}"
        )
    return found.check("neighbours", said, overlapping_pairs=pairs, overlapping_tiles=tiles)


def _overlapping(bounds: NDArray[np.float64]) -> tuple[int, int]:
    """How many pairs of bounds (n, 4) overlap by more than an edge, and how many take part."""
    slack = SLACK / 2 * (bounds[:, 2] - bounds[:, 0])
    boxes = shapely.box(
        bounds[:, 0] + slack, bounds[:, 1] + slack, bounds[:, 2] - slack, bounds[:, 3] - slack
    )
    first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    other = first != second
    return int(other.sum()) // 2, len(np.unique(first[other]))


def check_seasons(taskset: TaskSet) -> Check:
    """Which split uses which season; a fact, never an offence."""
    table = pd.DataFrame(taskset.table[["split", "season"]])
    used: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        counts = table.loc[table["split"] == split, "season"].value_counts(sort=False)
        if len(counts):
            used[split] = {str(season): int(count) for season, count in counts.items()}
    if not any(any(seasons) for seasons in used.values()):
        said = "none are named"
    elif len({frozenset(seasons) for seasons in used.values()}) == 1:
        said = f"all splits use {', '.join(sorted(next(iter(used.values()))))}"
    else:
        said = "; ".join(f"{split}: {', '.join(sorted(s))}" for split, s in used.items())
    return Findings(table).check("seasons", said, tiles=used)
