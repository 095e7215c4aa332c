"""Drawing labelled shapes into the pixels of an image, a window at a time. No files here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import GeometryType, STRtree

from landmeta.legend import IGNORE, Labels
from landmeta.raster import Grid


@dataclass(frozen=True)
class Drawn:
    """A window of labels.

    Attributes:
        label: class index (row, col) uint8, 255 where nothing is labelled, or differently twice.
        number: which shape labels a pixel (row, col) int32, -1 for none; of several shapes of one
            class the last.
        conflict: pixels in shapes of different classes (row, col).
    """

    label: Labels
    number: NDArray[np.int32]
    conflict: NDArray[np.bool_]

    @property
    def conflicts(self) -> int:
        """How many pixels lie in shapes of different classes."""
        return int(self.conflict.sum())


@dataclass(frozen=True)
class Placed:
    """Labelled shapes on the pixels of an image; made by `landmeta.vectors.Shapes.on`.

    Attributes:
        index: class index of each shape.
        grid: of the image.
        pixels: polygons and points in (col, row) pixel coordinates; the first pixel is from 0 to 1.
    """

    index: Labels
    grid: Grid
    pixels: NDArray[np.object_]
    _tree: STRtree = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tree", STRtree(self.pixels))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """For each shape, whether any of it lies on the image."""
        inside: NDArray[np.bool_] = shapely.intersects(
            self.pixels, shapely.box(0, 0, self.grid.width, self.grid.height)
        )
        return inside

    def groups(self, apart: float = 1.0) -> NDArray[np.int64]:
        """Number of each shape's group: shapes nearer to each other than `apart` pixels share one.

        What touches was drawn around one thing, and must not be parted into what is learned from
        and what is judged by.
        """
        pairs = self._tree.query(self.pixels, predicate="dwithin", distance=apart)
        count = len(self.pixels)
        graph = coo_array((np.ones(pairs.shape[1], bool), pairs), shape=(count, count))
        groups: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
        return groups

    def draw(self, window: Window | None = None, radius: float = 0.0) -> Drawn:
        """Labels of a window of the grid; polygons cover the pixels whose centre they contain.

        Args:
            window: rasterio's, inside or across the rim of the grid; the whole grid without one.
            radius: a point labels the pixels whose centres are so near to its own pixel's centre,
                in pixels; 0 labels its own pixel alone.
        """
        window = window or Window(0, 0, self.grid.width, self.grid.height)
        left, top = window.col_off, window.row_off
        shape = (int(window.height), int(window.width))
        frame = shapely.box(
            left - radius - 1,
            top - radius - 1,
            left + shape[1] + radius + 1,
            top + shape[0] + radius + 1,
        )
        near = np.sort(self._tree.query(frame))
        number = np.full(shape, -1, np.int32)
        label = np.full(shape, IGNORE, np.uint8)
        twice = np.zeros(shape, bool)
        for index in np.unique(self.index[near]):
            members = near[self.index[near] == index]
            drawn = _draw(self.pixels[members], (left, top), shape, radius)
            covered = drawn >= 0
            twice |= covered & (label != IGNORE)
            label[covered] = index
            number[covered] = members[drawn[covered]]
        label[twice], number[twice] = IGNORE, -1
        return Drawn(label, number, twice)


def _draw(
    geometry: NDArray[np.object_],
    corner: tuple[float, float],
    shape: tuple[int, int],
    radius: float,
) -> NDArray[np.int32]:
    """Which of the shapes, in pixels, cover the pixels of a window: their place, -1 for none."""
    found = np.full(shape, -1, np.int32)
    kind = shapely.get_type_id(geometry)
    surfaces = np.flatnonzero(kind == GeometryType.POLYGON)
    if len(surfaces):
        pairs = ((geometry[i], int(i)) for i in surfaces)
        rasterize(pairs, out=found, transform=Affine.translation(*corner))
    reach = int(radius)
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = rows**2 + cols**2 <= radius**2
    rows, cols = rows[disc], cols[disc]
    points = np.flatnonzero(kind == GeometryType.POINT)
    places = np.floor(shapely.get_coordinates(geometry[points]) - corner).astype(np.int64)
    for i, (col, row) in zip(points.tolist(), places.tolist(), strict=True):
        r, c = rows + row, cols + col
        within = (r >= 0) & (r < shape[0]) & (c >= 0) & (c < shape[1])
        found[r[within], c[within]] = i
    return found
