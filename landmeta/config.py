"""The configuration of a run: YAML in, checked, and stored as JSON beside the output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from landmeta.adaptation import Adaptation, Share
from landmeta.device import DeviceName
from landmeta.errors import ConfigError
from landmeta.methods import METHODS, open_methods
from landmeta.methods.settings import Count, InnerConfig, MethodSettings, Positive, Rate, Section
from landmeta.model import UNetConfig
from landmeta.problems import problems

Chance = Annotated[float, Field(ge=0, le=1)]
Depth = Annotated[int, Field(ge=3, le=5)]


class RelabelConfig(Section):
    """The legend of an episode's own that is drawn from its support's classes (legend: open)."""

    drop: Chance = 0.2
    """Chance of a class to be left out: its pixels are not labelled."""
    merge: Chance = 0.2
    """Chance of a class to be made one with another."""
    min_ways: Positive = 2
    """Fewest classes of an episode, where its support has as many."""
    max_ways: Positive | None = None
    """Most classes of an episode; the others are left out."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> RelabelConfig:
        if self.max_ways is not None and self.max_ways < self.min_ways:
            raise ValueError(f"max_ways {self.max_ways} is below min_ways {self.min_ways}")
        return self


class EpisodeConfig(Section):
    """Tiles per episode, and episodes (tasks) per meta-step."""

    shots: Positive = 5
    queries: Positive = 5
    tasks: Positive = 2
    relabel: RelabelConfig | None = None
    """With legend: open, how episodes get legends of their own; its defaults if not given."""


class OuterConfig(Section):
    """The outer loop: Adam with a cosine schedule to a hundredth of its rate."""

    steps: Positive = 1000
    rate: Rate = 1e-3
    clip: Rate = 10.0
    """Largest norm of the meta-gradient; longer ones are scaled down."""


class ValidationConfig(Section):
    """Scoring on the validation regions while training; the best checkpoint is kept."""

    every: Positive = 100
    draws: Positive = 2
    shots: Positive = 5
    queries: Positive = 10


class TuneConfig(Section):
    """Search for the way to adapt, per number of shots, on the validation regions only.

    Every optimiser and rate is followed through all of `steps`; the trained inner loop of a
    meta-learned network is a candidate of its own. Every layer choice and prior is tried with each.
    """

    shots: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 5, 10)
    draws: Positive = 2
    queries: Positive = 16
    sgd_rates: tuple[Rate, ...] = (0.03, 0.1)
    adam_rates: tuple[Rate, ...] = (3e-4, 1e-3, 3e-3)
    steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (0, 1, 2, 5, 10, 20, 50)
    layers: tuple[str | Annotated[tuple[str, ...], Field(min_length=1)], ...] = ("all",)
    """Which parameters step: "all" that the method chooses, or those whose names begin with a word
    ("head") or with one of several (["head", "unet.decoder"])."""
    unfreezing: tuple[tuple[Share, Share], ...] = ()
    """Gradual unfreezing: shares of the steps after which the decoder, and then all, step too."""
    priors: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (0.0,)
    """λ of a Gaussian prior around what adaptation starts from; 0 is none."""

    @model_validator(mode="after")
    def _something_to_try(self) -> TuneConfig:
        if not (self.sgd_rates or self.adam_rates):
            raise ValueError("give at least one of sgd_rates and adam_rates")
        if not (self.layers or self.unfreezing):
            raise ValueError("give at least one of layers and unfreezing")
        return self


class TrainConfig(MethodSettings):
    """`landmeta train CONFIG`: a method, and how to train it."""

    taskset: Path
    out: Path
    """Folder of the run: config.json, log.jsonl, state and checkpoint."""
    seed: int = 0
    device: DeviceName = "auto"
    init: Literal["random", "pretrained"] | Path = "random"
    """Weights to start from: random, the encoder's published ones, or those of a file (a checkpoint
    of landmeta, or weights of the encoder as safetensors)."""
    augment: bool = True
    """Turn and mirror training tiles at random."""
    tensorboard: bool = False
    model: UNetConfig = UNetConfig()
    episodes: EpisodeConfig = EpisodeConfig()
    allow_leakage: bool = False
    """Train on a task set that is not proved free of leakage; the checkpoint remembers it."""
    batch: Positive = 16
    """Tiles per step of supervised pretraining."""
    outer: OuterConfig = OuterConfig()
    validation: ValidationConfig = ValidationConfig()
    tune: TuneConfig = TuneConfig()

    def settings(self) -> MethodSettings:
        """The method alone, as a checkpoint remembers it."""
        return MethodSettings.model_validate(
            {name: getattr(self, name) for name in MethodSettings.model_fields}
        )

    @property
    def relabel(self) -> RelabelConfig | None:
        """How episodes get legends of their own; None where all have that of the task set."""
        return (self.episodes.relabel or RelabelConfig()) if self.legend == "open" else None

    @model_validator(mode="after")
    def _open_legend_needs_a_head_made_of_labels(self) -> TrainConfig:
        if self.legend == "open" and not METHODS[self.method].open_legend:
            raise ValueError(
                f"legend open: the head of {self.method} has a place for each class of its "
                "training and none for others; use legend fixed, or a method that makes its head "
                f"of the region's labels: {', '.join(open_methods())}"
            )
        if self.legend == "fixed" and self.episodes.relabel is not None:
            raise ValueError(
                "episodes.relabel gives episodes legends of their own, which legend fixed does not "
                "allow; leave it out, or use legend open"
            )
        return self

    @model_validator(mode="after")
    def _differences_need_a_smooth_network(self) -> TrainConfig:
        smooth = self.model.activation != "relu" and self.model.pooling != "max"
        if self.inner.hvp in ("central", "forward") and not smooth:
            raise ValueError(
                f"inner.hvp {self.inner.hvp} takes differences of gradients, which jump in a "
                "network with relu or max-pooling; use exact, or silu and average pooling"
            )
        return self


