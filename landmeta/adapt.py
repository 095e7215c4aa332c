"""From a checkpoint and a few labelled tiles of a new region to that region's own model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from landmeta.adaptation import Adaptation, adapt_params, settle
from landmeta.atomic import refuse_existing
from landmeta.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from landmeta.device import DeviceName, choose_device
from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    EmptyRegion,
    TooFewTiles,
    TrainingDiverged,
)
from landmeta.legend import IGNORE, Legend
from landmeta.losses import to_batch
from landmeta.relabel import numbering, present, with_table
from landmeta.stopping import FEWEST_TILES
from landmeta.support import Support, load_support, parse_pair
from landmeta.taskset import TaskSet, Tiles

FEW_PIXELS = 50
"""A class with fewer labelled pixels than this is warned of."""


@dataclass(frozen=True)
class Adapted:
    """What adapting used and made.

    Attributes:
        path: the region model.
        how: optimiser, rate and steps used.
        pixels: labelled pixels per name of each class that the region model maps.
        dropped: names of the classes that it does not map, since no pixel was labelled so.
        notes: what could not be done as asked, in words for the user.
        loss_before, loss_after: mean cross-entropy on the support set.
    """

    path: Path
    how: Adaptation
    pixels: dict[str, int]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    loss_before: float
    loss_after: float

    @property
    def scarce(self) -> list[str]:
        """Classes that are labelled, but in very few pixels."""
        return [name for name, count in self.pixels.items() if 0 < count < FEW_PIXELS]


def adapt(
    checkpoint: Path,
    support: Support,
    out: Path,
    *,
    changes: Mapping[str, object] | None = None,
    device: DeviceName = "auto",
    overwrite: bool = False,
) -> Adapted:
    """Adapt a checkpoint to labelled tiles and write the region model `out`.

    A checkpoint with an open legend takes the labels' own classes, those of them that have a
    labelled pixel.

    Args:
        checkpoint: written by training.
        support: labelled tiles in the checkpoint's bands, and in its legend if that is fixed;
            255 = not labelled.
        out: safetensors file to write.
        changes: fields of `Adaptation` in place of those tuned for so many tiles.
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
    pixels = class_pixels(tiles, legend)
    asked = _changed(loaded.meta.adaptation_for(len(tiles)), changes or {})
    target = choose_device(device)
    ready = loaded.to(target)
    method, classes = ready.method, len(legend)
    batch = to_batch(tiles, target)
    how = settle(method, ready.params, batch, asked, classes)
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
    meta = loaded.meta.model_copy(
        update={
            "kind": "region",
            "legend": legend,
            "adaptation": {len(tiles): how},
            "provenance": {
                "checkpoint": checkpoint.name,
                "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
                "support": list(support.sources),
                "support_tiles": len(tiles),
                "support_pixels": pixels,
                "trained": loaded.meta.provenance,
                "training_classes": list(loaded.meta.legend.names),
            },
        }
    )
    save_checkpoint(out, method, params, meta, overwrite=overwrite)
    return Adapted(out, how, pixels, dropped, _notes(asked, tiles), before, after)


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


def _notes(asked: Adaptation, tiles: Tiles) -> tuple[str, ...]:
    labelled = int((tiles.label != IGNORE).any(axis=(1, 2)).sum())
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


def support_from_taskset(
    checkpoint: Path, folder: Path, region: str, shots: int, seed: int
) -> Support:
    """Draw `shots` labelled tiles of one task of a task set, and say which they are.

    Raises:
        CheckpointMismatch: the task set has other bands or classes than the checkpoint.
        EmptyRegion, TooFewTiles: no such task, or fewer tiles than shots.
    """
    taskset = TaskSet(folder)
    load_checkpoint(checkpoint).meta.check_fits(taskset.meta, checkpoint)
    ids = taskset.tile_ids(region)
    if len(ids) < shots:
        raise TooFewTiles(
            f"{region!r} has {len(ids)} tiles, fewer than {shots} shots",
            remedy=f"ask for at most {len(ids)} shots",
            path=folder,
        )
    chosen = np.random.default_rng(seed).choice(ids, shots, replace=False)
    sources = tuple(f"{folder}: {region}, tile {i}" for i in chosen.tolist())
    return Support(taskset.read(chosen), sources, (), taskset.legend)


def support_from_files(
    checkpoint: Path,
    pairs: Sequence[str],
    names: Sequence[str] | None = None,
    legend: Legend | None = None,
) -> Support:
    """Labelled tiles from `IMAGE=LABELS` pairs.

    Args:
        checkpoint: that is to be adapted.
        pairs: images and labels.
        names: what the bands of the images are, if they do not say so themselves.
        legend: of the labels; that of the checkpoint if not given.

    Raises:
        CheckpointMismatch: the checkpoint's legend is fixed and not that of the labels.
        LandmetaError: as `landmeta.support.load_support`.
    """
    meta = load_checkpoint(checkpoint).meta
    if legend is not None:
        meta.check_classes(legend, checkpoint)
    return load_support(
        [parse_pair(pair) for pair in pairs],
        bands=meta.bands,
        legend=legend or meta.legend,
        tile_size=meta.tile_size,
        names=names,
    )
