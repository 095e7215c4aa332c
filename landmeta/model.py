"""The segmentation network: a U-Net of segmentation-models-pytorch, made fit for meta-learning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from landmeta.errors import ConfigError
from landmeta.film import Film

Params = dict[str, Tensor]
"""Trainable parameters by name; the mathematics in `landmeta.meta` is functions of these."""


class UNetConfig(BaseModel):
    """What network to build.

    The defaults are smooth (SiLU, average pooling) so that the meta-gradient is a true derivative
    everywhere, and use group norm so that a prediction does not depend on the rest of its batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str = "resnet18"
    """Encoder name of segmentation-models-pytorch."""
    depth: Annotated[int, Field(ge=3, le=5)] = 4
    """Number of halvings of the resolution in the encoder."""
    decoder_channels: tuple[int, ...] = (128, 64, 32, 16)
    """Channels of each decoder block, deepest first; as many as `depth`."""
    skip_channels: Annotated[int, Field(ge=1)] = 32
    """Channels of the skip connection at full resolution, straight from the bands."""
    groups: Annotated[int, Field(ge=1)] = 8
    """Groups of each group norm (fewer where the channels are not divisible)."""
    activation: Literal["silu", "relu"] = "silu"
    pooling: Literal["average", "max"] = "average"

    @property
    def features(self) -> int:
        """Number of features of a pixel that the head sees."""
        return self.decoder_channels[-1] + self.skip_channels


class SegmentationNet(nn.Module):
    """Physical values in, class logits out.

    Input (tile, band, row, col) float32 with NaN where a band has no data; rows and columns
    divisible by 2**depth. Output (tile, class, row, col).

    Each band is standardised with the training split's mean and standard
    deviation, which travel with the weights; missing values become the mean.

    Group norm takes away the mean of a whole tile, and with it how bright a surface is; and the
    encoder starts at half resolution. So the bands also reach the head directly, through two 1 x 1
    convolutions without normalisation.

    Some methods tell it what task it is at: by a task vector, the buffer `context`, that modulates
    what the encoder hands to the decoder and the decoder to the head (no part of the weights: zero,
    and without effect, until another is swapped in); or by constant channels, the parameter
    `constant`, beside the bands.
    """

    mean: Tensor
    std: Tensor
    context: Tensor

    def __init__(
        self,
        config: UNetConfig,
        bands: int,
        classes: int,
        head: Callable[[int, int], nn.Module] | None = None,
        context: int = 0,
        constants: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands, 1, 1))
        self.register_buffer("std", torch.ones(bands, 1, 1))
        self.constant = nn.Parameter(torch.zeros(constants)) if constants else None
        inputs = bands + constants
        self.unet = _build_unet(config, inputs)
        width = config.skip_channels
        self.skip = nn.Sequential(
            nn.Conv2d(inputs, width, 1),
            _activation(config),
            nn.Conv2d(width, width, 1),
            _activation(config),
        )
        features = config.features
        self.head = (head or _convolution)(features, classes)
        self.film = nn.ModuleList()
        if context:
            self.register_buffer("context", torch.zeros(context), persistent=False)
            encoder: Any = self.unet.encoder
            channels = [*encoder.out_channels[1:], features]
            self.film.extend(Film(context, c) for c in channels)
        # The order of the images too, so that a GPU need not reorder weights at each call.
        self.to(memory_format=torch.channels_last)

    def set_standardisation(self, mean: Tensor, std: Tensor) -> None:
        """Set each band's mean and standard deviation, shape (band,)."""
        self.mean.copy_(mean.view(-1, 1, 1))
        self.std.copy_(std.view(-1, 1, 1))

    def forward(self, image: Tensor, features_only: bool = False) -> Tensor:
        """Logits of images, or what the head makes them of, (tile, feature, row, col)."""
        bands = torch.nan_to_num((image - self.mean) / self.std, nan=0.0)
        if self.constant is not None:
            flat = self.constant[:, None, None].expand(len(bands), -1, *bands.shape[2:])
            bands = torch.cat([bands, flat], dim=1)
        features = self._features(bands)
        if features_only:
            return features
        logits: Tensor = self.head(features)
        return logits

    def _features(self, bands: Tensor) -> Tensor:
        if not len(self.film):
            return torch.cat([self.unet(bands), self.skip(bands)], dim=1)
        unet: Any = self.unet
        image, *maps = unet.encoder(bands)
        *inner, last = self.film
        maps = [film(m, self.context) for film, m in zip(inner, maps, strict=True)]
        features = torch.cat([unet.decoder([image, *maps]), self.skip(bands)], dim=1)
        modulated: Tensor = last(features, self.context)
        return modulated


