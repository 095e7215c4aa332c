"""Tiny SEN12MS trees, made by the synthetic generator, and ways to damage their files."""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from data_prep.sen12ms_splits import Season, patch_path
from data_prep.synthetic import write_sen12ms

SCENES: Mapping[Season, Sequence[int]] = {"spring": [63, 83], "summer": [57, 126]}
"""57 is a train, 63 and 83 are validation ids, 126 a test id of the few-shot split."""


def tree(root: Path, scenes: Mapping[Season, Sequence[int]] | int = SCENES, **how: Any) -> Path:
    """A tree of small patches (32 pixels) that overlap by half."""
    return write_sen12ms(root, scenes=scenes, **{"patches": 2, "size": 32, **how})


def patch(
    root: Path, modality: str, season: Season = "spring", number: int = 63, p: int = 1
) -> Path:
    return root / patch_path(modality, (season, number), p)


def rewrite(
    path: Path, change: Callable[[np.ndarray], np.ndarray] = lambda a: a, **profile: Any
) -> None:
    """Change a GeoTIFF's pixels (band, row, col) or profile in place."""
    with rasterio.open(path) as file:
        pixels, old = change(file.read()), file.profile
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **{**old, **shape, **profile}) as file:
        file.write(pixels)


def pack(root: Path, to: Path, *, under: str = "", mode: str = "w:gz") -> list[Path]:
    """The archives of a tree as they are published: one for each season and modality."""
    archives = []
    for season in sorted(root.iterdir()):
        for modality in ("s1", "s2", "lc"):
            archive = to / f"{season.name}_{modality}.tar.gz"
            with tarfile.open(archive, mode) as file:
                for path in sorted(season.glob(f"{modality}_*")):
                    file.add(path, f"{under}{season.name}/{path.name}")
            archives.append(archive)
    return archives


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


def bad_pickle(path: Path, proof: Path) -> None:
    """A pickle that makes the file `proof` if anything loads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(Malicious(proof)))