class Variant(Section):
    """A checkpoint adapted in another way than it was tuned for."""

    of: str
    """Name of the checkpoint."""
    tune: TuneConfig | None = None
    """Search for the way to adapt again, on the validation regions."""
    early_stopping: bool = False
    """Choose the number of steps on held-out support tiles."""
    forest: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share in the votes of a random forest on the pixels of the support tiles."""


BaselineName = Literal["random_forest", "nearest_prototype"]


class CompareConfig(Section):
    """`landmeta compare CONFIG`."""

    taskset: Path
    out: Path
    checkpoints: dict[str, Path]
    """Name of a method to its checkpoint."""
    variants: dict[str, Variant] = Field(default_factory=dict)
    """Name to another way to adapt one of the checkpoints."""
    allow_leakage: bool = False
    """Compare on a task set that is not proved free of leakage; the report says so."""
    baselines: tuple[BaselineName, ...] = ()
    """Methods without a checkpoint, which learn from the region's labelled tiles alone."""
    reference: str = "pretrain"
    """The method that the others are compared with, pair by pair."""
    split: Literal["val", "test"] = "test"
    seed: int = 0
    device: DeviceName = "auto"
    shots: Annotated[tuple[Count, ...], Field(min_length=1)] = (0, 1, 2, 5, 10)
    draws: Annotated[int, Field(ge=2)] = 5
    queries: Positive = 16
    picture_shots: Count = 5
    """Shots of the maps in the picture of each region, and of the table by region."""
    curve: tuple[Count, ...] = ()
    """Numbers of adaptation steps of the learning curve, such as [0, 1, 2, 5, 10, 20, 50]."""
    curve_shots: Positive = 5
    """Shots of the learning curve."""

    @model_validator(mode="after")
    def _names_are_clear(self) -> CompareConfig:
        for name, variant in self.variants.items():
            if variant.of not in self.checkpoints:
                raise ValueError(f"variants.{name}: {variant.of!r} is none of the checkpoints")
        names = [*self.checkpoints, *self.variants, *self.baselines]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"two methods of one name: {', '.join(double)}")
        return self


class Choices(Section):
    """Values to choose each setting of the network from; one value holds it."""

    encoder: Annotated[tuple[str, ...], Field(min_length=1)] = ("resnet18", "mobilenet_v2")
    depth: Annotated[tuple[Depth, ...], Field(min_length=1)] = (3, 4)
    width: Annotated[tuple[Positive, ...], Field(min_length=1)] = (8, 16, 32)
    """Channels of the last decoder block; each deeper one has twice as many."""
    groups: Annotated[tuple[Positive, ...], Field(min_length=1)] = (4, 8)
    activation: Annotated[tuple[Literal["silu", "relu"], ...], Field(min_length=1)] = (
        "silu",
        "relu",
    )
    pooling: Annotated[tuple[Literal["average", "max"], ...], Field(min_length=1)] = ("average",)


class SearchConfig(Section):
    """`landmeta search CONFIG`: the network that a method learns best with."""

    train: Path
    """Configuration of the training that the network is for, of any method that trains."""
    changes: tuple[str, ...] = ()
    """Settings in place of that file's, as after --set: "method=ridge", "init=random"."""
    out: Path
    """Folder of the search: trials.csv, best.yaml, and the run of each trial."""
    trials: Positive = 20
    """Networks to try."""
    seed: int = 0
    """Of the choices. The trainings have their own, the same in all."""
    steps: Positive | None = None
    """Outer steps of a trial; those of the training if not given."""
    every: Positive | None = None
    """Steps from one validation of a trial to the next; those of the training if not given."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """After 1, η, η² … validations, one in η of the trials that came so far goes on."""
    choices: Choices = Choices()


Config = TypeVar("Config", bound=Section)


def read_config(path: Path, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Read and check a YAML configuration. Relative paths in it are relative to the current folder.

    Args:
        path: YAML file.
        kind: what it configures.
        changes: settings in place of the file's, each "name=value" or "section.name=value" with a
            value in YAML.

    Raises:
        ConfigError: no such file, no YAML, an unknown name or a value out of range.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        for change in changes if isinstance(raw, dict) else ():
            _change(raw, change)
        return kind.model_validate(raw)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", remedy="check the path", path=path
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"is no YAML: {error}", remedy="mend the syntax, in UTF-8", path=path
        ) from error
    except ValidationError as error:
        raise ConfigError(
            problems(error), remedy="see configs/ for examples of every section", path=path
        ) from error


def _change(raw: dict[str, Any], change: str) -> None:
    """Put one "section.name=value" into the settings read from a file."""
    name, equals, value = change.partition("=")
    *sections, last = name.split(".")
    if not equals or not last:
        raise ConfigError(
            f"{change!r} does not set anything", remedy="write --set NAME=VALUE, as in the file"
        )
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise ConfigError(
                f"{change!r}: {section} holds {raw!r} and no settings",
                remedy="name a section of the file and a setting in it",
            )
    raw[last] = yaml.safe_load(value)


__all__ = [
    "Adaptation",
    "Choices",
    "CompareConfig",
    "EpisodeConfig",
    "InnerConfig",
    "OuterConfig",
    "RelabelConfig",
    "SearchConfig",
    "TrainConfig",
    "TuneConfig",
    "ValidationConfig",
    "Variant",
    "read_config",
]
