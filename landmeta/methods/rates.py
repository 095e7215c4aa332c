"""MAML whose inner rates are learned with the rest of θ: Meta-SGD and LSLR."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, repeat

import torch
from torch import Tensor

from landmeta.adaptation import Adaptation
from landmeta.meta.hessian import plain_gradient
from landmeta.meta.inner import Batch, on
from landmeta.meta.sweep import Rates, stepped
from landmeta.methods.maml import Maml
from landmeta.model import Params

PREFIX = "rates."
"""Beginning of the names in θ of what says how to adapt."""


class LearnedRates(Maml):
    """MAML with rates in θ: of `rates.NAME` the logarithm of a rate, which is thus above 0."""

    def trained(self) -> Adaptation | None:
        """The inner loop with its own rates."""
        return Adaptation(optimizer="trained", rate=1.0, steps=self.settings.inner.steps)

    def start(self, params: Params, support: Batch | None, classes: int) -> Params:
        """Without the rates: they do not belong to a task."""
        network = {name: p for name, p in params.items() if not name.startswith(PREFIX)}
        return super().start(network, support, classes)

    def trained_steps(
        self, params: Params, start: Params, support: Batch, factor: float
    ) -> Iterator[Params]:
        """Steps with the learned rates; beyond the K of training with those of the last."""
        with torch.no_grad():
            rates = self.rates(params, start)
        phi = {name: p.detach() for name, p in start.items()}
        for rate in chain(rates, repeat(rates[-1])):
            _, grads = plain_gradient(on(self.inner_loss, support), phi)
            phi = stepped(phi, grads, {name: factor * alpha for name, alpha in rate.items()})
            yield phi

    def monitor(self, params: Params) -> dict[str, float]:
        """Mean of the learned rates."""
        with torch.no_grad():
            rates = [p.exp().flatten() for name, p in params.items() if name.startswith(PREFIX)]
            return {"inner_rate": float(torch.cat(rates).mean())} if rates else {}

    def _first_rate(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Logarithms of `inner.rate`, which learning starts from."""
        value = math.log(self.settings.inner.rate)
        return like.new_full(shape, value).requires_grad_()


class MetaSgd(LearnedRates):
    """Meta-SGD: a rate of each single weight (Li et al. 2017, arXiv:1707.09835).

    The paper lets rates become negative; here their logarithm is learned.
    """

    def initial(self) -> Params:
        """The network and its rates."""
        theta = super().initial()
        names = self.adapting(theta)
        return theta | {PREFIX + n: self._first_rate(theta[n].shape, theta[n]) for n in names}

    def rates(self, theta: Params, start: Params) -> list[Rates]:
        """The same in each step."""
        rate = {name: theta[PREFIX + name].exp() for name in self.adapting(start)}
        return [rate] * self.settings.inner.steps


class Lslr(LearnedRates):
    """Rates of each layer and step (LSLR; Antoniou et al. 2019, section 4, arXiv:1810.09502).

    A layer is a parameter tensor: weights and biases have rates of their own.
    """

    def initial(self) -> Params:
        """The network and its rates, (step,) for each parameter tensor."""
        theta = super().initial()
        steps = self.settings.inner.steps
        names = self.adapting(theta)
        return theta | {PREFIX + n: self._first_rate((steps,), theta[n]) for n in names}

    def rates(self, theta: Params, start: Params) -> list[Rates]:
        """Those of each step."""
        rates = {name: theta[PREFIX + name].exp() for name in self.adapting(start)}
        return [{n: r[k] for n, r in rates.items()} for k in range(self.settings.inner.steps)]
