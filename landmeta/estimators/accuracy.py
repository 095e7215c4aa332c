"""Accuracy of a map and areas of its classes from a sample whose true classes are known.

Everything is a total of areas or a ratio of two totals, and each ratio has the variance of the
linearised total of y - R x (Stehman 2014, equation 28). With strata that are the map's classes,
these are equations 1-11 of Olofsson et al. 2014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmeta.estimators.designs import CONFIDENCE, Design, Floats, Ints, Stratified

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A figure with its standard error and 95 % interval; NaN stands for what is not known.

    Attributes:
        value: the estimate.
        se: its standard error.
        low, high: the interval, inside of what is possible.
        half_width: what is written after ±; of an exact interval, the way to its far end.
        exact: the interval is the binomial one of Clopper and Pearson 1934, because all units
            agree, of which a standard error would be 0.
    """

    value: float
    se: float = NAN
    low: float = NAN
    high: float = NAN
    half_width: float = NAN
    exact: bool = False


@dataclass(frozen=True)
class Units:
    """The sampled pixels.

    Attributes:
        mapped: class index in the map, shape (unit,); -1 where the map has no data, as a map may
            that is not the one the sample was drawn from.
        reference: true class index, shape (unit,).
        classes: number of classes.
    """

    mapped: Ints
    reference: Ints
    classes: int


@dataclass(frozen=True)
class Accuracy:
    """What a sample says of a map. Lists are by class index.

    Attributes:
        counts: units by (map class, reference class).
        shares: estimated share of the area by (map class, reference class), and `shares_se`.
        overall: overall accuracy.
        users, producers: accuracy by class; f1, iou: the same as one number.
        areas: area by reference class, in the unit of the design; `area_shares`: as a share.
        area: of all that the estimates are of.
    """

    counts: Ints
    shares: Floats
    shares_se: Floats
    overall: Estimate
    users: list[Estimate]
    producers: list[Estimate]
    f1: list[Estimate]
    iou: list[Estimate]
    areas: list[Estimate]
    area_shares: list[Estimate]
    area: Estimate


def confusion(mapped: Ints, reference: Ints, classes: int) -> Ints:
    """Counts by (map class, reference class)."""
    flat = np.bincount(mapped * classes + reference, minlength=classes**2)
    return flat.reshape(classes, classes).astype(np.int64)


def estimate_accuracy(units: Units, design: Design, *, strata_are_classes: bool) -> Accuracy:
    """Estimate accuracy and areas from a probability sample.

    Args:
        units: what was found at the sampled pixels.
        design: how they were drawn, with a row for each unit.
        strata_are_classes: the design's strata are the classes of this very map. A unit of another
            stratum then cannot be of a class, which user's accuracy makes use of.
    """
    k = units.classes
    inside = (units.mapped >= 0)[:, None].astype(np.float64)
    mapped = (units.mapped[:, None] == np.arange(k)).astype(np.float64)
    truth = (units.reference[:, None] == np.arange(k)) * inside
    both = mapped * truth
    right = both.sum(axis=1, keepdims=True)
    known = strata_are_classes
    shares, shares_se = _matrix(mapped, truth, inside, design)
    seen = units.mapped >= 0
    return Accuracy(
        counts=confusion(units.mapped[seen], units.reference[seen], k),
        shares=shares,
        shares_se=shares_se,
        overall=ratios(right, inside, design)[0],
        users=ratios(both, mapped, design, zeros_known=known),
        producers=ratios(both, truth, design),
        f1=ratios(2 * both, mapped + truth, design, share=False),
        iou=ratios(both, mapped + truth - both, design),
        areas=_areas(truth, inside, design),
        area_shares=ratios(truth, inside, design),
        area=_whole_area(inside, design),
    )


