"""Batch norm whose statistics and weights may differ from inner step to inner step.

Antoniou, Edwards, Storkey 2019, *How to train your MAML*, section 4, BNRS and BNWB
(arXiv:1810.09502). The layer itself knows of no steps: who calls it puts in what belongs to the
step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from landmeta.model import Params


class StepNorm(nn.Module):
    """Batch norm as a function: by the statistics put in as `mean` and `var`, or the batch's own.

    Input and output (tile, channel, row, col). As long as `mean` is empty, the statistics are those
    of the batch.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.empty(0), persistent=False)
        self.register_buffer("var", torch.empty(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        mean, var = (self.mean, self.var) if self.mean.numel() else statistics(x)[::-1]
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean of each channel of (tile, channel, row, col), over all pixels."""
    var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    return var, mean


def with_step_norm(net: nn.Module) -> list[str]:
    """Put `StepNorm` in the place of each group norm; returns the names of these layers."""
    names = [name for name, layer in net.named_modules() if isinstance(layer, nn.GroupNorm)]
    for name in names:
        layer = net.get_submodule(name)
        assert isinstance(layer, nn.GroupNorm)
        parent, _, child = name.rpartition(".")
        setattr(net.get_submodule(parent), child, StepNorm(layer.num_channels, layer.eps))
    return names


@contextmanager
def observed(net: nn.Module, names: list[str], seen: Params) -> Iterator[None]:
    """Note in `seen` the statistics of what comes to each layer, as `NAME.mean` and `NAME.var`."""

    def note(name: str, x: Tensor) -> None:
        with torch.no_grad():
            seen[f"{name}.var"], seen[f"{name}.mean"] = statistics(x.detach().float())

    with ExitStack() as hooks:
        for name in names:
            layer = net.get_submodule(name)
            handle = layer.register_forward_pre_hook(
                lambda _, inputs, name=name: note(name, inputs[0])
            )
            hooks.callback(handle.remove)
        yield
