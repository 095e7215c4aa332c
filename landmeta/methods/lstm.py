"""A learned update rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import repeat

import torch
from torch import Tensor

from landmeta.adaptation import Adaptation
from landmeta.meta.hessian import leaves, plain_gradient
from landmeta.meta.inner import Batch, gradient
from landmeta.meta.learned_update import fresh_cell, initial_weights, update
from landmeta.methods.base import EpisodeBatch, EpisodicMethod
from landmeta.model import Params, SegmentationNet, UNetConfig

PREFIX = "update."
"""Beginning of the names of the rule's weights in θ."""


class LearnedUpdate(EpisodicMethod):
    """The LSTM meta-learner (Ravi and Larochelle 2017, openreview.net/forum?id=rJY0-Kcll).

    Unless `inner.layers` names others, it moves the head and the last block of the decoder: the
    cell's state takes `lstm.hidden` numbers for each parameter and step.
    """

    def build(self, unet: UNetConfig, bands: int, classes: int, seed: int) -> SegmentationNet:
        """The network; the rule is no part of it."""
        self._last = ("head.", f"unet.decoder.blocks.{unet.depth - 1}.")
        self._seed = seed
        return super().build(unet, bands, classes, seed)

    def initial(self) -> Params:
        """The network, which is where adapting starts from, and the rule."""
        theta = super().initial()
        one = next(iter(theta.values()))
        generator = torch.Generator().manual_seed(self._seed)
        rule = initial_weights(self.settings.lstm.hidden, self.settings.inner.rate, generator)
        return theta | {PREFIX + name: p.to(one).requires_grad_() for name, p in rule.items()}

    def start(self, params: Params, support: Batch | None, classes: int) -> Params:
        """Without the rule: it does not belong to a task."""
        network = {name: p for name, p in params.items() if not name.startswith(PREFIX)}
        return super().start(network, support, classes)

    def adapting(self, phi: Params) -> list[str]:
        """Head and last block, or what `inner.layers` names."""
        if self.settings.inner.layers is not None:
            return super().adapting(phi)
        return [name for name in phi if name.startswith(self._last)]

    def trained(self) -> Adaptation | None:
        """The rule, as often as in training."""
        return Adaptation(optimizer="trained", rate=1.0, steps=self.settings.inner.steps)

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """By autograd through the gates of all steps, and not through the gradients they let in."""
        theta = leaves(params)
        start = self.start(theta, episode.support, episode.classes)
        batches = self.step_batches(episode, self.settings.inner.steps)
        *_, phi = self._steps(theta, start, iter(batches), 1.0)
        loss = self.loss(phi, episode.query)
        return loss.detach(), gradient(loss, theta)

    def trained_steps(
        self, params: Params, start: Params, support: Batch, factor: float
    ) -> Iterator[Params]:
        """The rule's steps; `factor` is on the gradients they let in."""
        rule = {name: p.detach() for name, p in params.items() if name.startswith(PREFIX)}
        phi = {name: p.detach() for name, p in start.items()}
        return self._steps(rule, phi, repeat(support), factor)

    def _steps(
        self, theta: Params, phi: Params, batches: Iterator[Batch], factor: float
    ) -> Iterator[Params]:
        """Yield φ after each step, differentiable in θ and φ₀."""
        rule = {n.removeprefix(PREFIX): p for n, p in theta.items() if n.startswith(PREFIX)}
        names = self.adapting(phi)
        values = _flat(phi, names)
        cell = fresh_cell(len(values), self.settings.lstm.hidden, values)
        for batch in batches:
            still = {name: p.detach() for name, p in phi.items()}
            loss, grads = plain_gradient(
                partial(self._moved_loss, still, batch), {name: still[name] for name in names}
            )
            values, cell = update(rule, cell, values, factor * _flat(grads, names), loss)
            parts = torch.split(values, [phi[name].numel() for name in names])
            phi = phi | {n: v.view_as(phi[n]) for n, v in zip(names, parts, strict=True)}
            yield phi

    def _moved_loss(self, still: Params, batch: Batch, moving: Params) -> Tensor:
        return self.inner_loss(still | moving, batch)


def _flat(params: Params, names: Sequence[str]) -> Tensor:
    return torch.cat([params[name].flatten() for name in names])
