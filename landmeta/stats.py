"""Means over regions with confidence intervals, paired differences, and what they allow to say.

The unit is the region: draws of one region are averaged first, since they share its tiles and are
not independent. Intervals are Student's t over regions; differences have a bootstrap's too.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

MEASURES = ("miou", "accuracy", "macro_f1", "tile_accuracy", "ece")
LOWER_IS_BETTER = ("ece",)
FEWEST_TO_RESAMPLE = 5
"""Regions that a bootstrap over them needs."""
SIGNIFICANT = 0.05
"""Adjusted p below which a difference is called real."""


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


def bootstrap_interval(
    values: NDArray[np.float64], *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval (low, high) of the mean, regions drawn with replacement.

    Efron 1979, doi:10.1214/aos/1176344552. NaN with fewer than five values: there are too few
    different resamples. It supposes no normal distribution, but is too narrow for few regions.
    """
    values = values[np.isfinite(values)]
    if len(values) < FEWEST_TO_RESAMPLE:
        return np.nan, np.nan
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


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
            known = int(group[measure].notna().sum())
            rows.append((method, shots, measure, mean, low, high, known))
    return pd.DataFrame(
        rows, columns=["method", "shots", "measure", "mean", "low", "high", "regions"]
    )


DIFFERENCE_COLUMNS = [
    "method", "shots", "measure", "mean", "low", "high", "boot_low", "boot_high", "regions", "p",
]  # fmt: skip


def paired_differences(results: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Each method minus `reference` on the same regions, support draws and query tiles.

    One row per (method, shots, measure): mean difference, its 95 % interval by Student's t and by
    the bootstrap (NaN with fewer than five regions), two-sided p of the paired t-test, and that p
    adjusted for the number of comparisons of one measure by Holm's method (Holm 1979, Scand. J.
    Statist. 6:65).
    """
    table = per_region(results).set_index(["method", "shots", "task"]).sort_index()
    rows = []
    for method in (m for m in results["method"].unique() if m != reference):
        for shots in results["shots"].unique():
            gain = table.loc[(method, shots)] - table.loc[(reference, shots)]
            for measure in MEASURES:
                values = gain[measure].dropna().to_numpy(np.float64)
                mean, low, high = mean_interval(values)
                resampled = bootstrap_interval(values)
                row = (mean, low, high, *resampled, len(values), _p_value(values))
                rows.append((method, shots, measure, *row))
    table = pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS)
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
        name, gain = str(row["method"]), float(row["mean"])
        figures = f"{gain:+z.3f} {measure_name(measure)}"
        if not np.isfinite(gain):
            verdict = "no scores to compare"
        elif not np.isfinite(row["p_holm"]):
            verdict = f"{figures}: one region only, no interval can be given"
        else:
            p = f"adjusted p {p_text(float(row['p_holm']))}"
            verdict = f"{figures} ({_intervals(row)}, {p}): {_judgement(row, name)}"
        sentences.append(f"{name} against {reference}, {shots_text(int(row['shots']))}: {verdict}")
    return sentences


def _intervals(row: Mapping[Hashable, Any]) -> str:
    text = f"95 % interval {row['low']:+z.3f} to {row['high']:+z.3f}"
    if np.isfinite(row["boot_low"]):
        text += f", by bootstrap {row['boot_low']:+z.3f} to {row['boot_high']:+z.3f}"
    return text


def _judgement(row: Mapping[Hashable, Any], name: str) -> str:
    word = _word(row)
    return f"{name} is really {word}" if word else "no real difference shown"


def _word(row: Mapping[Hashable, Any]) -> str:
    """Better, worse, or nothing where no difference is shown."""
    if not row["p_holm"] < SIGNIFICANT:
        return ""
    return "better" if (row["mean"] > 0) != (row["measure"] in LOWER_IS_BETTER) else "worse"


def overview(differences: pd.DataFrame, reference: str, measure: str = "miou") -> list[str]:
    """One sentence per number of shots: which methods are really better than the reference."""
    sentences = []
    part = differences[differences["measure"] == measure]
    for shots, group in part.groupby("shots", sort=True):
        rows = group[group["mean"].notna()].to_dict("records")
        words = {str(row["method"]): _word(row) for row in rows}
        gains = {str(row["method"]): f"{row['method']} ({row['mean']:+z.3f})" for row in rows}
        better, worse, alike = (
            [gains[m] for m, word in words.items() if word == kind]
            for kind in ("better", "worse", "")
        )
        what, where = measure_name(measure), shots_text(int(str(shots)))
        if not rows:
            text = f"nothing to compare with {reference}"
        elif better:
            text = f"really better than {reference} in {what}: {', '.join(better)}"
        else:
            text = f"no method is really better than {reference} in {what}"
        if worse:
            text += f"; really worse: {', '.join(worse)}"
        if alike:
            text += f"; no real difference shown: {', '.join(alike)}"
        sentences.append(f"{where}: {text}")
    return sentences


def shots_text(shots: int) -> str:
    """A number of labelled tiles for people."""
    return f"{shots} shot{'' if shots == 1 else 's'}"


def p_text(p: float) -> str:
    """A p value for people."""
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def measure_name(measure: str) -> str:
    """How a measure is written for people."""
    return {
        "miou": "mIoU",
        "accuracy": "accuracy",
        "macro_f1": "macro F1",
        "tile_accuracy": "tile-majority accuracy",
        "ece": "calibration error",
    }[measure]
