"""From a checkpoint and a few labelled tiles of a new region to that region's own model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from landmeta.adaptation import Adaptation, adapt_params, settle
from landmeta.atomic import refuse_existing
from landmeta.checkpoint import Checkpoint, CheckpointMeta, load_checkpoint, save_checkpoint
from landmeta.device import DeviceName, choose_device
from landmeta.drift import out_of_range
from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    EmptyRegion,
    TrainingDiverged,
)
from landmeta.estimate import FOREST_SHARES, Found
from landmeta.forest import grow_on_tiles
from landmeta.groups import Cells, GroupMap, by_tile, count_cells
from landmeta.holdout import FEWEST_GROUPS, Progress, enough, search
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.losses import to_batch
from landmeta.meta.inner import Batch
from landmeta.novelty import novelty_of
from landmeta.relabel import numbering, present, with_table
from landmeta.stopping import FEWEST_TILES
from landmeta.support import Support
from landmeta.taskset import Tiles

_CHOSEN = frozenset({"optimizer", "rate", "steps", "early_stopping"})
"""What held-out labels choose, unless somebody else did."""
FEW_PIXELS = 50
"""A class with fewer labelled pixels than this is warned of."""


@dataclass(frozen=True)
class Adapted:
    """What adapting used and made.

    Attributes:
        path: the region model.
        how: optimiser, rate and steps used.
        forest: share of the random forest in the votes.
        pixels: labelled pixels per name of each class that the region model maps.
        dropped: names of the classes that it does not map, since no pixel was labelled so.
        shapes: polygons and points per class name; None of labels that are pixels.
        found: what held-out labels say; None if none were held out.
        notes: what could not be done as asked, in words for the user.
        loss_before, loss_after: mean cross-entropy on the support set.
    """

    path: Path
    how: Adaptation
    forest: float
    pixels: dict[str, int]
    dropped: tuple[str, ...]
    shapes: dict[str, int] | None
    found: Found | None
    notes: tuple[str, ...]
    loss_before: float
    loss_after: float

    @property
    def votes(self) -> str:
        """Who votes for the classes of a map, in words."""
        if not self.forest:
            return "the network maps alone"
        if self.forest == 1:
            return "a random forest on the pixels maps alone"
        return f"a random forest on the pixels has {self.forest:.0%} of the votes"

    @property
    def scarce(self) -> list[str]:
        """Classes that are labelled, but in very few pixels."""
        return [name for name, count in self.pixels.items() if 0 < count < FEW_PIXELS]

    @property
    def unlabelled(self) -> list[str]:
        """Classes that the map may show though nothing is labelled so."""
        return [name for name, count in self.pixels.items() if not count]


def adapt(
    checkpoint: Path,
    support: Support,
    out: Path,
    *,
    changes: Mapping[str, object] | None = None,
    hold_out: bool = False,
    forest: float | None = None,
    members: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
    device: DeviceName = "auto",
    overwrite: bool = False,
) -> Adapted:
    """Adapt a checkpoint to labelled tiles and write the region model `out`.

    A checkpoint with an open legend takes the labels' own classes, those of them that have a
    labelled pixel. However steps and rate were chosen, all labels are adapted to in the end.

    Args:
        checkpoint: written by training.
        support: labelled tiles in the checkpoint's bands, and in its legend if that is fixed;
            255 = not labelled.
        out: safetensors file to write.
        changes: fields of `Adaptation` in place of those tuned for so many tiles.
        hold_out: hold groups of labels out in turn, to choose steps and rate (unless `changes` says
            them), to estimate the accuracy and to fit the temperature; see `landmeta.holdout`.
        forest: share of a random forest on the pixels in the votes. None to choose it by held-out
            labels; without them half, or 0 where there are too few to hold any out.
        members: of an ensemble, whose probabilities a map averages: the first is adapted to all
            labels, each other one to the groups of a bootstrap draw.
        seed: of how groups are dealt and drawn.
        progress: is told how much of the search is done, from 0 to 1.
        device: where to compute.
        overwrite: replace `out`.

    Raises:
        OutputExists: `out` exists and `overwrite` is False.
        EmptyRegion: nothing in the support is labelled, or one class only of an open legend.
        CheckpointMismatch: the checkpoint is already a region model, or has a fixed legend that is
            not that of the labels.
        TrainingDiverged: the adapted parameters are not numbers.
    """
    refuse_existing(out, overwrite)
    loaded = load_checkpoint(checkpoint)
    if loaded.meta.kind == "region":
        raise CheckpointMismatch(
            "is already adapted to a region",
            remedy="adapt the checkpoint it was made from",
            path=checkpoint,
        )
    if support.legend is not None:
        loaded.meta.check_classes(support.legend, checkpoint)
    tiles, legend, dropped = _to_map(support, loaded.meta)
    one = support.shots  # tiles of the first view, in which all labels are once
    pixels = class_pixels(Tiles(tiles.image[:one], tiles.label[:one]), legend)
    changes = changes or {}
    asked = _changed(loaded.meta.adaptation_for(support.shots), changes)
    target = choose_device(device)
    ready = loaded.to(target)
    method, classes = ready.method, len(legend)
    batch = to_batch(tiles, target)
    groups = by_tile(tiles.label) if support.groups is None else support.groups
    cells = count_cells(groups, tiles.label, support.corners, loaded.meta.tile_size)
    found = None
    if hold_out:
        fixed = not _CHOSEN.isdisjoint(changes)
        # One view of each label tells which way is better, in a part of the time.
        view = slice(support.shots)
        corners = None if support.corners is None else support.corners[view]
        seen = count_cells(groups[view], tiles.label[view], corners, loaded.meta.tile_size)
        some = to_batch(Tiles(tiles.image[view], tiles.label[view]), target)
        found = search(
            method, ready.params, some, groups[view], seen, asked, classes,
            fixed=fixed, forest=forest, seed=seed, progress=progress,
        )  # fmt: skip
        if found is not None and not fixed:
            asked = found.how
    once = Batch(batch.image[:one], batch.label[:one])
    how = settle(method, ready.params, once, asked, classes)
    params = adapt_params(method, ready.params, batch, how, classes)
    with torch.no_grad():
        unadapted = method.start(ready.params, None, classes)
        before, after = (method.loss(p, batch).item() for p in (unadapted, params))
    if not math.isfinite(after):
        raise TrainingDiverged(
            f"the loss is {after} after {how.steps} steps of {how.optimizer} at rate {how.rate:g}",
            remedy="lower the rate or the steps; nothing was written",
            path=checkpoint,
        )
    share = _forest_share(forest, found, cells)
    more = tuple(
        adapt_params(method, ready.params, _drawn(batch, groups, cells, [seed, i]), how, classes)
        for i in range(1, members)
    )
    meta = loaded.meta.model_copy(
        update={
            "kind": "region",
            "legend": legend,
            "adaptation": {support.shots: how},
            "temperature": None if found is None else found.temperature,
            "forest": share,
            "provenance": {
                "checkpoint": checkpoint.name,
                "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
                "support": list(support.sources[: support.shots]),
                "support_tiles": support.shots,
                "support_pixels": pixels,
                "held_out": None if found is None else found.record(legend.names),
                "trained": loaded.meta.provenance,
                "training_classes": list(loaded.meta.legend.names),
            },
        }
    )
    beside = novelty_of(method, params, batch, groups, seed).tensors()
    if share:
        beside |= grow_on_tiles(tiles.image[:one], tiles.label[:one], classes, seed).tensors()
    save_checkpoint(out, method, params, meta, members=more, beside=beside, overwrite=overwrite)
    return Adapted(
        path=out,
        how=how,
        forest=share,
        pixels=pixels,
        dropped=dropped,
        shapes=None if support.shapes is None else dict(support.shapes),
        found=found,
        notes=(
            *_notes(asked, tiles.label[:one]),
            *_few_groups(hold_out, found, cells),
            *_drift(ready, tiles, support.corners),
        ),
        loss_before=before,
        loss_after=after,
    )


def _forest_share(asked: float | None, found: Found | None, cells: Cells) -> float:
    if found is not None:
        return found.forest
    if asked is not None:
        return asked
    return FOREST_SHARES[0] if enough(cells) else 0.0


def _drawn(batch: Batch, groups: GroupMap, cells: Cells, key: Sequence[int]) -> Batch:
    """The labels of the groups that a bootstrap draw has; at least one group of every class."""
    rng = np.random.default_rng(key)
    known = np.unique(cells.group)
    drawn = set(rng.choice(known, len(known)).tolist())
    for label in np.unique(cells.label):
        own = cells.group[cells.label == label]
        if drawn.isdisjoint(own.tolist()):
            drawn.add(int(rng.choice(own)))
    kept = torch.from_numpy(np.isin(groups, list(drawn))).to(batch.label.device)
    label = batch.label.where(kept, IGNORE)
    used = (label != IGNORE).flatten(1).any(1)
    return Batch(batch.image[used], label[used])


def _few_groups(hold_out: bool, found: Found | None, cells: Cells) -> list[str]:
    if not hold_out or found is not None:
        return []
    count = len(np.unique(cells.group))
    return [
        f"{count} separate labelled places are too few to hold any out ({FEWEST_GROUPS} are "
        "needed, and two of each of two classes): steps and rate are the checkpoint's, the "
        "confidence is not calibrated, and how right the map is cannot be told"
    ]


def _drift(ready: Checkpoint, tiles: Tiles, corners: NDArray[np.int64] | None) -> list[str]:
    net = ready.method.net
    mean, std = (t.flatten().cpu().numpy() for t in (net.mean, net.std))
    of = np.zeros(len(tiles), np.int64) if corners is None else corners[:, 0]
    told = []
    for image in np.unique(of):
        found = out_of_range(
            tiles.image[of == image], mean, std, [b.name for b in ready.meta.bands]
        )
        which = f"image {image + 1}" if of.any() else "the image"
        told += [f"{which} is out of the trained range: {text}" for text in found]
    return told


def _to_map(support: Support, meta: CheckpointMeta) -> tuple[Tiles, Legend, tuple[str, ...]]:
    """The support in the region's legend, that legend, and the names of classes left out of it.

    A fixed legend is mapped whole; of an open one, the classes that are labelled.
    """
    tiles, legend = support.tiles, meta.legend
    kept = present(tiles.label)
    if not len(kept):
        raise EmptyRegion(
            f"none of the {len(tiles)} support tiles has a labelled pixel",
            remedy="label some pixels of the new region",
        )
    if not meta.open_legend:
        return tiles, legend, ()
    legend = support.legend or legend
    if len(kept) == 1:
        raise EmptyRegion(
            f"{legend.names[kept[0]]} is the only class that is labelled, and with an open legend "
            "a map shows what is labelled",
            remedy="label some pixels of at least one other class",
        )
    dropped = tuple(name for i, name in enumerate(legend.names) if i not in kept)
    return with_table(tiles, numbering(kept)), legend.only(kept.tolist()), dropped


def _notes(asked: Adaptation, label: Labels) -> tuple[str, ...]:
    labelled = int((label != IGNORE).any(axis=(1, 2)).sum())
    if not asked.early_stopping or labelled >= FEWEST_TILES:
        return ()
    return (
        f"early stopping holds tiles out and needs {FEWEST_TILES} with labels, "
        f"here are {labelled}: the tuned {asked.steps} steps were taken",
    )


def _changed(tuned: Adaptation, changes: Mapping[str, object]) -> Adaptation:
    try:
        return Adaptation.model_validate(tuned.model_dump() | dict(changes))
    except ValidationError as error:
        problem = error.errors()[0]
        field = f"{problem['loc'][0]} {problem['input']!r}: " if problem["loc"] else ""
        raise ConfigError(
            f"{field}{problem['msg']}",
            remedy="give a rate above 0 and 0 or more steps, or leave them as tuned",
        ) from error


def class_pixels(tiles: Tiles, legend: Legend) -> dict[str, int]:
    """Labelled pixels per class name."""
    counts = np.bincount(tiles.label[tiles.label != IGNORE].ravel(), minlength=len(legend))
    return dict(zip(legend.names, counts.tolist(), strict=True))
