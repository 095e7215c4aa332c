"""What an assessment found, in words and tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmeta.assess import Assessment
from landmeta.estimators.accuracy import Estimate
from landmeta.table import NOTHING, Table

HECTARE, KM2 = 1e4, 1e6
_LARGE = 1e9
"""Square metres from which on areas are told in km²."""


def headline(found: Assessment) -> list[str]:
    """What may be concluded, in a few lines."""
    overall = found.accuracy.overall
    lines = [f"reference: {found.design}" + (f" (by {found.source})" if found.source else "")]
    if found.kind == "labels":
        lines.append(
            f"the map agrees with {overall.value:.1%} of these labels, which is not its accuracy"
        )
        lines.append(f"no areas and no intervals can be given: {found.why}")
        return lines
    lines.append(f"overall accuracy: {_figure(overall, found)}")
    return lines


def tables(found: Assessment) -> list[Table]:
    """The confusion matrix, accuracies and areas; classes that do not occur are left out."""
    shown = shown_classes(found)
    names = [found.classes[k].name for k in shown]
    made = [_counts(found, shown, names)]
    if found.kind != "labels":
        made.append(_shares(found, shown, names))
    made.append(_accuracies(found, shown, names))
    if found.kind != "labels":
        made.append(_areas(found, shown, names))
    return made


def shown_classes(found: Assessment) -> list[int]:
    """Indices of the classes that occur in the map or in the reference."""
    counts = found.accuracy.counts
    used = (counts.sum(axis=0) > 0) | (counts.sum(axis=1) > 0)
    if found.kind != "labels":
        used |= found.mapped > 0
    return [int(k) for k in np.flatnonzero(used)]


def _counts(found: Assessment, shown: list[int], names: list[str]) -> Table:
    matrix = found.accuracy.counts[np.ix_(shown, shown)]
    title = f"{found.units.capitalize()}: map in rows, reference in columns (by id)"
    return _matrix(found, shown, names, title, matrix, ",")


def _shares(found: Assessment, shown: list[int], names: list[str]) -> Table:
    matrix = 100 * found.accuracy.shares[np.ix_(shown, shown)]
    title = "Percent of the area: map in rows, reference in columns (by id)"
    return _matrix(found, shown, names, title, matrix, ".2f")


def _matrix(
    found: Assessment,
    shown: list[int],
    names: list[str],
    title: str,
    matrix: NDArray[Any],
    form: str,
) -> Table:
    """A confusion matrix with its margins; ids for heads, as names would make it too wide."""
    ids = [str(found.classes[k].id) for k in shown]
    rows = [
        [f"{i} {name}", *(f"{v:{form}}" for v in row), f"{row.sum():{form}}"]
        for i, name, row in zip(ids, names, matrix, strict=True)
    ]
    rows.append(["all", *(f"{v:{form}}" for v in matrix.sum(axis=0)), f"{matrix.sum():{form}}"])
    return Table(title, ["map", *ids, "all"], rows)


def _accuracies(found: Assessment, shown: list[int], names: list[str]) -> Table:
    accuracy = found.accuracy
    columns = {
        "user's": accuracy.users,
        "producer's": accuracy.producers,
        "F1": accuracy.f1,
        "IoU": accuracy.iou,
    }
    rows = [
        [
            name,
            *(
                _figure(column[k], found) + _mark(found, k, head)
                for head, column in columns.items()
            ),
        ]
        for k, name in zip(shown, names, strict=True)
    ]
    if found.kind == "labels":
        heads = ["class", "of mapped, right", "of labels, found", "F1", "IoU"]
        return Table("Agreement with these labels", heads, rows)
    told = " with half of the 95 % interval" if found.kind == "sample" else ""
    return Table(f"Accuracy by class{told}", ["class", *columns], rows)


def _mark(found: Assessment, k: int, head: str) -> str:
    """A dagger at intervals that are too narrow; a blank keeps the column even."""
    if not found.narrow or head not in ("producer's", "±"):
        return ""
    return " †" if k in found.narrow else "  "


def _figure(estimate: Estimate, found: Assessment) -> str:
    if math.isnan(estimate.value):
        return NOTHING
    if found.kind != "sample":
        return f"{estimate.value:.3f}"
    if math.isnan(estimate.half_width):
        return f"{estimate.value:.3f} ± {NOTHING}"
    if estimate.exact:
        return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})*"
    return f"{estimate.value:.3f} ± {estimate.half_width:.3f}"


def area_scale(found: Assessment) -> tuple[float, str]:
    """What areas are divided by, and the unit they then are in."""
    if found.area_unit == "pixel":
        return 1.0, "pixels"
    return (KM2, "km²") if found.mapped.sum() >= _LARGE else (HECTARE, "ha")


def _areas(found: Assessment, shown: list[int], names: list[str]) -> Table:
    scale, unit = area_scale(found)
    rows = []
    for k, name in zip(shown, names, strict=True):
        area, share = found.accuracy.areas[k], found.accuracy.area_shares[k]
        row = [name, _number(found.mapped[k] / scale), _number(area.value / scale)]
        if found.kind == "sample":
            row += [_plus_minus(area, scale) + _mark(found, k, "±"), _range(area, scale)]
        rows.append([*row, f"{share.value:.2%}"])
    heads = ["class", f"mapped, {unit}", f"area, {unit}"]
    if found.kind == "sample":
        heads += ["±", "95 % interval"]
        title = "Area of each class, estimated from the reference"
    else:
        title = "Area of each class by map and by reference"
    return Table(title, [*heads, "share"], rows)


def _plus_minus(area: Estimate, scale: float) -> str:
    return NOTHING if math.isnan(area.half_width) else _number(area.half_width / scale)


def _range(area: Estimate, scale: float) -> str:
    if math.isnan(area.low):
        return NOTHING
    return f"{_number(area.low / scale)} - {_number(area.high / scale)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"
