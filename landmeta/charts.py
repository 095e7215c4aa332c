"""Charts of a comparison, readable with up to twenty methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landmeta.ranks import Ranking
from landmeta.stats import LOWER_IS_BETTER, MEASURES, measure_name, shots_text

_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
    "#56b4e9", "#7f7f7f", "#8c564b", "#5e3c99", "#111111",
)  # fmt: skip
"""Okabe and Ito's, told apart by the colour-blind, and four more."""
_MARKERS = ("o", "s", "^", "D")
FEW = 6
"""Up to so many lines have shaded intervals; of more, error bars would be less of a muddle."""

Style = dict[str, Any]


def styles(methods: Sequence[str]) -> dict[str, Style]:
    """Colour, marker and line of each method; none are alike for up to forty."""
    found: dict[str, Style] = {}
    for number, method in enumerate(methods):
        lap, place = divmod(number, len(_COLOURS))
        found[method] = {
            "color": _COLOURS[place],
            "marker": _MARKERS[lap % len(_MARKERS)],
            "linestyle": "-" if lap % 2 == 0 else "--",
            "markerfacecolor": _COLOURS[place] if lap % 2 == 0 else "white",
        }
    return found


def plot_scores(summary: pd.DataFrame, path: Path) -> None:
    """Each measure against the number of shots, with 95 % intervals over regions."""
    methods = [str(m) for m in summary["method"].unique()]
    shots = sorted(summary["shots"].unique())
    figure = Figure(figsize=(13, 8), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for axis, measure in zip(panels, MEASURES, strict=False):
        _lines(axis, summary[summary["measure"] == measure], "shots", shots, methods)
        down = " (lower is better)" if measure in LOWER_IS_BETTER else ""
        axis.set(xlabel="shots (labelled tiles of the region)", title=measure_name(measure) + down)
    handles, labels = panels[0].get_legend_handles_labels()
    for axis in panels[len(MEASURES) :]:
        axis.set_axis_off()
    columns = 1 if len(methods) <= 12 else 2
    panels[-1].legend(handles, labels, loc="center", ncols=columns, frameon=False)
    regions = int(summary["regions"].max())
    figure.suptitle(f"Mean over {regions} unseen regions, 95 % interval over regions")
    figure.savefig(path, dpi=110)


def _lines(
    axis: Axes, rows: pd.DataFrame, column: str, values: Sequence[int], methods: Sequence[str]
) -> dict[str, float]:
    """A line for each method over equally spaced values; intervals shaded, or bars side by side.

    Returns:
        How far each method stands aside.
    """
    place = {value: i for i, value in enumerate(values)}
    look = styles(methods)
    shades = len(methods) <= FEW
    width = 0.0 if shades else 0.7 / len(methods)
    aside = {m: (i - (len(methods) - 1) / 2) * width for i, m in enumerate(methods)}
    for method in methods:
        part = rows[rows["method"] == method]
        at = np.array([place[value] for value in part[column]]) + aside[method]
        mean, low, high = (part[name].to_numpy(float) for name in ("mean", "low", "high"))
        style = look[method] | {"label": method, "markersize": 4, "linewidth": 1.3}
        if shades:
            axis.plot(at, mean, **style)
            axis.fill_between(at, low, high, alpha=0.12, color=style["color"], linewidth=0)
        else:
            bars = np.nan_to_num(np.stack([mean - low, high - mean]))
            drawn = axis.errorbar(at, mean, yerr=bars, elinewidth=0.8, **style)
            for bar in drawn[2]:
                bar.set_alpha(0.35)
    axis.set_xticks(range(len(values)), [str(v) for v in values])
    known = rows[["mean"]].to_numpy(float)
    if not shades and np.isfinite(known).any():  # the widest intervals must not flatten the lines
        room = 0.35 * (np.nanmax(known) - np.nanmin(known)) + 0.01
        low, high = float(np.nanmin(known)) - room, float(np.nanmax(known)) + room
        axis.set_ylim(max(low, -0.02), min(high, 1.02))
    axis.grid(alpha=0.3)
    return aside


def plot_methods(summary: pd.DataFrame, path: Path, measure: str = "miou") -> None:
    """One row for each method, best first, one panel for each number of shots."""
    part = summary[summary["measure"] == measure]
    methods = _order(part)
    shots = sorted(part["shots"].unique())
    look = styles([str(m) for m in part["method"].unique()])
    figure = Figure(
        figsize=(2.2 + 2.3 * len(shots), 1.4 + 0.28 * len(methods)), layout="constrained"
    )
    panels = figure.subplots(1, len(shots), sharey=True, sharex=True, squeeze=False)[0]
    for axis, number in zip(panels, shots, strict=True):
        rows = part[part["shots"] == number].set_index("method")
        for height, method in enumerate(methods):
            mean, low, high = (float(rows.loc[method, name]) for name in ("mean", "low", "high"))
            colour = look[method]["color"]
            axis.plot([low, high], [height, height], color=colour, linewidth=1.5)
            axis.plot([mean], [height], "o", color=colour, markersize=5)
        axis.set(title=shots_text(int(number)), xlabel=measure_name(measure))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.grid(alpha=0.3)
    panels[0].set_yticks(range(len(methods)), methods)
    figure.suptitle("Mean over unseen regions, 95 % interval; best on average at the top")
    figure.savefig(path, dpi=110)


def _order(part: pd.DataFrame) -> list[str]:
    """Methods by their mean, lowest first, over the numbers of shots with which all have scores."""
    table = part.pivot_table("mean", "method", "shots", dropna=False, sort=False)
    shared = table.dropna(axis="columns")
    means = (table if shared.empty else shared).mean(axis="columns")
    return [str(m) for m in means.sort_values(kind="stable", na_position="first").index]


def plot_curve(
    summary: pd.DataFrame, tuned: Mapping[str, int], shots: int, path: Path, measure: str = "miou"
) -> None:
    """Score against steps of adaptation; a ring marks the number each method was tuned to."""
    part = summary[summary["measure"] == measure]
    methods = [str(m) for m in part["method"].unique()]
    steps = sorted(part["step"].unique())
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axis = figure.subplots()
    aside = _lines(axis, part, "step", steps, methods)
    look = styles(methods)
    for method in methods:
        rows = part[part["method"] == method]
        if tuned[method] > max(steps):
            continue
        at = np.interp(tuned[method], rows["step"], [steps.index(s) for s in rows["step"]])
        value = np.interp(tuned[method], rows["step"], rows["mean"])
        axis.plot(
            [at + aside[method]],
            [value],
            "o",
            markersize=11,
            markerfacecolor="none",
            color=look[method]["color"],
        )
    axis.set(
        xlabel="steps of adaptation (rings: as tuned on the validation regions, where shown)",
        ylabel=measure_name(measure),
        title=f"Learning curve with {shots_text(shots)}, mean over regions, 95 % interval",
    )
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=110)


