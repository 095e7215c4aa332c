"""Which tiles lie near each other on the Earth, whatever their CRS, also across the antimeridian.

Outlines are turned into Earth-centred coordinates (EPSG:4978, metres), where there is neither a
seam nor a pole. A tree over the tiles' centres finds the few pairs that can be near. Each of these
is laid onto the plane that touches the ellipsoid between the two, where shapely measures it: the
error is a part in a thousand at 500 km from that point, and a millionth at 15 km.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from scipy.spatial import cKDTree

from landmeta.taskset import SLACK

Ids = NDArray[np.int64]
Points = NDArray[np.float64]

_EARTH = 6_371_000.0
_AXES = np.array([6_378_137.0, 6_378_137.0, 6_356_752.3142])
"""Half axes of WGS 84 in metres."""
_LARGE = 20_000.0
"""Outlines of a greater radius in metres are followed at more points along each edge."""
_PART = 4096
"""Tiles looked up at a time."""


@dataclass(frozen=True)
class Near:
    """Pairs of tiles, all of shape (pair,).

    Attributes:
        first, second: row numbers of the tiles.
        metres: between their outlines; 0 where they touch or overlap.
        overlap: whether they share more than an edge.
    """

    first: Ids
    second: Ids
    metres: Points
    overlap: NDArray[np.bool_]


class Ground:
    """Where the tiles of a set lie.

    Args:
        crs: of each tile, None or NaN where it has none, shape (tile,).
        transforms: six numbers of the affine (col, row) to (x, y), or None, shape (tile,).
        size: rows and columns of a tile.

    Attributes:
        located: tiles that have a place, ascending.
        lost: tiles whose CRS has no such place as their transform says.
    """

    def __init__(self, crs: pd.Series[str], transforms: pd.Series[Any], size: int) -> None:
        has = np.flatnonzero((crs.notna() & transforms.notna()).to_numpy())
        self._crs = crs.to_numpy(dtype=object)
        self._affine = np.full((len(crs), 6), np.nan)
        if len(has):
            self._affine[has] = np.stack(list(transforms.iloc[has]))
        self._size = size
        corners = np.full((len(crs), 4, 3), np.nan)
        corners[has] = self.outlines(has, 1)
        found = np.isfinite(corners).all(axis=(1, 2))
        self.located: Ids = np.flatnonzero(found)
        self.lost: Ids = has[~found[has]]
        corners[~found] = np.nan
        self._centre = corners.mean(axis=1)
        radius = np.linalg.norm(corners - self._centre[:, None], axis=2).max(axis=1)
        self._radius = radius + radius**2 / _EARTH  # edges may bulge between the corners

    def outlines(self, tiles: Ids, steps: int) -> Points:
        """Points along the outlines, `steps` an edge; metres, shape (tile, 4 × steps, 3)."""
        side = np.arange(steps) / steps * self._size
        far, near = np.full(steps, self._size), np.zeros(steps)
        col = np.concatenate([side, far, self._size - side, near])
        row = np.concatenate([near, side, far, self._size - side])
        a, b, c, d, e, f = (self._affine[tiles, k, None] for k in range(6))
        x, y = a * col + b * row + c, d * col + e * row + f
        found = np.empty((*x.shape, 3))
        for crs, group in pd.Series(self._crs[tiles]).groupby(self._crs[tiles]).indices.items():
            places = _to_earth(str(crs)).transform(x[group], y[group], np.zeros_like(x[group]))
            found[group] = np.stack(places, axis=-1)
        return found

    def near(self, first: Ids, second: Ids, buffer: float = 0.0) -> Iterator[Near]:
        """Pairs, one tile of each group, that overlap or are nearer than `buffer` metres.

        Tiles of no place are left out.
        """
        for one, other in self._candidates(first, second, buffer):
            metres, overlap = self._measure(one, other)
            close = overlap | (metres < buffer)
            if close.any():
                yield Near(one[close], other[close], metres[close], overlap[close])

    def _candidates(self, first: Ids, second: Ids, buffer: float) -> Iterator[tuple[Ids, Ids]]:
        """Pairs whose circles come as near as that."""
        first, second = (ids[np.isin(ids, self.located)] for ids in (first, second))
        for one in self._by_size(first):
            tree = cKDTree(self._centre[one])
            for other in self._by_size(second):
                reach = self._radius[one].max() + self._radius[other].max() + buffer
                for start in range(0, len(other), _PART):
                    part = other[start : start + _PART]
                    found = tree.sparse_distance_matrix(
                        cKDTree(self._centre[part]), reach, output_type="ndarray"
                    )
                    i, j = one[found["i"]], part[found["j"]]
                    keep = found["v"] <= self._radius[i] + self._radius[j] + buffer
                    for cut in np.array_split(np.flatnonzero(keep), 1 + keep.sum() // _PART):
                        if len(cut):
                            yield i[cut], j[cut]

    def _by_size(self, tiles: Ids) -> list[Ids]:
        """Tiles in groups of like size, so that one large tile makes no one else search far."""
        size = np.floor(np.log2(np.maximum(self._radius[tiles], 1e-6)))
        return [tiles[size == s] for s in np.unique(size)]

    def _measure(self, first: Ids, second: Ids) -> tuple[Points, NDArray[np.bool_]]:
        """Metres between outlines, and whether they overlap by more than an edge."""
        tiles, place = np.unique(np.concatenate([first, second]), return_inverse=True)
        steps = 16 if self._radius[tiles].max() > _LARGE else 2
        rings = self.outlines(tiles, steps)
        i, j = place[: len(first)], place[len(first) :]
        middle = (self._centre[first] + self._centre[second]) / 2
        east, north = _level(middle)
        flat = [
            np.stack([np.einsum("kpx,kx->kp", rings[k] - middle[:, None], axis)
                      for axis in (east, north)], axis=-1)
            for k in (i, j)
        ]  # fmt: skip
        metres = shapely.distance(*(shapely.polygons(ring) for ring in flat))
        smaller = [
            (ring - ring.mean(axis=1, keepdims=True)) * (1 - SLACK) + ring.mean(1, keepdims=True)
            for ring in flat
        ]
        overlap = shapely.intersects(*(shapely.polygons(ring) for ring in smaller))
        return metres, overlap


@lru_cache(maxsize=512)
def _to_earth(crs: str) -> Transformer:
    return Transformer.from_crs(crs, "EPSG:4978", always_xy=True)


def _level(points: Points) -> tuple[Points, Points]:
    """Unit vectors to the east and north of places near the ellipsoid, shape (point, 3) each."""
    up = points / _AXES**2
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    # At the very poles any direction will do for east.
    pole = np.where(np.abs(up[:, 2:]) > 1 - 1e-9, [[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    east = np.cross(pole, up)
    east /= np.linalg.norm(east, axis=1, keepdims=True)
    return east, np.cross(up, east)
