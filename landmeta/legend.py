"""Class names, ids and colours of a map, and how foreign labels become indices of its classes.

Two numberings, never mixed: a class's `id` is what stands in label files and in maps; its *index*
is its place in the legend, 0 … classes-1, and is what networks and task sets hold. 255 is *ignore*
in both: not labelled, or no data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from landmeta.errors import ConfigError, UnknownClass
from landmeta.problems import problems

IGNORE = 255
"""Label value of a pixel that is not labelled; also nodata in maps."""

Labels = NDArray[np.uint8]


class LandClass(BaseModel):
    """One class: its code in label files and maps, its name and its colour `#rrggbb`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[int, Field(ge=0, le=254)]
    name: Annotated[str, Field(min_length=1)]
    color: str

    @field_validator("color")
    @classmethod
    def _hex(cls, value: str) -> str:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            raise ValueError(f"{value!r} is not a colour of the form #rrggbb")
        return value.lower()

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as three numbers 0-255."""
        return rgb(self.color)


def rgb(color: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers 0-255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


class Legend(BaseModel):
    """The classes of a map, in order.

    `remap` says which ids or colours of the *source* labels mean which class (several may mean the
    same one); `ignore` lists source ids or colours that are not labels. Without `remap` the source
    uses the classes' own ids (or colours).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[LandClass, ...]
    remap: dict[str, int] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()

    @field_validator("ignore", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:  # noqa: ANN401 - a pydantic hook sees raw input
        return tuple(str(v).lower() for v in value) if isinstance(value, list | tuple) else value

    @field_validator("remap", mode="before")
    @classmethod
    def _keys_as_text(cls, value: Any) -> Any:  # noqa: ANN401
        return {str(k).lower(): v for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _consistent(self) -> Legend:
        if not self.classes:
            raise ValueError("a legend needs at least one class")
        for what in ("id", "name"):
            values = [getattr(c, what) for c in self.classes]
            double = sorted({str(v) for v in values if values.count(v) > 1})
            if double:
                raise ValueError(f"{what} used twice: {', '.join(double)}")
        ids = {c.id for c in self.classes}
        unknown = sorted({v for v in self.remap.values() if v not in ids})
        if unknown:
            raise ValueError(f"remap leads to ids that are no class: {unknown}")
        return self

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in order."""
        return tuple(c.name for c in self.classes)

    @property
    def ids(self) -> tuple[int, ...]:
        """Class ids (map values) in order."""
        return tuple(c.id for c in self.classes)

    @property
    def colormap(self) -> dict[int, tuple[int, int, int, int]]:
        """Map value to RGBA, as GDAL colour tables want it; nodata is transparent."""
        table = {c.id: (*c.rgb, 255) for c in self.classes}
        return table | {IGNORE: (0, 0, 0, 0)}

    def only(self, kept: Sequence[int]) -> Legend:
        """The classes of these indices, in this order, and what means them in source labels."""
        classes = tuple(self.classes[i] for i in kept)
        ids = {c.id for c in classes}
        remap = {source: meant for source, meant in self.remap.items() if meant in ids}
        return Legend(classes=classes, remap=remap, ignore=self.ignore)

    def palette(self) -> NDArray[np.uint8]:
        """Colours by class index, shape (256, 3); everything that is no class is white."""
        colours = np.full((256, 3), 255, np.uint8)
        colours[: len(self)] = [c.rgb for c in self.classes]
        return colours

    def to_ids(self, index: Labels) -> Labels:
        """Class indices to map values; 255 stays 255."""
        table = np.full(256, IGNORE, np.uint8)
        table[: len(self)] = self.ids
        return table[index]

    def from_map(self, values: Labels) -> Labels:
        """Map values to class indices: the inverse of `to_ids`; what is no class becomes 255."""
        table = np.full(256, IGNORE, np.uint8)
        table[list(self.ids)] = range(len(self))
        return table[values]

    def sources(self) -> dict[str, int]:
        """Source id or colour (as text) to class index; 255 = ignore."""
        position = {c.id: i for i, c in enumerate(self.classes)}
        if self.remap:
            sources = {key: position[value] for key, value in self.remap.items()}
        else:
            sources = {str(c.id): i for i, c in enumerate(self.classes)}
            sources |= {c.color: i for i, c in enumerate(self.classes)}
        return sources | dict.fromkeys(self.ignore, IGNORE)

    def from_ids(
        self, label: NDArray[Any], *, nodata: float | None = None, path: str | Path | None = None
    ) -> Labels:
        """Source label ids, shape (row, col), to class indices, uint8.

        Raises:
            UnknownClass: an id that the legend neither has nor ignores.
        """
        # By hashing, many times as fast as the sorting of np.unique.
        inverse, values = pd.factorize(label.ravel(), sort=True, use_na_sentinel=False)
        sources = self.sources()
        table = np.empty(len(values), np.uint8)
        unknown: list[str] = []
        for i, value in enumerate(values.tolist()):
            key = str(int(value)) if float(value).is_integer() else str(value)
            is_nodata = nodata is not None and (value == nodata or (value != value))
            if key in sources:
                table[i] = sources[key]
            elif is_nodata or key == str(IGNORE):
                table[i] = IGNORE
            else:
                unknown.append(key)
        if unknown:
            raise unknown_class(unknown, "class id", sources, path)
        return table[inverse].reshape(label.shape)

    def from_colors(self, mask: NDArray[np.uint8], *, path: str | Path | None = None) -> Labels:
        """RGB mask, shape (3, row, col), to class indices, uint8.

        Raises:
            UnknownClass: a colour that the legend neither has nor ignores.
        """
        red, green, blue = mask.astype(np.uint32)
        values = red << 16 | green << 8 | blue
        sources = self.sources()
        known = sorted((int(k[1:], 16), index) for k, index in sources.items() if k[0] == "#")
        known.append((1 << 24, IGNORE))  # beyond every colour: each has a place in the list
        colours = np.array([colour for colour, _ in known], np.uint32)
        place = np.searchsorted(colours, values)
        strange = np.unique(values[colours[place] != values])
        if len(strange):
            raise unknown_class([f"#{v:06x}" for v in strange.tolist()], "colour", sources, path)
        indices: Labels = np.array([index for _, index in known], np.uint8)[place]
        return indices


def unknown_class(
    unknown: Sequence[str], what: str, sources: Mapping[str, int], path: str | Path | None
) -> UnknownClass:
    """The error for label values that no class claims."""
    shown = ", ".join(unknown[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
    known = ", ".join(list(sources)[:20])
    return UnknownClass(
        f"unknown {what} {shown}; the legend knows {known}",
        remedy="add it to the legend's classes or remap, or list it under ignore",
        path=path,
    )


def read_legend(path: Path) -> Legend:
    """Read a legend from YAML or JSON.

    Raises:
        ConfigError: the file is missing, is no YAML, or breaks a rule of `Legend`.
    """
    try:
        return Legend.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValueError) as error:  # or no UTF-8
        said = problems(error) if isinstance(error, ValidationError) else str(error)
        raise ConfigError(
            f"is not a legend: {said}",
            remedy="write 'classes: [{id: 1, name: Forest, color: \"#009900\"}, …]', and "
            "'remap: {17: 1, …}' if the labels have other ids",
            path=path,
        ) from error


def _legend(rows: Sequence[tuple[int, str, str]], **more: Any) -> Legend:  # noqa: ANN401
    classes = tuple(LandClass(id=i, name=name, color=color) for i, name, color in rows)
    return Legend(classes=classes, **more)


# DFC2020 / SEN12MS simplified IGBP; colours of the DFC2020 baseline.
IGBP_SIMPLIFIED = _legend(
    [
        (1, "Forest", "#009900"),
        (2, "Shrubland", "#c6b044"),
        (3, "Savanna", "#fbff13"),
        (4, "Grassland", "#b6ff05"),
        (5, "Wetlands", "#27ff87"),
        (6, "Croplands", "#c24f44"),
        (7, "Urban/Built-up", "#a5a5a5"),
        (8, "Snow/Ice", "#69fff8"),
        (9, "Barren", "#f9ffa4"),
        (10, "Water", "#1c0dff"),
    ],
    remap={
        str(igbp): simple
        for igbp, simple in enumerate([1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10], start=1)
    },
    ignore=["0", "255"],
)

DEEPGLOBE = _legend(
    [
        (1, "Urban", "#00ffff"),
        (2, "Agriculture", "#ffff00"),
        (3, "Rangeland", "#ff00ff"),
        (4, "Forest", "#00ff00"),
        (5, "Water", "#0000ff"),
        (6, "Barren", "#ffffff"),
    ],
    ignore=["#000000"],
)

_FILES = Path(__file__).parent / "legends"
_IN_CODE: dict[str, Legend] = {"igbp-simplified": IGBP_SIMPLIFIED, "deepglobe": DEEPGLOBE}
KNOWN_LEGENDS: tuple[str, ...] = (*_IN_CODE, *sorted(p.stem for p in _FILES.glob("*.yaml")))
"""Names of the built-in legends. The files beside this module say where their codes come from."""


def find_legend(text: str) -> Legend:
    """A legend known by name, or read from a file.

    Raises:
        ConfigError: it is neither, or breaks a rule of `Legend`.
    """
    if text in _IN_CODE:
        return _IN_CODE[text]
    if text in KNOWN_LEGENDS:
        return read_legend(_FILES / f"{text}.yaml")
    if not Path(text).exists():
        raise ConfigError(
            "is not a legend: neither a built-in one nor a file",
            remedy=f"choose {', '.join(KNOWN_LEGENDS)}, or name a file that says 'classes: …'",
            path=text,
        )
    return read_legend(Path(text))
