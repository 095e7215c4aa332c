"""How many pixels to interpret, and how many of each class.

References:
    Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015, section 5.1, equation 13.
    Cochran 1977, Sampling Techniques, 3rd edition, equations 5.25 (size) and 5.26 (Neyman).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from landmeta.kinds import Allocation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST = 2
"""Units that a stratum needs for its variance."""


def cochran_size(weights: Floats, deviations: Floats, target: float, pixels: int) -> int:
    """Units of a stratified sample for a standard error of at most `target`.

    Equation 13 of Olofsson et al. 2014 with its term for a finite map; of optimal allocation.

    Args:
        weights: share of each stratum in the map, shape (stratum,).
        deviations: expected standard deviation in each stratum, √(p (1 - p)), shape (stratum,).
        target: standard error wanted.
        pixels: of the map.
    """
    mean = float(weights @ deviations)
    n = mean**2 / (target**2 + float(weights @ deviations**2) / pixels)
    return max(1, int(np.ceil(n - 1e-9)))


def expected_error(weights: Floats, deviations: Floats, pixels: Ints, units: Ints) -> float:
    """Standard error to expect of a share, from so many units of each stratum.

    The planning form of Olofsson et al. 2014, equation 5: division by n, not n - 1.
    """
    unseen = 1 - units / pixels
    return float(np.sqrt((weights**2 * deviations**2 * unseen / units).sum()))


def allocate(how: Allocation, n: int, pixels: Ints, deviations: Floats, minimum: int = 50) -> Ints:
    """Divide `n` units over strata; each gets at least two, none more than it has pixels.

    Args:
        how: `proportional` to the pixels; `equal`; `neyman`, proportional to pixels × deviation,
            which makes the standard error least; `balanced`, at least `minimum` of each and the
            rest proportional, as Olofsson et al. 2014 advise for rare classes.
        n: units in all.
        pixels: of each stratum, shape (stratum,), all above 0.
        deviations: expected standard deviation in each stratum.
        minimum: of `balanced`; less where n does not suffice for it.

    Returns:
        Units by stratum; their sum is n, or the pixels there are if these are fewer, or what two of
        each make if these are more.
    """
    least = np.minimum(LEAST, pixels)
    shares = pixels.astype(np.float64)
    if how is Allocation.equal:
        shares = np.ones(len(pixels))
    elif how is Allocation.neyman and (pixels * deviations).any():
        shares = pixels * deviations
    elif how is Allocation.balanced:
        floor = min(minimum, n // len(pixels))
        least = np.minimum(np.maximum(least, floor), pixels)
    n = int(min(max(n, least.sum()), pixels.sum()))
    return _share_out(n, shares, least, pixels)


def _share_out(n: int, shares: Floats, least: Ints, most: Ints) -> Ints:
    """Whole numbers in proportion to `shares` within bounds, with the sum n, by bisection."""
    shares = np.maximum(shares, 1e-12 * shares.max())
    low, high = 0.0, float((most / shares).max())
    for _ in range(200):
        middle = (low + high) / 2
        if np.clip(shares * middle, least, most).sum() < n:
            low = middle
        else:
            high = middle
    exact = np.clip(shares * high, least, most)
    units = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - units), kind="stable")
    while units.sum() < n:  # largest remainders first
        for place in order:
            if units.sum() < n and units[place] < most[place]:
                units[place] += 1
    return units


def least_size(error: Callable[[int], float], target: float, start: int, most: int) -> int:
    """The least n from `start` on with error(n) ≤ target; `most` if none below has it."""
    if error(start) <= target:
        return start
    low, high = start, start
    while high < most and error(high) > target:
        low, high = high, min(most, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        if error(middle) <= target:
            high = middle
        else:
            low = middle
    return high


def expected_shares(users: Floats, weights: Floats) -> Floats:
    """Expected share of each true class in each map class, shape (map class, true class).

    Of what is mapped as a class, the expected user's accuracy is right; its errors are taken to
    belong to the other classes in proportion to these classes' shares of the map.
    """
    others = np.tile(weights, (len(weights), 1))
    np.fill_diagonal(others, 0)
    total = others.sum(axis=1, keepdims=True)
    errors = np.divide(others, total, out=np.zeros_like(others), where=total > 0)
    result: Floats = np.diag(users) + (1 - users)[:, None] * errors
    return result
