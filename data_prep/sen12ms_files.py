"""Finding the files of SEN12MS: unpacked, or in the archives as published.

Only whole triplets count; what lacks a partner is listed. Nothing is read but names, and never a
pickle: the label and split lists that are published as `.pkl` are named and left alone.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data_prep.archives import SUFFIXES, pickle_notes, some
from data_prep.sen12ms_splits import FOLDERS, Season, patch_path
from data_prep.unpacked import left_in_archive, unpack_all
from landmeta.errors import ConfigError, SourceNotFound

Key = tuple[Season, int, int]
"""Season, scene id and patch number: what names a triplet."""
MODALITIES = ("s2", "s1", "lc")

LAYOUT = (
    "name the folder that holds ROIs1158_spring/s2_63/ROIs1158_spring_s2_63_p123.tif and its "
    "partners in s1_63 and lc_63, or the archives ROIs1158_spring_s2.tar.gz and so on"
)

_SEASONS: Mapping[str, Season] = {folder: season for season, folder in FOLDERS.items()}
_NAME = re.compile(rf"({'|'.join(_SEASONS)})_(s1|s2|lc)_(\d+)_p(\d+)\.tif")
_SCENE = re.compile(r"(s1|s2|lc)_(\d+)")
_ARCHIVE = re.compile(
    rf"({'|'.join(_SEASONS)})_(s1|s2|lc)({'|'.join(map(re.escape, SUFFIXES))})", re.IGNORECASE
)
_SHOWN = 10


@dataclass(frozen=True)
class Missing:
    """A file that a triplet lacks; the triplet is left out."""

    file: str
    scene: str
    patch: int


@dataclass
class Triplets:
    """The files of a tree.

    Attributes:
        roots: folder of the season folders, by season and modality: the tree's own or that of an
            unpacked archive.
        keys: all whole triplets, sorted.
        missing: what the others lack.
        notes: on what is missing, on archives and on pickles.
    """

    roots: dict[tuple[Season, str], Path] = field(default_factory=dict)
    keys: list[Key] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def path(self, key: Key, modality: str) -> Path:
        """Of one file of a triplet."""
        season, number, patch = key
        return self.roots[season, modality] / patch_path(modality, (season, number), patch)


def find_triplets(root: Path, unpack_to: Path | None = None, *, quiet: bool = True) -> Triplets:
    """Look through a folder of SEN12MS; unpack the archives of what is not unpacked yet.

    Args:
        root: holds the season folders, or the archives (also in the season folders), or some of
            either. A season and modality that has both is read from its folders.
        unpack_to: working folder for the archives, read once from start to end; what is unpacked
            there stays for the next time.
        quiet: no progress bar.

    Raises:
        SourceNotFound: no such folder, or no whole triplet in it.
        ConfigError: there are archives, but no folder to unpack them to.
        TooLittleDisk: that folder has no room for them.
        UnsafeFile, UnreadableFile: an archive is not what it says, or damaged.
        WriteFailed: the disk is full or not writable.
    """
    if not root.is_dir():
        raise SourceNotFound("is no folder", remedy=LAYOUT, path=root)
    found = Triplets()
    patches = {m: set(_scan(root, m)) for m in MODALITIES}
    for modality, keys in patches.items():
        found.roots |= {(season, modality): root for season, _, _ in keys}
    others = list(_other_files(root))
    _add_archives(root, found, patches, others, unpack_to, quiet)
    found.notes += [f"{note}; the published splits are built in" for note in pickle_notes(others)]
    everything, complete = set.union(*patches.values()), set.intersection(*patches.values())
    found.keys = sorted(complete)
    found.missing = [
        Missing(patch_path(m, (season, number), patch), f"{season} {number}", patch)
        for season, number, patch in sorted(everything - complete)
        for m in MODALITIES
        if (season, number, patch) not in patches[m]
    ]
    found.notes += _missing_notes(found.missing)
    if not complete:
        raise SourceNotFound(
            "; ".join(["holds no complete SEN12MS triplet", *found.notes[:_SHOWN]]),
            remedy=LAYOUT,
            path=root,
        )
    return found


def _scan(root: Path, modality: str) -> Iterator[Key]:
    """The patches of a modality by the names of their files."""
    for season, folder in FOLDERS.items():
        if not (root / folder).is_dir():
            continue
        for scene in (root / folder).iterdir():
            match = _SCENE.fullmatch(scene.name)
            if match is None or match[1] != modality or not scene.is_dir():
                continue
            for name in os.listdir(scene):  # noqa: PTH208 - hundreds of thousands: names suffice
                file = _NAME.fullmatch(name)
                if file and file.groups()[:3] == (folder, modality, match[2]):
                    yield season, int(match[2]), int(file[4])


def _other_files(root: Path) -> Iterator[str]:
    """Files beside the scenes' own, relative to the root."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not _SCENE.fullmatch(name))
        for name in sorted(files):
            yield (Path(folder) / name).relative_to(root).as_posix()


def _add_archives(
    root: Path,
    found: Triplets,
    patches: Mapping[str, set[Key]],
    others: list[str],
    unpack_to: Path | None,
    quiet: bool,
) -> None:
    """Unpack the archives of what is not there yet, and add their files."""
    archives: dict[tuple[Season, str], Path] = {}
    unpacked = []
    for name in others:
        match = _ARCHIVE.fullmatch(name.rpartition("/")[2])
        if match is None:
            continue
        place = (_SEASONS[match[1]], match[2])
        if place in found.roots or place in archives:
            unpacked.append(name)
        else:
            archives[place] = root / name
    if unpacked:
        found.notes.append(f"archives not read, as their files are unpacked: {some(unpacked)}")
    if not archives:
        return
    if unpack_to is None:
        raise ConfigError(
            f"has {len(archives)} archives to unpack, such as {min(archives.values()).name}",
            remedy="say where to with --unpack-to",
            path=root,
        )
    folders = unpack_all(sorted(archives.values()), unpack_to, _place, quiet=quiet)
    for (season, modality), archive in archives.items():
        folder = folders[archive]
        found.roots[season, modality] = folder
        patches[modality].update(k for k in _scan(folder, modality) if k[0] == season)
        others += [f"{archive.name}/{name}" for name in left_in_archive(folder)]
    found.notes.append(
        f"{len(archives)} archives are unpacked in {unpack_to}; when this task set is done with, "
        "remove that folder"
    )


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """Where a member of an archive goes: the place its name says, whatever folder it is in."""
    match = _NAME.fullmatch(member.name)
    if match is None:
        return None
    scene = (_SEASONS[match[1]], int(match[3]))
    return PurePosixPath(patch_path(match[2], scene, int(match[4])))


def _missing_notes(missing: list[Missing]) -> list[str]:
    """One line per scene and kind of file: which patches lack it."""
    lacking: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in missing:
        lacking[one.scene, PurePosixPath(one.file).parent.name.partition("_")[0]].append(one.patch)
    notes = [
        f"left out {len(patches)} patches of {scene} that have no {modality} file: "
        + some([f"p{p}" for p in patches])
        for (scene, modality), patches in lacking.items()
    ]
    if len(notes) > _SHOWN:
        rest = sum(map(len, list(lacking.values())[_SHOWN:]))
        notes[_SHOWN:] = [f"left out {rest} patches of other scenes; missing.txt lists all files"]
    return notes
