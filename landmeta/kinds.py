"""Names of ways to draw a sample, light enough for the command line's options."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """How units are drawn."""

    stratified = "stratified"
    simple = "simple"
    cluster = "cluster"


class Allocation(StrEnum):
    """How many of the units each stratum gets."""

    balanced = "balanced"
    proportional = "proportional"
    equal = "equal"
    neyman = "neyman"
