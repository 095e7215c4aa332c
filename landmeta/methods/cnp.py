"""Conditional neural process: a task vector, or a classifier, from labelled tiles in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landmeta.meta.cnp import class_means, labelled_pixels, pooled
from landmeta.meta.inner import Batch
from landmeta.methods.forward import Direct, GivenHead, perceptron
from landmeta.model import Params, SegmentationNet, UNetConfig, build_net

WIDTH = 64
"""Of the codes of pixels and of the hidden layers."""


class Cnp(Direct):
    """Labelled pixels are encoded and averaged to a task vector that modulates the network.

    Garnelo et al. 2018 (arXiv:1807.01613); that the vector modulates a network by FiLM and that
    the classifier's weights are made of each class's mean features is from Requeima et al. 2019
    (CNAPs, arXiv:1906.07697).

    1. The network without context gives features of the support pixels; a small network encodes
       them, and the codes are averaged over the pixels of each class. Another one makes the task
       vector of the means of all classes, in a fixed legend, or of the mean over the classes, in an
       open one.
    2. Fixed legend: the head is learned. Open legend: the network with the vector sees the support
       again, and a third small network makes the weights of each class's row of the head of the
       mean features of that class. It is shared by the classes, so any number of them will do.
    """

    open_legend = True

    def build(self, unet: UNetConfig, bands: int, classes: int, seed: int) -> SegmentationNet:
        """The U-Net with a task vector and the small networks."""
        size = self.settings.context.size
        head = GivenHead if self.is_open else None
        net = build_net(unet, bands, classes, seed, head=head, context=size)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net.add_module("task", _TaskParts(unet.features, classes, size, self.is_open))
        return net

    def start(self, params: Params, support: Batch | None, classes: int) -> Params:
        """θ with the task vector and, in an open legend, the head."""
        conditioned = params | {"context": self._context(params, support, classes)}
        return conditioned | (self._head(conditioned, support, classes) if self.is_open else {})

    def _context(self, params: Params, support: Batch | None, classes: int) -> Tensor:
        some = params["task.encoder.3.bias"]
        means, count = some.new_zeros(classes, WIDTH), some.new_zeros(classes)
        if support is not None:
            seen, label = labelled_pixels(self.features(params, support.image), support.label)
            means, count = class_means(self.call("task.encoder", params, seen), label, classes)
        summary = pooled(means, count) if self.is_open else means.flatten()
        return self.call("task.context", params, summary)

    def _head(self, params: Params, support: Batch | None, classes: int) -> Params:
        means = params["task.unseen"].expand(classes, -1)
        if support is not None:
            seen = labelled_pixels(self.features(params, support.image), support.label)
            found, count = class_means(*seen, classes)
            means = torch.where(count[:, None] > 0, found, means)
        rows = self.call("task.head", params, means)
        return {"head.weight": rows[:, :-1, None, None].clone(), "head.bias": rows[:, -1].clone()}


class _TaskParts(nn.Module):
    """The small networks; `unseen` stands for the mean features of a class that has no label."""

    def __init__(self, features: int, classes: int, size: int, open_legend: bool) -> None:
        super().__init__()
        self.encoder = perceptron(features, WIDTH, WIDTH)
        self.context = perceptron(WIDTH if open_legend else classes * WIDTH, WIDTH, size)
        if open_legend:
            self.unseen = nn.Parameter(torch.zeros(features))
            self.head = perceptron(features, WIDTH, features + 1)
