"""Alpha MAML: inner and outer rate follow their hyper-gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landmeta.meta.alpha import inner_move, outer_move
from landmeta.meta.sweep import Rates
from landmeta.methods.base import EpisodeBatch
from landmeta.methods.rates import PREFIX, LearnedRates
from landmeta.model import Params

INNER, OUTER = PREFIX + "inner", PREFIX + "outer"


class AlphaMaml(LearnedRates):
    """Alpha MAML (Behl et al. 2019, arXiv:1905.07435).

    The logarithms of the inner rate and of a factor on the outer rate are entries of θ, so that
    they are kept with it; they follow hyper-gradients and not the outer optimiser.
    """

    def initial(self) -> Params:
        """The network and the two rates."""
        theta = super().initial()
        one = next(iter(theta.values()))
        return theta | {
            INNER: self._first_rate((), one),
            OUTER: one.new_zeros(()).requires_grad_(),
        }

    def rates(self, theta: Params, start: Params) -> list[Rates]:
        """One for all parameters and steps."""
        rate = theta[INNER].exp()
        return [dict.fromkeys(self.adapting(start), rate)] * self.settings.inner.steps

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """That of MAML; for the inner rate the move that the task asks for."""
        loss, grads = super().meta_gradient(params, episode, progress)
        grads[INNER] = inner_move(loss, grads[INNER])
        return loss, grads

    def own(self, params: Params) -> frozenset[str]:
        """The two rates."""
        return frozenset((INNER, OUTER))

    def own_step(
        self, params: Params, found: Params, last_direction: Callable[[], Params]
    ) -> float:
        """Move both; returns the factor on the outer rate."""
        alpha = self.settings.alpha
        params[INNER].add_(found[INNER], alpha=alpha.inner)
        weights = {name: g for name, g in found.items() if name not in (INNER, OUTER)}
        params[OUTER].add_(outer_move(weights, last_direction()), alpha=alpha.outer)
        return float(params[OUTER].exp())

    def monitor(self, params: Params) -> dict[str, float]:
        """Both."""
        with torch.no_grad():
            return {
                "inner_rate": float(params[INNER].exp()),
                "outer_rate_factor": float(params[OUTER].exp()),
            }
