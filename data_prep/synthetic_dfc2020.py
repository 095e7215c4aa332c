"""A raw tree of made-up imagery in both layouts of DFC2020, from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from data_prep.sen12ms_splits import Season
from data_prep.synthetic import make_patches, write_tif
from landmeta.atomic import atomic_folder
from landmeta.errors import ConfigError

CITIES: dict[str, Season] = {
    "KippaRing": "winter",
    "MexicoCity": "winter",
    "CapeTown": "fall",
    "BandarAnzali": "fall",
    "Mumbai": "fall",
    "BlackForest": "spring",
    "Chabarovsk": "summer",
}
"""The regions of DFC2020 and their seasons."""

_FIRST = 500
"""Numbers of the made-up regions, beyond the scene ids of SEN12MS."""
_UNSEEN = (3, 8)
"""Savanna and snow, of which DFC2020 has none: not labelled."""


def write_dfc2020(
    root: str | Path,
    *,
    layout: Literal["cities", "parts"] = "cities",
    cities: int = 7,
    patches: int = 4,
    size: int = 256,
    shift: float = 1.0,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write a tree laid out like DFC2020: s1, s2, lc and dfc patches that overlap by half.

    Args:
        root: the folder to write; it appears complete or not at all.
        layout: `cities` has a folder for each city; `parts` has folders for validation and test
            whose files tell no place.
        cities: how many, 1 to 7.
        patches: per city.
        size: side of a patch in pixels of 10 m; 256 in DFC2020.
        shift: how much cities differ in appearance; 0 not at all, 1 as usual.
        seed: same seed, same files.
        overwrite: replace an existing folder.

    Returns:
        `root`.

    Raises:
        ConfigError: an argument is out of range.
        OutputExists: `root` exists and `overwrite` is False.
        WriteFailed: the disk is full or not writable; nothing is left behind.
    """
    if not 1 <= cities <= len(CITIES) or patches < 1 or size < 16 or size % 2 or shift < 0:
        raise ConfigError(
            f"{cities} cities of {patches} patches of {size} pixels, shift {shift}, cannot be made",
            remedy=f"choose 1 to {len(CITIES)} cities, patches from 1, an even size from 16, shift "
            "from 0",
        )
    with atomic_folder(Path(root), overwrite=overwrite) as temporary:
        numbers = {"validation": 0, "test": 0}
        for index, (city, season) in enumerate(list(CITIES.items())[:cities]):
            for patch in make_patches((season, _FIRST + index), patches, size, shift, seed):
                layers = dict(patch.layers)
                layers["dfc"] = np.where(np.isin(layers["dfc"], _UNSEEN), 0, layers["dfc"])
                part = "test" if index else "validation"
                for modality, pixels in layers.items():
                    if layout == "cities":
                        name = f"ROIs0000_{'autumn' if season == 'fall' else season}"
                        file = f"{name}_{modality}_{city}_p{patch.number}.tif"
                        path = temporary / name / f"{modality}_{city}" / file
                    else:
                        name = f"ROIs0000_{part}"
                        folder = f"{modality}_{'0' if part == 'test' else part}"
                        file = f"{name}_{modality}_0_p{numbers[part]}.tif"
                        path = temporary / name / folder / file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    placed = layout == "cities"
                    write_tif(
                        path,
                        pixels,
                        patch.crs if placed else None,
                        patch.transform if placed else None,
                    )
                numbers[part] += 1
    return Path(root)
