"""What a user may say about a method, and what a checkpoint remembers of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]

Share = Annotated[float, Field(ge=0, le=1)]

MethodName = Literal[
    "maml",
    "fomaml",
    "anil",
    "boil",
    "reptile",
    "meta_sgd",
    "lslr",
    "maml_plus_plus",
    "alpha_maml",
    "imaml",
    "lstm",
    "ridge",
    "protonet",
    "proto_maml",
    "logistic",
    "svm",
    "alpaca",
    "matching",
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
    loss: Literal["cross_entropy", "balanced", "focal"] = "cross_entropy"
    """What inner steps go down, in training and when adapting: cross-entropy, that with each class
    counting alike, or focal loss with γ = 2. Queries are judged by cross-entropy in any case."""
    pixels: Positive | None = None
    """Labelled pixels that each inner step of training sees, drawn anew for each; all if not
    given. Adapting uses all."""


class ReptileConfig(Section):
    """Reptile."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of a task's tiles (support and query together), how many each inner step sees."""


class PlusPlusConfig(Section):
    """The parts of MAML++, each of which can be left out."""

    multi_step: Share = 0.15
    """Share of the training until which the queries of earlier steps count, less and less; 0 for
    the last step alone."""
    first_order: Share = 0.3
    """Share of the training that leaves second derivatives out; 0 for none."""
    learned_rates: bool = True
    """Learn the rate of each parameter tensor and step."""
    step_norm: bool = False
    """Batch norm with statistics and weights of each step, in place of group norm."""


class AlphaConfig(Section):
    """Alpha MAML: how fast the rates follow their hyper-gradients; 0 to hold them."""

    inner: Annotated[float, Field(ge=0, lt=1)] = 0.05
    outer: Annotated[float, Field(ge=0, lt=1)] = 0.02


class ImplicitConfig(Section):
    """Implicit MAML."""

    strength: Rate = 1.0
    """λ: how strongly the adapted parameters are held to where they start."""
    solver: Literal["conjugate_gradient", "gradient_descent"] = "conjugate_gradient"
    iterations: Positive = 5
    """Hessian-vector products of each meta-gradient."""
    damping: Annotated[float, Field(ge=0)] = 10.0
    """Added to λ where the Hessian is divided by it, against negative eigenvalues of
    I + ∇²L / (λ + damping) where the inner loop has not come to a minimum. 0 for none."""


class LstmConfig(Section):
    """The learned update rule."""

    hidden: Positive = 8
    """Units of the cell that reads the gradients."""


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
    """fixed: all regions have the classes of the training; open: a region may bring its own."""
    reptile: ReptileConfig = ReptileConfig()
    plus_plus: PlusPlusConfig = PlusPlusConfig()
    alpha: AlphaConfig = AlphaConfig()
    implicit: ImplicitConfig = ImplicitConfig()
    lstm: LstmConfig = LstmConfig()
    head: HeadConfig = HeadConfig()
    context: ContextConfig = ContextConfig()
    memory: MemoryConfig = MemoryConfig()
