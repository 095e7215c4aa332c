"""Support sets for a checkpoint, from whatever labels there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from landmeta.checkpoint import load_checkpoint
from landmeta.errors import ConfigError, TooFewTiles
from landmeta.legend import Legend
from landmeta.sparse import load_shapes
from landmeta.support import Support, load_support, load_warped, parse_pair
from landmeta.taskset import TaskSet
from landmeta.vectorfile import is_vector
from landmeta.vectors import read_shapes


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


def support_from_images(
    checkpoint: Path,
    images: Sequence[Path],
    labels: Path,
    *,
    column: str | None = None,
    layer: str | None = None,
    radius: float = 0.0,
    seed: int = 0,
    names: Sequence[str] | None = None,
    legend: Legend | None = None,
) -> Support:
    """Labelled tiles from images and one file of labels over all of them.

    Args:
        checkpoint: that is to be adapted.
        images: of the region.
        labels: polygons and points, or a raster, in any coordinate reference system.
        column: of polygons and points, that holds the class.
        layer: of a file that has several.
        radius: pixels around a point that it labels too.
        seed: of where in their tiles labelled places lie.
        names: what the bands of the images are, if they do not say so themselves.
        legend: of the labels. Without one it is the checkpoint's, or, if that is open and the
            labels are shapes, made of the names in the column.

    Raises:
        CheckpointMismatch: the checkpoint's legend is fixed and not that of the labels.
        LandmetaError: as `landmeta.vectors.read_shapes`, `landmeta.sparse.load_shapes` and
            `landmeta.support.load_warped`.
    """
    meta = load_checkpoint(checkpoint).meta
    if legend is not None:
        meta.check_classes(legend, checkpoint)
    own = legend or meta.legend
    if not is_vector(labels):
        if column is not None or layer is not None:
            raise ConfigError(
                "is a raster, which has no columns or layers",
                remedy="leave --class-column and --layer out, or give polygons or points",
                path=labels,
            )
        return load_warped(
            images, labels, bands=meta.bands, legend=own, tile_size=meta.tile_size, names=names
        )
    shapes = read_shapes(
        labels, column, own, layer=layer, open_legend=meta.open_legend and legend is None
    )
    return load_shapes(
        images,
        shapes,
        bands=meta.bands,
        tile_size=meta.tile_size,
        names=names,
        radius=radius,
        seed=seed,
    )
