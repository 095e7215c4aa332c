"""Heads that compare a pixel with the support's pixels or with the means of them."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from landmeta.meta.matching import attention_logits
from landmeta.meta.pixels import Pixels
from landmeta.meta.prototypes import cluster, linear, mixture_logits, prototypes, shares
from landmeta.methods.base import EpisodeBatch
from landmeta.methods.heads import ABSENT, LinearLogits, SolvedHead, SupportHead
from landmeta.methods.maml import Maml
from landmeta.model import Params


class PrototypeHead(SupportHead):
    """A head that knows classes by points among the features."""

    def prior(self, generator: torch.Generator) -> Params:
        """A point for each class, and κ: for how many pixels it counts."""
        point = torch.randn(self.classes, self.width, generator=generator) / 10
        return {"prior.prototype": point, "prior.count": torch.tensor(1.0)}

    def prior_point(self, params: Params) -> tuple[Tensor | None, Tensor | float]:
        """The learned points and κ; none with an open legend."""
        if self.is_open:
            return None, 0.0
        return params["prior.prototype"], 10 ** params["prior.count"]


class Protonet(PrototypeHead, SolvedHead):
    """Nearest prototype (Snell et al. 2017, arXiv:1703.05175), one or several of each class."""

    powers: ClassVar = {"fit.scale": 0.0}

    def head(self, params: Params, pixels: Pixels, classes: int) -> Params:
        """Prototypes and the logarithm of the share each has of its class."""
        found = cluster(pixels, classes, self.settings.head.prototypes)
        share = shares(found, absent=ABSENT)
        if self.is_open and len(pixels.label):
            share = share.where(found.count.sum(1, keepdim=True) > 0, ABSENT)
        centre = prototypes(found, *self.prior_point(params))
        return {"head.prototype": centre, "support.share": share}

    def classify(self, phi: Params, features: Tensor) -> Tensor:
        """Log-density of the features in each class."""
        scale = 10 ** phi["fit.scale"]
        return mixture_logits(features, phi["head.prototype"], phi["support.share"], scale)


class ProtoMaml(LinearLogits, PrototypeHead, Maml):
    """MAML whose head starts as a nearest-prototype classifier.

    Triantafillou et al. 2020 (arXiv:1903.03096), section 3.2: weights 2c and biases −‖c‖², here
    times a learned scale, from where all of the network adapts.
    """

    powers: ClassVar = {"fit.scale": 0.0}

    def head(self, params: Params, pixels: Pixels, classes: int) -> Params:
        """The linear head that is the same as one prototype for each class."""
        found = cluster(pixels, classes, 1)
        centre = prototypes(found, *self.prior_point(params))[:, 0]
        weight, bias = linear(centre, 10 ** params["fit.scale"])
        if self.is_open and len(pixels.label):
            bias = bias.where(found.count[:, 0] > 0, ABSENT)
        return {"head.weight": weight, "head.bias": bias}

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """Through the inner steps and through the prototypes."""
        judged = replace(episode, query=self.judged(episode))
        return super().meta_gradient(params, judged, progress)


class Matching(PrototypeHead, SolvedHead):
    """Attention over support pixels (matching networks, Vinyals et al. 2016, arXiv:1606.04080)."""

    powers: ClassVar = {"fit.scale": 1.0}

    def head(self, params: Params, pixels: Pixels, classes: int) -> Params:
        """Features of the support pixels, and of which class each is, times its weight."""
        key, value = pixels.feature, pixels.weight[:, None] * pixels.onehot(classes)
        point, kappa = self.prior_point(params)
        if point is not None:
            key = torch.cat([key, point])
            value = torch.cat([value, kappa * torch.eye(classes, dtype=key.dtype).to(key)])
        return {"head.key": key, "support.value": value}

    def classify(self, phi: Params, features: Tensor) -> Tensor:
        """Logarithms of the attention that each class gets."""
        rows = features.permute(0, 2, 3, 1)
        found = attention_logits(
            rows.flatten(0, 2), phi["head.key"], phi["support.value"], 10 ** phi["fit.scale"]
        )
        return found.view(*rows.shape[:3], -1).permute(0, 3, 1, 2)
