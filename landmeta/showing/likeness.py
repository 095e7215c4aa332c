"""How unlike the tasks of a task set are: by their classes, and by how their tiles look."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmeta.taskset import TaskSet

Matrix = NDArray[np.float64]
_BATCH = 16


def class_shares(taskset: TaskSet, tasks: Sequence[str]) -> Matrix:
    """Share of each class in the labelled pixels of each task, shape (task, class)."""
    counts = np.stack([taskset.class_pixels(taskset.tile_ids(task)).to_numpy() for task in tasks])
    shares: Matrix = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def jensen_shannon(shares: Matrix) -> Matrix:
    """Jensen-Shannon distances between rows, 0 (equal) to 1 (nothing in common), shape (row, row).

    The square root of the divergence in bits; Endres and Schindelin 2003,
    doi:10.1109/TIT.2003.813506.
    """
    found = np.empty((len(shares), len(shares)))
    for i, p in enumerate(shares):
        middle = (p + shares) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.where(p > 0, p * np.log2(p / middle), 0).sum(axis=1)
            other = np.where(shares > 0, shares * np.log2(shares / middle), 0).sum(axis=1)
        found[i] = np.sqrt(np.maximum(own + other, 0) / 2)
    np.fill_diagonal(found, 0)
    return found


@dataclass(frozen=True)
class Appearance:
    """How the tiles of each task look, in units of a tile's deviation over the whole set.

    Attributes:
        mean, deviation: over the tiles of a task, shape (task, feature).
    """

    mean: Matrix
    deviation: Matrix

    def distances(self) -> Matrix:
        """Fréchet distances between tasks as normal distributions, shape (task, task).

        Of features taken one by one (diagonal covariances), as the root of their mean square;
        Dowson and Landau 1982, doi:10.1016/0047-259X(82)90077-X. 1: a whole deviation of a tile,
        in each feature.
        """
        both = np.concatenate([self.mean, self.deviation], axis=1)
        squares = np.square(both[:, None] - both[None]).sum(axis=2)
        found: Matrix = np.sqrt(squares / max(1, self.mean.shape[1]))
        return found

    def plane(self) -> Matrix:
        """The two principal components of the tasks' means, shape (task, 2)."""
        centred = self.mean - self.mean.mean(axis=0)
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        flat = np.zeros((len(centred), 2))
        flat[:, : min(2, len(values))] = (left * values)[:, :2]
        return flat


def appearance(taskset: TaskSet, tasks: Sequence[str], most: int = 48) -> Appearance:
    """Describe `most` tiles of each task, drawn by its name."""
    features, owner = [], []
    for number, task in enumerate(tasks):
        ids = taskset.tile_ids(task)
        if len(ids) > most:
            rng = np.random.default_rng(zlib.crc32(task.encode()))
            ids = np.sort(rng.choice(ids, most, replace=False))
        for start in range(0, len(ids), _BATCH):
            images = taskset.read_images(ids[start : start + _BATCH])
            features.append(tile_features(images))
            owner += [number] * len(images)
    table, of = np.concatenate(features), np.array(owner)
    mean = np.nanmean(table, axis=0)
    table = np.where(np.isnan(table), mean, table)
    table = (table - mean) / np.maximum(table.std(axis=0), 1e-9)
    parts = [table[of == number] for number in range(len(tasks))]
    return Appearance(
        np.stack([p.mean(axis=0) for p in parts]), np.stack([p.std(axis=0) for p in parts])
    )


def tile_features(images: NDArray[np.float32]) -> Matrix:
    """Mean, deviation and mean step from pixel to pixel of each band; (tile, band × 3).

    Args:
        images: shape (tile, band, row, col), NaN where not valid.
    """
    values = np.ma.masked_invalid(images.astype(np.float64))
    steps = [np.abs(np.diff(values, axis=axis)).mean(axis=(2, 3)) for axis in (2, 3)]
    found = [values.mean(axis=(2, 3)), values.std(axis=(2, 3)), (steps[0] + steps[1]) / 2]
    return np.concatenate([np.ma.filled(f, np.nan) for f in found], axis=1)
