"""Implicit MAML."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

from torch import Tensor

from landmeta.adaptation import Adaptation
from landmeta.meta.chain import pull_back
from landmeta.meta.hessian import leaves
from landmeta.meta.implicit import meta_gradient, proximal_steps
from landmeta.meta.inner import Batch, on
from landmeta.methods.base import EpisodeBatch
from landmeta.methods.maml import Maml
from landmeta.model import Params


class ImplicitMaml(Maml):
    """iMAML (Rajeswaran et al. 2019, arXiv:1909.04630)."""

    @property
    def kept_gradients(self) -> int:
        """What the solver keeps, however many inner steps there are."""
        return 5

    def trained(self) -> Adaptation | None:
        """The inner loop, held to where it starts."""
        return Adaptation(optimizer="trained", rate=1.0, steps=self.settings.inner.steps)

    def trained_steps(
        self, params: Params, start: Params, support: Batch, factor: float
    ) -> Iterator[Params]:
        """Steps towards the minimum that is held to the start; `factor` is on `inner.rate`."""
        rates = dict.fromkeys(self.adapting(start), factor * self.settings.inner.rate)
        losses = repeat(on(self.inner_loss, support))
        return proximal_steps(losses, start, rates, self.settings.implicit.strength)

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """By the implicit function theorem."""
        theta = leaves(params)
        start = self.start(theta, episode.support, episode.classes)
        inner, implicit = self.settings.inner, self.settings.implicit
        names = self.adapting(start)
        losses = iter(self.support_losses(episode, inner.steps))
        rates = dict.fromkeys(names, inner.rate)
        *_, phi = proximal_steps(losses, start, rates, implicit.strength)
        hvp = self.curvature(params, progress)
        assert hvp is not None
        loss, found = meta_gradient(
            on(self.inner_loss, episode.support),
            on(self.loss, episode.query),
            phi,
            names,
            hvp,
            implicit.strength + implicit.damping,
            implicit.solver,
            implicit.iterations,
        )
        return loss, pull_back(theta, [(start, found)])
