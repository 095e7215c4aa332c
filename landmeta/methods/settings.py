"""What a user may say about a method, and what a checkpoint remembers of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]

MethodName = Literal[
    "maml",
    "fomaml",
    "anil",
    "boil",
    "cavia",
    "bias_transformation",
    "cnp",
    "snail",
    "mann",
    "pretrain",
    "scratch",
]


class Section(BaseModel):
    """A part of a configuration: no unknown names, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InnerConfig(Section):
    """The inner loop: K steps of gradient descent at rate α."""

    steps: Positive = 5
    rate: Rate = 0.1
    hvp: Literal["exact", "forward_over_reverse", "central", "forward"] = "exact"
    """Second derivatives of MAML: exact, or by differences of gradients (smooth networks only)."""
    layers: tuple[str, ...] | None = None
    """Which parameters adapt, by the beginnings of their names ("head", "unet.decoder"), in place
    of those the method chooses."""


class ContextConfig(Section):
    """What tells a network which task it is at."""

    size: Positive = 32
    """Numbers in the task vector (cavia, cnp)."""
    constants: Positive = 8
    """Constant channels beside the bands (bias_transformation)."""


class MemoryConfig(Section):
    """What is kept of the support pixels (snail, mann)."""

    pixels: Positive = 512
    """Most support pixels that are attended to, as evenly over the classes as they allow."""
    slots: Positive = 64
    """Places that all labelled support pixels are written to."""


class MethodSettings(Section):
    """A way of learning to adapt, by its name, and its parts."""

    method: MethodName
    inner: InnerConfig = InnerConfig()
    legend: Literal["fixed", "open"] = "fixed"
    """Whether all tasks have the classes of the training, or each may bring its own."""
    context: ContextConfig = ContextConfig()
    memory: MemoryConfig = MemoryConfig()
