"""Tables of scores for people: rows of methods, columns of shots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from landmeta.budget import COSTS as TRAINING_COSTS
from landmeta.stats import LOWER_IS_BETTER, measure_name, p_text, shots_text
from landmeta.table import NOTHING as NOTHING
from landmeta.table import Table as Table


def score_table(summary: pd.DataFrame, measure: str) -> Table:
    """Cells are "mean (low-high)", or the mean alone where there is no interval.

    Args:
        summary: as `landmeta.stats.summarise` returns it.
        measure: one of `landmeta.stats.MEASURES`.
    """
    part = summary[summary["measure"] == measure]
    better = "lower is better; " if measure in LOWER_IS_BETTER else ""
    title = f"{measure_name(measure)}, mean over regions ({better}95 % interval)"
    shots = sorted(part["shots"].unique())
    return _of_intervals(part, title, "shots", shots, [shots_text(s) for s in shots])


def curve_table(summary: pd.DataFrame, shots: int, measure: str = "miou") -> Table:
    """Scores after so many steps; `summary` as `landmeta.curve.summarise_curve` returns it."""
    part = summary[summary["measure"] == measure]
    steps = sorted(part["step"].unique())
    title = (
        f"{measure_name(measure)} after so many steps of adaptation to {shots} labelled "
        f"tile{'' if shots == 1 else 's'}, mean over regions (95 % interval)"
    )
    heads = [f"{s} step{'' if s == 1 else 's'}" for s in steps]
    return _of_intervals(part, title, "step", steps, heads)


def _of_intervals(
    part: pd.DataFrame, title: str, column: str, values: Sequence[int], heads: Sequence[str]
) -> Table:
    return Table(title, ["method", *heads], _rows(part, column, values, _interval))


def _rows(
    part: pd.DataFrame,
    column: str,
    values: Sequence[int],
    cell: Callable[[pd.Series[Any]], str],
) -> list[list[str]]:
    """A row of each method: its name, and a cell for each of the values of a column."""
    cells = part.set_index(["method", column])
    return [
        [str(method), *(cell(cells.loc[(method, v)]) for v in values)]
        for method in part["method"].unique()
    ]


def _interval(row: pd.Series[Any]) -> str:
    return _cell(row["mean"], row["low"], row["high"])


def _cell(mean: float, low: float, high: float) -> str:
    if not np.isfinite(mean):
        return NOTHING
    return f"{mean:.3f}" + (f" ({low:.3f}-{high:.3f})" if np.isfinite(low) else "")


def difference_table(differences: pd.DataFrame, reference: str, measure: str = "miou") -> Table:
    """Cells are "difference [low, high] p", p being adjusted by Holm's method."""
    part = differences[differences["measure"] == measure]
    shots = sorted(part["shots"].unique())
    rows = _rows(part, "shots", shots, _difference)
    title = (
        f"{measure_name(measure)} less that of {reference} on the same tiles, mean over regions "
        "[95 % interval], adjusted p"
    )
    return Table(title, ["method", *(shots_text(s) for s in shots)], rows)


def bootstrap_table(differences: pd.DataFrame, measure: str = "miou") -> Table:
    """Cells are "[low, high]" of the same differences by the bootstrap over regions."""
    part = differences[differences["measure"] == measure]
    shots = sorted(part["shots"].unique())
    rows = _rows(part, "shots", shots, _bootstrap)
    title = f"The same 95 % intervals of {measure_name(measure)} by bootstrap over regions"
    return Table(title, ["method", *(shots_text(s) for s in shots)], rows)


def _bootstrap(row: pd.Series[Any]) -> str:
    low, high = row["boot_low"], row["boot_high"]
    return f"[{low:+z.3f}, {high:+z.3f}]" if np.isfinite(low) else NOTHING


def _difference(row: pd.Series[Any]) -> str:
    if not np.isfinite(row["mean"]):
        return NOTHING
    text = f"{row['mean']:+z.3f}"
    if np.isfinite(row["low"]):
        text += f" [{row['low']:+z.3f}, {row['high']:+z.3f}] {p_text(row['p_holm'])}"
    return text


def region_table(results: pd.DataFrame, shots: int, measure: str = "miou") -> Table:
    """Scores by region, mean over draws, so that no region hides in the mean."""
    part = results[results["shots"] == shots]
    means = part.groupby(["method", "task"], sort=False)[measure].mean()
    tasks = [str(task) for task in part["task"].unique()]
    rows = [
        [str(m), *(_cell(float(means[m, t]), np.nan, np.nan) for t in tasks)]
        for m in part["method"].unique()
    ]
    title = f"{measure_name(measure)} by region with {shots_text(shots)}, mean over draws"
    return Table(title, ["method", *tasks], rows)


def cost_table(results: pd.DataFrame, shots: int) -> Table:
    """What adapting and predicting cost: medians over regions and draws."""
    part = results[results["shots"] == shots]
    rows = []
    for method, group in part.groupby("method", sort=False):
        adapting, predicting, numbers = (
            float(group[name].median())
            for name in ("adapt_seconds", "predict_seconds", "adapted_parameters")
        )
        figures = ((adapting, ".3f"), (1000 * predicting, ".2f"), (numbers, ",.0f"))
        rows.append([str(method), *(_number(value, form) for value, form in figures)])
    title = f"Cost of adapting with {shots_text(shots)}, median over regions and draws"
    heads = ["method", "adapting, s", "predicting, ms a tile", "numbers adapted"]
    return Table(title, heads, rows)


def _number(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else NOTHING


def training_table(costs: Mapping[str, Mapping[str, float] | None]) -> Table:
    """What training cost, by method; see `landmeta.budget`. None: it is not known."""
    rows = [
        [name, *([NOTHING] * 4 if c is None else [f"{c[k]:,.0f}" for k in TRAINING_COSTS])]
        for name, c in costs.items()
    ]
    title = "Cost of training, with that of the checkpoint it was started from"
    heads = ["method", "steps", "tiles read", "tiles through the network", "seconds"]
    return Table(title, heads, rows)


def way_table(ways: Mapping[str, Mapping[int, str]], shots: Sequence[int]) -> Table:
    """How each method is adapted with so many shots, in words."""
    rows = [[name, *(by_shots[s] for s in shots)] for name, by_shots in ways.items()]
    return Table("How each was adapted", ["method", *(shots_text(s) for s in shots)], rows)
