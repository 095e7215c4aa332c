"""How many clusters there are: those that are compact, far apart, and found again in a part."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, silhouette_score

from data_prep.regions.clustering import Groups, Method, partition
from data_prep.regions.statistics import Features

_REPEATS = 10
_PART = 0.8
_MANY = 5000
"""Silhouettes are of so many points at most: they need the distances of all pairs."""


@dataclass(frozen=True)
class Candidate:
    """A number of clusters that was tried.

    Attributes:
        k: that number.
        of: the clustering.
        silhouette: its mean silhouette, -1 to 1 (Rousseeuw 1987,
            doi:10.1016/0377-0427(87)90125-7).
        stability: how alike clusterings of two random parts are on what the parts share, see
            `stability`.
        score: silhouette × stability; what is below 0 counts as 0.
    """

    k: int
    of: Groups
    silhouette: float
    stability: float

    @property
    def score(self) -> float:
        """Of several candidates, the highest is chosen."""
        return max(0.0, self.silhouette) * max(0.0, self.stability)

    @property
    def smallest(self) -> int:
        """Images of the smallest cluster."""
        return int(np.unique(self.of, return_counts=True)[1].min())


def try_numbers(
    points: Features, numbers: Sequence[int], method: Method, *, seed: int
) -> list[Candidate]:
    """Cluster the points into each number of groups. Arguments as `clustering.partition`."""
    found = []
    for k in numbers:
        of = partition(points, k, method, seed=seed)
        found.append(
            Candidate(
                k, of, silhouette(points, of, seed=seed), stability(points, k, method, seed=seed)
            )
        )
    return found


def best(candidates: Sequence[Candidate]) -> Candidate:
    """That with the highest score; of equal ones, the first."""
    return max(candidates, key=lambda candidate: candidate.score)


def silhouette(points: Features, of: Groups, *, seed: int) -> float:
    """Mean silhouette, of a random `_MANY` points if there are more; -1 for a single group."""
    groups = len(np.unique(of))
    if not 1 < groups < len(points):
        return -1.0
    some = _MANY if len(points) > _MANY else None
    return float(silhouette_score(points, of, sample_size=some, random_state=seed))


def stability(points: Features, k: int, method: Method, *, seed: int) -> float:
    """Mean adjusted Rand index between clusterings of two random parts, on what both parts hold.

    The parts are 80 % of the points, drawn ten times (Ben-Hur et al. 2002,
    doi:10.1142/9789812799623_0002). 1: the same clusters are found whichever images are at hand;
    about 0: the clusters are the draw's (Hubert and Arabie 1985, doi:10.1007/BF01908075).
    """
    agreement = []
    for repeat in range(_REPEATS):
        rng = np.random.default_rng((seed, repeat))
        size = max(k, round(_PART * len(points)))
        parts = [np.sort(rng.permutation(len(points))[:size]) for _ in range(2)]
        first, second = (
            dict(zip(part.tolist(), _in_part(points[part], k, method, seed).tolist(), strict=True))
            for part in parts
        )
        shared = sorted(first.keys() & second.keys())
        agreement.append(
            adjusted_rand_score([first[i] for i in shared], [second[i] for i in shared])
        )
    return float(np.mean(agreement))


def _in_part(points: Features, k: int, method: Method, seed: int) -> Groups:
    with warnings.catch_warnings():  # a part may hold fewer different points than k
        warnings.simplefilter("ignore", ConvergenceWarning)
        return partition(points, k, method, seed=seed, starts=3)
