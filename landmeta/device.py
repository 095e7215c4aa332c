"""Which device to compute on, and how."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from landmeta.errors import ConfigError

DeviceName = Literal["auto", "cpu", "cuda"]


def choose_device(name: DeviceName) -> torch.device:
    """`auto` takes a GPU where there is one.

    Raises:
        ConfigError: cuda was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError(
            "--device cuda, but torch finds no CUDA device here",
            remedy="use --device cpu (or auto), or install a torch build for your GPU driver",
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def precision(device: torch.device) -> torch.dtype:
    """What networks compute in: bfloat16 on a GPU; float32 on the CPU, repeatable bit for bit."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to the device's `precision` on a GPU; nothing on the CPU."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=precision(device))
    return nullcontext()


def describe(device: torch.device) -> str:
    """Name of the device for logs and reports."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
