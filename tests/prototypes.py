"""A method that makes its head of the labels, as small as can be: for tests of open legends."""

import torch
from torch import nn

from landmeta.adaptation import Adaptation
from landmeta.losses import cross_entropy
from landmeta.meta.hessian import leaves
from landmeta.methods import EpisodicMethod
from landmeta.model import build_net


class Prototypes(EpisodicMethod):
    """A class is where the mean of its pixels' features is; gradient steps move the mean."""

    open_legend = True
    adapts = ("prototype",)

    def build(self, unet, bands, classes, seed):
        return build_net(unet, bands, classes, seed, head=lambda features, classes: nn.Identity())

    def start(self, params, support, classes):
        if support is None:
            width = self.net(torch.zeros(1, len(self.net.mean), 32, 32)).shape[1]
            return params | {"prototype": torch.zeros(classes, width)}
        features = self.features(params, support.image)
        pixels, labels = features.movedim(1, -1).flatten(0, -2), support.label.flatten()
        means = [pixels[labels == i].sum(0) / max(1, (labels == i).sum()) for i in range(classes)]
        return params | {"prototype": torch.stack(means)}

    def logits(self, phi, image):
        features = self.features(phi, image)
        distance = features[:, None] - phi["prototype"][None, :, :, None, None]
        return -distance.square().mean(2)

    def trained(self):
        return Adaptation(rate=1.0, steps=0)

    def meta_gradient(self, params, episode, progress):
        theta = leaves(params)
        phi = self.start(theta, episode.support, episode.classes)
        loss = cross_entropy(self.logits(phi, episode.query.image), episode.query.label)
        names = list(theta)
        grads = torch.autograd.grad(loss, [theta[n] for n in names], materialize_grads=True)
        return loss.detach(), dict(zip(names, grads, strict=True))
