"""Checkpoints: weights and everything needed to use them, in one safetensors file.

The file's header carries a JSON record (`CheckpointMeta`). Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import landmeta
from landmeta.adaptation import NO_ADAPTATION, Adaptation
from landmeta.atomic import atomic_file
from landmeta.errors import CheckpointMismatch, SourceNotFound, UnreadableFile, UnsafeFile
from landmeta.legend import Legend
from landmeta.methods import Method, MethodSettings, make_method, open_methods
from landmeta.model import Params, UNetConfig
from landmeta.taskset import Band, TaskSetMeta

STATE = "state.safetensors"
"""Where a training run stands, beside its checkpoint."""
_BESIDE = "beside."
_PREFIX = re.compile(rf"member\d+\.|{re.escape(_BESIDE)}")
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class CheckpointMeta(BaseModel):
    """What the weights are, what they expect and where they come from."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["landmeta-checkpoint"] = "landmeta-checkpoint"
    format_version: Literal[2] = 2
    kind: Literal["meta", "region"]
    """meta: to be adapted; region: adapted to one region."""
    settings: MethodSettings
    unet: UNetConfig
    bands: tuple[Band, ...]
    legend: Legend
    gsd: float | None
    tile_size: int
    adaptation: dict[int, Adaptation]
    """How to adapt with so many labelled tiles (shots)."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """What the logarithms of the probabilities are divided by, so that confidence is right: fitted
    to held-out labels of a region; None where there were too few, or nothing was gained."""
    forest: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of a random forest on the region's pixels in the votes for a class."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    version: str = landmeta.__version__

    def adaptation_for(self, shots: int) -> Adaptation:
        """How to adapt with `shots` labelled tiles: as tuned for the nearest number not above it.

        Without labels there is nothing to adapt to: no step.
        """
        if shots == 0:
            return NO_ADAPTATION
        tuned = sorted(self.adaptation)
        return self.adaptation[max([n for n in tuned if n <= shots], default=tuned[0])]

    @property
    def open_legend(self) -> bool:
        """Whether it adapts to classes that are not those of its training."""
        return self.settings.legend == "open"

    def check_fits(self, data: TaskSetMeta, path: Path, *, classes: bool = True) -> None:
        """Raise `CheckpointMismatch` unless the checkpoint was made for such data.

        The classes must be the same unless the legend is open, or `classes` is False.
        """
        for what, ours, theirs in (
            ("bands", [b.name for b in self.bands], [b.name for b in data.bands]),
            ("band scales", [b.scale for b in self.bands], [b.scale for b in data.bands]),
        ):
            if ours != theirs:
                raise CheckpointMismatch(
                    f"was made for the {what} {ours}, but the task set has {theirs}",
                    remedy="use a checkpoint trained on such a task set, or prepare the task set "
                    "with the checkpoint's bands and legend",
                    path=path,
                )
        if classes:
            self.check_classes(data.legend, path)

    def check_classes(self, legend: Legend, path: Path) -> None:
        """Raise `CheckpointMismatch` if the legend is fixed and the labels have another one."""
        ours, theirs = list(self.legend.names), list(legend.names)
        if not self.open_legend and ours != theirs:
            raise CheckpointMismatch(
                f"was made for the classes {ours} alone (legend: fixed), but the labels have "
                f"{theirs}",
                remedy="use labels of the checkpoint's classes, or train with 'legend: open' and a "
                f"method that makes its head of the labels: {', '.join(open_methods())}",
                path=path,
            )


@dataclass(frozen=True)
class Checkpoint:
    """A method with its network, its parameters (θ, or φ of a region model), and its record.

    Attributes:
        members: further φ of a region model that is an ensemble.
        beside: tensors that are no parameters, such as those of `landmeta.novelty`.
    """

    method: Method
    params: Params
    meta: CheckpointMeta
    members: tuple[Params, ...] = ()
    beside: Params = field(default_factory=dict)

    def to(self, device: torch.device) -> Checkpoint:
        """The same on another device."""
        self.method.to(device)
        params, *members = (
            {k: p.detach().to(device).requires_grad_() for k, p in params.items()}
            for params in (self.params, *self.members)
        )
        return replace(self, params=params, members=tuple(members))

    def phi(self) -> Params:
        """Parameters ready to map with: a region's own, or those for zero shots."""
        if self.meta.kind == "region":
            return self.params
        with torch.no_grad():
            return self.method.start(self.params, None, len(self.meta.legend))


