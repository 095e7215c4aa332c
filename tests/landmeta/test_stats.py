"""Intervals, paired tests and Holm's adjustment against scipy and worked examples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from landmeta.stats import (
    MEASURES,
    bootstrap_interval,
    holm,
    mean_interval,
    overview,
    paired_differences,
    summarise,
    verdicts,
)


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


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(3).normal(0.03, 0.05, 12)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert bootstrap_interval(values) == pytest.approx(tuple(expected), abs=2e-3)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_bootstrap_needs_five_regions():
    assert np.isnan(bootstrap_interval(np.array([0.1, 0.2, np.nan, 0.3, 0.4]))).all()
    enough = paired_differences(_results(0.05, regions=6), "pretrain").iloc[0]
    few = paired_differences(_results(0.05, regions=4), "pretrain").iloc[0]
    assert enough["boot_low"] < enough["mean"] < enough["boot_high"]
    assert np.isnan([few["boot_low"], few["boot_high"]]).all()
    assert (enough["regions"], few["regions"]) == (6, 4)


def test_bootstrap_is_of_regions_and_paired():
    results = _results(0.05, regions=6)
    means = results.groupby(["method", "task"], sort=False)["miou"].mean()
    gains = (means["maml"] - means["pretrain"]).to_numpy()
    row = paired_differences(results, "pretrain").query("measure == 'miou'").iloc[0]
    assert (row["boot_low"], row["boot_high"]) == pytest.approx(bootstrap_interval(gains))
    assert "by bootstrap" in verdicts(paired_differences(results, "pretrain"), "pretrain")[0]


def test_overview_says_plainly_when_nothing_is_better():
    def said(gain, **more):
        return overview(paired_differences(_results(gain, **more), "pretrain"), "pretrain")

    assert said(0.08)[0].startswith("1 shot: really better than pretrain in mIoU: maml (+0.0")
    lost = said(-0.08)[0]
    assert "no method is really better than pretrain in mIoU; really worse: maml (-0.0" in lost
    nothing = said(0.0, noise=0.05)[0]
    assert "no method is really better than pretrain in mIoU; no real difference" in nothing


def test_for_the_calibration_error_less_is_better():
    differences = paired_differences(_results(-0.08), "pretrain")
    assert "really better" in overview(differences, "pretrain", "ece")[0]
    assert "is really better" in verdicts(differences, "pretrain", "ece")[0]
    assert "no method is really better" in overview(differences, "pretrain")[0]


def test_a_method_without_scores_is_neither_better_nor_a_crash():
    results = _results(0.05)
    results.loc[results["method"] == "maml", list(MEASURES)] = np.nan
    differences = paired_differences(results, "pretrain")
    assert verdicts(differences, "pretrain") == [
        "maml against pretrain, 1 shot: no scores to compare"
    ]
    assert overview(differences, "pretrain") == ["1 shot: nothing to compare with pretrain"]
    summary = summarise(results).query("method == 'maml'")
    assert summary["mean"].isna().all()
    assert (summary["regions"] == 0).all()
