"""Reader of DFC2020: Sentinel-1 and -2 with land cover at 10 m, as a test set for SEN12MS.

Two layouts are published, both are read, from folders or from an archive of them::

    ROIs0000_validation/s2_validation/ROIs0000_validation_s2_0_p0.tif      s1_…, dfc_…, lc_… beside
    ROIs0000_test/s2_0/ROIs0000_test_s2_0_p609.tif
    ROIs0000_autumn/s2_Mumbai/ROIs0000_autumn_s2_Mumbai_p741.tif

In the first, places are not told: each of its two parts is one region. In the second, a city in its
season is a task. The band of a `dfc` file has the ten simplified IGBP classes already, 1 to 10: it
is not remapped.

Source: Schmitt et al. 2020, doi:10.21227/rha7-m332.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.archives import is_archive, pickle_notes, some
from data_prep.patch_cutter import PatchCutter
from data_prep.patches import (
    Patch,
    Shape,
    choose_bands,
    dtype_of,
    first_shapes,
    plan_windows,
)
from data_prep.source import Source
from data_prep.unpacked import left_in_archive, unpack_all
from landmeta.errors import ConfigError, SourceNotFound
from landmeta.legend import Legend, find_legend
from landmeta.taskset import TaskSetMeta, tile_windows

LEGENDS = ("igbp-simplified", "igbp-simplified-no-savanna")
GSD = 10.0
"""Metres, also where the files do not say so."""

_KINDS = ("s2", "s1", "dfc")
_NAME = re.compile(r"(ROIs\d+_(\w+?))_(s1|s2|lc|dfc)_(\w+)_p(\d+)\.tif")
_FOLDER = re.compile(r"(s1|s2|lc|dfc)_\w+")
_UNPLACED = ("validation", "test")
_LAYOUT = (
    "name the folder that holds ROIs0000_autumn/s2_Mumbai/ROIs0000_autumn_s2_Mumbai_p741.tif, or "
    "ROIs0000_validation/s2_validation/ROIs0000_validation_s2_0_p0.tif, with their partners in s1 "
    "and dfc folders; or their archive"
)


@dataclass(frozen=True, order=True)
class Key:
    """What names a patch: `ROIs0000_autumn`, `autumn`, `Mumbai`, 741."""

    folder: str
    part: str
    scene: str
    patch: int

    @property
    def region(self) -> str:
        """The city, or the part whose places are not told."""
        return self.part if self.part in _UNPLACED else self.scene

    @property
    def season(self) -> str:
        """Of a city."""
        return "" if self.part in _UNPLACED else self.part


def dfc2020(
    root: str | Path,
    *,
    bands: Sequence[str] | None = None,
    legend: str = "igbp-simplified",
    tile: int = 128,
    limit: int | None = None,
    seed: int = 0,
    unpack_to: Path | None = None,
    quiet: bool = True,
) -> Source:
    """Read DFC2020 as a test set: every task is of the split `test`.

    Args:
        root: folder of either layout, or its archive.
        bands: which to keep, in that order; all 15 by default. See `choose_bands`.
        legend: one of `LEGENDS`. DFC2020 itself has no savanna and no snow; the ten classes are
            those of a checkpoint trained on SEN12MS with that legend.
        tile: side of a tile in pixels; the tiles of a patch do not overlap each other.
        limit: at most this many tiles per task, drawn with `seed`; all by default.
        seed: of the draw.
        unpack_to: working folder for an archive.
        quiet: no progress bar while an archive is unpacked.

    Raises:
        ConfigError: an unknown band or legend, a tile larger than a patch, or an archive and no
            folder to unpack it to.
        SourceNotFound: no such folder, or no patch with s2, s1 and dfc in it.
        UnreadableFile: no patch can be read (single ones are set aside), or the archive is damaged.
        UnsafeFile: the archive holds what it should not.
        MissingBands: a file has more or fewer bands than its kind has.
    """
    root, chosen, labels = Path(root), choose_bands(bands), _legend(legend)
    notes: list[str] = []
    if is_archive(root):
        root = _unpacked(root, unpack_to, notes, quiet)
    files = dict(_scan(root, notes))
    keys = sorted(key for key, found in files.items() if set(_KINDS) <= set(found))
    lacking = [
        f"{key.folder}_{kind}_{key.scene}_p{key.patch}.tif"
        for key, found in sorted(files.items())
        for kind in _KINDS
        if kind not in found
    ]
    if lacking:
        notes.append(
            f"left out patches that are not whole; {len(lacking)} files are missing: "
            f"{some(lacking)}"
        )
    if not keys:
        raise SourceNotFound(
            "; ".join(["holds no patch of DFC2020 with s2, s1 and dfc", *notes]),
            remedy=_LAYOUT,
            path=root,
        )
    shapes = first_shapes({kind: files[key][kind] for kind in _KINDS} for key in keys)
    height, width = shapes["s2"].height, shapes["s2"].width
    if not 8 <= tile <= min(height, width):
        raise ConfigError(
            f"a tile of {tile} pixels does not fit a patch of {height} × {width}",
            remedy=f"choose a tile of 8 to {min(height, width)} pixels",
        )
    notes += _place_notes(keys, shapes["s2"])
    meta = TaskSetMeta(
        source="dfc2020",
        bands=chosen,
        legend=labels,
        gsd=GSD,
        tile_size=tile,
        dtype=dtype_of(chosen, shapes),
        options={
            "legend": legend,
            "tile": tile,
            "bands": [band.name for band in chosen],
            "limit": limit,
            "seed": seed,
        },
        notes=notes,
    )
    windows = tuple(tile_windows(width, height, tile))
    plan = plan_windows([(key.season, key.region) for key in keys], windows, limit, seed)
    parts = [
        Patch(*_paths(files[key]), windows=few, region=key.region, season=key.season, split="test")
        for key, few in zip(keys, plan, strict=True)
        if few
    ]
    cut = PatchCutter(chosen, labels, "dfc", 0, meta.dtype, (height, width), placed=False)
    return Source(meta, parts, cut, missing=tuple(lacking))


def _legend(name: str) -> Legend:
    """The classes by their own ids; what a legend has no class for, but DFC2020 could, is ignored.

    Raises:
        ConfigError: it is none of `LEGENDS`.
    """
    if name not in LEGENDS:
        raise ConfigError(
            f"the labels of DFC2020 cannot be read with the legend {name!r}",
            remedy=f"choose {' or '.join(LEGENDS)}",
        )
    classes = find_legend(name).classes
    others = {c.id for c in find_legend(LEGENDS[0]).classes} - {c.id for c in classes}
    return Legend(classes=classes, ignore=("0", *map(str, sorted(others)), "255"))


def _unpacked(archive: Path, unpack_to: Path | None, notes: list[str], quiet: bool) -> Path:
    if not archive.is_file():
        raise SourceNotFound("is not there", remedy=_LAYOUT, path=archive)
    if unpack_to is None:
        raise ConfigError(
            "is an archive to unpack", remedy="say where to with --unpack-to", path=archive
        )
    folder = unpack_all([archive], unpack_to, _place, quiet=quiet)[archive]
    notes += pickle_notes(left_in_archive(folder))
    notes.append(f"unpacked in {folder}; when this task set is done with, remove that folder")
    return folder


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """Where a member of an archive goes: its folder's and file's names, whatever is above."""
    match = _NAME.fullmatch(member.name)
    if match is None or match[3] == "lc" or not _FOLDER.fullmatch(member.parent.name):
        return None
    return PurePosixPath(match[1]) / member.parent.name / member.name


def _scan(root: Path, notes: list[str]) -> Iterator[tuple[Key, dict[str, Path]]]:
    """The files of each patch by their kind."""
    if not root.is_dir():
        raise SourceNotFound("is no folder", remedy=_LAYOUT, path=root)
    files: dict[Key, dict[str, Path]] = {}
    others: list[str] = []
    for folder, folders, names in os.walk(root):
        folders.sort()
        here = Path(folder)
        for name in sorted(names):
            match = _NAME.fullmatch(name)
            if match is None or not here.name.startswith(f"{match[3]}_"):
                others.append((here / name).relative_to(root).as_posix())
            else:
                key = Key(match[1], match[2], match[4], int(match[5]))
                files.setdefault(key, {})[match[3]] = here / name
    notes += pickle_notes(others)
    yield from files.items()


def _place_notes(keys: Sequence[Key], shape: Shape) -> list[str]:
    notes = []
    parts = {key.part for key in keys}
    if parts & set(_UNPLACED) and parts - set(_UNPLACED):
        notes.append(
            "warning: both layouts of DFC2020 are here; the same images are in both, so the tasks "
            "of one are not independent of those of the other"
        )
    if shape.crs is None:
        notes.append(
            "the images have no georeference; maps made from such images carry no coordinate "
            "reference system"
        )
    return notes


def _paths(files: Mapping[str, Path]) -> tuple[str, str, str]:
    s2, s1, dfc = (str(files[kind]) for kind in _KINDS)
    return s2, s1, dfc