def plot_ranks(ranking: Ranking, where: str, path: Path) -> None:
    """Critical difference diagram: bars join methods that do not differ (Demšar 2006, figure 1)."""
    names, values = list(ranking.ranks), list(ranking.ranks.values())
    k, groups = len(names), ranking.groups()
    left = (k + 1) // 2
    top = 0.6 + 0.28 * len(groups)
    depth = top + 0.45 * left + 0.2
    figure = Figure(figsize=(9, 1.3 + 0.55 * depth), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(k + 0.45 * k, 1 - 0.45 * k), ylim=(-depth, 1.5))  # best on the right
    axis.set_axis_off()
    axis.plot([1, k], [0, 0], color="black", linewidth=1)
    for tick in range(1, k + 1):
        axis.plot([tick, tick], [0, 0.12], color="black", linewidth=1)
        axis.text(tick, 0.2, str(tick), ha="center", va="bottom", fontsize=9)
    shown = min(ranking.critical, k - 1)
    axis.plot([k, k - shown], [0.95, 0.95], color="black", linewidth=1.5, marker="|")
    axis.text(
        k - shown / 2, 1.05, f"critical difference {ranking.critical:.2f}", ha="center", fontsize=9
    )
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        best_half = number < k - left
        row = number if best_half else k - 1 - number
        height = -top - 0.45 * row
        end = 1 - 0.04 * k if best_half else k + 0.04 * k
        axis.plot([value, value, end], [0, height, height], color="#555555", linewidth=0.8)
        text = f" {name} ({value:.2f}) "
        axis.text(end, height, text, ha="left" if best_half else "right", va="center", fontsize=9)
    for number, group in enumerate(groups):
        ends = [ranking.ranks[group[0]] - 0.03, ranking.ranks[group[-1]] + 0.03]
        height = -0.3 - 0.28 * number
        axis.plot(ends, [height, height], color="black", linewidth=3.5, solid_capstyle="butt")
    figure.suptitle(f"Average ranks over {ranking.regions} regions, {where} (1 is best)")
    figure.savefig(path, dpi=110)
