"""Totals of a map and their variances from a probability sample of its pixels.

Both designs answer two questions about columns of values `v`, one row a sampled pixel: what is the
total over the map of pixel area × `v`, and what is the variance of that estimate. Shares, ratios
and areas are all made of these (`landmeta.estimators.accuracy`).

Pixels are drawn as pixels, but areas are wanted, and on a geographic grid a pixel's area changes
with its row. So each unit counts by its area, and sums are scaled to the known area of what they
were drawn from (ratio estimation, Cochran 1977, chapters 6 and 11). Where all pixels are alike
these are exactly the estimators of the papers.

References:
    Cochran 1977, Sampling Techniques, 3rd edition, Wiley.
    Stehman 1997, doi:10.1016/S0034-4257(96)00176-9 (cluster sampling).
    Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015 (strata are the map's classes).
    Stehman 2014, doi:10.1080/01431161.2014.930207 (strata are anything).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE = 0.95


class Design(Protocol):
    """What an estimate needs to know of how the sample was drawn."""

    @property
    def census(self) -> bool:
        """True if nothing was left out, so that there is no sampling error."""
        ...

    @property
    def simple(self) -> bool:
        """True if each unit was drawn alike and by itself: one stratum, no clusters."""
        ...

    @property
    def quantile(self) -> float:
        """Standard errors from the middle to the end of a 95 % interval."""
        ...

    def totals(self, values: Floats) -> Floats:
        """Estimated total of area × value, shape (column,), of values (unit, column)."""
        ...

    def variances(self, values: Floats, *, zeros_known: bool = False) -> Floats:
        """Variance of `totals`, shape (column,); NaN where it cannot be estimated.

        Args:
            values: shape (unit, column).
            zeros_known: a stratum whose units are all 0 is 0 everywhere, by what is known of the
                map, so that one unit of it is enough.
        """
        ...

    def certain(self, values: Floats, *, zeros_known: bool = False) -> NDArray[np.bool_]:
        """Columns whose units that are not 0 are all there are of them, shape (column,)."""
        ...


@dataclass(frozen=True)
class Stratified:
    """Pixels drawn at random, without replacement, from each stratum; with one, a simple sample.

    Attributes:
        area: of each unit, shape (unit,).
        stratum: of each unit, 0 … strata-1. Each stratum has a unit.
        pixels: of each stratum in the map, shape (stratum,).
        total_area: of each stratum in the map, shape (stratum,), in the unit of `area`.
    """

    area: Floats
    stratum: Ints
    pixels: Ints
    total_area: Floats

    def __post_init__(self) -> None:
        if not np.isin(np.arange(len(self.pixels)), self.stratum).all():
            raise ValueError("a stratum has no unit")

    @cached_property
    def _members(self) -> sparse.csr_array:
        return _members(self.stratum, len(self.pixels))

    @property
    def sizes(self) -> Ints:
        """Units of each stratum, shape (stratum,)."""
        return np.bincount(self.stratum, minlength=len(self.pixels)).astype(np.int64)

    @property
    def census(self) -> bool:
        """See `Design`."""
        return bool((self.sizes >= self.pixels).all())

    @property
    def simple(self) -> bool:
        """See `Design`."""
        return len(self.pixels) == 1

    @property
    def quantile(self) -> float:
        """Of the normal distribution, as Olofsson et al. 2014 have it."""
        return float(special.ndtri(0.5 + CONFIDENCE / 2))

    def _means(self, values: Floats) -> Floats:
        """Area-weighted mean by stratum, shape (stratum, column)."""
        sums = self._members @ (self.area[:, None] * values)
        means: Floats = sums / (self._members @ self.area)[:, None]
        return means

    def totals(self, values: Floats) -> Floats:
        """See `Design`; Stehman 2014, equations 2-3, with areas for counts of pixels."""
        result: Floats = self.total_area @ self._means(values)
        return result

    def variances(self, values: Floats, *, zeros_known: bool = False) -> Floats:
        """See `Design`; Stehman 2014, equations 25 and 28 (which takes y - R x for values)."""
        n = self.sizes[:, None]
        residual = self.area[:, None] * (values - self._means(values)[self.stratum])
        squares = self._members @ residual**2
        mean_area = (self._members @ self.area)[:, None] / n
        unseen = 1 - n / self.pixels[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = (self.total_area[:, None] / mean_area) ** 2 * unseen * squares / (n - 1) / n
        # One unit does not tell how its stratum varies, unless it is the whole stratum.
        parts[(self.sizes == 1) & (self.pixels == 1)] = 0
        if zeros_known:
            some = self._members @ np.abs(values) > 0
            parts[~some] = 0
        result: Floats = parts.sum(axis=0)
        return result

    def certain(self, values: Floats, *, zeros_known: bool = False) -> NDArray[np.bool_]:
        """See `Design`."""
        if self.census or not zeros_known:
            return np.full(values.shape[1], self.census)
        partly = (self.sizes < self.pixels)[self.stratum]
        result: NDArray[np.bool_] = ~(values[partly] != 0).any(axis=0)
        return result


@dataclass(frozen=True)
class Clustered:
    """Clusters of pixels drawn at random, without replacement; in each, all or some pixels.

    Attributes:
        area: of each unit (pixel), shape (unit,).
        cluster: of each unit, 0 … clusters-1. Each cluster has a unit.
        cluster_pixels: of each cluster, shape (cluster,), all that could have been drawn.
        clusters: in the map; None if nobody knows, which takes it for very many.
        total_area: of the map.
    """

    area: Floats
    cluster: Ints
    cluster_pixels: Ints
    clusters: int | None
    total_area: float

    @cached_property
    def _members(self) -> sparse.csr_array:
        return _members(self.cluster, len(self.cluster_pixels))

    @property
    def sizes(self) -> Ints:
        """Units of each cluster, shape (cluster,)."""
        return np.bincount(self.cluster, minlength=len(self.cluster_pixels)).astype(np.int64)

    @property
    def _drawn(self) -> float:
        """Share of the map's clusters that are in the sample."""
        return 0.0 if self.clusters is None else len(self.cluster_pixels) / self.clusters

    @property
    def census(self) -> bool:
        """See `Design`."""
        return self._drawn >= 1 and bool((self.sizes >= self.cluster_pixels).all())

    @property
    def simple(self) -> bool:
        """See `Design`."""
        return False

    @property
    def quantile(self) -> float:
        """Of Student's t with one degree of freedom less than clusters."""
        freedom = len(self.cluster_pixels) - 1
        return float(special.stdtrit(freedom, 0.5 + CONFIDENCE / 2)) if freedom else np.nan

    def _expand(self, values: Floats) -> Floats:
        """Estimated totals of area × value by cluster, shape (cluster, column)."""
        sums = self._members @ (self.area[:, None] * values)
        expanded: Floats = (self.cluster_pixels / self.sizes)[:, None] * sums
        return expanded

    def totals(self, values: Floats) -> Floats:
        """See `Design`; the ratio to size of Cochran 1977, chapters 9 and 11."""
        size = self._expand(np.ones((len(self.area), 1))).sum()
        result: Floats = self.total_area * self._expand(values).sum(axis=0) / size
        return result

    def variances(self, values: Floats, *, zeros_known: bool = False) -> Floats:
        """See `Design`; Cochran 1977, chapter 11: between clusters, and within them.

        Where a cluster of several pixels has one unit, the part within it cannot be estimated.
        Clusters then are taken as drawn with replacement, whose variance covers both parts and is
        a little too large (the "ultimate cluster" of the survey literature).
        """
        n = len(self.sizes)
        if n < 2 and not self.census:
            return np.full(values.shape[1], np.nan)
        centred = values - self.totals(values) / self.total_area
        spread = self._expand(centred)
        mean_area = self._expand(np.ones((len(self.area), 1))).mean()
        between = (spread**2).sum(axis=0) / max(1, n - 1)
        drawn = self._drawn
        within = self._within(centred)
        if np.isnan(within).any():
            drawn, within = 0.0, np.zeros(values.shape[1])
        variance = ((1 - drawn) * between + drawn * within / n) / n
        result: Floats = variance * (self.total_area / mean_area) ** 2
        return result

    def certain(self, values: Floats, *, zeros_known: bool = False) -> NDArray[np.bool_]:
        """See `Design`."""
        return np.full(values.shape[1], self.census)

    def _within(self, values: Floats) -> Floats:
        """Sum over clusters of the variance of their own totals, shape (column,)."""
        m, M = self.sizes[:, None], self.cluster_pixels[:, None]
        weighted = self.area[:, None] * values
        means = self._members @ weighted / m
        squares = self._members @ (weighted - means[self.cluster]) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = M**2 * (1 - m / M) * squares / (m - 1) / m
        parts[(m == M).ravel()] = 0
        parts[((m == 1) & (M > 1)).ravel()] = np.nan
        result: Floats = parts.sum(axis=0)
        return result


def _members(group: Ints, groups: int) -> sparse.csr_array:
    """Matrix of 0 and 1, shape (group, unit), that sums units by group."""
    ones = np.ones(len(group))
    return sparse.csr_array((ones, (group, np.arange(len(group)))), (groups, len(group)))
