"""Networks of torchvision and timm that describe an image by what their last layer would see."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_prep.regions.statistics import Features, Mask
from data_prep.regions.weights import read_weights
from landmeta.errors import CheckpointMismatch, ConfigError, SourceNotFound

_TIMM = "timm/"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of red, green and blue, 0-1, where a network says nothing else."""


class Network:
    """A network without its last layer.

    For VGG-16 (Simonyan and Zisserman 2015, arXiv:1409.1556) these are the 4096 values of the
    second fully connected layer.

    Attributes:
        side: it looks at pictures of side × side pixels.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        side: int,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
    ) -> None:
        self._forward, self.side = forward, side
        self._mean, self._deviation = (
            torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, deviation)
        )

    def __call__(self, rgb: NDArray[np.uint8], valid: Mask) -> Features:
        """Features of one image, shape (feature,); see `Extractor`."""
        torch.set_num_threads(1)  # of this thread
        image = torch.from_numpy(rgb).float() / 255
        image = torch.where(torch.from_numpy(valid), (image - self._mean) / self._deviation, 0.0)
        with torch.inference_mode():
            return self._forward(image[None])[0].flatten().double().numpy()


@contextmanager
def one_thread_an_image() -> Iterator[None]:
    """Images are described side by side, each in a thread: its sums depend on nothing else."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_network(name: str, weights: Path | None = None) -> Network:
    """The network of that name with its weights. Arguments and errors as `find_extractor`."""
    return _of_timm(name, weights) if name.startswith(_TIMM) else _of_torchvision(name, weights)


def _of_torchvision(name: str, weights: Path | None) -> Network:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise _unknown(name, known)
    published = models.get_model_weights(name).DEFAULT
    model = models.get_model(name)
    heads = [part for part, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not heads:
        raise ConfigError(
            f"the network {name} has no linear layer at its end",
            remedy="choose another network, for instance vgg16 or resnet18",
        )
    if weights is None:
        try:
            tensors = published.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreachable(name, published.url, error) from error
    else:
        tensors = read_weights(weights)
    _load(model, tensors, heads[-1], name, weights)
    wanted = published.transforms()
    return Network(
        _before(model.eval(), heads[-1]), wanted.crop_size[0], tuple(wanted.mean), tuple(wanted.std)
    )


def _before(model: nn.Module, head: str) -> Callable[[Tensor], Tensor]:
    """What the layer `head` would be given."""
    model.set_submodule(head, nn.Identity())
    return model


def _of_timm(name: str, weights: Path | None) -> Network:
    import timm

    plain = name.removeprefix(_TIMM)
    if not timm.is_model(plain):
        raise _unknown(name, [_TIMM + known for known in timm.list_models()])
    try:
        model: Any = timm.create_model(plain, pretrained=weights is None)
    except Exception as error:  # of the hub's client, whichever is installed
        published = timm.get_pretrained_cfg(plain)
        place = published.hf_hub_id if published else None
        raise _unreachable(name, f"https://huggingface.co/{place or 'timm'}", error) from error
    if weights is not None:
        head = next(
            part for part, module in model.named_modules() if module is model.get_classifier()
        )
        _load(model, read_weights(weights), head, name, weights)
    model.eval()
    wanted = model.pretrained_cfg

    def forward(image: Tensor) -> Tensor:
        found: Tensor = model.forward_head(model.forward_features(image), pre_logits=True)
        return found

    return Network(
        forward,
        wanted.get("input_size", (3, 224, 224))[-1],
        wanted.get("mean", _IMAGENET[0]),
        wanted.get("std", _IMAGENET[1]),
    )


def _load(
    model: nn.Module, tensors: dict[str, Tensor], head: str, name: str, path: Path | None
) -> None:
    """Give the network its weights; those of the last layer may be missing or of other classes."""
    own = {key: value for key, value in model.state_dict().items() if not _optional(key, head)}
    given = {key: value for key, value in tensors.items() if not _optional(key, head)}
    fitting = [key for key in own if key in given and own[key].shape == given[key].shape]
    if len(fitting) < len(own) or len(given) > len(own):
        first = min((set(own) | set(given)) - set(fitting))
        raise CheckpointMismatch(
            f"holds weights of another network than {name}: {len(fitting)} of its {len(own)} "
            f"tensors are there, and {len(given) - len(fitting)} that it does not have; "
            f"for instance {first}: {_shape(given.get(first))}, in {name} {_shape(own.get(first))}",
            remedy=f"give weights of {name}, or name their network as the features",
            path=path,
        )
    model.load_state_dict(given, strict=False)


def _optional(key: str, head: str) -> bool:
    return key.startswith(f"{head}.") or key.endswith("num_batches_tracked")


def _shape(tensor: Tensor | None) -> str:
    return "none" if tensor is None else " × ".join(map(str, tensor.shape)) or "a number"


def _unknown(name: str, known: list[str]) -> ConfigError:
    close = difflib.get_close_matches(name, known, n=3)
    return ConfigError(
        f"there are no features {name!r}",
        remedy=(f"did you mean {', '.join(close)}? " if close else "")
        + "choose statistics, a classification network of torchvision such as vgg16, or one of "
        "timm such as timm/resnet18",
    )


def _unreachable(name: str, source: str, error: Exception) -> SourceNotFound:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SourceNotFound(
        f"the published weights of {name} cannot be had: {reason}",
        remedy=f"fetch them on a machine that reaches {source} and give the file as --weights; or "
        "use the features 'statistics', which need none",
    )
