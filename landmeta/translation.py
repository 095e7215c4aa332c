"""A reference in a coding of its own, understood by the names of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from landmeta.classnames import plain
from landmeta.landmap import Content, LandMap
from landmeta.legend import IGNORE, Labels, LandClass, Legend


@dataclass(frozen=True)
class Coding:
    """What the values of a reference mean.

    Attributes:
        legend: says the reference's class of each value.
        table: index in the map's legend of each of these classes, shape (256,); 255 stays 255.
    """

    legend: Legend
    table: Labels

    @classmethod
    def same(cls, legend: Legend) -> Coding:
        """The map's own."""
        return cls(legend, np.arange(256, dtype=np.uint8))


def translate(land: LandMap, found: Content, reference: Legend) -> tuple[LandMap, Content, Coding]:
    """Match the classes of a reference to those of the map by their names.

    Classes that the map does not have are put behind its own, with nothing mapped so: they are
    what the map cannot get right.

    Args:
        land: the map.
        found: what it holds.
        reference: legend of the reference's values.
    """
    places = {plain(c.name): i for i, c in enumerate(land.legend.classes)}
    more = [c for c in reference.classes if plain(c.name) not in places]
    classes = (*land.legend.classes, *_numbered(more, land.legend.ids))
    places |= {plain(c.name): len(land.legend) + i for i, c in enumerate(more)}
    table = np.full(256, IGNORE, np.uint8)
    table[: len(reference)] = [places[plain(c.name)] for c in reference.classes]
    nothing = np.zeros(len(more))
    wider = replace(
        found,
        pixels=np.append(found.pixels, nothing.astype(np.int64)),
        areas=np.append(found.areas, nothing),
    )
    legend = land.legend.model_copy(update={"classes": classes})
    return replace(land, legend=legend), wider, Coding(reference, table)


def _numbered(more: Sequence[LandClass], taken: Sequence[int]) -> list[LandClass]:
    """Classes with their own ids, or free ones where the map uses these otherwise."""
    used, made = set(taken), []
    for known in more:
        number = known.id if known.id not in used else min(set(range(1, IGNORE)) - used)
        used.add(number)
        made.append(known.model_copy(update={"id": number}))
    return made
