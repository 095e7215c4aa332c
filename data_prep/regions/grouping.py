"""Group images into regions: those that look alike, or any, in groups of the same sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from rich.progress import track
from threadpoolctl import threadpool_limits

from data_prep.parallel import in_order
from data_prep.quarantine import Attempt, Unreadable, sort_out
from data_prep.regions.choice import Candidate, best, try_numbers
from data_prep.regions.clustering import (
    METHODS,
    Groups,
    Method,
    by_size,
    check_k,
    components,
    distinct,
    merge_small,
)
from data_prep.regions.features import STATISTICS, find_extractor
from data_prep.regions.looks import Looks, look_at
from data_prep.regions.statistics import Features
from landmeta.errors import ConfigError
from landmeta.imagery import Header

Kind = Literal["clustered", "random"]
KINDS: tuple[Kind, ...] = get_args(Kind)

TRIED = range(5, 21)
"""Numbers of regions to choose from: enough tasks to meta-learn from and to hold some out."""
_IMAGES = 8
"""A region is to have so many images on average, if the number of regions is chosen: of clusters
of two or three, silhouettes are high by chance."""
_SMALL = 0.1
"""A cluster below this share of the mean size is merged with the nearest."""
_BLURRED, _SHAKY = 0.25, 0.6
"""Mean silhouette and stability below which a user should know; the first after Kaufman and
Rousseeuw 1990, doi:10.1002/9780470316801, table 4 of chapter 2."""


@dataclass(frozen=True)
class GroupingOptions:
    """How images are grouped.

    Attributes:
        split: `clustered`, images that look alike make a region; or `random`, as many regions of
            the same sizes, but of images drawn by chance. What a method gains from regions that
            differ is then the difference between the two.
        features: what describes an image; see `features.find_extractor`.
        weights: file of the features' network.
        method: of clustering; see `clustering.partition`.
        k: number of clusters; without it, chosen from `TRIED`, or fewer if there are few images;
            see `choice.Candidate`.
        least: images of the smallest region; without it, a tenth of the mean, but 2.
        seed: of everything drawn.
    """

    split: Kind = "clustered"
    features: str = STATISTICS
    weights: Path | None = None
    method: Method = "kmeans"
    k: int | None = None
    least: int | None = None
    seed: int = 0

    def check(self, images: int) -> None:
        """Refuse what cannot be done with so many images, before they are looked at.

        Raises:
            ConfigError: no such split or method, or too many or few regions.
        """
        for value, known, what in (
            (self.split, KINDS, "split"),
            (self.method, METHODS, "way to cluster"),
        ):
            if value not in known:
                raise ConfigError(f"no {what} {value!r}", remedy=f"choose {' or '.join(known)}")
        check_k(self._tried(images), images)

    def _tried(self, images: int) -> list[int]:
        if self.k is not None:
            return [self.k]
        most = max(3, min(TRIED.stop - 1, images // _IMAGES))
        return list(range(min(TRIED.start, max(3, most // 2)), most + 1))


@dataclass(frozen=True)
class Grouping:
    """Images grouped into regions.

    Attributes:
        options: how.
        looks: how the images were looked at.
        images: places of the images that could be read, among those given.
        regions: name of the region of each of them: `cluster_01`, … or `random_01`, …, largest
            first.
        clusters: number from 0 of the cluster each of them is in, whatever the split.
        points: principal components of their features, shape (image, component).
        candidates: the numbers of clusters that were tried, and `chosen` among them.
        notes: what a user should know.
        unreadable: the images that could not be read.
    """

    options: GroupingOptions
    looks: Looks
    images: list[int]
    regions: list[str]
    clusters: Groups
    points: Features
    candidates: list[Candidate]
    chosen: Candidate
    notes: list[str] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """What a task set's metadata says of the grouping."""
        weights = self.options.weights
        return {
            "split": self.options.split,
            "features": self.options.features,
            "weights": weights and {"file": weights.name, "sha256": _sha256(weights)},
            "cluster": self.options.method,
            "k": self.options.k,
            "seed": self.options.seed,
            "regions": len(set(self.regions)),
            "silhouette": self.chosen.silhouette,
            "stability": self.chosen.stability,
        }


