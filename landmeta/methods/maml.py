"""MAML and its relatives: K inner gradient steps, differentiated exactly or to first order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from landmeta.adaptation import Adaptation
from landmeta.device import precision
from landmeta.meta.chain import pull_back
from landmeta.meta.hessian import DIFFERENCES, Hvp, ParamLoss, hessian_vector_product, leaves
from landmeta.meta.inner import on
from landmeta.meta.sweep import Rates, sweep
from landmeta.methods.base import EpisodeBatch, EpisodicMethod
from landmeta.model import Params


class Maml(EpisodicMethod):
    """Exact MAML (Finn et al. 2017, doi:10.48550/arXiv.1703.03400)."""

    second_order: ClassVar[bool] = True

    @property
    def kept_gradients(self) -> int:
        """One of each inner step."""
        return self.settings.inner.steps

    def trained(self) -> Adaptation | None:
        """The inner loop."""
        return Adaptation(rate=self.settings.inner.rate, steps=self.settings.inner.steps)

    def rates(self, theta: Params, start: Params) -> list[Rates]:
        """α of each inner step, for the parameters that adapt; tensors if they are learned."""
        inner = self.settings.inner
        return [dict.fromkeys(self.adapting(start), inner.rate)] * inner.steps

    def support_losses(self, episode: EpisodeBatch, steps: int) -> list[ParamLoss]:
        """What each inner step goes down."""
        return [on(self.inner_loss, batch) for batch in self.step_batches(episode, steps)]

    def query_losses(
        self, episode: EpisodeBatch, steps: int, progress: float
    ) -> tuple[ParamLoss, Mapping[int, ParamLoss]]:
        """What judges φ_K, and what is added for earlier φ_k, by k."""
        return on(self.loss, episode.query), {}

    def curvature(self, params: Params, progress: float) -> Hvp | None:
        """The Hessian-vector product of the meta-gradient."""
        one = next(iter(params.values()))
        computed_in = precision(one.device) if one.is_cuda else one.dtype
        return hessian_vector_product(self.settings.inner.hvp, computed_in)

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """Through all inner steps and through what they start from."""
        theta = leaves(params)
        start = self.start(theta, episode.support, episode.classes)
        rates = self.rates(theta, start)
        query, early = self.query_losses(episode, len(rates), progress)
        inner = self.support_losses(episode, len(rates))
        found = sweep(inner, query, start, rates, self.curvature(params, progress), early)
        pairs = [(start, found.params)]
        for rate, derivative in zip(rates, found.rates, strict=True):
            learned = {n: alpha for n, alpha in rate.items() if isinstance(alpha, Tensor)}
            pairs.append((learned, derivative))
        return found.loss, pull_back(theta, pairs)

    def exact(self) -> EpisodicMethod | None:
        """This one without differences of gradients."""
        if self.settings.inner.hvp not in DIFFERENCES:
            return None
        other = object.__new__(type(self))
        other.__dict__ = dict(self.__dict__)
        inner = self.settings.inner.model_copy(update={"hvp": "exact"})
        other.settings = self.settings.model_copy(update={"inner": inner})
        return other


class Fomaml(Maml):
    """First-order MAML: the gradient at φ_K, as if the steps were constants."""

    second_order = False

    @property
    def kept_gradients(self) -> int:
        """None: steps are not traced back."""
        return 0

    def curvature(self, params: Params, progress: float) -> Hvp | None:
        """None is taken into account."""
        return None

    def exact(self) -> EpisodicMethod | None:
        """There are no second derivatives in it."""
        return None


class Anil(Maml):
    """Almost no inner loop: the head alone adapts (Raghu et al. 2020, arXiv:1909.09157)."""

    adapts = ("head.",)


class Boil(Maml):
    """Body only: all but the head adapts (Oh et al. 2021, arXiv:2008.08882)."""

    adapts = ("unet.", "skip.")