def save_checkpoint(
    path: Path,
    method: Method,
    params: Params,
    meta: CheckpointMeta,
    *,
    members: Sequence[Params] = (),
    beside: Params | None = None,
    overwrite: bool = False,
) -> None:
    """Write weights, standardisation and record to one file, atomically.

    Of an ensemble's further members, only what differs from `params` is written.

    Raises:
        OutputExists: `path` exists and `overwrite` is False.
        WriteFailed: the disk is full or not writable.
    """
    tensors = dict(params) | method.kept_buffers()
    for number, member in enumerate(members, start=1):
        tensors |= {
            f"member{number}.{name}": p
            for name, p in member.items()
            if name not in params or not torch.equal(p, params[name])
        }
    tensors |= {f"{_BESIDE}{name}": tensor for name, tensor in (beside or {}).items()}
    write_tensors(path, tensors, {"landmeta": meta.model_dump_json()}, overwrite=overwrite)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint and build its network.

    Raises:
        SourceNotFound: no such file.
        UnsafeFile: the file is a pickle (as torch.save writes); it is not opened.
        UnreadableFile: it is no safetensors file, or damaged.
        CheckpointMismatch: it is one, but not of landmeta or not of this version.
    """
    path = Path(path)
    return checkpoint_of(path, *read_tensors(path))


def checkpoint_of(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Checkpoint:
    """The checkpoint that a file is, of what was read of it.

    Raises:
        CheckpointMismatch: it is none of landmeta, or not of this version.
    """
    tensors, apart = _parted(tensors)
    beside = apart.pop(_BESIDE, {})
    try:
        meta = CheckpointMeta.model_validate_json(metadata["landmeta"])
        method = make_method(meta.settings, meta.unet, len(meta.bands), len(meta.legend))
        params, *members = (
            method.load(tensors | own, adapted=meta.kind == "region")
            for own in ({}, *(apart[name] for name in sorted(apart, key=_number)))
        )
    except (KeyError, ValidationError, RuntimeError) as error:
        if path.name == STATE:
            raise CheckpointMismatch(
                "is where a training run stands, to be resumed, and no checkpoint",
                remedy=f"use {path.with_name('checkpoint.safetensors')}",
                path=path,
            ) from error
        raise CheckpointMismatch(
            f"is no landmeta checkpoint of this version: {_first_line(error)}",
            remedy="use a file written by 'landmeta train' or 'landmeta adapt' of this version",
            path=path,
        ) from error
    return Checkpoint(method, params, meta, tuple(members), beside)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first, count = error.errors()[0], error.error_count()
        more = f" and {count - 1} more" if count > 1 else ""
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}{more}"
    return str(error)


def _parted(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The tensors of the first φ (or θ), and those of members and beside, by their prefix."""
    first, apart = {}, defaultdict[str, dict[str, Tensor]](dict)
    for name, tensor in tensors.items():
        found = _PREFIX.match(name)
        if found is None:
            first[name] = tensor
        else:
            apart[found[0]][name.removeprefix(found[0])] = tensor
    return first, dict(apart)


def _number(prefix: str) -> int:
    return int(prefix.removeprefix("member").removesuffix("."))


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], *, overwrite: bool = False
) -> None:
    """Write a safetensors file atomically."""
    plain = {k: t.detach().cpu().contiguous() for k, t in tensors.items()}
    with atomic_file(path, overwrite=overwrite) as temporary:
        try:
            save_file(plain, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Errors as in `load_checkpoint`."""
    if not path.is_file():
        raise SourceNotFound(
            "no such checkpoint", remedy="train one with 'landmeta train CONFIG'", path=path
        )
    with path.open("rb") as stream:
        if stream.read(4).startswith(_PICKLES):
            raise UnsafeFile(
                "is a pickle (a .pt or .pth file), which can run code when loaded; not opened",
                remedy="use a .safetensors file; weights from elsewhere that you trust, "
                "safetensors.torch.save_file(torch.load(FILE, weights_only=True), …) converts",
                path=path,
            )
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UnreadableFile(
            f"is no whole safetensors file: {error}",
            remedy="copy it again, or train it again",
            path=path,
        ) from error
