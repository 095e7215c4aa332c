"""Ranks of several methods over regions: Friedman's test and Nemenyi's critical difference.

Demšar 2006, *Statistical Comparisons of Classifiers over Multiple Data Sets*, JMLR 7:1-30, section
3.2.2; a region is what a data set is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from landmeta.stats import p_text

FEWEST_REGIONS, FEWEST_METHODS = 5, 3


@dataclass(frozen=True)
class Ranking:
    """How methods rank on average, and by how much ranks must differ.

    Attributes:
        ranks: average rank of each method, best (lowest) first.
        regions: number of regions ranked over.
        chi2: Friedman's statistic, without correction for ties, as in Demšar's paper.
        f: Iman and Davenport's F of it.
        p: of F.
        critical: Nemenyi's critical difference of two average ranks.
        level: of significance.
    """

    ranks: dict[str, float]
    regions: int
    chi2: float
    f: float
    p: float
    critical: float
    level: float

    def groups(self) -> list[list[str]]:
        """Largest runs of methods (by rank) that do not differ by the critical difference."""
        names, values = list(self.ranks), list(self.ranks.values())
        found: list[tuple[int, int]] = []
        for first, value in enumerate(values):
            last = max(i for i, v in enumerate(values) if v - value <= self.critical)
            if last > first and not (found and found[-1][1] >= last):
                found.append((first, last))
        return [names[first : last + 1] for first, last in found]


def friedman(ranks: NDArray[np.float64]) -> tuple[float, float, float]:
    """Friedman's χ², Iman and Davenport's F and its p, of ranks (region, method)."""
    n, k = ranks.shape
    mean = ranks.mean(axis=0)
    chi2 = float(12 * n / (k * (k + 1)) * ((mean**2).sum() - k * (k + 1) ** 2 / 4))
    rest = n * (k - 1) - chi2
    if rest <= 1e-9 * n * k:  # all regions rank alike
        return chi2, float("inf"), 0.0
    f = (n - 1) * chi2 / rest
    return chi2, float(f), float(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))


def critical_difference(methods: int, regions: int, level: float = 0.05) -> float:
    """Nemenyi's: q·√(k(k+1)/6N), q from the studentized range with infinite degrees of freedom."""
    q = stats.studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * regions)))


def rank(table: pd.DataFrame, *, lower_is_better: bool = False, level: float = 0.05) -> Ranking:
    """Rank the columns (methods) of a table with a row for each region.

    Equal scores share the mean of their ranks. Columns with NaN are left out.

    Raises:
        ValueError: fewer than 5 regions or 3 methods, as words for people.
    """
    whole = table.dropna(axis="columns")
    n, k = whole.shape
    if n < FEWEST_REGIONS:
        raise ValueError(f"ranks need at least {FEWEST_REGIONS} regions, here are {n}")
    if k < FEWEST_METHODS:
        raise ValueError(f"ranks need at least {FEWEST_METHODS} methods with scores, here are {k}")
    ranks = whole.rank(axis="columns", ascending=lower_is_better)
    chi2, f, p = friedman(ranks.to_numpy(np.float64))
    mean = ranks.mean().sort_values(kind="stable")
    named = {str(name): float(value) for name, value in mean.items()}
    return Ranking(named, n, chi2, f, p, critical_difference(k, n, level), level)


def ranking_sentence(ranking: Ranking, where: str) -> str:
    """What the ranks allow to say; `where` as in "5 shots"."""
    k, n = len(ranking.ranks), ranking.regions
    test = (
        f"Friedman chi² {ranking.chi2:.2f}, F({k - 1}, {(k - 1) * (n - 1)}) {ranking.f:.2f}, "
        f"p {p_text(ranking.p)}"
    )
    if ranking.p >= ranking.level:
        return f"Ranks of {k} methods over {n} regions, {where}: no method differs ({test})"
    best, *others = ranking.ranks
    worse = [m for m in others if ranking.ranks[m] - ranking.ranks[best] > ranking.critical]
    text = (
        f"Ranks of {k} methods over {n} regions, {where}: they are not all alike ({test}); "
        f"average ranks must differ by {ranking.critical:.2f}. Best is {best} "
        f"(rank {ranking.ranks[best]:.2f})"
    )
    if not worse:
        return f"{text}, but it is not really better than any other"
    if len(worse) == len(others):
        return f"{text}, and it is really better than every other"
    return f"{text}; it is really better than {', '.join(worse)}"
