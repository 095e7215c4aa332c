"""Black boxes that keep support pixels, or a digest of them, and let query pixels read in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landmeta.meta.attention import FLOOR, attend, class_logits, draw_evenly
from landmeta.meta.cnp import class_means, labelled_pixels
from landmeta.meta.inner import Batch
from landmeta.meta.slots import balanced_mass, read, write
from landmeta.methods.forward import Direct
from landmeta.model import Params, SegmentationNet, UNetConfig, build_net

HEADS, WIDTH = 4, 64
"""Heads of the attention, and numbers in the keys of all of them."""
ROUNDS = 3
"""Of writing to the slots."""


class Reader(Direct):
    """A method whose logits come from a memory of the support pixels.

    What is read is a logit for each class, found in the same way for all classes: any number of
    them will do, in any order. In a fixed legend it is added to the logits of a learned head, which
    alone speaks without labels.
    """

    open_legend = True
    adapts = ("unet.", "skip.", "head.", "memory.keys", "memory.values", "reader.")

    def reader(self, features: int) -> nn.Module:
        """What is learned beside the network."""
        raise NotImplementedError

    def build(self, unet: UNetConfig, bands: int, classes: int, seed: int) -> SegmentationNet:
        """The U-Net, without a head in an open legend, and the reader."""
        head = _no_head if self.is_open else None
        net = build_net(unet, bands, classes, seed, head=head)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net.add_module("reader", self.reader(unet.features))
        return net

    def _support(
        self, params: Params, support: Batch | None, classes: int
    ) -> tuple[Tensor, Tensor]:
        """Features and classes of the labelled pixels; none without support."""
        if support is not None:
            return labelled_pixels(self.features(params, support.image), support.label)
        some = params["reader.norm.weight"]
        return some.new_zeros(0, len(some)), some.new_zeros(0, dtype=torch.int64)

    def logits(self, phi: Params, image: Tensor) -> Tensor:
        """What is read for each pixel, and in a fixed legend the head's logits too."""
        features = self.features(phi, image)
        seen, found = self.read(phi, features.movedim(1, -1).flatten(0, 2))
        tiles, _, rows, cols = features.shape
        logits = found.reshape(tiles, rows, cols, -1).movedim(-1, 1)
        if self.is_open:
            return logits
        seen = seen.reshape(tiles, rows, cols, -1).movedim(-1, 1)
        return logits + self.call("head", phi, seen)

    def read(self, phi: Params, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Features of pixels in the light of the memory, and logits (pixel, class).

        Args:
            phi: with the memory.
            pixels: their features, (pixel, feature).
        """
        raise NotImplementedError


def _no_head(features: int, classes: int) -> nn.Module:
    return nn.Identity()


class Snail(Reader):
    """Query pixels attend to support pixels, in two layers (Mishra et al. 2018, arXiv:1707.03141).

    The first adds to the features of a pixel, support and query alike, what it reads of the support
    pixels' features and of the mean features of their classes. The second shares the attention of
    the pixel out among the classes. An entry of no class, always there, takes what fits nothing.
    """

    def reader(self, features: int) -> nn.Module:
        """Projections of both layers."""
        return _Attention(features)

    def start(self, params: Params, support: Batch | None, classes: int) -> Params:
        """θ with keys, values and classes of a draw of support pixels."""
        seen, label = self._support(params, support, classes)
        mean, _ = class_means(seen, label, classes)
        kept = draw_evenly(label, self.settings.memory.pixels, classes)
        seen, label = seen[kept], label[kept]
        norm = self.call("reader.norm", params, seen)
        told = torch.cat([norm, self.call("reader.norm", params, mean)[label]], dim=1)
        phi = params | {
            "memory.keys": self._entries("key", params, norm),
            "memory.values": self._entries("value", params, told),
        }
        norm = self.call("reader.norm", params, self._first_layer(phi, seen))
        one_hot = F.one_hot(label, classes).to(norm.dtype)
        return phi | {
            "memory.keys_of_classes": self._entries("class_key", params, norm),
            "memory.classes": torch.cat([one_hot.new_full((1, classes), 1 / classes), one_hot]),
        }

    def _entries(self, name: str, params: Params, pixels: Tensor) -> Tensor:
        """The entry of no class and those of the pixels, (entry, WIDTH)."""
        own = self.call(f"reader.{name}", params, pixels)
        return torch.cat([params[f"reader.no_{name}"][None], own])

    def _first_layer(self, phi: Params, pixels: Tensor) -> Tensor:
        query = self.call("reader.query", phi, self.call("reader.norm", phi, pixels))
        found = attend(*(_heads(t) for t in (query, phi["memory.keys"], phi["memory.values"])))
        return pixels + self.call("reader.out", phi, found.movedim(0, 1).flatten(1))

    def read(self, phi: Params, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Both layers."""
        seen = self._first_layer(phi, pixels)
        query = self.call("reader.class_query", phi, self.call("reader.norm", phi, seen))
        keys, classes = _heads(phi["memory.keys_of_classes"]), phi["memory.classes"]
        shares = attend(_heads(query), keys, classes.expand(HEADS, -1, -1))
        return seen, class_logits(shares, phi["reader.weights"])


def _heads(rows: Tensor) -> Tensor:
    """(row, WIDTH) to (head, row, WIDTH / HEADS)."""
    return rows.view(len(rows), HEADS, WIDTH // HEADS).movedim(1, 0)


class _Attention(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.query = nn.Linear(features, WIDTH)
        self.key = nn.Linear(features, WIDTH)
        self.value = nn.Linear(2 * features, WIDTH)
        self.out = nn.Linear(WIDTH, features, bias=False)
        self.class_query = nn.Linear(features, WIDTH)
        self.class_key = nn.Linear(features, WIDTH)
        self.weights = nn.Parameter(torch.full((HEADS,), 1 / HEADS))
        self.no_key = nn.Parameter(torch.zeros(WIDTH))
        self.no_value = nn.Parameter(torch.zeros(WIDTH))
        self.no_class_key = nn.Parameter(torch.zeros(WIDTH))


class Mann(Reader):
    """Support pixels are written to a few slots, which query pixels read.

    In the spirit of Santoro et al. 2016 (arXiv:1605.06065) and Munkhdalai and Yu 2017
    (arXiv:1703.00837). All labelled pixels are written, each class with the same mass, and the
    memory stays as small as it was: a map costs the same whatever was labelled.
    """

    def reader(self, features: int) -> nn.Module:
        """Keys and the slots before anything is written."""
        return _Slots(features, self.settings.memory.slots)

    def start(self, params: Params, support: Batch | None, classes: int) -> Params:
        """θ with the slots as written."""
        seen, label = self._support(params, support, classes)
        one_hot = F.one_hot(label, classes).to(seen.dtype)
        slots = params["reader.slots"]
        content, shares = write(
            slots,
            self._keys(params, seen),
            one_hot,
            balanced_mass(label, one_hot.sum(0), MASS * len(slots)),
            params["reader.strength"].exp(),
            ROUNDS,
        )
        return params | {"memory.keys": content, "memory.classes": shares}

    def _keys(self, params: Params, pixels: Tensor) -> Tensor:
        return self.call("reader.key", params, self.call("reader.norm", params, pixels))

    def read(self, phi: Params, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the classes' shares."""
        keys, strength = self._keys(phi, pixels), phi["reader.strength"].exp()
        shares = read(keys, phi["memory.keys"], phi["memory.classes"], strength)
        return pixels, phi["reader.weight"] * (shares + FLOOR).log()


MASS = 10.0
"""Mean mass that is written to a slot, itself of mass 1."""


class _Slots(nn.Module):
    def __init__(self, features: int, slots: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.key = nn.Linear(features, WIDTH, bias=False)
        self.slots = nn.Parameter(torch.randn(slots, WIDTH))
        self.strength = nn.Parameter(torch.tensor(2.0))
        self.weight = nn.Parameter(torch.tensor(1.0))
