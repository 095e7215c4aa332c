"""What one outer step does, for each method: which tiles it reads and which gradient it follows."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from landmeta import distributed
from landmeta.config import TrainConfig
from landmeta.episodes import EpisodeSampler, EpisodeTiles, dihedral, draw_turns, turned
from landmeta.errors import ConfigError
from landmeta.legend import IGNORE
from landmeta.losses import to_batch
from landmeta.meta.hessian import norm
from landmeta.meta.inner import gradient
from landmeta.methods import EpisodeBatch, EpisodicMethod, Method
from landmeta.model import Params
from landmeta.relabel import with_legend
from landmeta.taskset import TaskSet

Work = list[EpisodeTiles]
"""What one outer step reads: support, query and number of classes of each task.

Of several processes that train together, each has its share of the tasks (or tiles).
"""


class Learner(Protocol):
    """One method of training.

    `load` reads the tiles of an outer step and is a function of the step alone; it runs in the
    background. `gradient` computes loss and gradient of the outer parameters on them.
    """

    items: int
    """Episodes (or supervised tiles) in one step."""
    images: int
    """Tiles in one step."""

    def load(self, step: int) -> Work:
        """Read and augment the tiles of an outer step."""
        ...

    def gradient(self, params: Params, work: Work, progress: float) -> tuple[Tensor, Params]:
        """Loss (before the step) and gradient; `progress` is the share of the training done."""
        ...

    def weight(self, work: Work) -> float:
        """How much `work` counts in the mean over processes."""
        ...


class MetaLearner:
    """Follows a meta-gradient, averaged over the tasks of a step."""

    def __init__(
        self, config: TrainConfig, taskset: TaskSet, method: EpisodicMethod, device: torch.device
    ) -> None:
        sizes = config.episodes
        self.sampler = EpisodeSampler(
            taskset, "train", shots=sizes.shots, queries=sizes.queries, seed=config.seed
        )
        self.config, self.taskset, self.method, self.device = config, taskset, method, device
        self.items = sizes.tasks
        self.images = sizes.tasks * (sizes.shots + sizes.queries)

    def difference_error(self, params: Params, work: Work, progress: float) -> float | None:
        """Relative error of the meta-gradient on the first task; None where it is exact.

        ‖by differences − exact‖ / ‖exact‖.
        """
        reference = self.method.exact()
        if reference is None:
            return None
        episode = self._episode(work[0])
        _, found = self.method.meta_gradient(params, episode, progress)
        _, exact = reference.meta_gradient(params, episode, progress)
        own = self.method.own(params)
        exact = {name: g for name, g in exact.items() if name not in own}
        apart = {name: found[name] - exact[name] for name in exact}
        return float(norm(apart) / norm(exact))

    def _episode(self, tiles: EpisodeTiles) -> EpisodeBatch:
        batches = to_batch(tiles.support, self.device), to_batch(tiles.query, self.device)
        return EpisodeBatch(*batches, tiles.classes, tiles.seed)

    def load(self, step: int) -> Work:
        """Support and query tiles of the step's episodes."""
        work, classes = [], len(self.taskset.legend)
        for i in distributed.own(range(self.items)):
            number = step * self.items + i
            episode = self.sampler.episode(number)
            support = self.taskset.read(episode.support)
            query = self.taskset.read(episode.query)
            if self.config.augment:
                rng = np.random.default_rng([self.config.seed, number, 1])
                support, query = dihedral(support, rng), dihedral(query, rng)
            key = [self.config.seed, number]
            seed = np.random.SeedSequence([*key, 3]).generate_state(1)
            tiles = with_legend(support, query, classes, self.config.relabel, key)
            work.append(tiles._replace(seed=int(seed[0])))
        return work

    def gradient(self, params: Params, work: Work, progress: float) -> tuple[Tensor, Params]:
        """Mean query loss and mean meta-gradient over the tasks."""
        losses, total = [], {name: torch.zeros_like(p) for name, p in params.items()}
        for tiles in work:
            task_loss, grads = self.method.meta_gradient(params, self._episode(tiles), progress)
            losses.append(task_loss)
            for name, g in grads.items():
                total[name] += g / len(work)
        return torch.stack(losses).mean(), total

    def weight(self, work: Work) -> float:
        """Tasks."""
        return len(work)


class SupervisedLearner:
    """Ordinary training on tiles of all training regions: the pretraining baseline."""

    def __init__(
        self, config: TrainConfig, taskset: TaskSet, method: Method, device: torch.device
    ) -> None:
        self.config, self.taskset, self.method, self.device = config, taskset, method, device
        self.ids = taskset.split_ids("train")
        self.items = self.images = min(config.batch, len(self.ids))
        self._order = (-1, self.ids)

    def load(self, step: int) -> Work:
        """The step's tiles: consecutive pieces of a new permutation of all tiles each epoch."""
        first = step * self.items
        ids = [self._tile(first + i) for i in range(self.items)]
        tiles = self.taskset.read(distributed.own(ids))
        if self.config.augment:
            rng = np.random.default_rng([self.config.seed, step, 1])
            tiles = turned(tiles, distributed.own(draw_turns(self.items, rng)))
        return [EpisodeTiles(tiles, tiles, len(self.taskset.legend))]

    def _tile(self, position: int) -> int:
        epoch, place = divmod(position, len(self.ids))
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.config.seed, epoch])
            self._order = (epoch, rng.permutation(self.ids))
        return int(self._order[1][place])

    def gradient(self, params: Params, work: Work, progress: float) -> tuple[Tensor, Params]:
        """Loss and its plain gradient."""
        loss = self.method.loss(params, to_batch(work[0].support, self.device))
        return loss.detach(), gradient(loss, params)

    def weight(self, work: Work) -> float:
        """Labelled pixels, over which the loss is a mean."""
        return float((work[0].support.label != IGNORE).sum())


def make_learner(
    config: TrainConfig, taskset: TaskSet, method: Method, device: torch.device
) -> Learner:
    """The learner of the config's method.

    Raises:
        ConfigError: there are more processes than a step has tasks (or tiles).
    """
    learner: Learner = (
        MetaLearner(config, taskset, method, device)
        if isinstance(method, EpisodicMethod)
        else SupervisedLearner(config, taskset, method, device)
    )
    unit, setting = ("tasks", "episodes.tasks") if method.episodic else ("tiles", "batch")
    if learner.items < distributed.size():
        raise ConfigError(
            f"{learner.items} {unit} in a step cannot be split over {distributed.size()} processes",
            remedy=f"raise {setting}, or start fewer processes",
        )
    return learner
