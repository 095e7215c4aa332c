"""Class names as people write them, found in a legend."""

from __future__ import annotations

import re
from collections.abc import Mapping

from landmeta.errors import ConfigError
from landmeta.legend import IGNORE, Legend


def plain(text: object) -> str:
    """A name without what people write differently: case, spaces, hyphens, underscores."""
    return re.sub(r"[\s_\-]+", "", str(text)).casefold()


def class_table(legend: Legend) -> dict[str, int]:
    """Class index by plain name and by id; 255 for ids that the legend ignores.

    Ids are those of label files: with a legend that remaps, the source's. A name that looks like
    an id wins.
    """
    places = {c.id: i for i, c in enumerate(legend.classes)}
    ids = legend.remap or {str(c.id): c.id for c in legend.classes}
    table = dict.fromkeys(legend.ignore, IGNORE) | {key: places[i] for key, i in ids.items()}
    return table | {plain(c.name): i for i, c in enumerate(legend.classes)}


def find_class(text: object, legend: Legend) -> int | None:
    """Class index of a name or id (2, "2", 2.0), 255 for what the legend ignores, or None."""
    key = plain(text)
    if re.fullmatch(r"\d+\.0+", key):
        key = key.partition(".")[0]
    return class_table(legend).get(key)


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