def group_images(
    headers: Sequence[Header], options: GroupingOptions, *, workers: int = 1, quiet: bool = True
) -> Grouping:
    """Group images into regions, each image whole.

    Args:
        headers: of the images; they may differ in size, but have the same bands.
        options: how.
        workers: threads that look at the images; how many changes nothing in the result.
        quiet: no progress bar.

    Raises:
        ConfigError: an option does not fit the images, or all look the same.
        SourceNotFound, UnsafeFile, UnreadableFile, CheckpointMismatch: of the features' weights,
            see `features.find_extractor`; the third also if no image can be read.
    """
    options.check(len(headers))
    looks, features, images, unreadable, standardise = _describe(headers, options, workers, quiet)
    seed, numbers = options.seed, check_k(options._tried(len(images)), len(images))
    # One thread: the order in which several add up is the clock's.
    with threadpool_limits(1):
        points = components(features, standardise=standardise, seed=seed)
        tried = _possible(numbers, points)
        candidates = try_numbers(points, tried, options.method, seed=seed)
    chosen = best(candidates)
    least = options.least or max(2, round(_SMALL * len(images) / chosen.k))
    merged, notes = merge_small(points, chosen.of, least)
    clusters = by_size(merged)
    of = clusters
    if options.split == "random":
        of = np.random.default_rng((seed, 1)).permutation(clusters)
    name = "cluster" if options.split == "clustered" else "random"
    return Grouping(
        options,
        looks,
        images,
        [f"{name}_{number + 1:02d}" for number in of],
        clusters,
        points,
        candidates,
        chosen,
        notes=_summary(options, chosen, candidates, len(set(of.tolist()))) + notes,
        unreadable=unreadable,
    )


def _describe(
    headers: Sequence[Header], options: GroupingOptions, workers: int, quiet: bool
) -> tuple[Looks, Features, list[int], list[Unreadable], bool]:
    extractor = find_extractor(options.features, options.weights)
    looks = look_at(headers, workers=workers)
    everything = range(len(headers))
    describe = Attempt[int, Features](partial(extractor.features, looks))
    with extractor.session():
        found = in_order(describe, everything, workers)
        seen = track(found, "looking at images", total=len(headers), disable=quiet)
        images, features, unreadable = sort_out(everything, seen)
    return looks, np.stack(features), images, unreadable, extractor.standardise


def _possible(numbers: Sequence[int], points: Features) -> list[int]:
    """The numbers of clusters for which there are enough images that differ."""
    different = distinct(points)
    possible = [k for k in numbers if k <= different]
    if not possible:
        raise ConfigError(
            f"cannot make {numbers[0]} regions of {len(points)} images of which only {different} "
            "look different",
            remedy=f"choose k of at most {different}, or take copies of images out",
        )
    return possible


def _summary(
    options: GroupingOptions, chosen: Candidate, candidates: Sequence[Candidate], regions: int
) -> list[str]:
    """What was grouped how, and how far it can be trusted."""
    number = (
        f"{chosen.k} as asked"
        if options.k is not None
        else f"{chosen.k} of {candidates[0].k} to {candidates[-1].k}, where silhouette × stability "
        "is highest"
    )
    quality = f"mean silhouette {chosen.silhouette:.2f}, stability {chosen.stability:.2f}"
    what = (
        "regions are clusters of images that look alike"
        if options.split == "clustered"
        else "regions are random, of the sizes of clusters"
    )
    notes = [
        f"{regions} {what}: {options.method} on {options.features}, {number} ({quality}); "
        "see the folder regions"
    ]
    if options.split == "clustered" and chosen.silhouette < _BLURRED:
        notes.append("the clusters overlap much (silhouette): regions differ by degrees")
    if options.split == "clustered" and chosen.stability < _SHAKY:
        notes.append("other images of this kind would make other clusters (stability)")
    return notes


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
