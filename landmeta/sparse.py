"""Labelled tiles of a new region from polygons and points over its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from landmeta.drawing import Placed
from landmeta.errors import EmptyRegion
from landmeta.groups import merged
from landmeta.legend import IGNORE
from landmeta.raster import Grid, open_image
from landmeta.support import Cutting, Support, joined
from landmeta.taskset import Band
from landmeta.vectors import Shapes
from landmeta.windows import cut

VIEWS = 4
"""Tiles at different positions around a place, at most."""
ROOM = 2**20
"""Pixels of all tiles, above which there is one view only."""

Boxes = NDArray[np.int64]
"""Left, top, right, bottom in pixels, shape (box, 4); right and bottom are the first beyond."""


def load_shapes(
    images: Sequence[Path],
    shapes: Shapes,
    *,
    bands: Sequence[Band],
    tile_size: int,
    names: Sequence[str] | None = None,
    radius: float = 0.0,
    seed: int = 0,
) -> Support:
    """Cut tiles around labelled places.

    Shapes that touch, on any of the images, are one group. A place lies anywhere in its tile, and,
    if there are not too many, in several tiles at different positions (`Support.views`): labelled
    places that were all in the middle of a tile would teach the network to tell classes by how far
    from a tile's rim they are. In each view, every labelled pixel of an image is in one tile.

    Args:
        images: of the region; those without any of the shapes count for nothing.
        shapes: the labels.
        bands: what the model needs, in order.
        tile_size: in pixels.
        names: what the bands of the images are, in their order, if they do not say so themselves.
        radius: pixels around a point that it labels too.
        seed: of where in their tiles places lie.

    Raises:
        SourceNotFound, UnreadableFile: an image is not there, truncated or damaged.
        MissingBands: it has not the bands that are needed.
        MissingCRS, SizeMismatch: as `Shapes.on`.
        EmptyRegion: no shape lies on an image.
    """
    placed = []
    for path in images:
        with open_image(path, bands, names) as image:
            placed.append(shapes.on(image.grid))
    inside = np.stack([place.inside for place in placed])
    if not inside.any():
        raise EmptyRegion(
            f"none of the {len(shapes)} shapes lies on {', '.join(map(str, images))}",
            remedy="check that labels and image are of one place; a wrong coordinate reference "
            "system puts them far apart",
            path=shapes.path,
        )
    groups = merged([place.groups(1 + 2 * radius) for place in placed])
    rng = np.random.default_rng(seed)

    def view() -> Support:
        made, drawn, conflicts = Cutting(tile_size), np.zeros(len(shapes), bool), 0
        for path, place in zip(images, placed, strict=True):
            with open_image(path, bands, names) as image:
                made.add_image(image)
                windows = around(_boxes(place, groups, radius), image.grid, tile_size, rng)
                for number, window in enumerate(windows):
                    piece = place.draw(window, radius)
                    fresh = _fresh(window, windows[:number])
                    conflicts += int((piece.conflict & fresh).sum())
                    drawn[np.unique(piece.number[piece.number >= 0])] = True
                    label = np.where(fresh, piece.label, np.uint8(IGNORE))
                    which = np.where(piece.number < 0, -1, groups[piece.number]).astype(np.int32)
                    made.add(image, window.row_off, window.col_off, label, which, shapes.path)
        made.notes += [*shapes.notes, *_notes(shapes, inside.max(axis=0), drawn, conflicts)]
        counts = np.bincount(shapes.index[drawn], minlength=len(shapes.legend)).tolist()
        used = dict(zip(shapes.legend.names, counts, strict=True))
        return made.support(str(shapes.path), shapes.legend, used)

    first = view()
    more = min(VIEWS, ROOM // first.tiles.label.size) - 1
    return joined([first, *(view() for _ in range(more))])


def _notes(
    shapes: Shapes, inside: NDArray[np.bool_], drawn: NDArray[np.bool_], conflicts: int
) -> list[str]:
    outside, small = int((~inside).sum()), int((inside & ~drawn).sum())
    notes = []
    if outside:
        notes.append(f"{outside} of {len(shapes)} shapes lie outside the image and do not count")
    if small:
        notes.append(
            f"{small} shapes label nothing: they contain the centre of no pixel, or only pixels "
            "that others label differently"
        )
    if conflicts:
        notes.append(f"{conflicts} pixels lie in shapes of different classes and do not count")
    return notes


def _boxes(placed: Placed, groups: NDArray[np.int64], radius: float) -> Boxes:
    """Pixels of the image that each group with a shape on it reaches over."""
    size = np.array([placed.grid.width, placed.grid.height] * 2)
    made = []
    for group in np.unique(groups[placed.inside]):
        west, north, east, south = shapely.total_bounds(placed.pixels[groups == group])
        low = np.floor([west, north]) - int(radius)
        high = np.maximum(np.ceil([east, south]), np.floor([west, north]) + 1) + int(radius)
        made.append(np.clip(np.concatenate([low, high]), 0, size))
    boxes = np.array(made).reshape(-1, 4).astype(np.int64)
    return boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]


def _fresh(window: Window, before: Sequence[Window]) -> NDArray[np.bool_]:
    """Pixels of a window, (row, col), that no earlier one has."""
    fresh = np.ones((window.height, window.width), bool)
    for other in before:
        top, left = other.row_off - window.row_off, other.col_off - window.col_off
        rows = slice(max(0, top), max(0, top + other.height))
        cols = slice(max(0, left), max(0, left + other.width))
        fresh[rows, cols] = False
    return fresh


def around(boxes: Boxes, grid: Grid, tile: int, rng: np.random.Generator) -> list[Window]:
    """Windows of at most `tile` pixels a side, inside the image, that cover all boxes.

    Neighbouring boxes that fit into one window share it, at any place in it. What is larger than a
    window is covered by a grid of them.
    """
    size = (grid.height, grid.width)
    left = boxes[np.lexsort((boxes[:, 0], boxes[:, 1]))]
    windows = []
    while len(left):
        union, left = left[0], left[1:]
        while len(left):
            joint = np.concatenate(
                [np.minimum(left[:, :2], union[:2]), np.maximum(left[:, 2:], union[2:])], axis=1
            )
            fits = (joint[:, 2:] - joint[:, :2]).max(axis=1) <= tile
            if not fits.any():
                break
            grown = (joint[:, 2:] - joint[:, :2]).sum(axis=1) + np.where(fits, 0, 1 << 40)
            nearest = int(grown.argmin())
            union, left = joint[nearest], np.delete(left, nearest, axis=0)
        rows = _starts(int(union[1]), int(union[3]), size[0], tile, rng)
        cols = _starts(int(union[0]), int(union[2]), size[1], tile, rng)
        height, width = min(tile, size[0]), min(tile, size[1])
        windows += [Window(col, row, width, height) for row in rows for col in cols]
    return windows


def _starts(low: int, high: int, length: int, tile: int, rng: np.random.Generator) -> list[int]:
    """Where windows over pixels low … high of an axis start; a single one at random."""
    span = min(tile, length)
    if high - low > tile:
        return [low + start for start in cut(high - low, tile, 0).starts]
    return [int(rng.integers(max(0, high - span), min(low, length - span) + 1))]
