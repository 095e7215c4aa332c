"""How large a sample has to be, and how it is divided: decided from the map alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from landmeta.errors import ConfigError
from landmeta.estimators.designs import CONFIDENCE
from landmeta.estimators.size import (
    LEAST,
    Floats,
    Ints,
    allocate,
    cochran_size,
    expected_error,
    expected_shares,
    least_size,
)
from landmeta.kinds import Allocation

EXPECTED = 0.8
"""User's accuracy that is expected of a class of which nothing is said."""
ERROR = 0.02
"""Standard error of overall accuracy that is aimed at if nothing is said: about ± 4 %."""


@dataclass(frozen=True)
class Aim:
    """What the sample is for; the first of these that is given decides its size.

    Attributes:
        size: units in all.
        class_area: half-widths wanted of 95 % intervals of class areas, by class index.
        error: standard error wanted of overall accuracy.
        users: expected user's accuracy by class index; `EXPECTED` for the others.
    """

    size: int | None = None
    class_area: Mapping[int, float] | None = None
    error: float = ERROR
    users: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Plan:
    """Units of each stratum, shape (stratum,), and what to expect of them.

    Attributes:
        units: by stratum.
        overall: expected overall accuracy; `error`: its expected standard error.
        reason: how the size came about, in words.
    """

    units: Ints
    overall: float
    error: float
    reason: str


def plan(pixels: Ints, areas: Floats, how: Allocation | None, aim: Aim, minimum: int = 50) -> Plan:
    """Plan a sample of a map.

    Args:
        pixels: by class, shape (class,), all above 0.
        areas: by class.
        how: to divide the units over the classes; None for a simple random sample.
        aim: what it is for; class indices are places in `pixels`.
        minimum: of balanced allocation.

    Raises:
        ConfigError: an accuracy or error makes no sense, or the size is too small.
    """
    whole = float(areas.sum())
    _check(aim, len(pixels), how, whole)
    weights = areas / whole
    users = np.full(len(pixels), EXPECTED)
    for index, value in (aim.users or {}).items():
        users[index] = value
    overall = float(weights @ users)
    hits = [(users, aim.error)]
    if aim.class_area:
        shares = expected_shares(users, weights)
        normal = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
        hits = [(shares[:, k], half / whole / normal) for k, half in aim.class_area.items()]
    goals = [_Goal(weights, pixels, p, target, how, minimum) for p, target in hits]
    if aim.size is not None:
        n, reason = aim.size, "as asked"
    else:
        starts = [goal.formula() for goal in goals]
        least = [
            least_size(goal.error, goal.target, min(start, int(pixels.sum())), int(pixels.sum()))
            for goal, start in zip(goals, starts, strict=True)
        ]
        n, start = max(least), max(starts)
        reason = f"Cochran's formula gives {start:,}"
        if n != start:
            reason += f", and {how or 'this'} allocation takes {n:,} for the same error"
    of_overall = _Goal(weights, pixels, users, aim.error, how, minimum)
    return Plan(goals[0].units(n), overall, of_overall.error(n), reason)


@dataclass(frozen=True)
class _Goal:
    """A share to estimate, of expected size `hits` in each stratum, and the error it may have."""

    weights: Floats
    pixels: Ints
    hits: Floats
    target: float
    how: Allocation | None
    minimum: int

    @property
    def _deviations(self) -> Floats:
        return np.sqrt(self.hits * (1 - self.hits))

    def _whole(self) -> tuple[Floats, Floats, Ints]:
        """Weights, deviations and pixels of the strata, or of the map as the one stratum."""
        if self.how is not None:
            return self.weights, self._deviations, self.pixels
        share = float(self.weights @ self.hits)
        deviation = np.array([np.sqrt(share * (1 - share))])
        return np.ones(1), deviation, self.pixels.sum(keepdims=True)

    def formula(self) -> int:
        weights, deviations, pixels = self._whole()
        return cochran_size(weights, deviations, self.target, int(pixels.sum()))

    def units(self, n: int) -> Ints:
        _, deviations, pixels = self._whole()
        return allocate(self.how or Allocation.proportional, n, pixels, deviations, self.minimum)

    def error(self, n: int) -> float:
        weights, deviations, pixels = self._whole()
        return expected_error(weights, deviations, pixels, self.units(n))


def _check(aim: Aim, classes: int, how: Allocation | None, whole: float) -> None:
    for value in (aim.users or {}).values():
        if not 0 < value <= 1:
            raise ConfigError(
                f"an expected accuracy of {value:g}",
                remedy="give shares above 0 up to 1, such as 0.8",
            )
    for value in (aim.error, *(half / whole for half in (aim.class_area or {}).values())):
        if not 0 < value < 1:
            raise ConfigError(
                f"an error of {value:.3g} of the whole is asked for",
                remedy="give one above 0 and smaller than the whole: a standard error such as "
                "0.02, or hectares",
            )
    least = LEAST * (1 if how is None else classes)
    if aim.size is not None and aim.size < least:
        raise ConfigError(
            f"{aim.size} places are too few: two of each of {least // LEAST} strata are needed, "
            "or no variance can be estimated",
            remedy=f"draw {least} or more, better 50 of each class, or a simple random sample "
            "with --design simple",
        )
