"""The layout of SEN12MS in names, and its two published splits.

Sources: Schmitt et al. 2019 (doi:10.5194/isprs-annals-IV-2-W7-153-2019) and the hold-out list
published with it; the few-shot split of Rußwurm et al. 2024 (doi:10.1038/s43247-023-01146-0). The
two are not compatible: most ids of the hold-out are training ids of the few-shot split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from data_prep.splits import assign_splits
from landmeta.taskset import Split

Season = Literal["spring", "summer", "fall", "winter"]
Scene = tuple[Season, int]

FOLDERS: dict[Season, str] = {
    "spring": "ROIs1158_spring",
    "summer": "ROIs1868_summer",
    "fall": "ROIs1970_fall",
    "winter": "ROIs2017_winter",
}

S2_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
S1_BANDS = ("VV", "VH")
LC_BANDS = ("IGBP", "LCCS land cover", "LCCS land use", "LCCS surface hydrology")


def _ids(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


FEWSHOT: dict[Split, tuple[int, ...]] = {
    "train": _ids(
        "57 27 77 94 61 3 142 43 79 14 39 100 56 53 147 4 15 58 112 44 124 59 114 113 71 125 127 "
        "146 117 33 80 11 47 9 6 29 20 35 69 24 131 19 68 104 41 66 86 75 105 137 120 28 143 25 "
        "129 37 93 116 45 84 133 121 62 31 52 115 132 136 82 102 7 97 87 149 144"
    ),
    "val": _ids(
        "83 64 30 138 63 128 36 85 139 140 109 40 72 78 88 42 55 26 89 119 1 106 148 107 76"
    ),
    "test": _ids(
        "118 126 122 145 108 8 65 101 81 134 123 103 135 110 95 130 49 91 17 22 32 73 90 141 21"
    ),
}

OFFICIAL_HOLDOUT: dict[Season, tuple[int, ...]] = {
    "spring": _ids("15 17 63 97 124 146"),
    "summer": _ids("15 19 43 72 79 104 131"),
    "fall": _ids("30 35 39 47 61 120 141 144"),
    "winter": _ids("32 64 107 135 146"),
}

DAMAGED = "ROIs1868_summer_s1_146_p202.tif"
"""The one file that is known to be damaged; its s2 and lc partners are sound."""

VAL_SHARE = 0.15
"""Share of the official training ids that become validation regions; none are published."""


def patch_path(modality: str, scene: Scene, patch: int) -> str:
    """Path of a patch below the root, for modality `s1`, `s2` or `lc`."""
    season, number = scene
    name = f"{FOLDERS[season]}_{modality}_{number}_p{patch}.tif"
    return f"{FOLDERS[season]}/{modality}_{number}/{name}"


def fewshot_split(scenes: Iterable[Scene]) -> dict[Scene, Split]:
    """Split of each scene by its id; scenes whose id is in none of the three lists are left out."""
    by_id: Mapping[int, Split] = {i: split for split, ids in FEWSHOT.items() for i in ids}
    return {scene: by_id[scene[1]] for scene in scenes if scene[1] in by_id}


def official_split(scenes: Iterable[Scene], seed: int) -> dict[Scene, Split]:
    """Hold-out scenes are `test`; the others `train`, of which some ids are drawn for `val`.

    An id that the hold-out uses in any season is never drawn for `val`.
    """
    everything = sorted(set(scenes))
    held_out = {(season, i) for season, ids in OFFICIAL_HOLDOUT.items() for i in ids}
    held_ids = {str(i) for _, i in held_out}
    free = {str(i) for _, i in everything} - held_ids
    val = assign_splits(free, val=VAL_SHARE, test=0.0, seed=seed) if len(free) > 1 else {}
    return {
        scene: "test" if scene in held_out else val.get(str(scene[1]), "train")
        for scene in everything
    }


def leak_notes(scenes: Iterable[Scene], split: str) -> list[str]:
    """Warn of the scenes by which the two published splits leak into each other.

    Args:
        scenes: those that are there.
        split: the one in use, `fewshot` or `official`.
    """
    here = sorted(set(scenes), key=lambda scene: (scene[1], scene[0]))
    few = fewshot_split(here)
    held_out = {(season, i) for season, ids in OFFICIAL_HOLDOUT.items() for i in ids}
    if split == "fewshot":
        wrong = [s for s in here if s in held_out and few.get(s) in ("train", "val")]
        what = "scenes of the official hold-out that the few-shot split trains or validates on"
    else:
        wrong = [s for s in here if s not in held_out and few.get(s) == "test"]
        what = "test scenes of the few-shot split that the official split trains or validates on"
    if not wrong:
        return []
    names = ", ".join(f"{season} {number}" for season, number in wrong)
    return [f"warning: the two published splits leak into each other; {len(wrong)} {what}: {names}"]
