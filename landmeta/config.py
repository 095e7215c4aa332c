"""The configuration of a run: YAML in, checked, and stored as JSON beside the output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from landmeta.checkpoint import Adaptation
from landmeta.device import DeviceName
from landmeta.errors import ConfigError
from landmeta.model import UNetConfig

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InnerConfig(_Section):
    """The inner loop: K steps of gradient descent at rate α."""

    steps: Positive = 5
    rate: Rate = 0.1


class EpisodeConfig(_Section):
    """Tiles per episode, and episodes (tasks) per meta-step."""

    shots: Positive = 5
    queries: Positive = 5
    tasks: Positive = 2


class OuterConfig(_Section):
    """The outer loop: Adam with a cosine schedule to a hundredth of its rate."""

    steps: Positive = 1000
    rate: Rate = 1e-3
    clip: Rate = 10.0
    """Largest norm of the meta-gradient; longer ones are scaled down."""


class ValidationConfig(_Section):
    """Scoring on the validation regions while training; the best checkpoint is kept."""

    every: Positive = 100
    draws: Positive = 2
    shots: Positive = 5
    queries: Positive = 10


class TuneConfig(_Section):
    """Search for the way to adapt, per number of shots, on the validation regions only.

    Every optimiser and rate is followed through all of `steps`; the trained inner loop of a
    meta-learned network is a candidate of its own.
    """

    shots: tuple[Positive, ...] = (1, 2, 5, 10)
    draws: Positive = 2
    queries: Positive = 16
    sgd_rates: tuple[Rate, ...] = (0.03, 0.1)
    adam_rates: tuple[Rate, ...] = (3e-4, 1e-3, 3e-3)
    steps: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2, 5, 10, 20, 50)


class TrainConfig(_Section):
    """`landmeta train CONFIG`."""

    taskset: Path
    out: Path
    """Folder of the run: config.json, log.jsonl, state and checkpoint."""
    method: Literal["maml", "fomaml", "pretrain", "scratch"]
    seed: int = 0
    device: DeviceName = "auto"
    init: Path | None = None
    """Checkpoint to start from; random weights if not given."""
    augment: bool = True
    """Turn and mirror training tiles at random."""
    tensorboard: bool = False
    model: UNetConfig = UNetConfig()
    inner: InnerConfig = InnerConfig()
    episodes: EpisodeConfig = EpisodeConfig()
    batch: Positive = 16
    """Tiles per step of supervised pretraining."""
    outer: OuterConfig = OuterConfig()
    validation: ValidationConfig = ValidationConfig()
    tune: TuneConfig = TuneConfig()


class CompareConfig(_Section):
    """`landmeta compare CONFIG`."""

    taskset: Path
    out: Path
    checkpoints: dict[str, Path]
    """Name of a method to its checkpoint."""
    reference: str = "pretrain"
    """The method that the others are compared with, pair by pair."""
    split: Literal["val", "test"] = "test"
    seed: int = 0
    device: DeviceName = "auto"
    shots: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2, 5, 10)
    draws: Annotated[int, Field(ge=2)] = 5
    queries: Positive = 16
    picture_shots: Annotated[int, Field(ge=0)] = 5
    """Shots of the maps in the picture of each region."""


Config = TypeVar("Config", bound=_Section)


def read_config(path: Path, kind: type[Config]) -> Config:
    """Read and check a YAML configuration. Relative paths in it are relative to the current folder.

    Raises:
        ConfigError: no such file, no YAML, an unknown name or a value out of range.
    """
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return kind.model_validate(raw)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}", remedy="check the path", path=path
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is no YAML: {error}", remedy="mend the syntax", path=path) from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']} (got {e['input']!r:.80})"
            for e in error.errors()
        )
        raise ConfigError(
            problems, remedy="see configs/ for examples of every section", path=path
        ) from error


__all__ = [
    "Adaptation",
    "CompareConfig",
    "EpisodeConfig",
    "InnerConfig",
    "OuterConfig",
    "TrainConfig",
    "TuneConfig",
    "ValidationConfig",
    "read_config",
]
