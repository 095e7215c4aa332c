"""Reptile: no support and query, no second derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from landmeta.adaptation import Adaptation
from landmeta.losses import some_pixels
from landmeta.meta.chain import pull_back
from landmeta.meta.hessian import leaves
from landmeta.meta.inner import Batch, on
from landmeta.meta.reptile import direction
from landmeta.methods.base import EpisodeBatch, EpisodicMethod
from landmeta.model import Params


class Reptile(EpisodicMethod):
    """Reptile (Nichol et al. 2018, arXiv:1803.02999).

    Support and query tiles of an episode are one heap; each inner step sees a random share of it.
    """

    def trained(self) -> Adaptation | None:
        """The inner loop."""
        return Adaptation(rate=self.settings.inner.rate, steps=self.settings.inner.steps)

    def step_batches(self, episode: EpisodeBatch, steps: int) -> list[Batch]:
        """A random share of the episode's tiles for each step, and `inner.pixels` of them."""
        image = torch.cat([episode.support.image, episode.query.image])
        label = torch.cat([episode.support.label, episode.query.label])
        count = max(1, round(self.settings.reptile.share * len(image)))
        pixels = self.settings.inner.pixels
        generator = torch.Generator().manual_seed(episode.seed)
        batches = []
        for _ in range(steps):
            chosen = torch.randperm(len(image), generator=generator)[:count].to(image.device)
            batch = Batch(image[chosen], label[chosen])
            batches.append(batch if pixels is None else some_pixels(batch, pixels, generator))
        return batches

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """Mean loss along the way, and from where it ends to where it started."""
        theta = leaves(params)
        start = self.start(theta, episode.support, episode.classes)
        inner = self.settings.inner
        losses = [on(self.inner_loss, batch) for batch in self.step_batches(episode, inner.steps)]
        rates = dict.fromkeys(self.adapting(start), inner.rate)
        loss, found = direction(losses, start, rates)
        return loss, pull_back(theta, [(start, found)])
