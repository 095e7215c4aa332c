"""Who takes part in a comparison: checkpoints, the same adapted otherwise, and baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landmeta.adaptation import Adaptation, adapt_params, trajectory
from landmeta.baselines import fit_baseline
from landmeta.checkpoint import Checkpoint, load_checkpoint
from landmeta.config import BaselineName, CompareConfig, RelabelConfig, Variant
from landmeta.errors import CannotAdapt, CheckpointMismatch
from landmeta.forest import PixelForest, grow_on_tiles, over_tiles
from landmeta.legend import IGNORE, Labels
from landmeta.losses import to_batch
from landmeta.meta.inner import Batch
from landmeta.model import Params
from landmeta.relabel import numbering, present, with_table
from landmeta.taskset import TaskSet, Tiles
from landmeta.tune import Trial, best, tune

CHUNK = 16
"""Tiles predicted at a time."""


@dataclass(frozen=True)
class Prediction:
    """Most likely class index (tile, row, col) uint8, and its probability, 0-1."""

    classes: Labels
    confidence: NDArray[np.float32]


@dataclass(frozen=True)
class Adapted:
    """What a contender becomes by adapting to a region.

    Attributes:
        predict: from images (tile, band, row, col), NaN = no data.
        parameters: how many numbers the adapting has set.
    """

    predict: Callable[[NDArray[np.float32]], Prediction]
    parameters: int


class Contender(Protocol):
    """Something that adapts to labelled tiles and maps with what it has become."""

    @property
    def name(self) -> str:
        """In tables."""
        ...

    def adapt(self, support: Tiles, classes: int, seed: int) -> Adapted:
        """Adapt to labelled tiles; there may be none.

        Raises:
            CannotAdapt, ConfigError: the method cannot do that.
        """
        ...


@dataclass(frozen=True)
class Network:
    """A checkpoint and how it is adapted.

    Attributes:
        name: in tables.
        checkpoint: θ, on the device.
        device: where it computes.
        of: name of the checkpoint.
        early_stopping: choose the number of steps on held-out support tiles.
        forest: share of a random forest on the labelled pixels in the votes; of none without any.
    """

    name: str
    checkpoint: Checkpoint
    device: torch.device
    of: str
    early_stopping: bool = False
    forest: float = 0.0

    def how(self, shots: int) -> Adaptation:
        """How it adapts to so many tiles."""
        how = self.checkpoint.meta.adaptation_for(shots)
        if self.early_stopping and shots and how.unfreeze is None:
            return how.model_copy(update={"early_stopping": True})
        return how

    def adapt(self, support: Tiles, classes: int, seed: int) -> Adapted:
        """Steps as tuned for so many tiles."""
        method, theta, shots = self.checkpoint.method, self.checkpoint.params, len(support)
        legend = self._legend(support, classes)
        batch = self._batch(support, legend) if shots else None
        phi = adapt_params(method, theta, batch, self.how(shots), len(legend))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # else the clock stops before the steps are made
        return self._with(phi, legend, self._grown(support, legend, seed))

    def _legend(self, support: Tiles, classes: int) -> Labels:
        """Indices of the classes that it can map: of an open legend, those that are labelled."""
        if not self.checkpoint.meta.open_legend:
            return np.arange(classes, dtype=np.uint8)
        labelled = present(support.label)
        if not len(labelled):
            raise CannotAdapt(
                "it takes its legend from the labels and was given none",
                remedy="give at least one shot, or train it with legend: fixed",
            )
        return labelled

    def _batch(self, support: Tiles, legend: Labels) -> Batch:
        return to_batch(with_table(support, numbering(legend)), self.device)

    def _grown(self, support: Tiles, legend: Labels, seed: int) -> PixelForest | None:
        if not self.forest or not (support.label != IGNORE).any():
            return None
        numbered = with_table(support, numbering(legend))
        return grow_on_tiles(numbered.image, numbered.label, len(legend), seed)

    def follow(
        self, support: Tiles, classes: int, steps: Sequence[int], seed: int
    ) -> Iterator[tuple[int, Adapted]]:
        """After each of the numbers of steps of one adaptation; to be used before the next."""
        method, theta = self.checkpoint.method, self.checkpoint.params
        legend = self._legend(support, classes)
        batch, how = self._batch(support, legend), self.how(len(support))
        forest = self._grown(support, legend, seed)
        for step, phi in trajectory(method, theta, batch, how, steps, len(legend)):
            yield step, self._with(phi, legend, forest)

    def _with(self, phi: Params, legend: Labels, forest: PixelForest | None) -> Adapted:
        method, device = self.checkpoint.method, self.device

        @torch.no_grad()
        def predict(image: NDArray[np.float32]) -> Prediction:
            parts = []
            for part in torch.split(torch.from_numpy(image), CHUNK):
                there = part.to(device, memory_format=torch.channels_last)
                votes = method.logits(phi, there).softmax(1)
                if forest is not None:
                    trees = torch.from_numpy(over_tiles(forest, part.numpy())).to(device)
                    votes = votes.lerp(trees, self.forest)
                parts.append(votes.max(1))
            sure = torch.cat([p.values for p in parts]).cpu().numpy()
            classes = torch.cat([p.indices for p in parts]).cpu().numpy()
            # NaN is what an adaptation that has diverged gives.
            return Prediction(legend[classes], np.nan_to_num(sure.astype(np.float32)))

        nodes = 0 if forest is None else int(forest.sizes.sum())
        return Adapted(predict, changed(self.checkpoint.params, phi) + nodes)


def changed(theta: Mapping[str, Tensor], phi: Mapping[str, Tensor]) -> int:
    """Numbers in the tensors of φ that θ lacks or that are not as they are in θ."""
    return sum(
        p.numel()
        for name, p in phi.items()
        if name not in theta or not (p is theta[name] or torch.equal(p, theta[name]))
    )


@dataclass(frozen=True)
class Baseline:
    """A method without a checkpoint."""

    name: BaselineName

    def adapt(self, support: Tiles, classes: int, seed: int) -> Adapted:
        """Learn from the labelled pixels."""
        if not (support.label != IGNORE).any():
            raise CannotAdapt(
                f"{self.name} learns from labelled pixels alone and was given none",
                remedy="give at least one shot",
            )
        model = fit_baseline(self.name, support, classes, seed)

        def predict(image: NDArray[np.float32]) -> Prediction:
            found = [model.probabilities(image[i : i + CHUNK]) for i in range(0, len(image), CHUNK)]
            probabilities = np.concatenate(found)
            classes = probabilities.argmax(axis=1).astype(np.uint8)
            return Prediction(classes, probabilities.max(axis=1))

        return Adapted(predict, model.parameters())


def contenders(
    config: CompareConfig, taskset: TaskSet, device: torch.device
) -> tuple[list[Contender], dict[str, list[Trial]]]:
    """All that a comparison is between, and what was tried to tune each variant.

    Raises:
        CheckpointMismatch: a checkpoint was made for other bands or classes.
        TooFewTiles: a validation region is too small to tune a variant on.
    """
    loaded: dict[str, Checkpoint] = {}
    for name, path in config.checkpoints.items():
        loaded[name] = _load(name, path, taskset, device)
    found: list[Contender] = [Network(n, c, device, of=n) for n, c in loaded.items()]
    tried: dict[str, list[Trial]] = {}
    for name, variant in config.variants.items():
        checkpoint, trials = _variant(variant, loaded[variant.of], taskset, config.seed, device)
        found.append(
            Network(name, checkpoint, device, variant.of, variant.early_stopping, variant.forest)
        )
        if trials:
            tried[name] = trials
    found += [Baseline(name) for name in config.baselines]
    return found, tried


def _load(name: str, path: Path, taskset: TaskSet, device: torch.device) -> Checkpoint:
    checkpoint = load_checkpoint(path)
    try:
        checkpoint.meta.check_fits(taskset.meta, path)
    except CheckpointMismatch as error:
        what = f"{name!r} {error.what}"
        raise CheckpointMismatch(what, remedy=error.remedy, path=path) from error
    return checkpoint.to(device)


def _variant(
    variant: Variant, made: Checkpoint, taskset: TaskSet, seed: int, device: torch.device
) -> tuple[Checkpoint, list[Trial]]:
    if variant.tune is None:
        return made, []
    relabel = RelabelConfig() if made.meta.open_legend else None
    searched = tune(
        made.method, made.params, taskset, variant.tune, relabel=relabel, seed=seed, device=device
    )
    trials = list(searched)
    meta = made.meta.model_copy(update={"adaptation": best(trials)})
    return Checkpoint(made.method, made.params, meta), trials
