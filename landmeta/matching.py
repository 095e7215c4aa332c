"""Which units interpreted points are: by their number in the sheet, or by the pixel they lie in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
from numpy.typing import NDArray

from landmeta.design import SampleDesign
from landmeta.errors import ConfigError, EmptyRegion
from landmeta.estimators.designs import Ints
from landmeta.landmap import LandMap
from landmeta.legend import IGNORE
from landmeta.pixelarea import centres
from landmeta.reference import Points


def labelled(points: Points, land: LandMap, path: Path) -> tuple[Points, Ints]:
    """Points with a class on pixels with data, one a pixel.

    Returns:
        The points, and the class index of each in the map.

    Raises:
        ConfigError: two points of one pixel have different classes.
    """
    points = _with_class(points)
    mapped = land.at(points.row, points.col).astype(np.int64)
    inside = (points.row >= 0) & (points.row < land.grid.height)
    inside &= (points.col >= 0) & (points.col < land.grid.width)
    notes = points.notes
    if not inside.all():
        notes.append(f"{int((~inside).sum())} points lie outside the map and do not count")
    void = inside & (mapped == IGNORE)
    if void.any():
        notes.append(f"{int(void.sum())} points lie where the map has no data and do not count")
    points, mapped = _only(points, mapped != IGNORE), mapped[mapped != IGNORE]
    pixel = points.row * land.grid.width + points.col
    first = np.flatnonzero(_unique(pixel, points.reference, points.notes, "lie in one pixel", path))
    kept = first[np.argsort(pixel[first])]  # sums come out alike whatever the order
    return _only(points, kept), mapped[kept]


def match(
    points: Points, told: SampleDesign, land: LandMap, path: Path, same: bool
) -> tuple[Points, Ints]:
    """The interpreted points of a sheet, and the place of each in the design.

    Args:
        points: of the sheet.
        told: the design of the sample.
        land: the map.
        path: of the sheet.
        same: the map is the one that the sample was drawn from.

    Raises:
        ConfigError: the sheet has no ids, or contradicts itself.
        EmptyRegion: nothing was interpreted.
    """
    drawn = len(told.units.row)
    if points.id is None:
        raise ConfigError(
            "has no column 'id' of numbers, by which the points are known",
            remedy="keep the column 'id' of the sheet that 'landmeta sample' wrote",
            path=path,
        )
    known = (points.id >= 1) & (points.id <= drawn)
    if not known.all():
        points.notes.append(
            f"{int((~known).sum())} points are not of the sample (by their id) and do not count"
        )
        points = _only(points, known)
    assert points.id is not None
    absent = drawn - len(np.unique(points.id))
    if absent:
        points.notes.append(f"{absent} of {drawn} places of the sample are not in the sheet")
    points = _with_class(points)
    assert points.id is not None
    points = _only(points, _unique(points.id, points.reference, points.notes, "share an id", path))
    assert points.id is not None
    points = _only(points, np.argsort(points.id))  # sums come out alike whatever the order
    assert points.id is not None
    if not len(points.row):
        raise nothing_left(points.notes, path)
    left = drawn - len(points.row)
    if left:
        points.notes.append(
            f"{left} of {drawn} places of the sample count for nothing. This does no harm if they "
            "are missing by chance; places left out because they were hard to tell make every "
            "figure too good"
        )
    unit = points.id - 1
    if same:
        row, col = np.array(told.units.row)[unit], np.array(told.units.col)[unit]
        moved = int(((row != points.row) | (col != points.col)).sum())
        if moved:
            points.notes.append(
                f"{moved} points no longer lie in the pixel that was drawn; their class was taken "
                "to be of that pixel"
            )
    return points, unit


def _with_class(points: Points) -> Points:
    named = points.reference >= 0
    if not named.all():
        points.notes.append(
            f"{int((~named).sum())} of {len(named)} points have no class yet and do not count"
        )
    return _only(points, named)


def _only(points: Points, keep: NDArray[np.bool_] | Ints) -> Points:
    return replace(
        points,
        row=points.row[keep],
        col=points.col[keep],
        reference=points.reference[keep],
        id=None if points.id is None else points.id[keep],
        cluster=None if points.cluster is None else points.cluster[keep],
    )


def _unique(
    key: Ints, reference: Ints, notes: list[str], what: str, path: Path
) -> NDArray[np.bool_]:
    """The first of each key; those of one key must have one class."""
    frame = pd.DataFrame({"key": key, "reference": reference})
    classes = frame.groupby("key")["reference"].nunique()
    torn = int((classes > 1).sum())
    if torn:
        first = classes.index[classes > 1][0]
        places = np.flatnonzero(key == first)[:2] + 1
        raise ConfigError(
            f"has {torn} places with points of different classes that {what}, the first of them "
            f"its interpreted points {places[0]} and {places[1]}",
            remedy="decide for one class, and delete the other point",
            path=path,
        )
    again = frame["key"].duplicated().to_numpy()
    if again.any():
        notes.append(f"{int(again.sum())} points {what} with another of the same class; one counts")
    return ~again


def mapped_now(row: Ints, col: Ints, told: SampleDesign, land: LandMap) -> Ints:
    """Class index in the map at pixels of the design's grid; -1 where it has no data."""
    x, y = centres(told.grid, row, col)
    if told.crs is not None and land.grid.crs is not None:
        there = pyproj.Transformer.from_crs(told.crs, land.grid.crs.to_wkt(), always_xy=True)
        x, y = there.transform(x, y)
    a, b, c, d, e, f = tuple(~land.grid.transform)[:6]
    cols, rows = (np.floor(v).astype(np.int64) for v in (a * x + b * y + c, d * x + e * y + f))
    now = land.at(rows, cols).astype(np.int64)
    return np.where(now == IGNORE, -1, now)


def nothing_left(notes: list[str], path: Path) -> EmptyRegion:
    """The error for a sheet in which nothing counts."""
    return EmptyRegion(
        "no place counts" + "".join(f"; {n}" for n in notes),
        remedy="write the true class of each point into its column, and check that map and "
        "reference belong together",
        path=path,
    )
