"""Which tasks the scenes of SEN12MS make: by scene, by region over seasons, by season shift.

A *unit* is a region in a season; a region is a scene id, or a place that holds scenes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from data_prep.sen12ms_splits import FOLDERS, Scene, Season, fewshot_split, official_split
from data_prep.splits import assign_splits
from landmeta.errors import ConfigError
from landmeta.taskset import Split

Unit = tuple[Season, str]
TaskKind = Literal["scene", "region", "season-shift"]
SplitName = Literal["fewshot", "official", "drawn"]

_RANK: dict[Split, int] = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True)
class Tasks:
    """How scenes become tasks.

    Attributes:
        kind: `scene`: a region in a season; `region`: a region over its seasons; `season-shift`:
            as `scene`, but trained and validated in some seasons and tested in others.
        train_seasons, test_seasons: of a season shift; no season in both.
        same_regions: of a season shift, test in the regions of all splits, not of `test` alone.
    """

    kind: TaskKind = "scene"
    train_seasons: tuple[Season, ...] = ()
    test_seasons: tuple[Season, ...] = ()
    same_regions: bool = False

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: an unknown kind or season, or seasons that do not go with the kind.
        """
        seasons = (*self.train_seasons, *self.test_seasons)
        shift = self.kind == "season-shift"
        for what, wrong, remedy in (
            (f"tasks by {self.kind!r}", self.kind not in ("scene", "region", "season-shift"),
             "choose scene, region or season-shift"),
            (f"seasons {list(seasons)}", not set(seasons) <= set(FOLDERS),
             f"choose among {', '.join(FOLDERS)}"),
            ("a season shift without its seasons",
             shift and not (self.train_seasons and self.test_seasons),
             "name --train-seasons and --test-seasons"),
            (f"a season shift from {list(self.train_seasons)} to {list(self.test_seasons)}",
             bool(set(self.train_seasons) & set(self.test_seasons)),
             "train and test in different seasons"),
            (f"train and test seasons, or the same regions, with tasks by {self.kind}",
             not shift and bool(seasons or self.same_regions), "use --tasks season-shift"),
        ):  # fmt: skip
            if wrong:
                raise ConfigError(f"{what} is not possible", remedy=remedy)

    def season(self, unit: Unit) -> str:
        """The season of a unit's tiles: none where a task goes over seasons."""
        return "" if self.kind == "region" else unit[0]

    def apply(self, splits: Mapping[Unit, Split]) -> dict[Unit, Split]:
        """The units that make tasks, and their splits.

        Tasks by region and by season shift need a region to be in one split in all its seasons: it
        is for testing if it is so in any of them, otherwise for validation if so in any.
        """
        if self.kind == "scene":
            return dict(splits)
        strict: dict[str, Split] = {}
        for (_, region), split in splits.items():
            strict[region] = max(strict.get(region, split), split, key=_RANK.__getitem__)
        whole: dict[Unit, Split] = {unit: strict[unit[1]] for unit in splits}
        if self.kind == "region":
            return whole
        kept: dict[Unit, Split] = {}
        for (season, region), split in whole.items():
            if season in self.train_seasons and split != "test":
                kept[season, region] = split
            elif season in self.test_seasons and (split == "test" or self.same_regions):
                kept[season, region] = "test"
        return kept

    def notes(self, splits: Mapping[Unit, Split], kept: Mapping[Unit, Split]) -> list[str]:
        """Say what `apply` changed."""
        moved = sorted({region for (s, region), of in splits.items()
                        if self.kind == "region" and kept[s, region] != of})  # fmt: skip
        gone = [unit for unit in splits if unit not in kept]
        notes = []
        if moved:
            notes.append(
                "regions that are for testing in one season are so in all of them: "
                + ", ".join(moved)
            )
        if gone:
            notes.append(
                f"left out {len(gone)} scenes whose season or region is not for training, "
                "validation or testing in this season shift"
            )
        return notes


def split_units(
    units: Collection[Unit],
    split: SplitName,
    *,
    val: Iterable[str] | float,
    test: Iterable[str] | float,
    seed: int,
) -> dict[Unit, Split]:
    """Split units as published, or by regions that are named or drawn.

    Args:
        units: those that are there.
        split: `fewshot` (units of no list are left out), `official` or `drawn`.
        val: of a drawn split, names of the regions or a share of them.
        test: same for the final test.
        seed: of the draw, also of the validation regions of the official split.

    Raises:
        ConfigError: a named region is not there, or none is left for training.
    """
    if split == "drawn":
        of = assign_splits({region for _, region in units}, val=val, test=test, seed=seed)
        return {unit: of[unit[1]] for unit in units}
    scenes: Sequence[Scene] = [(season, int(region)) for season, region in units]
    found = fewshot_split(scenes) if split == "fewshot" else official_split(scenes, seed)
    return {(season, str(number)): of for (season, number), of in found.items()}
