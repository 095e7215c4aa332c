"""Class names as people write them, found in a legend."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from landmeta.errors import ConfigError
from landmeta.legend import IGNORE, Legend


def plain(name: object) -> str:
    """A name without what people write differently: case, spaces, hyphens, underscores."""
    text = written(name)
    return re.sub(r"[\s_\-]+", "", text).casefold() or text


def written(value: object) -> str:
    """As a legend writes it: whole numbers without a point."""
    text = str(value).strip()
    return text.partition(".")[0] if re.fullmatch(r"\d+\.0*", text) else text


def empty(value: object) -> bool:
    """Whether a value of a table says nothing: null, NaN or blank."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value)) or value != value


def finder(legend: Legend) -> Callable[[object], int | None]:
    """What finds the class index of a name or else an id (2, "2", 2.0) in a legend.

    It is 255 for what the legend ignores, and None for what it does not know. Ids are those of
    label files: with a legend that remaps, the source's.
    """
    names = {plain(c.name): i for i, c in enumerate(legend.classes)}
    ids = legend.sources()
    return lambda value: names.get(plain(value), ids.get(written(value)))


def find_class(value: object, legend: Legend) -> int | None:
    """Class index of a single name or id, as `finder` finds it."""
    return finder(legend)(value)


def by_class(given: Mapping[str, float], legend: Legend, option: str) -> dict[int, float]:
    """Values that were given for classes, by class index.

    Raises:
        ConfigError: the legend has no such class.
    """
    found = {}
    for name, value in given.items():
        index = find_class(name, legend)
        if index is None or index == IGNORE:
            raise ConfigError(
                f"{option} names {name!r}, which is no class of the map",
                remedy=f"the classes are {', '.join(legend.names)}",
            )
        found[index] = value
    return found
