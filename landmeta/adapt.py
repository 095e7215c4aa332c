"""From a checkpoint and a few labelled tiles of a new region to that region's own model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from landmeta.adaptation import Adaptation, adapt_params, settle
from landmeta.atomic import refuse_existing
from landmeta.checkpoint import load_checkpoint, save_checkpoint
from landmeta.device import DeviceName, choose_device
from landmeta.errors import CheckpointMismatch, ConfigError, EmptyRegion, TooFewTiles
from landmeta.legend import IGNORE, Legend
from landmeta.losses import to_batch
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
        pixels: labelled pixels per class name.
        notes: what could not be done as asked, in words for the user.
        loss_before, loss_after: mean cross-entropy on the support set.
    """

    path: Path
    how: Adaptation
    pixels: dict[str, int]
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

    Args:
        checkpoint: written by training.
        support: labelled tiles, in the checkpoint's bands and legend; 255 = not labelled.
        out: safetensors file to write.
        changes: fields of `Adaptation` in place of those tuned for so many tiles.
        device: where to compute.
        overwrite: replace `out`.

    Raises:
        OutputExists: `out` exists and `overwrite` is False.
        EmptyRegion: nothing in the support is labelled.
        CheckpointMismatch: the checkpoint is already a region model.
    """
    refuse_existing(out, overwrite)
    loaded = load_checkpoint(checkpoint)
    if loaded.meta.kind == "region":
        raise CheckpointMismatch(
            "is already adapted to a region",
            remedy="adapt the checkpoint it was made from",
            path=checkpoint,
        )
    tiles = support.tiles
    pixels = class_pixels(tiles, loaded.meta.legend)
    if not sum(pixels.values()):
        raise EmptyRegion(
            f"none of the {len(tiles)} support tiles has a labelled pixel",
            remedy="label some pixels of the new region",
        )
    asked = _changed(loaded.meta.adaptation_for(len(tiles)), changes or {})
    target = choose_device(device)
    ready = loaded.to(target)
    method, classes = ready.method, len(loaded.meta.legend)
    batch = to_batch(tiles, target)
    how = settle(method, ready.params, batch, asked, classes)
    params = adapt_params(method, ready.params, batch, how, classes)
    meta = loaded.meta.model_copy(
        update={
            "kind": "region",
            "adaptation": {len(tiles): how},
            "provenance": {
                "checkpoint": checkpoint.name,
                "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
                "support": list(support.sources),
                "support_tiles": len(tiles),
                "support_pixels": pixels,
                "trained": loaded.meta.provenance,
            },
        }
    )
    save_checkpoint(out, method, params, meta, overwrite=overwrite)
    with torch.no_grad():
        before, after = (method.loss(p, batch).item() for p in (ready.phi(), params))
    return Adapted(out, how, pixels, _notes(asked, tiles), before, after)


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
    return Support(taskset.read(chosen), sources, ())


def support_from_files(
    checkpoint: Path, pairs: Sequence[str], names: Sequence[str] | None = None
) -> Support:
    """Labelled tiles from `IMAGE=LABELS` pairs. Errors as in `landmeta.support.load_support`."""
    meta = load_checkpoint(checkpoint).meta
    return load_support(
        [parse_pair(pair) for pair in pairs],
        bands=meta.bands,
        legend=meta.legend,
        tile_size=meta.tile_size,
        names=names,
    )
