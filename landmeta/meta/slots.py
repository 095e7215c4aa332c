"""An external memory of fixed size, written and read by content.

In the spirit of Santoro et al. 2016, *Meta-Learning with Memory-Augmented Neural Networks*, whose
memory is addressed by the cosine similarity of keys (equations 2 to 4, arXiv:1605.06065), and of
the associations of keys with labels of Meta Networks (Munkhdalai and Yu 2017, arXiv:1703.00837).

Unlike theirs the memory does not depend on the order in which it is shown the pixels: all write at
once, and each slot becomes the mean of what was written to it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def address(keys: Tensor, slots: Tensor, strength: Tensor) -> Tensor:
    """Softmax over the slots of strength × cosine similarity, shape (key, slot).

    Args:
        keys: (key, d).
        slots: (slot, d).
        strength: of the addressing, above 0.
    """
    return (strength * F.normalize(keys, dim=1) @ F.normalize(slots, dim=1).T).softmax(1)


def write(
    slots: Tensor, keys: Tensor, classes: Tensor, mass: Tensor, strength: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """Memory after all pixels have written their keys and classes to it.

    A slot counts as one of unit mass with the content it is given and with no class in particular.
    Each round addresses by what the round before has written.

    Args:
        slots: content before, (slot, d).
        keys: of the pixels, (pixel, d).
        classes: of the pixels, one-hot, (pixel, class).
        mass: of each pixel, (pixel,).
        strength: of the addressing.
        rounds: of writing.

    Returns:
        Content, shape (slot, d), and share of each class, shape (slot, class).
    """
    content = F.normalize(slots, dim=1)
    unit = F.normalize(keys, dim=1)
    for _ in range(rounds):
        share = (mass[:, None] * address(keys, content, strength)).T
        content = (F.normalize(slots, dim=1) + share @ unit) / (1 + share.sum(1, keepdim=True))
    written = 1 / classes.shape[1] + share @ classes
    return content, written / written.sum(1, keepdim=True)


def read(keys: Tensor, slots: Tensor, classes: Tensor, strength: Tensor) -> Tensor:
    """Share of each class at the slots that the keys address, shape (key, class)."""
    return address(keys, slots, strength) @ classes


def balanced_mass(label: Tensor, count: Tensor, total: float) -> Tensor:
    """Mass of each pixel, the same for each class that has pixels and `total` in all.

    Args:
        label: (pixel,) class index.
        count: pixels of each class, (class,).
        total: of all masses.
    """
    share: Tensor = total / (count > 0).sum().clamp(min=1)
    return (share / count.clamp(min=1))[label]
