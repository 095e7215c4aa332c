"""Methods that adapt by computing φ from the support set in one pass: no gradient steps."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from landmeta.adaptation import NO_ADAPTATION, Adaptation
from landmeta.meta.hessian import leaves
from landmeta.meta.inner import gradient
from landmeta.methods.base import EpisodeBatch, EpisodicMethod
from landmeta.model import Params


class Direct(EpisodicMethod):
    """φ = start(θ, support), trained end to end by the query loss at φ.

    What such a method learns beside the network are modules that are parts of it, so that they are
    kept and moved with it; the network itself does not run them.
    """

    at_once = True
    adapts: ClassVar[tuple[str, ...]] = ("unet.", "skip.", "film.", "head.", "context")

    def trained(self) -> Adaptation | None:
        """No steps after the start."""
        return NO_ADAPTATION

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """Plain differentiation through the start."""
        theta = leaves(params)
        loss = self.loss(self.start(theta, episode.support, episode.classes), episode.query)
        return loss.detach(), gradient(loss, theta)

    def call(self, part: str, params: Params, *inputs: Tensor) -> Tensor:
        """What a part of the network, by its name, makes of `inputs` with its entries of θ or φ."""
        own = f"{part}."
        values = {n.removeprefix(own): p for n, p in params.items() if n.startswith(own)}
        found: Tensor = functional_call(self.net.get_submodule(part), values, inputs)
        return found


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two layers over the last dimension, of inputs that are standardised first."""
    return nn.Sequential(
        nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )


class GivenHead(nn.Module):
    """A 1 x 1 convolution whose weights are not learned but made for each task: for any classes.

    Args:
        features: its inputs.
        classes: its outputs, until others are swapped in.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, features, 1, 1), persistent=False)
        self.register_buffer("bias", torch.zeros(classes), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Class logits of features (tile, feature, row, col)."""
        return nn.functional.conv2d(features, self.weight, self.bias)
