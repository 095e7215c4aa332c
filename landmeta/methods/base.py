"""What a method is to the rest of the program: a start, an inner update and logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from landmeta.adaptation import Adaptation
from landmeta.device import mixed_precision
from landmeta.errors import ConfigError
from landmeta.losses import PIXEL_LOSSES, cross_entropy, some_pixels
from landmeta.meta.inner import Batch
from landmeta.methods.settings import MethodSettings
from landmeta.model import Params, SegmentationNet, UNetConfig, build_net, trainable


@dataclass(frozen=True)
class EpisodeBatch:
    """An episode on a device.

    Attributes:
        support: tiles to adapt on.
        query: tiles to be judged on.
        classes: of the legend that both are labelled in.
        seed: of what the method draws at random.
    """

    support: Batch
    query: Batch
    classes: int
    seed: int = 0


class Method:
    """A network whose parameters gradient steps adapt: what pretraining and scratch give.

    θ is a dict of parameters: those of the network and, for some methods, others that steer how it
    adapts. `start` makes φ₀ of θ, steps change the `adapting` entries of φ, and `logits` reads φ.
    Subclasses say what differs.

    Args:
        settings: of the method.
        unet: the network.
        bands: of its images.
        classes: of the legend it is trained with.
        seed: of its random weights.
    """

    episodic: ClassVar[bool] = False
    """Whether it is trained on episodes."""
    open_legend: ClassVar[bool] = False
    """Whether it adapts to classes that are not those of its training."""
    adapts: ClassVar[tuple[str, ...]] = ("",)
    """Beginnings of the names of the parameters that gradient steps change."""

    def __init__(
        self, settings: MethodSettings, unet: UNetConfig, bands: int, classes: int, seed: int = 0
    ) -> None:
        self.settings, self.classes = settings, classes
        self.net = self.build(unet, bands, classes, seed).eval()
        self._known = {name for name, _ in self.net.named_parameters()}
        self._known |= {name for name, _ in self.net.named_buffers()}

    def build(self, unet: UNetConfig, bands: int, classes: int, seed: int) -> SegmentationNet:
        """The network with the head and the other parts that the method needs."""
        return build_net(unet, bands, classes, seed)

    def to(self, device: torch.device) -> None:
        """Move the network's own tensors."""
        self.net.to(device)

    def kept_buffers(self) -> Params:
        """The network's tensors that are not trained but belong to it: the standardisation."""
        state = self.net.state_dict()
        return {name: b for name, b in self.net.named_buffers() if name in state}

    def load(self, tensors: Params, *, adapted: bool) -> Params:
        """Take up saved tensors: the network's own are set, and the parameters returned.

        Args:
            tensors: by name; those of `kept_buffers` and θ, or φ of a region.
            adapted: whether they are φ, which may have more and other shapes than θ.

        Raises:
            RuntimeError: they are not those of this method and network.
        """
        buffers, theta = self.kept_buffers(), self.initial()
        start = self.start(theta, None, self.classes) if adapted else theta
        expected = buffers | start
        wrong = [
            name
            for name, p in expected.items()
            if name not in tensors or (tensors[name].shape != p.shape and not adapted)
        ]
        if not adapted:
            wrong += [name for name in tensors if name not in expected]
        if wrong:
            raise RuntimeError(f"it lacks or has in another shape: {', '.join(wrong[:5])}")
        for name, buffer in buffers.items():
            buffer.copy_(tensors[name])
        layout = {name: torch.empty_like(p) for name, p in theta.items()}
        params = {}
        for name, p in tensors.items():
            if name in buffers:
                continue
            same = name in layout and layout[name].shape == p.shape
            params[name] = (layout[name].copy_(p) if same else p.clone()).requires_grad_()
        return params

    @property
    def is_open(self) -> bool:
        """Whether tasks bring classes of their own."""
        return self.settings.legend == "open"

    # ---- parameters -----------------------------------------------------------------------------

    def initial(self) -> Params:
        """θ before training."""
        return trainable(self.net)

    def start(self, params: Params, support: Batch | None, classes: int) -> Params:
        """φ₀: where the adaptation to a task starts, differentiable in θ = `params`.

        Args:
            params: θ.
            support: the task's labelled tiles, or None without any.
            classes: of the task's legend.
        """
        return params

    def adapting(self, phi: Params) -> list[str]:
        """Names of the parameters that gradient steps change.

        Raises:
            ConfigError: `inner.layers` names none.
        """
        chosen = self.settings.inner.layers
        names = [name for name in phi if name.startswith(self.adapts if chosen is None else chosen)]
        if not names:
            known = sorted({name.partition(".")[0] for name in phi})
            raise ConfigError(
                f"inner.layers {list(chosen or self.adapts)} are the beginning of no parameter",
                remedy=f"name parts of the network: {', '.join(known)}, or longer beginnings",
            )
        return names

    # ---- the network as a function of parameters ------------------------------------------------

    def logits(self, phi: Params, image: Tensor) -> Tensor:
        """Class logits (tile, class, row, col) of images (tile, band, row, col), NaN = no data."""
        return self._call(phi, image)

    def features(self, phi: Params, image: Tensor) -> Tensor:
        """What the head sees of images: (tile, feature, row, col) float."""
        return self._call(phi, image, features_only=True)

    def _call(self, phi: Params, image: Tensor, *, features_only: bool = False) -> Tensor:
        known = {name: p for name, p in phi.items() if name in self._known}
        with mixed_precision(image.device):
            found: Tensor = functional_call(
                self.net, known, (image,), {"features_only": features_only}
            )
        return found.float() if found.dtype == torch.bfloat16 else found

    def loss(self, phi: Params, batch: Batch) -> Tensor:
        """Mean cross-entropy over the labelled pixels."""
        return cross_entropy(self.logits(phi, batch.image), batch.label)

    def inner_loss(self, phi: Params, batch: Batch) -> Tensor:
        """What gradient steps go down: the loss that `inner.loss` names."""
        return PIXEL_LOSSES[self.settings.inner.loss](self.logits(phi, batch.image), batch.label)

    # ---- adapting as trained --------------------------------------------------------------------

    def trained(self) -> Adaptation | None:
        """How the method adapts in training; None if it does not learn to."""
        return None

    def trained_steps(
        self, params: Params, start: Params, support: Batch, factor: float
    ) -> Iterator[Params]:
        """Yield φ after each step of the learned update, without end.

        Args:
            params: θ.
            start: φ₀.
            support: the task's labelled tiles.
            factor: on the learned rates.
        """
        raise NotImplementedError(f"{self.settings.method} has learned no update of its own")

    @property
    def most_steps(self) -> int | None:
        """Steps that the learned update can do at most; None without limit."""
        return None

    # ---- training beside the outer optimiser ----------------------------------------------------

    def own(self, params: Params) -> frozenset[str]:
        """Names of the entries of θ that the method moves itself, not the outer optimiser."""
        return frozenset()

    def own_step(
        self, params: Params, found: Params, last_direction: Callable[[], Params]
    ) -> float:
        """Move them, in place, before each step of the outer optimiser.

        Args:
            params: θ.
            found: the meta-gradient; what the method observed, for its own entries. Means over the
                tasks of the step.
            last_direction: computes what the outer optimiser went against in its last step.

        Returns:
            A factor on the outer rate.
        """
        return 1.0

    def monitor(self, params: Params) -> dict[str, float]:
        """Numbers about θ that are worth a line in the log."""
        return {}


