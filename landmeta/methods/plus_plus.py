"""MAML++: MAML with what makes its training stable, each part by a setting of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from landmeta.adaptation import Adaptation
from landmeta.errors import ConfigError
from landmeta.losses import PIXEL_LOSSES, cross_entropy
from landmeta.meta.hessian import Hvp, ParamLoss, plain_gradient
from landmeta.meta.inner import Batch
from landmeta.meta.plus_plus import importance
from landmeta.meta.sweep import Rates, stepped
from landmeta.methods.base import EpisodeBatch
from landmeta.methods.maml import Maml
from landmeta.methods.rates import Lslr
from landmeta.model import Params, SegmentationNet, UNetConfig
from landmeta.stepnorm import observed, with_step_norm

MOMENTUM = 0.1
"""Share of a new observation in the running statistics."""


class MamlPlusPlus(Lslr):
    """MAML++ (Antoniou et al. 2019, arXiv:1810.09502).

    With norm per step, each batch norm has statistics and weights for each of φ_0 … φ_K. In an
    episode, support and query are each normalised by their own statistics. Meanwhile running means
    of the statistics are kept in θ: of the support for φ_0 … φ_{K−1}, of the query for φ_K. Maps
    are made with them, so that a pixel's class does not depend on what is mapped along with it.

    θ and φ have of each such layer weight, bias, mean and var of shape (step, channel). The first
    row is what a map is made with; φ after k steps has row k alone.
    """

    def build(self, unet: UNetConfig, bands: int, classes: int, seed: int) -> SegmentationNet:
        """The network, with batch norm if it is per step."""
        net = super().build(unet, bands, classes, seed)
        self._norms = with_step_norm(net) if self.settings.plus_plus.step_norm else []
        self._weights = [f"{name}.{part}" for name in self._norms for part in ("weight", "bias")]
        self._running = [f"{name}.{part}" for name in self._norms for part in ("mean", "var")]
        return net

    def initial(self) -> Params:
        """The network, its rates, and weights and running statistics of each step."""
        learned = self.settings.plus_plus.learned_rates
        theta = super().initial() if learned else Maml.initial(self)
        rows = (self.settings.inner.steps + 1, 1)
        for name in self._weights:
            theta[name] = theta[name].detach().repeat(rows).requires_grad_()
        for name in self._norms:
            weight = theta[f"{name}.weight"].detach()
            theta[f"{name}.mean"] = torch.zeros_like(weight).requires_grad_()
            theta[f"{name}.var"] = torch.ones_like(weight).requires_grad_()
        return theta

    def adapting(self, phi: Params) -> list[str]:
        """All but what belongs to a norm per step, which is learned for all tasks."""
        fixed = {*self._weights, *self._running}
        return [name for name in super().adapting(phi) if name not in fixed]

    def trained(self) -> Adaptation | None:
        """The inner loop: one of its own, unless neither rates nor norms are."""
        own = self.settings.plus_plus.learned_rates or self._norms
        return super().trained() if own else Maml.trained(self)

    @property
    def most_steps(self) -> int | None:
        """K with norm per step: there are no statistics of further steps."""
        return self.settings.inner.steps if self._norms else None

    def rates(self, theta: Params, start: Params) -> list[Rates]:
        """Learned for each layer and step, or all the same."""
        learned = self.settings.plus_plus.learned_rates
        return super().rates(theta, start) if learned else Maml.rates(self, theta, start)

    # ---- the network at a step ------------------------------------------------------------------

    def _call(self, phi: Params, image: Tensor, *, features_only: bool = False) -> Tensor:
        """With running statistics, of the first step that φ has."""
        own = {name: phi[name][0] for name in (*self._weights, *self._running)}
        return super()._call(phi | own, image, features_only=features_only)

    def _at_step(self, step: int, phi: Params, image: Tensor) -> Tensor:
        """Logits in an episode: weights of `step`, statistics of the images themselves."""
        own = {name: phi[name][step] for name in self._weights}
        own |= {name: phi[name].new_empty(0) for name in self._running}
        return super()._call(phi | own, image)

    def _batch_loss(
        self,
        batch: Batch,
        step: int,
        kind: Callable[[Tensor, Tensor], Tensor],
        seen: dict[int, Params],
        phi: Params,
    ) -> Tensor:
        """Loss at a step; the first time, the statistics are noted in `seen`."""
        if step in seen:
            return kind(self._at_step(step, phi, batch.image), batch.label)
        seen[step] = {}
        with observed(self.net, self._norms, seen[step]):
            return kind(self._at_step(step, phi, batch.image), batch.label)

    # ---- training -------------------------------------------------------------------------------

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """That of MAML; for running statistics what was observed, instead of a gradient."""
        self._seen: dict[int, Params] = {}
        loss, grads = super().meta_gradient(params, episode, progress)
        for name in self._running:
            grads[name] = torch.stack([self._seen[k][name] for k in range(len(self._seen))])
        return loss, grads

    def support_losses(self, episode: EpisodeBatch, steps: int) -> list[ParamLoss]:
        """Each with the norm of its step."""
        if not self._norms:
            return super().support_losses(episode, steps)
        kind = PIXEL_LOSSES[self.settings.inner.loss]
        return [
            partial(self._batch_loss, batch, k, kind, self._seen)
            for k, batch in enumerate(self.step_batches(episode, steps))
        ]

    def query_losses(
        self, episode: EpisodeBatch, steps: int, progress: float
    ) -> tuple[ParamLoss, Mapping[int, ParamLoss]]:
        """The multi-step loss."""
        weights = importance(steps, progress, self.settings.plus_plus.multi_step)
        losses = {k: self._query_loss(episode.query, k, w) for k, w in enumerate(weights, 1) if w}
        return losses.pop(steps), losses

    def _query_loss(self, query: Batch, step: int, weight: float) -> ParamLoss:
        """Of φ_k, times its importance. Statistics of queries are noted for φ_K alone."""
        if not self._norms:
            return lambda phi: weight * self.loss(phi, query)
        seen = self._seen if step == self.settings.inner.steps else {step: {}}
        return lambda phi: weight * self._batch_loss(query, step, cross_entropy, seen, phi)

    def curvature(self, params: Params, progress: float) -> Hvp | None:
        """None in the first part of the training."""
        if progress < self.settings.plus_plus.first_order:
            return None
        return super().curvature(params, progress)

    def own(self, params: Params) -> frozenset[str]:
        """Running statistics."""
        return frozenset(self._running)

    def own_step(
        self, params: Params, found: Params, last_direction: Callable[[], Params]
    ) -> float:
        """Let running statistics follow what was observed."""
        for name in self._running:
            params[name].lerp_(found[name].to(params[name]), MOMENTUM)
        return 1.0

    # ---- adapting -------------------------------------------------------------------------------

    def trained_steps(
        self, params: Params, start: Params, support: Batch, factor: float
    ) -> Iterator[Params]:
        """Steps with the learned rates.

        Raises:
            ConfigError: more than the K of training are asked for, with norm per step.
        """
        if not self._norms:
            yield from super().trained_steps(params, start, support, factor)
            return
        kind = PIXEL_LOSSES[self.settings.inner.loss]
        with torch.no_grad():
            rates = self.rates(params, start)
        phi = {name: p.detach() for name, p in start.items()}
        for k, rate in enumerate(rates):
            _, grads = plain_gradient(partial(self._batch_loss, support, k, kind, {k: {}}), phi)
            phi = stepped(phi, grads, {name: factor * alpha for name, alpha in rate.items()})
            yield phi | {n: phi[n][k + 1 : k + 2] for n in (*self._weights, *self._running)}
        raise ConfigError(
            f"maml_plus_plus with step_norm was trained with {len(rates)} inner steps; it has no "
            "norm for further ones",
            remedy=f"adapt with at most {len(rates)} steps, or with optimizer sgd or adam, which "
            "hold the norm of the start; or train with plus_plus.step_norm: false or more "
            "inner.steps",
        )
