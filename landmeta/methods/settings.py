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
    "ridge",
    "protonet",
    "proto_maml",
    "logistic",
    "svm",
    "alpaca",
    "matching",
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


class HeadConfig(Section):
    """Heads that are built from the features of the labelled pixels."""

    pixels: Positive = 2048
    """Most support pixels that a head is fitted to: a draw, the same number of each class where
    there are enough, each then standing for several."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How far rare classes are made up for: 0 counts each pixel the same, 1 each class."""
    zero_shot: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the query loss without any support in the training of heads that are solved for,
    with a fixed legend: what makes the prior a good map of its own."""
    prototypes: Positive = 1
    """Prototypes of each class (protonet)."""


class MethodSettings(Section):
    """A way of learning to adapt, by its name, and its parts."""

    method: MethodName
    inner: InnerConfig = InnerConfig()
    legend: Literal["fixed", "open"] = "fixed"
    """Whether all regions have the classes of training, or each may bring its own."""
    head: HeadConfig = HeadConfig()