class EpisodicMethod(Method):
    """A method trained on episodes: it follows the gradient of query losses after adaptation."""

    episodic = True
    second_order: ClassVar[bool] = False
    """Whether inner steps are differentiated twice."""
    at_once: ClassVar[bool] = False
    """Whether support and query go into one graph, to be differentiated together."""

    @property
    def kept_gradients(self) -> int:
        """Gradients of the size of the network that a meta-gradient keeps at a time."""
        return 0

    def meta_gradient(
        self, params: Params, episode: EpisodeBatch, progress: float
    ) -> tuple[Tensor, Params]:
        """Query loss after adaptation, and the direction θ is to go against.

        Args:
            params: θ.
            episode: support and query of a task.
            progress: share of the training that is done, from 0 to 1.
        """
        raise NotImplementedError

    def step_batches(self, episode: EpisodeBatch, steps: int) -> list[Batch]:
        """The support of each inner step: all of it, or `inner.pixels` pixels anew each time."""
        count = self.settings.inner.pixels
        if count is None:
            return [episode.support] * steps
        generator = torch.Generator().manual_seed(episode.seed)
        return [some_pixels(episode.support, count, generator) for _ in range(steps)]

    def exact(self) -> EpisodicMethod | None:
        """The same method with exact second derivatives; None if it is that already."""
        return None