def _convolution(features: int, classes: int) -> nn.Module:
    return nn.Conv2d(features, classes, 3, padding=1)


def build_net(
    config: UNetConfig,
    bands: int,
    classes: int,
    seed: int = 0,
    head: Callable[[int, int], nn.Module] | None = None,
    context: int = 0,
    constants: int = 0,
) -> SegmentationNet:
    """A freshly initialised network; the same seed gives the same weights.

    Args:
        config: of the U-Net.
        bands: of its images.
        classes: of its legend.
        seed: of its weights.
        head: makes the head of the numbers of features and classes; a 3 x 3 convolution if not
            given.
        context: size of the task vector that modulates its feature maps; 0 for none.
        constants: number of constant channels beside the bands.

    Raises:
        ConfigError: no such encoder, or depth and decoder channels do not fit together.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegmentationNet(config, bands, classes, head, context, constants)


def trainable(net: nn.Module) -> Params:
    """The network's parameters, detached copies that require gradients."""
    return {k: p.detach().clone().requires_grad_() for k, p in net.named_parameters()}


def _activation(config: UNetConfig) -> nn.Module:
    return nn.SiLU() if config.activation == "silu" else nn.ReLU()


def _build_unet(config: UNetConfig, bands: int) -> nn.Module:
    """The U-Net up to its last features, shape (tile, decoder_channels[-1], row, col)."""
    # Imported here: it takes seconds, and only building a network needs it.
    import segmentation_models_pytorch as smp

    if len(config.decoder_channels) != config.depth:
        raise ConfigError(
            f"model.decoder_channels has {len(config.decoder_channels)} entries "
            f"but model.depth is {config.depth}",
            remedy=f"give {config.depth} channel numbers, deepest first",
        )
    try:
        unet: nn.Module = smp.Unet(
            encoder_name=config.encoder,
            encoder_depth=config.depth,
            encoder_weights=None,
            decoder_channels=config.decoder_channels,
            in_channels=bands,
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"model.encoder {config.encoder!r} cannot be built at depth {config.depth}: {error}",
            remedy="choose an encoder of segmentation-models-pytorch, such as resnet18 or resnet34",
        ) from error
    unet.segmentation_head = nn.Identity()
    _replace_layers(unet, config)
    _drop_unused(unet, bands, 2**config.depth * 2)
    return unet


def _replace_layers(module: nn.Module, config: UNetConfig) -> None:
    """Swap batch norm for group norm, and activations and pooling for what the config says.

    In-place activations are replaced in any case: they overwrite values double backward needs.
    """
    for name, child in module.named_children():
        new = _replacement(child, config)
        if new is None:
            _replace_layers(child, config)
        else:
            setattr(module, name, new)


def _replacement(layer: nn.Module, config: UNetConfig) -> nn.Module | None:
    if isinstance(layer, nn.BatchNorm2d):
        groups = math.gcd(config.groups, layer.num_features)
        return nn.GroupNorm(groups, layer.num_features, eps=layer.eps)
    if isinstance(layer, nn.ReLU | nn.ReLU6 | nn.SiLU | nn.Hardswish):
        return _activation(config)
    if isinstance(layer, nn.MaxPool2d) and config.pooling == "average":
        kernel: Any = layer.kernel_size
        return nn.AvgPool2d(kernel, layer.stride, layer.padding, count_include_pad=False)
    return None


class _Dropped(nn.Identity):
    """In the place of a block that some encoders call with more than an image."""

    def forward(self, image: Tensor, *_: object) -> Tensor:
        return image


def _drop_unused(unet: nn.Module, bands: int, size: int) -> None:
    """Remove encoder stages that a shallow U-Net never runs: they would be adapted for nothing."""
    unet(torch.zeros(1, bands, size, size)).sum().backward()

    def prune(module: nn.Module) -> None:
        for name, child in module.named_children():
            own = list(child.parameters())
            if own and all(p.grad is None for p in own):
                setattr(module, name, _Dropped())
            else:
                prune(child)

    prune(unet)
    unet.zero_grad(set_to_none=True)
