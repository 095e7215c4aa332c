"""Where the images and masks of DeepGlobe lie: as published, and as two people packed it again."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from landmeta.errors import SourceNotFound
from landmeta.legend import DEEPGLOBE

_SAT, _MASK = "_sat.jpg", "_mask.png"
TRAINING = 803
"""Images of the training part, the only one with masks."""


@dataclass(frozen=True)
class Layout:
    """A folder of DeepGlobe.

    Attributes:
        name: `original`, `kaggle balraj98` or `kaggle geoap96`.
        images: that have masks, sorted by path; `masks`: of each of them.
        notes: what a user should know.
    """

    name: str
    images: list[Path]
    masks: list[Path]
    notes: list[str]


def find_layout(root: Path) -> Layout:
    """Recognise the layout of a folder and find its images with masks.

    ======================  ====================================================================
    original                `{id}_sat.jpg` beside `{id}_mask.png`, in `root` or in folders in it
    Kaggle, by balraj98     folders `train`, `valid` and `test` (no masks in the last two),
                            `class_dict.csv`, `metadata.csv`
    Kaggle, by geoap96      folders `training_data` and `test_data`, in `root` or in `root/data`,
                            each with `images` and `masks`: all of the training part
    ======================  ====================================================================

    Raises:
        SourceNotFound: no folder, or no image with a mask in it.
    """
    if not root.is_dir():
        raise SourceNotFound("is no folder", remedy="name the folder of the images", path=root)
    for base in (root, root / "data"):
        if all((base / part).is_dir() for part in ("training_data", "test_data")):
            return _geoap96(root, base)
    if all((root / part).exists() for part in ("train", "class_dict.csv", "metadata.csv")):
        return _balraj98(root)
    images = sorted([*root.glob(f"*{_SAT}"), *root.glob(f"*/*{_SAT}")])
    masks = [_beside(image) for image in images]
    return _with_masks("original", root, images, masks, [])


def _beside(image: Path) -> Path:
    return image.with_name(image.name.removesuffix(_SAT) + _MASK)


def _with_masks(
    name: str, root: Path, images: list[Path], masks: list[Path], notes: list[str]
) -> Layout:
    pairs = [(image, mask) for image, mask in zip(images, masks, strict=True) if mask.is_file()]
    if not pairs:
        found = f"{len(images)} images named …{_SAT}, none with its …{_MASK}"
        raise SourceNotFound(
            f"holds {found if images else f'no image named …{_SAT}'}",
            remedy="name the folder of DeepGlobe's training part: only it has masks",
            path=root,
        )
    bare = [image for image, mask in zip(images, masks, strict=True) if not mask.is_file()]
    if bare:
        folders = sorted({image.parent.relative_to(root).as_posix() for image in bare})
        where = "" if folders == ["."] else f" ({', '.join(folders)})"
        notes = [*notes, f"{len(bare)} images have no mask and were left out{where}"]
    return Layout(name, [i for i, _ in pairs], [m for _, m in pairs], notes)


def _balraj98(root: Path) -> Layout:
    images = sorted(
        image for part in ("train", "valid", "test") for image in (root / part).glob(f"*{_SAT}")
    )
    notes = [
        "this is Kaggle's re-packaging by balraj98: DeepGlobe's three parts, of which valid and "
        "test were published without masks"
    ]
    notes += _missing(root, images) + _foreign_colours(root)
    return _with_masks("kaggle balraj98", root, images, [_beside(i) for i in images], notes)


def _geoap96(root: Path, base: Path) -> Layout:
    images = sorted(
        image
        for part in ("training_data", "test_data")
        for image in (base / part / "images").glob(f"*{_SAT}")
    )
    masks = [image.parents[1] / "masks" / _beside(image).name for image in images]
    counts = {
        part: sum(1 for image in images if image.parents[1].name == part)
        for part in ("training_data", "test_data")
    }
    notes = [
        "this is Kaggle's re-packaging by geoap96: DeepGlobe's training part alone, divided anew "
        f"into training_data ({counts['training_data']} images) and test_data "
        f"({counts['test_data']}); all have masks, and all were taken"
    ]
    if len(images) < TRAINING:
        notes.append(f"{len(images)} of the {TRAINING} images are there")
    return _with_masks("kaggle geoap96", root, images, masks, notes)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []  # it only serves to say what is missing


def _missing(root: Path, images: list[Path]) -> list[str]:
    listed = {row.get("sat_image_path") or "" for row in _rows(root / "metadata.csv")} - {""}
    absent = sorted(listed - {image.relative_to(root).as_posix() for image in images})
    if not absent:
        return []
    return [
        f"{len(absent)} of the {len(listed)} images of metadata.csv are not there: {absent[0]}"
        + (", …" if len(absent) > 1 else "")
    ]


def _foreign_colours(root: Path) -> list[str]:
    """A note if `class_dict.csv` has colours that the masks of DeepGlobe cannot have."""
    known = {c.rgb for c in DEEPGLOBE.classes} | {(0, 0, 0)}
    found = {
        tuple(int(row[channel]) for channel in "rgb"): row.get("name", "")
        for row in _rows(root / "class_dict.csv")
        if all(str(row.get(channel, "")).isdigit() for channel in "rgb")
    }
    foreign = [f"{name} {colour}" for colour, name in found.items() if colour not in known]
    return (
        [f"class_dict.csv has classes that DeepGlobe has not: {', '.join(foreign)}"]
        if foreign
        else []
    )
