"""What a training starts from, if not from random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from landmeta.checkpoint import load_checkpoint
from landmeta.errors import CheckpointMismatch
from landmeta.methods import Method
from landmeta.model import Params, UNetConfig
from landmeta.taskset import TaskSetMeta


def start_from(path: Path, method: Method, unet: UNetConfig, data: TaskSetMeta) -> Params:
    """θ of a method with all that a checkpoint of any method has of it; the rest stays random.

    The network's standardisation comes from the checkpoint too.

    Raises:
        CheckpointMismatch: it was made for other data or another network.
    """
    made = load_checkpoint(path)
    made.meta.check_fits(data, path)
    if made.meta.unet != unet:
        raise CheckpointMismatch(
            f"holds the network {made.meta.unet}, but the config asks for {unet}",
            remedy="use the same model section as the run that made it",
            path=path,
        )
    for name, buffer in made.method.kept_buffers().items():
        method.net.get_buffer(name).copy_(buffer)
    theta = method.initial()
    return {name: _taken_up(p, made.params.get(name)) for name, p in theta.items()}


def _taken_up(ours: Tensor, theirs: Tensor | None) -> Tensor:
    """Their values in place of ours if they fit; a convolution's inputs they lack stay ours."""
    if theirs is None or ours.dim() != theirs.dim():
        return ours
    if ours.shape == theirs.shape:
        return theirs
    if ours.dim() == 4 and ours[:, : theirs.shape[1]].shape == theirs.shape:
        more = ours[:, theirs.shape[1] :]
        return torch.cat([theirs, more], dim=1).detach().requires_grad_()
    return ours
