"""What a person has drawn: polygons and points of classes, in pixels of the image.

Coordinates are (column, row) from the image's upper left corner, in pixels, so that an image of any
coordinate reference system, or of none, is drawn on alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import geopandas as gpd
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from rasterio.crs import CRS
from rasterio.features import rasterize
from shapely import get_parts, make_valid, transform
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from landmeta.atomic import write_text
from landmeta.errors import ConfigError, UnreadableFile
from landmeta.legend import IGNORE, Labels, Legend
from landmeta.problems import problems

BLOCK = 1024
"""Rows and columns that are rasterised at a time to count pixels."""
MOST_SHAPES = 10_000
"""More than a person draws; a bound for what the page may send."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Position = tuple[Coordinate, Coordinate]
Ring = Annotated[list[Position], Field(min_length=4)]


class PolygonGeometry(_Model):
    """A polygon with holes, as GeoJSON has it."""

    type: Literal["Polygon"]
    coordinates: Annotated[
        list[Annotated[list[Position], Field(min_length=4)]], Field(min_length=1)
    ]


class PointGeometry(_Model):
    """A point, as GeoJSON has it: the pixel that it lies in."""

    type: Literal["Point"]
    coordinates: Position


class Shape(_Model):
    """A labelled place: a class by name, and where."""

    label: Annotated[str, Field(min_length=1, max_length=100)]
    geometry: Annotated[PolygonGeometry | PointGeometry, Field(discriminator="type")]

    def outline(self) -> BaseGeometry:
        """As a shapely geometry, mended where it crosses itself; without area it is a point."""
        made = shape(self.geometry.model_dump())
        if made.is_valid:
            return made
        areas = [p for p in get_parts(make_valid(made)) if p.area > 0]
        return unary_union(areas) if areas else Point(made.exterior.coords[0])


Drawing = Annotated[list[Shape], Field(max_length=MOST_SHAPES)]
_DRAWING: TypeAdapter[list[Shape]] = TypeAdapter(Drawing)


def parse(raw: Any) -> list[Shape]:  # noqa: ANN401 - whatever a page sends
    """Understand a drawing that came from outside.

    Raises:
        ConfigError: it is none.
    """
    try:
        return _DRAWING.validate_python(raw)
    except ValidationError as error:
        raise ConfigError(
            f"what was drawn is not understood: {problems(error)}", remedy="reload the page"
        ) from error


def read(path: Path) -> list[Shape]:
    """A drawing that `write` wrote; none if the file is not there.

    Raises:
        UnreadableFile: it is no drawing.
    """
    if not path.is_file():
        return []
    try:
        return _DRAWING.validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise UnreadableFile(
            "is not a drawing of the studio",
            remedy="move it away to begin with nothing drawn",
            path=path,
        ) from error


def write(path: Path, shapes: Sequence[Shape]) -> None:
    """Keep a drawing, in place of an earlier one."""
    write_text(path, _DRAWING.dump_json(list(shapes), indent=1).decode() + "\n", overwrite=True)


def count_pixels(
    shapes: Sequence[Shape], legend: Legend, height: int, width: int
) -> NDArray[np.int64]:
    """Labelled pixels of an image by class index, shape (256,); 255 counts nothing.

    Only the blocks are rasterised in which something is drawn. Arguments as of `rasterise`.
    """
    blocks = defaultdict[tuple[int, int], list[Shape]](list)
    for drawn in shapes:
        west, north, east, south = drawn.outline().bounds
        rows, cols = (
            range(max(0, int(low) // BLOCK), min(size - 1, int(high)) // BLOCK + 1)
            for low, high, size in ((north, south, height), (west, east, width))
        )
        for key in product(rows, cols):
            blocks[key].append(drawn)
    counts = np.zeros(256, np.int64)
    for (row, col), inside in blocks.items():
        top, left = BLOCK * row, BLOCK * col
        size = min(BLOCK, height - top), min(BLOCK, width - left)
        counts += np.bincount(rasterise(inside, legend, *size, top, left).ravel(), minlength=256)
    counts[IGNORE] = 0
    return counts


def rasterise(
    shapes: Sequence[Shape], legend: Legend, height: int, width: int, top: int = 0, left: int = 0
) -> Labels:
    """Class indices, shape (row, col), 255 where nothing is drawn or two classes overlap.

    A polygon labels the pixels whose centres lie in it, and a small one without any at least the
    pixel under its middle; a point labels its pixel.

    Args:
        shapes: in pixels of the image.
        legend: with their classes.
        height: of the image, or of a window of it.
        width: of the same.
        top: first row of the window.
        left: first column of it.
    """
    where = {"out_shape": (height, width), "transform": Affine.translation(left, top)}
    label = np.full((height, width), IGNORE, np.uint8)
    seen = np.zeros((height, width), bool)
    for index, name in enumerate(legend.names):
        places = [_place(s.outline()) for s in shapes if s.label == name]
        if not places:
            continue
        burnt = rasterize(places, **where, dtype=np.uint8).astype(bool)
        label[burnt] = np.where(seen[burnt], IGNORE, index)
        seen |= burnt
    return label


def _place(outline: BaseGeometry) -> BaseGeometry:
    if outline.geom_type != "Point" and outline.area < 1:
        outline = outline.representative_point()
    if isinstance(outline, Point):
        return Point(np.floor(outline.x) + 0.5, np.floor(outline.y) + 0.5)
    return outline


def to_frame(shapes: Sequence[Shape], grid: Affine, crs: CRS | None) -> gpd.GeoDataFrame:
    """A table with the columns `class` and geometry in the image's coordinate reference system.

    Without one, geometry stays in pixels.
    """
    outlines = [s.outline() for s in shapes]
    if crs is not None:
        outlines = [
            transform(o, lambda xy: np.column_stack(grid @ (xy[:, 0], xy[:, 1]))) for o in outlines
        ]
    return gpd.GeoDataFrame({"class": [s.label for s in shapes]}, geometry=outlines, crs=crs)
