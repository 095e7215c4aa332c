"""The segmentation loss, and how a network becomes a function of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from landmeta.device import mixed_precision
from landmeta.legend import IGNORE
from landmeta.meta.inner import Batch, Loss
from landmeta.model import Params
from landmeta.taskset import Tiles


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy over the labelled pixels; 0 where nothing is labelled.

    Args:
        logits: (tile, class, row, col).
        label: (tile, row, col) int64, 255 = ignore.
    """
    total = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="sum")
    return total / (label != IGNORE).sum().clamp(min=1)


def segmentation_loss(net: nn.Module) -> Loss:
    """The loss of `net` as a pure function of its parameters."""

    def loss(params: Params, batch: Batch) -> Tensor:
        with mixed_precision(batch.image.device):
            logits = functional_call(net, params, (batch.image,))
        return cross_entropy(
            logits.float() if logits.dtype == torch.bfloat16 else logits, batch.label
        )

    return loss


def to_batch(tiles: Tiles, device: torch.device) -> Batch:
    """Tiles in memory as tensors on a device, images channels-last."""
    image = torch.from_numpy(tiles.image)
    label = torch.from_numpy(tiles.label)
    return Batch(
        image.to(device, non_blocking=True, memory_format=torch.channels_last),
        label.to(device, non_blocking=True).long(),  # widened only there: an eighth of the way
    )


def pinned(tiles: Tiles) -> Tiles:
    """The same tiles in page-locked memory, from which a GPU copies while it computes."""

    def lock(array: NDArray[Any]) -> NDArray[Any]:
        locked: NDArray[Any] = torch.from_numpy(array).pin_memory().numpy()
        return locked

    return Tiles(lock(tiles.image), lock(tiles.label))


@torch.no_grad()
def predict_classes(
    logits: Callable[[Params, Tensor], Tensor], phi: Params, image: Tensor, chunk: int = 16
) -> Tensor:
    """Most likely class index of each pixel, shape (tile, row, col) uint8."""
    parts = [logits(phi, part).argmax(1).to(torch.uint8) for part in torch.split(image, chunk)]
    return torch.cat(parts)
