"""What a training starts from, if not from random weights."""

from __future__ import annotations

from pathlib import Path

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
    same = {n: p for n, p in made.params.items() if n in theta and theta[n].shape == p.shape}
    return theta | same
