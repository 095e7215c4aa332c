"""The page itself: gather what is to be said, and put it into the template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from landmeta import pages
from landmeta.atomic import refuse_existing, write_text
from landmeta.leakage.proof import Proof, fingerprint, read_proof
from landmeta.showing.likeness import Appearance, appearance, class_shares, jensen_shannon
from landmeta.showing.sheets import as_bytes, heat_map, image_sheet, label_sheet
from landmeta.showing.world import Place, frame, land, place_of
from landmeta.taskset import SPLITS, TaskSet

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Card:
    """What the page shows of one task."""

    number: int
    task: str
    split: str
    tiles: int
    labelled: float
    shares: list[float]
    place: Place | None
    image: str
    label: str
    width: int
    height: int


@dataclass(frozen=True)
class Nearest:
    """The training tasks that a task of another split is most like."""

    task: str
    split: str
    by_look: str
    look: float
    by_class: str
    classes: float
    unseen: str


@dataclass(frozen=True)
class Heat:
    """A matrix of distances between tasks."""

    title: str
    caption: str
    most: float
    picture: str
    values: str


def show(taskset: TaskSet, out: Path, *, overwrite: bool = False, quiet: bool = False) -> None:
    """Write one HTML page about a task set that needs nothing beside it, nor a network.

    Args:
        taskset: to be shown.
        out: HTML file to write.
        overwrite: replace `out` if it exists.
        quiet: no progress bar.

    Raises:
        OutputExists: `out` exists and `overwrite` is False.
        UnreadableFile: an array of the set is damaged.
        WriteFailed: the disk is full or not writable.
    """
    refuse_existing(out, overwrite)
    split_of = {
        task: split for split in SPLITS for task in sorted(taskset.tasks(split), key=_by_number)
    }
    tasks = list(split_of)
    shares = class_shares(taskset, tasks)
    count, side = sheet_size(len(tasks))
    cards = []
    with Progress(disable=quiet) as progress:
        bar = progress.add_task("looking at the tasks", total=2 * len(tasks))
        for number, task in enumerate(tasks):
            cards.append(_card(taskset, number, task, split_of[task], shares[number], count, side))
            progress.advance(bar)
        looks = appearance(taskset, tasks)
        progress.advance(bar, len(tasks))
    by_look, by_class = looks.distances(), jensen_shannon(shares)
    places = [card.place for card in cards if card.place]
    page = pages.render(
        "show.html",
        name=taskset.folder.resolve().name,
        meta=taskset.meta,
        facts=facts(taskset),
        cards=cards,
        splits=[s for s in SPLITS if taskset.tasks(s)],
        classes=list(zip(taskset.legend.classes, shares_of_set(taskset), strict=True)),
        proof=_proof(taskset),
        land=land() if places else "",
        frame=frame(places) if places else None,
        spots=_spots(looks),
        heats=[
            _heat("How different they look", LOOK_CAPTION, by_look, float(by_look.max())),
            _heat("How different their classes are", CLASS_CAPTION, by_class, 1.0),
        ],
        nearest=nearest(cards, by_look, by_class, taskset.legend.names),
        usual=usual(cards, by_look),
        sheet=count * (side + 2) - 2,
        side=side,
    )
    write_text(out, page, overwrite=overwrite)


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts "10" after "9"."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


LOOK_CAPTION = (
    "Fréchet distance of each band's mean, deviation and texture over the tiles; 1 is a whole "
    "standard deviation of a tile, in every feature."
)
CLASS_CAPTION = (
    "Jensen-Shannon distance of the shares of the classes; 0: the same, 1: none in common."
)


def sheet_size(tasks: int) -> tuple[int, int]:
    """How many tiles of a task to show, and how large, so that the page stays small to open."""
    return (6, 92) if tasks <= 40 else (5, 72) if tasks <= 150 else (4, 64)


def shares_of_set(taskset: TaskSet) -> list[float]:
    """Share of each class in all labelled pixels."""
    pixels = taskset.class_pixels(range(len(taskset))).to_numpy()
    return [float(p) for p in pixels / max(1, pixels.sum())]


def facts(taskset: TaskSet) -> dict[str, str]:
    """What a reader should know first."""
    meta, table = taskset.meta, taskset.table
    size = f"{meta.tile_size} × {meta.tile_size} pixels"
    if meta.gsd is not None:
        across = meta.gsd * meta.tile_size
        ground = f"{across / 1000:.3g} km" if across >= 1000 else f"{across:.3g} m"
        size += f" of {meta.gsd:.4g} m, {ground} across"
    found = {
        "source": meta.source,
        "tiles": f"{len(taskset)}, each {size}",
        "tasks": ", ".join(
            f"{len(taskset.tasks(s))} {s} ({len(taskset.split_ids(s))} tiles)" for s in SPLITS
        ),
        "bands": ", ".join(f"{b.name} ({b.unit})" if b.unit else b.name for b in meta.bands)
        + f", stored as {meta.dtype}",
    }
    seasons = sorted(set(table["season"]) - {""})
    if seasons:
        found["seasons"] = ", ".join(seasons)
    systems = table["crs"].dropna().unique()
    if len(systems):
        some = ", ".join(map(str, systems[:4])) + (" …" if len(systems) > 4 else "")
        found["CRS"] = f"{len(systems)}: {some}" if len(systems) > 1 else some
    else:
        found["CRS"] = "none: nothing is known of where the tiles lie"
    found["labelled"] = f"{table['labelled_share'].mean():.0%} of the pixels"
    options = {k: v for k, v in meta.options.items() if v not in (None, "", [])}
    if options:
        found["prepared with"] = ", ".join(f"{k} {v}" for k, v in options.items())
    return found


def _card(
    taskset: TaskSet, number: int, task: str, split: str, shares: Matrix, count: int, side: int
) -> Card:
    ids = taskset.tile_ids(task)
    some = ids[np.unique(np.linspace(0, len(ids) - 1, count).round().astype(int))]
    tiles = taskset.read(some)
    return Card(
        number=number,
        task=task,
        split=split,
        tiles=len(ids),
        labelled=float(taskset.table["labelled_share"].iloc[ids].mean()),
        shares=[float(s) for s in shares],
        place=place_of(taskset, task),
        image=image_sheet(tiles.image, taskset.bands, side),
        label=label_sheet(tiles.label, taskset.legend, side),
        width=len(some) * (side + 2) - 2,
        height=side,
    )


def _proof(taskset: TaskSet) -> tuple[str, Proof | None]:
    """The verdict in a word or two, and the proof."""
    proof = read_proof(taskset.folder)
    if proof is None:
        return "not checked for leakage", None
    if proof.data != fingerprint(taskset):
        return "changed since it was checked for leakage", None
    return proof.verdict(), proof


def _heat(title: str, caption: str, values: Matrix, most: float) -> Heat:
    return Heat(title, caption, most, heat_map(values, most), as_bytes(values, most))


def _spots(looks: Appearance) -> list[tuple[float, float]]:
    """Places of the tasks on a chart of 100 × 60, by the principal components of their looks."""
    plane = looks.plane()
    low, high = plane.min(axis=0), plane.max(axis=0)
    scaled = (plane - low) / np.maximum(high - low, 1e-9)
    return [(round(3 + 94 * float(x), 2), round(57 - 54 * float(y), 2)) for x, y in scaled]


def nearest(
    cards: Sequence[Card], by_look: Matrix, by_class: Matrix, names: Sequence[str]
) -> list[Nearest]:
    """For each task that is not trained on, the training tasks most like it; strangest first."""
    train = [card.number for card in cards if card.split == "train"]
    if not train:
        return []
    known = np.array([cards[i].shares for i in train]).max(axis=0) > 0
    found = []
    for card in cards:
        if card.split == "train":
            continue
        i = card.number
        look = train[int(by_look[i, train].argmin())]
        like = train[int(by_class[i, train].argmin())]
        unseen = [n for n, s, k in zip(names, card.shares, known, strict=True) if s > 0 and not k]
        found.append(
            Nearest(
                task=card.task,
                split=card.split,
                by_look=cards[look].task,
                look=float(by_look[i, look]),
                by_class=cards[like].task,
                classes=float(by_class[i, like]),
                unseen=", ".join(unseen),
            )
        )
    return sorted(found, key=lambda row: -row.look)


def usual(cards: Sequence[Card], by_look: Matrix) -> float | None:
    """Median distance of a training task to the training task most like it."""
    train = [card.number for card in cards if card.split == "train"]
    if len(train) < 2:
        return None
    among = by_look[np.ix_(train, train)].copy()
    np.fill_diagonal(among, np.inf)
    return float(np.median(among.min(axis=1)))
