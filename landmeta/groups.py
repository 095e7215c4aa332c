"""Which labelled pixels belong together: what is held out is a whole group, never parts of it.

Neighbouring pixels are alike. Judged by a neighbour of what it learned from, a model looks better
than it is, and more steps always look better (Roberts et al. 2017, doi:10.1111/ecog.02881).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from landmeta.legend import IGNORE, Labels

GroupMap = NDArray[np.int32]
"""Number of each pixel's group, -1 where nothing is labelled."""


def by_tile(label: Labels) -> GroupMap:
    """Each tile a group; labels (tile, row, col)."""
    tiles = np.arange(len(label), dtype=np.int32)[:, None, None]
    return np.where(label == IGNORE, np.int32(-1), tiles)


def connected(label: Labels, size: int) -> GroupMap:
    """Labelled pixels (row, col) that touch, also by a corner, are a group.

    One that is wider or higher than `size` pixels is an image labelled whole rather than a place
    somebody drew: it is parted at a grid of that size.
    """
    numbers = np.empty(label.shape, np.int32)
    count = int(ndimage.label(label != IGNORE, structure=np.ones((3, 3)), output=numbers))
    groups: GroupMap = numbers - 1
    rows, cols = np.arange(label.shape[0])[:, None], np.arange(label.shape[1])
    cells = rows // size * (1 + label.shape[1] // size) + cols // size
    for number, where in enumerate(ndimage.find_objects(numbers)):
        if max(s.stop - s.start for s in where) > size:
            member = groups[where] == number
            _, parts = np.unique(
                np.broadcast_to(cells, label.shape)[where][member], return_inverse=True
            )
            groups[where][member] = count + parts
            count += int(parts.max()) + 1
    return groups


def merged(partitions: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """One partition of the same things in which whatever any of these puts together is together."""
    count = len(partitions[0])
    rows = np.concatenate([np.arange(count)] * len(partitions))
    offset = np.cumsum([count, *(int(p.max(initial=-1)) + 1 for p in partitions)])
    cols = np.concatenate([p + o for p, o in zip(partitions, offset[:-1], strict=True)])
    graph = coo_array((np.ones(len(rows), bool), (rows, cols)), shape=(offset[-1], offset[-1]))
    found: NDArray[np.int64] = connected_components(graph, directed=False)[1][:count]
    return found.astype(np.int64)


@dataclass(frozen=True)
class Cells:
    """Labelled pixels counted by group and class: what an estimate is made of.

    Attributes:
        group, label: number of the group and class index of each cell.
        pixels: labelled pixels in it.
        block: number of the block of ground that its group lies in.
    """

    group: NDArray[np.int64]
    label: NDArray[np.int64]
    pixels: NDArray[np.int64]
    block: NDArray[np.int64]

    def groups_of(self) -> dict[int, int]:
        """Number of groups of each class that has any."""
        classes, counts = np.unique(self.label, return_counts=True)
        return dict(zip(classes.tolist(), counts.tolist(), strict=True))


def count_cells(
    groups: GroupMap, label: Labels, corners: NDArray[np.int64] | None, size: int
) -> Cells:
    """Count labelled pixels by group and class.

    Args:
        groups: (tile, row, col).
        label: class index (tile, row, col), 255 = not labelled.
        corners: (tile, 3) number of the image, first row, first column; None if not known: then
            every group is its own block.
        size: of a block, in pixels. A group is in the block that its middle is in.
    """
    tile, row, col = np.nonzero((label != IGNORE) & (groups >= 0))
    group, classes = groups[tile, row, col].astype(np.int64), label[tile, row, col]
    pairs, pixels = np.unique(np.stack([group, classes]), axis=1, return_counts=True)
    known, place = np.unique(group, return_inverse=True)
    blocks = known
    if corners is not None:
        at = corners[tile].astype(np.float64) + np.stack([0 * row, row, col], axis=1)
        count = np.bincount(place)
        middle = np.stack([np.bincount(place, axis) / count for axis in at.T], axis=1)
        middle[:, 0] *= size  # groups seen in several images are between them, in a block of theirs
        _, blocks = np.unique(middle // size, axis=0, return_inverse=True)
    of = dict(zip(known.tolist(), blocks.tolist(), strict=True))
    block = np.array([of[g] for g in pairs[0].tolist()], np.int64)
    return Cells(pairs[0], pairs[1].astype(np.int64), pixels.astype(np.int64), block)


def deal(cells: Cells, count: int, seed: int) -> list[NDArray[np.int64]]:
    """Deal groups into so many parts, each class evenly; by blocks if there are enough of them.

    The groups of a block go into one part. No part takes the last group of a class: where it
    would, that group stays in none, and is always learned from.

    Args:
        cells: of the labels.
        count: of parts.
        seed: of the order.

    Returns:
        Numbers of the groups of each part that is not empty.
    """
    rng = np.random.default_rng(seed)
    blocked = len(np.unique(cells.block)) >= 4 * count
    unit = cells.block if blocked else cells.group
    classes = np.unique(cells.label)
    rare = sorted(classes.tolist(), key=lambda c: (int((cells.label == c).sum()), c))
    parts: dict[int, int] = {}
    load = np.zeros((count, len(classes)))
    for label in rare:
        units = np.unique(unit[cells.label == label])
        for one in rng.permutation(units).tolist():
            if one in parts:
                continue
            column = int(np.searchsorted(classes, label))
            order = np.lexsort((rng.random(count), load.sum(axis=1), load[:, column]))
            parts[one] = int(order[0])
            members = np.searchsorted(classes, cells.label[unit == one])
            np.add.at(load[order[0]], members, 1)
    part = np.array([parts[one] for one in unit.tolist()])
    dealt = []
    for number in range(count):
        out = part == number
        for label in classes:
            mine = cells.label == label
            if out[mine].all() and out[mine].any():  # the largest stays, to be learned from
                keep = cells.group[mine][cells.pixels[mine].argmax()]
                out &= cells.group != keep
        if out.any():
            dealt.append(np.unique(cells.group[out]))
    return dealt


def without(label: Labels, groups: GroupMap, out: NDArray[np.int64]) -> tuple[Labels, Labels]:
    """The labels less those of the groups `out`, and those alone; 255 in place of the others."""
    held = np.isin(groups, out)
    ignore = np.uint8(IGNORE)
    return np.where(held, ignore, label), np.where(held, label, ignore)