def ratios(
    y: Floats, x: Floats, design: Design, *, share: bool = True, zeros_known: bool = False
) -> list[Estimate]:
    """Ratios of totals by column, between 0 and 1; NaN where the total of `x` is 0.

    Args:
        y: above, values of the units, shape (unit, column).
        x: below, likewise, or a single column for all.
        design: how the units were drawn.
        share: y and x are 0 or 1, and y is 1 only where x is: a share of what x counts.
        zeros_known: as in `Design.variances`.
    """
    x = np.broadcast_to(x, y.shape)
    below = design.totals(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = design.totals(y) / below
        filled = np.nan_to_num(ratio)
        se = np.sqrt(design.variances(y - filled * x, zeros_known=zeros_known)) / below
    alike = design.simple or zeros_known  # all that x counts was drawn alike
    certain = design.certain(x, zeros_known=zeros_known)
    numbers = np.count_nonzero(x, axis=0)
    found = []
    for value, error, n, sure in zip(ratio, se, numbers, certain, strict=True):
        if np.isnan(value):
            found.append(Estimate(NAN))
        elif sure:
            found.append(_known(value))
        elif share and alike and value in (0, 1):
            found.append(_exact(float(value), int(n)))
        else:
            found.append(_interval(float(value), float(error), design, most=1.0))
    return found


def _areas(values: Floats, inside: Floats, design: Design) -> list[Estimate]:
    """Areas by column; of a map that was sampled as a whole, whose area is known, from shares."""
    whole = float(design.totals(np.ones((len(values), 1)))[0])
    if inside.all():
        return [_times(share, whole) for share in ratios(values, inside, design)]
    errors = np.sqrt(design.variances(values))
    return [
        _interval(float(total), float(se), design, most=whole)
        for total, se in zip(design.totals(values), errors, strict=True)
    ]


def _whole_area(inside: Floats, design: Design) -> Estimate:
    if inside.all():  # known from the map, not estimated
        whole = float(design.totals(inside)[0])
        return Estimate(whole, 0.0, whole, whole, 0.0)
    return _areas(inside, inside, design)[0]


def _times(share: Estimate, whole: float) -> Estimate:
    return Estimate(
        share.value * whole,
        share.se * whole,
        share.low * whole,
        share.high * whole,
        share.half_width * whole,
        share.exact,
    )


def _interval(value: float, se: float, design: Design, *, most: float) -> Estimate:
    """The interval about a value between 0 and `most`.

    A standard error of 0 outside a census only says that the units drawn happen to agree, so that
    no interval can be had from it.
    """
    se = 0.0 if se < 1e-12 * most else se  # of rounding
    if design.census:
        return Estimate(value, 0.0, value, value, 0.0)
    if se == 0:
        return Estimate(value, 0.0)
    if np.isnan(se):
        return Estimate(value)
    reach = design.quantile * se
    return Estimate(value, se, max(0.0, value - reach), min(most, value + reach), reach)


def _exact(value: float, n: int) -> Estimate:
    """The interval of a share when all of n independent units agree."""
    bound = ((1 - CONFIDENCE) / 2) ** (1 / n)
    low, high = (bound, 1.0) if value else (0.0, 1 - bound)
    return Estimate(value, 0.0, low, high, high - low, exact=True)


def _matrix(
    mapped: Floats, truth: Floats, inside: Floats, design: Design
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the area by (map class, reference class), and their standard errors."""
    below = design.totals(inside)
    shares, errors = [], []
    for i in range(mapped.shape[1]):  # a row at a time: all cells at once would be much memory
        cells = mapped[:, i, None] * truth
        share = design.totals(cells) / below
        shares.append(share)
        errors.append(np.sqrt(design.variances(cells - share * inside)) / below)
    return np.array(shares), np.array(errors)


def post_strata(mapped: Ints, classes: int, least: int = 2) -> Ints:
    """Post-strata of a simple sample: the map's classes, those with few units put together.

    Args:
        mapped: class index in the map of each unit.
        classes: number of classes.
        least: units a post-stratum needs.

    Returns:
        Post-stratum of each class, shape (class,), numbered from 0.
    """
    counts = np.bincount(mapped, minlength=classes)
    order = np.argsort(counts, kind="stable")
    together: list[int] = []
    for place in order:
        if counts[place] >= least and (not together or counts[together].sum() >= least):
            break
        together.append(int(place))
    group = np.arange(classes)
    if together:
        group[together] = together[0]
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def unseen_areas(design: Stratified, reference: Ints, classes: int) -> Floats:
    """How much of each class one stratum may hold though none was found in it, shape (class,).

    The upper end of the exact 95 % interval of a share of which none in n was found (about 3 / n,
    the rule of three), of the stratum in which it makes the largest area. The estimated variance
    of such a stratum is 0.
    """
    flat = np.bincount(design.stratum * classes + reference, minlength=len(design.pixels) * classes)
    none = flat.reshape(-1, classes) == 0
    share = 1 - (1 - CONFIDENCE) ** (1 / design.sizes)
    left = design.total_area * (1 - design.sizes / design.pixels) * share
    result: Floats = (none * left[:, None]).max(axis=0)
    return result


def exact_accuracy(counts: Ints, areas: Floats) -> Accuracy:
    """The same figures where everything is known and nothing is estimated.

    Args:
        counts: pixels by (map class, reference class).
        areas: likewise.
    """
    whole = float(areas.sum())
    right, mapped, truth = np.diag(areas), areas.sum(axis=1), areas.sum(axis=0)
    return Accuracy(
        counts=counts,
        shares=areas / whole,
        shares_se=np.zeros_like(areas),
        overall=_known(right.sum() / whole),
        users=_quotients(right, mapped),
        producers=_quotients(right, truth),
        f1=_quotients(2 * right, mapped + truth),
        iou=_quotients(right, mapped + truth - right),
        areas=[_known(a) for a in truth],
        area_shares=[_known(a / whole) for a in truth],
        area=_known(whole),
    )


def _known(value: float) -> Estimate:
    return Estimate(float(value), 0.0, float(value), float(value), 0.0)


def _quotients(above: Floats, below: Floats) -> list[Estimate]:
    return [_known(a / b) if b else Estimate(NAN) for a, b in zip(above, below, strict=True)]
