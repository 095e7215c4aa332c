"""Charts are drawn for one method and for twenty, with and without values."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from landmeta.charts import plot_curve, plot_methods, plot_ranks, plot_scores, styles
from landmeta.ranks import rank
from landmeta.stats import MEASURES


def summary(methods, column, values):
    rng = np.random.default_rng(0)
    rows = []
    for method in methods:
        for value in values:
            for measure in MEASURES:
                mean = np.nan if value == 0 and method == "m0" else rng.uniform(0.2, 0.6)
                half = rng.uniform(0.02, 0.1)
                rows.append((method, value, measure, mean, mean - half, mean + half, 6))
    columns = ["method", column, "measure", "mean", "low", "high", "regions"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("count", [1, 4, 20])
def test_charts_are_drawn(count, tmp_path):
    methods = [f"m{i}" for i in range(count)]
    shots = summary(methods, "shots", (0, 1, 5))
    plot_scores(shots, tmp_path / "scores.png")
    plot_methods(shots, tmp_path / "methods.png")
    steps = summary(methods, "step", (0, 1, 10))
    plot_curve(steps, dict.fromkeys(methods, 4), 5, tmp_path / "curve.png")
    if count > 2:
        table = pd.DataFrame(np.random.default_rng(0).normal(size=(7, count)), columns=methods)
        plot_ranks(rank(table), "5 shots", tmp_path / "ranks.png")
    for path in tmp_path.glob("*.png"):
        pixels = np.asarray(Image.open(path).convert("L"))
        assert pixels.shape[1] > 400
        assert 0.005 < (pixels < 250).mean() < 0.6  # neither empty nor a blot


def test_twenty_methods_look_different():
    looks = [
        tuple(sorted(map(str, s.items()))) for s in styles([f"m{i}" for i in range(20)]).values()
    ]
    assert len(set(looks)) == 20
