"""Intervals, paired tests and Holm's adjustment against scipy and worked examples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from landmeta.stats import MEASURES, holm, mean_interval, paired_differences, summarise, verdicts


def _results(gain, *, regions=6, draws=3, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for region in range(regions):
        level = rng.uniform(0.3, 0.6)
        for draw in range(draws):
            shared = rng.normal(0, 0.02)
            for method, more in (("pretrain", 0.0), ("maml", gain)):
                value = level + shared + more + rng.normal(0, noise)
                scores = dict.fromkeys(MEASURES, value)
                rows.append(
                    {"method": method, "shots": 1, "task": f"r{region}", "draw": draw} | scores
                )
    return pd.DataFrame(rows)


def test_interval_is_students_t():
    values = np.array([0.2, 0.5, 0.4, 0.35])
    mean, low, high = mean_interval(values)
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert mean == pytest.approx(values.mean())


def test_interval_of_one_region_is_not_invented():
    mean, low, high = mean_interval(np.array([0.4]))
    assert mean == 0.4
    assert np.isnan([low, high]).all()


def test_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        _, low, high = mean_interval(rng.normal(0.3, 0.1, 6))
        hits += low <= 0.3 <= high
    assert 0.935 < hits / 2000 < 0.965


def test_paired_p_value_is_that_of_scipy_on_region_means():
    results = _results(0.01, noise=0.03)
    row = paired_differences(results, "pretrain").query("measure == 'miou'").iloc[0]
    means = results.groupby(["method", "task"])["miou"].mean()
    expected = stats.ttest_rel(means["maml"], means["pretrain"])
    assert row["p"] == pytest.approx(expected.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(expected.confidence_interval(0.95))


def test_summary_has_one_value_per_region_not_per_draw():
    summary = summarise(_results(0.0, regions=4, draws=5))
    assert (summary["regions"] == 4).all()


def test_holm_on_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p):
    adjusted = holm(p)
    assert all(a >= v for a, v in zip(adjusted, p, strict=True))
    assert all(a <= 1 for a in adjusted)
    ranked = np.asarray(adjusted)[np.argsort(p, kind="stable")]
    assert (np.diff(ranked) >= 0).all()


def test_words_follow_the_evidence():
    gained = verdicts(paired_differences(_results(0.08), "pretrain"), "pretrain")
    lost = verdicts(paired_differences(_results(-0.08), "pretrain"), "pretrain")
    nothing = verdicts(paired_differences(_results(0.0, noise=0.05), "pretrain"), "pretrain")
    single = verdicts(paired_differences(_results(0.1, regions=1), "pretrain"), "pretrain")
    assert "maml is really better" in gained[0]
    assert "maml is really worse" in lost[0]
    assert "no real difference" in nothing[0]
    assert "no interval" in single[0]
