"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Device(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


On = Annotated[Device, typer.Option("--device", help="auto takes a GPU where there is one.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
BandNames = Annotated[
    str | None,
    typer.Option("--bands", help="What the image's bands are, in its order, comma between."),
]


def name_list(text: str | None) -> list[str] | None:
    """The names in a text with commas between; None of none."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
