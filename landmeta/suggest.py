"""Where a person should label next: small squares that the model is unsure of, unlike each other.

Diverse mini-batches (Zhdanov 2019, section 3, arXiv:1901.05954): candidates are weighted by how
unsure the model is of them, clustered in the space of its features by weighted k-means, and from
each cluster one is taken. A cluster of many unsure squares weighs more than one of few, so that the
rank takes account of uncertainty, diversity and area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmeta.raster import Grid
from landmeta.squares import Squares


@dataclass(frozen=True)
class Suggestion:
    """Squares to label, the most rewarding first.

    Attributes:
        squares: their place and what the model makes of them.
        stands_for: share of the image that is more like each than like the others, 0-1.
    """

    squares: Squares
    stands_for: NDArray[np.float64]


def choose(heavy: Squares, background: Squares, count: int, seed: int = 0) -> Suggestion:
    """Choose squares to label; fewer than `count` if there are not so many.

    Args:
        heavy: to choose from.
        background: a random draw of all, that says how much of the image each stands for.
        count: of squares.
        seed: of k-means.
    """
    from sklearn.cluster import KMeans  # takes a second to import

    weight = heavy.weight.astype(np.float64)
    points = _scaled(heavy.feature, background.feature)
    count = min(count, len(np.unique(points[weight > 0], axis=0)))
    if not count:
        return Suggestion(heavy.take(np.empty(0, np.int64)), np.empty(0))
    clusters = KMeans(count, n_init=3, random_state=seed).fit(points, sample_weight=weight)
    away = ((points - clusters.cluster_centers_[clusters.labels_]) ** 2).sum(axis=1)
    chosen, mass = [], []
    for cluster in range(count):
        members = np.flatnonzero(clusters.labels_ == cluster)
        near = members[away[members] <= np.quantile(away[members], 0.25)]
        chosen.append(int(near[weight[near].argmax()]))
        mass.append(float(weight[members].sum()))
    order = np.argsort(-np.array(mass), kind="stable")
    picked = np.array(chosen)[order]
    everywhere = _scaled(background.feature, background.feature)
    nearest = ((everywhere[:, None] - points[picked]) ** 2).sum(axis=2).argmin(axis=1)
    stands_for = np.bincount(nearest, minlength=count) / len(everywhere)
    return Suggestion(heavy.take(picked), stands_for)


def _scaled(values: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features in standard deviations of those of the whole image."""
    mean, std = reference.mean(axis=0), reference.std(axis=0)
    scaled: NDArray[np.float64] = (values - mean) / np.where(std > 0, std, 1).astype(np.float64)
    return scaled


def write_places(
    path: Path,
    suggestion: Suggestion,
    names: Sequence[str],
    grid: Grid,
    size: int,
    *,
    overwrite: bool = False,
) -> None:
    """Write the squares as polygons, with an empty column `class` to be filled in.

    Raises:
        OutputExists: `path` exists and `overwrite` is False.
        WriteFailed: the disk is full or not writable.
    """
    import geopandas as gpd
    from shapely import Polygon

    from landmeta.atomic import atomic_file

    squares = suggestion.squares
    corners = ((0, 0), (size, 0), (size, size), (0, size))
    shapes = [
        Polygon([grid.transform * (int(col) + x, int(row) + y) for x, y in corners])
        for row, col in zip(squares.row, squares.col, strict=True)
    ]
    table = gpd.GeoDataFrame(
        {
            "rank": np.arange(1, len(squares) + 1),
            "class": np.full(len(squares), None, object),
            "guess": [names[i] for i in squares.label],
            "confidence": squares.confidence.round(3).astype(np.float64),
            "entropy": squares.entropy.round(3).astype(np.float64),
            "stands_for": suggestion.stands_for.round(4),
        },
        geometry=shapes,
        crs=None if grid.crs is None else grid.crs.to_wkt(),
    )
    table["class"] = table["class"].astype("string")
    with atomic_file(path, overwrite=overwrite) as temporary:
        table.to_file(temporary, layer="places", driver="GPKG")
