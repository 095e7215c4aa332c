"""Means over regions with confidence intervals, paired differences, and what they allow to say.

The unit is the region: draws of one region are averaged first, since they share its tiles and are
not independent. Intervals are Student's t over regions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

MEASURES = ("miou", "accuracy", "macro_f1")


def mean_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and t-interval (low, high); the interval is NaN with fewer than two values."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        mean = float(values.mean()) if len(values) else np.nan
        return mean, np.nan, np.nan
    mean = float(values.mean())
    error = values.std(ddof=1) / np.sqrt(len(values))
    half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * error)
    return mean, mean - half, mean + half


def per_region(results: pd.DataFrame) -> pd.DataFrame:
    """Average over draws: one row per (method, shots, task)."""
    keys = ["method", "shots", "task"]
    return results.groupby(keys, sort=False)[list(MEASURES)].mean().reset_index()


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """One row per (method, shots, measure): mean over regions, low, high, number of regions."""
    rows = []
    for (method, shots), group in per_region(results).groupby(["method", "shots"], sort=False):
        for measure in MEASURES:
            mean, low, high = mean_interval(group[measure].to_numpy(np.float64))
            rows.append((method, shots, measure, mean, low, high, len(group)))
    return pd.DataFrame(
        rows, columns=["method", "shots", "measure", "mean", "low", "high", "regions"]
    )


def paired_differences(results: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Each method minus `reference` on the same regions, support draws and query tiles.

    One row per (method, shots, measure): mean difference, 95 % interval, two-sided p of the paired
    t-test, and that p adjusted for the number of comparisons of one measure by Holm's method
    (Holm 1979, Scand. J. Statist. 6:65).
    """
    table = per_region(results).set_index(["method", "shots", "task"]).sort_index()
    rows = []
    for method in (m for m in results["method"].unique() if m != reference):
        for shots in results["shots"].unique():
            gain = table.loc[(method, shots)] - table.loc[(reference, shots)]
            for measure in MEASURES:
                values = gain[measure].dropna().to_numpy(np.float64)
                mean, low, high = mean_interval(values)
                rows.append((method, shots, measure, mean, low, high, _p_value(values)))
    table = pd.DataFrame(rows, columns=["method", "shots", "measure", "mean", "low", "high", "p"])
    table["p_holm"] = table.groupby("measure")["p"].transform(lambda p: holm(p.tolist()))
    return table


def _p_value(values: NDArray[np.float64]) -> float:
    if len(values) < 2:
        return np.nan
    if np.ptp(values) == 0:
        return 1.0 if values[0] == 0 else 0.0
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values; NaN stays NaN and is not counted."""
    values = np.asarray(p, np.float64)
    adjusted = np.full_like(values, np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known])]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return [float(a) for a in adjusted]


def verdicts(differences: pd.DataFrame, reference: str, measure: str = "miou") -> list[str]:
    """One sentence per method and number of shots: what the paired difference allows to say."""
    sentences = []
    for row in differences[differences["measure"] == measure].to_dict("records"):
        name, shots = row["method"], int(row["shots"])
        gain, low, high, p = (float(row[k]) for k in ("mean", "low", "high", "p_holm"))
        figures = f"{gain:+.3f} {measure_name(measure)}"
        where = f"{shots} shot{'' if shots == 1 else 's'}"
        if not np.isfinite(gain):
            verdict = "no difference can be given: one of them maps nothing without labels"
        elif not np.isfinite(p):
            verdict = f"{figures}: one region only, no interval can be given"
        else:
            figures += f" (95 % interval {low:+.3f} to {high:+.3f}, adjusted p {_p_text(p)})"
            if p >= 0.05:
                verdict = f"{figures}: no real difference shown"
            else:
                verdict = f"{figures}: {name} is really {'better' if gain > 0 else 'worse'}"
        sentences.append(f"{name} against {reference}, {where}: {verdict}")
    return sentences


def _p_text(p: float) -> str:
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def measure_name(measure: str) -> str:
    """How a measure is written for people."""
    return {"miou": "mIoU", "accuracy": "accuracy", "macro_f1": "macro F1"}[measure]
