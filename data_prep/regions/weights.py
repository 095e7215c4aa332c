"""Weights of a network from a file that cannot run code."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from landmeta.errors import SourceNotFound, UnreadableFile, UnsafeFile

_SAVED_BY_TORCH = (b"PK", b"\x80")
"""How files of torch.save begin: a zip archive, or before version 1.6 a pickle."""
_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Under which name checkpoints of trainings keep the weights."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a safetensors file, or of one that torch.save wrote of tensors alone.

    Raises:
        SourceNotFound: no such file.
        UnsafeFile: it holds a pickle of other things than tensors; none of it was run.
        UnreadableFile: it is damaged, or holds no tensors by name.
    """
    if not path.is_file():
        raise SourceNotFound(
            "no such file of weights", remedy="check the name of the file", path=path
        )
    with path.open("rb") as stream:
        by_torch = stream.read(2).startswith(_SAVED_BY_TORCH)
    try:
        content = (
            torch.load(path, map_location="cpu", weights_only=True) if by_torch else load_file(path)
        )
    except pickle.UnpicklingError as error:
        raise UnsafeFile(
            "holds a pickle of other things than weights, which can run code when loaded; "
            "not loaded",
            remedy="where you trust the file, save its weights alone: "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
            path=path,
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise _no_weights(path, f"cannot be read: {str(error).splitlines()[0]}") from error
    return _tensors(content, path)


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    for name in _WRAPPERS:
        inner = content.get(name) if isinstance(content, dict) else None
        content = inner if isinstance(inner, dict) else content
    if not isinstance(content, dict) or not content:
        raise _no_weights(path, "holds no tensors by name")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise _no_weights(path, "holds other things than tensors by name")
    # A network trained on several devices calls all its weights so.
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _no_weights(path: Path, what: str) -> UnreadableFile:
    return UnreadableFile(
        what,
        remedy="give a file of weights: a .safetensors file, or what torch.save writes of a "
        "network's state_dict()",
        path=path,
    )
