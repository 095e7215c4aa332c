"""What a training starts from: random weights, the encoder's published ones, or those of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from landmeta.checkpoint import Checkpoint, checkpoint_of, read_tensors
from landmeta.errors import CheckpointMismatch, SourceNotFound
from landmeta.methods import Method
from landmeta.model import Params, UNetConfig
from landmeta.taskset import TaskSetMeta

Init = Literal["random", "pretrained"] | Path

_ENCODER = "unet.encoder."
_PREFIXES = re.compile(r"^(?:(?:module|model|backbone|encoder|encoder_q|unet)\.)+")
"""Names of what an encoder is a part of, in files of various trainings."""


@dataclass(frozen=True)
class Start:
    """Where a training starts.

    Attributes:
        params: θ.
        standardised: whether the network's standardisation came with them.
        note: what was taken from where, in words for the user.
        provenance: of the landmeta checkpoint that it is, if it is one.
    """

    params: Params
    standardised: bool
    note: str
    provenance: Mapping[str, Any] = field(default_factory=dict)


def start_from(init: Init, method: Method, unet: UNetConfig, data: TaskSetMeta) -> Start:
    """θ of a method before its training.

    Args:
        init: random, pretrained (the encoder's weights as segmentation-models-pytorch publishes
            them) or a safetensors file: a landmeta checkpoint of any method, or weights of the
            encoder in the names of torchvision, timm or segmentation-models-pytorch.
        method: that is to be trained.
        unet: its network.
        data: what it is to be trained on.

    Raises:
        SourceNotFound: no such file, or the published weights cannot be had.
        UnsafeFile, UnreadableFile: the file is a pickle, or no whole safetensors file.
        CheckpointMismatch: it was made for other data or another network.
    """
    if init == "random":
        return Start(method.initial(), False, "starts from random weights")
    if init == "pretrained":
        tensors = published(unet, len(data.bands))
        return _with_encoder(tensors, f"published for {unet.encoder}", method, unet)
    path = Path(init)
    if not path.is_file():
        raise SourceNotFound(
            "no such file to start from",
            remedy="set init to random, to pretrained or to the path of a safetensors file",
            path=path,
        )
    tensors, metadata = read_tensors(path)
    if "landmeta" in metadata:
        return _with_checkpoint(checkpoint_of(path, tensors, metadata), path, method, unet, data)
    return _with_encoder(tensors, f"of {path}", method, unet, path)


def _with_checkpoint(
    made: Checkpoint, path: Path, method: Method, unet: UNetConfig, data: TaskSetMeta
) -> Start:
    """θ with all that the checkpoint has of it; the rest stays random."""
    made.meta.check_fits(data, path, classes=method.settings.legend == "fixed")
    if made.meta.unet != unet:
        raise CheckpointMismatch(
            f"holds the network {made.meta.unet}, but the config asks for {unet}",
            remedy="use the same model section as the run that made it",
            path=path,
        )
    for name, buffer in made.method.kept_buffers().items():
        method.net.get_buffer(name).copy_(buffer)
    theta = method.initial()
    fits = {name: _taken_up(p, made.params.get(name)) for name, p in theta.items()}
    same = sum(p is not theta[name] for name, p in fits.items())
    note = f"starts from {same} of {len(theta)} tensors of {path} ({made.meta.kind} model)"
    return Start(fits, True, note, made.meta.provenance)


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


def published(unet: UNetConfig, bands: int) -> dict[str, Tensor]:
    """The encoder's weights for ImageNet, its first convolution made fit for other bands.

    Raises:
        SourceNotFound: there are none, or they cannot be fetched.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    try:
        encoder: torch.nn.Module = get_encoder(
            unet.encoder, in_channels=bands, depth=unet.depth, weights="imagenet"
        )
    except (OSError, KeyError, RuntimeError, ValueError) as error:  # of the hub, of the network
        raise SourceNotFound(
            f"the published weights of {unet.encoder} cannot be had: {str(error).splitlines()[0]}",
            remedy="run it once where the hub can be reached (what it loads is kept in its "
            f"cache), or copy model.safetensors of smp-hub/{unet.encoder}.imagenet from there and "
            "set init to that file; or set init to random",
        ) from error
    return encoder.state_dict()


def _with_encoder(
    tensors: dict[str, Tensor],
    source: str,
    method: Method,
    unet: UNetConfig,
    path: Path | None = None,
) -> Start:
    """θ with the weights of the encoder that fit by name and shape; the rest stays random.

    Scale and shift of a batch norm become those of the group norm in its place; its statistics are
    not taken.
    """
    theta = method.initial()
    wanted = {_plain(name): name for name in theta if name.startswith(_ENCODER)}
    convolutions = [name for name in wanted.values() if theta[name].dim() == 4]
    taken: Params = {}
    for name, weight in tensors.items():
        target = wanted.get(_plain(name))
        if target is None:
            continue
        p = theta[target]
        if target == convolutions[0] and weight.dim() == 4:
            weight = for_bands(weight, p.shape[1])
        if weight.shape == p.shape:
            taken[target] = torch.empty_like(p).copy_(weight).requires_grad_()
    fitting = sum(name in taken for name in convolutions)
    if 2 * fitting <= len(convolutions):  # a deeper relative's first layers fit too
        raise CheckpointMismatch(
            f"the weights {source} fit {fitting} of the {len(convolutions)} convolutions of the "
            f"encoder {unet.encoder}, by name and shape",
            remedy="take weights of that encoder, named as in torchvision, timm or "
            "segmentation-models-pytorch ('layer1.0.conv1.weight'), or set model.encoder to "
            "theirs",
            path=path,
        )
    note = f"starts from {len(taken)} of {len(wanted)} tensors of the encoder, {source}"
    return Start(theta | taken, False, note)


def _plain(name: str) -> str:
    return _PREFIXES.sub("", name)


def for_bands(weight: Tensor, bands: int) -> Tensor:
    """A first convolution for another number of bands, as segmentation-models-pytorch does it.

    Its bands are used again in turn and scaled by their number, so that what is equally bright in
    all bands excites it as much as before (on average, where `bands` is no multiple).

    Args:
        weight: (filter, band, row, col).
        bands: it is to have.
    """
    before = weight.shape[1]
    if bands == before:
        return weight
    if bands == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, torch.arange(bands) % before] * (before / bands)
