"""Class names as people write them in attribute tables: matched to a legend, or made into one."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Collection, Sequence

import numpy as np

from landmeta.classnames import empty, finder, plain, written
from landmeta.errors import ConfigError, UnknownClass
from landmeta.legend import IGNORE, KNOWN_LEGENDS, Labels, LandClass, Legend, find_legend

MOST_CLASSES = 254
"""Ids from 1 to 254: 0 is often *no data* in other people's programs, 255 is ours."""

_COLOURS = {
    "#1c0dff": r"water|river|lake|sea\b|ocean|pond|reservoir",
    "#009900": r"forest|tree|wood|orchard|plantation",
    "#c24f44": r"crop|agricultur|farm|arable|cultivat|field",
    "#a5a5a5": r"urban|built|city|town|settlement|building|impervious",
    "#b6ff05": r"grass|pasture|meadow|lawn|herb",
    "#fbff13": r"savanna",
    "#c6b044": r"shrub|scrub|bush|rangeland",
    "#27ff87": r"wetland|marsh|swamp|mangrove|bog\b",
    "#69fff8": r"snow|ice\b|glacier",
    "#f9ffa4": r"barren|bare|soil|sand|rock|desert|beach",
    "#f2f2f2": r"cloud",
    "#555555": r"road|street|asphalt|shadow",
}
"""What a word in a name makes people expect."""


def match_classes(values: Sequence[object], legend: Legend, where: str) -> Labels:
    """Class index of each value, 255 for none (null) and for what the legend ignores.

    A value is a class's name, whatever its case and spaces, or else its id. Ids are those of label
    files: with a legend that remaps, the source's.

    Args:
        values: of a column of an attribute table.
        legend: to match to.
        where: what the values are of, for the message.

    Raises:
        UnknownClass: a value that is neither.
    """
    find = finder(legend)
    found = np.full(len(values), IGNORE, np.uint8)
    unknown: dict[str, int] = {}
    for place, value in enumerate(values):
        if empty(value):
            continue
        index = find(value)
        if index is None:
            unknown[str(value)] = unknown.get(str(value), 0) + 1
        else:
            found[place] = index
    if unknown:
        told = [f"{name!r} ({count} times)" for name, count in unknown.items()]
        more = f" and {len(told) - 8} more" if len(told) > 8 else ""
        raise UnknownClass(
            f"{where} has the unknown classes {', '.join(told[:8])}{more}; the legend has "
            + ", ".join(f"{c.name} ({c.id})" for c in legend.classes),
            remedy="write one of these names or ids there, choose another column with "
            "--class-column, or give a legend that has them (new classes need a checkpoint "
            "trained with 'legend: open')",
        )
    return found


def legend_of(values: Sequence[object], known: Legend | None = None) -> Legend:
    """A legend of the names in a column, in alphabetical order.

    A class of `known` keeps its colour and its id; a whole number from 0 to 254 is one as well.
    Other colours are as `color_of` has them.

    Raises:
        ConfigError: there are more than 254 names, or none.
    """
    names: dict[str, str] = {}
    for value in values:
        if not empty(value):
            names.setdefault(plain(value), written(value))
    if not 0 < len(names) <= MOST_CLASSES:
        raise ConfigError(
            f"the column has {len(names)} different values, and a map 1 to {MOST_CLASSES} classes",
            remedy="choose the column of the class names with --class-column",
        )
    own = {plain(c.name): c for c in known.classes} if known else {}
    ids = {name: own[name].id for name in names if name in own}
    for name, text in names.items():
        if (
            re.fullmatch("[0-9]+", text)
            and 0 < int(text) < IGNORE
            and int(text) not in ids.values()
        ):
            ids.setdefault(name, int(text))
    free = (i for i in range(1, IGNORE) if i not in set(ids.values()))
    classes: list[LandClass] = []
    used: set[str] = set()
    for name in sorted(names):
        color = own[name].color if name in own else color_of(names[name], used)
        used.add(color)
        shown = own[name].name if name in own else names[name]
        number = ids[name] if name in ids else next(free)
        classes.append(LandClass(id=number, name=shown, color=color))
    return Legend(classes=tuple(classes))


def color_of(text: str, used: Collection[str]) -> str:
    """The colour of a class of that name: none of those that are used.

    It is the one that the word suggests, or that a legend of this program has, or far from others.
    """
    words = re.sub(r"[_\-]+", " ", text)
    fitting = [color for color, of in _COLOURS.items() if re.search(rf"\b(?:{of})", words, re.I)]
    fitting += [
        c.color
        for kept in map(find_legend, KNOWN_LEGENDS)
        for c in kept.classes
        if plain(c.name) == plain(text)
    ]
    return next(color for color in (*fitting, *_SPREAD) if color not in used)


def _spread(step: int) -> str:
    """Hues a golden angle apart, in three strengths."""
    saturation, value = ((0.85, 0.9), (0.5, 0.95), (0.7, 0.6))[step % 3]
    parts = colorsys.hsv_to_rgb((0.11 + step * 0.61803398875) % 1, saturation, value)
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)


_SPREAD = tuple(dict.fromkeys(_spread(step) for step in range(4 * MOST_CLASSES)))
