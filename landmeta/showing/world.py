"""The tasks on a map of the world: plain SVG, in degrees, north up.

The land is that of Natural Earth (1:110 million, public domain), thinned to a quarter degree.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from landmeta.taskset import TaskSet

_FEW = 200
"""Tiles, and corners of what they make together, up to which outlines are drawn as they are."""


@dataclass(frozen=True)
class Place:
    """Where a task is.

    Attributes:
        x, y: longitude, and latitude downwards, of its middle.
        path: outlines as an SVG path in the same numbers.
    """

    x: float
    y: float
    path: str


def place_of(taskset: TaskSet, task: str) -> Place | None:
    """Where the tiles of a task lie, as their outline or a hull; None without georeference."""
    outlines = taskset.table.geometry.iloc[taskset.tile_ids(task)]
    outlines = outlines[~outlines.isna()]
    if outlines.empty:
        return None
    parts = shapely.get_parts(outlines.to_numpy())
    if len(parts) <= _FEW:
        joined = shapely.union_all(shapely.buffer(parts, 1e-6, join_style="mitre"))
        joined = shapely.simplify(joined, 1e-5)
        if shapely.get_num_coordinates(joined) <= _FEW:
            return _place(list(shapely.get_parts(joined)))
    groups = _either_side(parts)
    hulls = [shapely.convex_hull(shapely.multipolygons(group)) for group in groups if len(group)]
    return _place(hulls)


def _place(shapes: list[BaseGeometry]) -> Place:
    """Its middle is a point in the largest of the shapes."""
    middle = max(shapes, key=lambda shape: shape.area).representative_point()
    return Place(middle.x, -middle.y, "".join(map(_path, shapes)))


def _either_side(parts: np.ndarray[tuple[int], np.dtype[np.object_]]) -> list[np.ndarray]:
    """Polygons in groups that a hull does not stretch around the world: cut at the widest gap."""
    bounds = shapely.bounds(parts)
    if bounds[:, 2].max() - bounds[:, 0].min() <= 180:
        return [parts]
    order = np.argsort(bounds[:, 0])
    gaps = [bounds[b, 0] - bounds[a, 2] for a, b in pairwise(order)]
    cut = int(np.argmax(gaps)) + 1
    return [parts[order[:cut]], parts[order[cut:]]]


def _path(shape: BaseGeometry) -> str:
    points = shapely.get_coordinates(shapely.get_exterior_ring(shape))[:-1]
    return "M" + "L".join(f"{x:.6g} {-y:.6g}" for x, y in points) + "z"


def land() -> str:
    """The land as an SVG path in tenths of a degree."""
    return (files("landmeta") / "templates" / "land.path").read_text(encoding="ascii").strip()


def frame(places: list[Place]) -> tuple[float, float, float, float]:
    """What to show at first: x, y, width and height in degrees.

    The inhabited world, or a part of it that is no smaller than 12 degrees if all tasks are there.
    """
    whole = (-180.0, -84.0, 360.0, 144.0)
    xs, ys = [p.x for p in places], [p.y for p in places]
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    if wide > 90 or high > 45:
        south = max(60.0, max(ys) + 4)
        return (*whole[:3], south + 84)
    width = max(12.0, 1.3 * wide, 2.5 * 1.3 * high)
    height = width / 2.5
    x, y = (max(xs) + min(xs)) / 2 - width / 2, (max(ys) + min(ys)) / 2 - height / 2
    return x, y, width, height
