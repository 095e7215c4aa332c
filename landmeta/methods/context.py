"""Gradient steps on what tells the network its task: a task vector, or constant channels."""

from __future__ import annotations

from landmeta.meta.inner import Batch
from landmeta.methods.maml import Maml
from landmeta.model import Params, SegmentationNet, UNetConfig, build_net


class Cavia(Maml):
    """Context adaptation (Zintgraf et al. 2019, arXiv:1810.03642, equations 4 and 5).

    φ is a task vector that starts at zero and modulates the network's feature maps; the inner loop
    changes it alone. All weights are θ and are learned through the inner loop.
    """

    adapts = ("context",)

    def build(self, unet: UNetConfig, bands: int, classes: int, seed: int) -> SegmentationNet:
        """A network with a task vector."""
        return build_net(unet, bands, classes, seed, context=self.settings.context.size)

    def start(self, params: Params, support: Batch | None, classes: int) -> Params:
        """θ and a task vector of zeros."""
        return params | {"context": params["film.0.linear.weight"].new_zeros(len(self.net.context))}


class BiasTransformation(Maml):
    """MAML on a network with constant input channels (Finn et al. 2017, arXiv:1709.04905, 4.1).

    The values of the channels are parameters like the weights: learned, and adapted with the rest.
    They leave the gradient of the first layers' biases less tied to that of their weights.
    """

    def build(self, unet: UNetConfig, bands: int, classes: int, seed: int) -> SegmentationNet:
        """A network with constant channels beside the bands."""
        return build_net(unet, bands, classes, seed, constants=self.settings.context.constants)
