"""Heads built from the features of the support's labelled pixels, instead of trained step by step.

θ holds the body of the U-Net, a few learned scalars and, with a fixed legend, a prior: what the
head is where the support says nothing, and so the head of zero shots. φ holds the head as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from landmeta.adaptation import NO_ADAPTATION, Adaptation
from landmeta.errors import ConfigError
from landmeta.legend import IGNORE
from landmeta.losses import cross_entropy
from landmeta.meta.hessian import leaves
from landmeta.meta.inner import Batch, gradient
from landmeta.meta.pixels import Pixels, draw_pixels, no_pixels
from landmeta.methods.base import EpisodeBatch, EpisodicMethod
from landmeta.methods.settings import MethodSettings
from landmeta.model import Params, SegmentationNet, UNetConfig, build_net, trainable

ABSENT = -1e4
"""Logit of classes of an open legend that the support does not show."""


class SupportHead(EpisodicMethod):
    """A U-Net without a head of its own: the support gives it one.

    The head sees single pixels (it is a 1 x 1 convolution or the like) and computes in float32 even
    where the U-Net computes in bfloat16.
    """

    open_legend = True
    adapts = ("unet.", "skip.", "head.")
    powers: ClassVar[dict[str, float]] = {}
    """Positive numbers that are learned: name in θ to the decimal logarithm to start from."""

    def __init__(
        self, settings: MethodSettings, unet: UNetConfig, bands: int, classes: int, seed: int = 0
    ) -> None:
        super().__init__(settings, unet, bands, classes, seed)
        self.width, self.seed = unet.features, seed

    def build(self, unet: UNetConfig, bands: int, classes: int, seed: int) -> SegmentationNet:
        """The U-Net alone."""
        return build_net(unet, bands, classes, seed, head=lambda features, classes: nn.Identity())

    def initial(self) -> Params:
        """The body, the learned scalars and the prior."""
        made = {name: torch.tensor(power) for name, power in self.powers.items()}
        if not self.is_open:
            made |= self.prior(torch.Generator().manual_seed(self.seed))
        return trainable(self.net) | {name: p.requires_grad_() for name, p in made.items()}

    def prior(self, generator: torch.Generator) -> Params:
        """The part of θ that stands in for the support where it shows nothing of a class."""
        raise NotImplementedError

    def head(self, params: Params, pixels: Pixels, classes: int) -> Params:
        """What φ has beyond θ, from labelled pixels; from none at all it is the prior."""
        raise NotImplementedError

    def classify(self, phi: Params, features: Tensor) -> Tensor:
        """Class logits (tile, class, row, col) of features (tile, feature, row, col)."""
        raise NotImplementedError

    def start(self, params: Params, support: Batch | None, classes: int) -> Params:
        """θ and the head that the support gives.

        Raises:
            ConfigError: the legend is fixed and has another number of classes.
        """
        if not self.is_open and classes != self.classes:
            raise ConfigError(
                f"{self.settings.method} was trained for {self.classes} classes of a fixed legend, "
                f"not for {classes}",
                remedy="train with 'legend: open' to adapt to other classes",
            )
        return params | self.head(params, self.pixels(params, support), classes)

    def pixels(self, params: Params, support: Batch | None) -> Pixels:
        """Features of the labelled pixels of the support, of very many of them a draw."""
        if support is None:
            return no_pixels(self.width, next(iter(params.values())))
        features = self.features(params, support.image)
        how = self.settings.head
        return draw_pixels(features, support.label, how.pixels, how.balance)

    def logits(self, phi: Params, image: Tensor) -> Tensor:
        """What the head makes of the U-Net's features."""
        return self.classify(phi, self.features(phi, image))

    def judged(self, episode: EpisodeBatch) -> Batch:
        """The query; with an open legend without the pixels of classes the support does not show.

        Nothing could be learned from those: no head has a say on a class it never saw.
        """
        if not self.is_open:
            return episode.query
        shown = torch.isin(episode.query.label, episode.support.label)
        return replace(episode.query, label=episode.query.label.where(shown, IGNORE))


class SolvedHead(SupportHead):
    """A head that the support determines at once: no gradient steps in training."""

    at_once = True

    def trained(self) -> Adaptation:
        """The head as it is built, and nothing else."""
        return NO_ADAPTATION

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """Through the query's features, the head and the support's features."""
        theta, query = leaves(params), self.judged(episode)
        features = self.features(theta, query.image)

        def loss(support: Batch | None) -> Tensor:
            phi = self.start(theta, support, episode.classes)
            return cross_entropy(self.classify(phi, features), query.label)

        found = loss(episode.support)
        total, share = found, self.settings.head.zero_shot
        if share and not self.is_open:
            total = found + share * loss(None)
        return found.detach(), gradient(total, theta)


class LinearLogits(SupportHead):
    """A head that is one linear map of the features and an offset for each class."""

    def classify(self, phi: Params, features: Tensor) -> Tensor:
        """A 1 x 1 convolution."""
        product = torch.einsum("kf,tfrc->tkrc", phi["head.weight"], features)
        return product + phi["head.bias"][:, None, None]


class LinearHead(LinearLogits):
    """A linear head that is fitted to the labelled pixels, drawn to a prior."""

    def prior(self, generator: torch.Generator) -> Params:
        """Weight and bias that the fit is drawn to."""
        weight = torch.zeros(self.classes, self.width)
        return {"prior.weight": weight, "prior.bias": torch.zeros(self.classes)}

    def fit(self, params: Params, pixels: Pixels, prior: Tensor) -> Tensor:
        """Weights (feature and one, class) fitted to pixels whose labels count from 0.

        Args:
            params: θ.
            pixels: labelled pixels, perhaps none.
            prior: (feature and one, class) what the weights are without pixels.
        """
        raise NotImplementedError

    def head(self, params: Params, pixels: Pixels, classes: int) -> Params:
        """Fitted weight (class, feature) and bias (class,), times the learned scale."""
        scale = 10 ** params["fit.scale"]
        if not self.is_open:
            prior = torch.cat([params["prior.weight"].T, params["prior.bias"][None]])
            return _split(scale * self.fit(params, pixels, prior))
        shown = pixels.present()
        weights = pixels.feature.new_zeros(self.width + 1, classes)
        if len(shown):
            compact = replace(pixels, label=torch.searchsorted(shown, pixels.label))
            fitted = scale * self.fit(params, compact, weights[:, shown])
            weights[-1] = ABSENT
            weights = weights.index_copy(1, shown, fitted)
        return _split(weights)


def _split(weights: Tensor) -> Params:
    """Weight and bias of a head from (feature and one, class)."""
    return {"head.weight": weights[:-1].T, "head.bias": weights[-1]}
