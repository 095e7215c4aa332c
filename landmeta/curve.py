"""Learning curves: scores after so many steps of one adaptation."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from landmeta.contenders import Contender, Network
from landmeta.judge import figures
from landmeta.stats import MEASURES, mean_interval
from landmeta.taskset import Tiles


def follow(
    contender: Contender,
    support: Tiles,
    query: Tiles,
    classes: int,
    steps: Sequence[int],
    seed: int,
) -> list[dict[str, object]]:
    """One row of scores for each number of steps, all on one path; none for a baseline.

    Optimiser and rate are those tuned for so many shots; only the number of steps is not.

    Raises:
        CannotAdapt, ConfigError: the method cannot do that.
    """
    if not isinstance(contender, Network):
        return []
    rows: list[dict[str, object]] = []
    for step, adapted in contender.follow(support, classes, sorted(set(steps)), seed):
        found, _ = figures(adapted, query, classes)
        rows.append({"method": contender.name, "step": step} | {m: found[m] for m in MEASURES})
    return rows


def summarise_curve(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per (method, step, measure): mean over regions, low, high."""
    keys = ["method", "step", "task"]
    regions = rows.groupby(keys, sort=False)[list(MEASURES)].mean().reset_index()
    found = [
        (method, step, measure, *mean_interval(group[measure].to_numpy(float)))
        for (method, step), group in regions.groupby(["method", "step"], sort=False)
        for measure in MEASURES
    ]
    return pd.DataFrame(found, columns=["method", "step", "measure", "mean", "low", "high"])


def curve_sentences(summary: pd.DataFrame, tuned: dict[str, int]) -> list[str]:
    """Where each method's mIoU is highest, beside the number of steps it was tuned to."""
    said = []
    for method, rows in summary[summary["measure"] == "miou"].groupby("method", sort=False):
        if rows["mean"].isna().all():
            continue
        top = rows.iloc[int(rows["mean"].argmax())]
        first = rows.iloc[0]
        said.append(
            f"{method}: mIoU {first['mean']:.3f} after {first['step']} steps, highest "
            f"({top['mean']:.3f}) after {top['step']}; tuned to {tuned[str(method)]} on the "
            "validation regions"
        )
    return said
