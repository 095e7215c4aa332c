"""Ranks against scipy and the worked example of Demšar's paper (JMLR 7:1-30, 2006)."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from landmeta.ranks import critical_difference, friedman, rank, ranking_sentence

# Table 6 of the paper: ranks of C4.5 by itself, with m, with cf, and with both, on 14 data sets.
DEMSAR = np.array(
    [
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5],
        [3, 2, 4, 1], [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5],
        [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
    ]
)  # fmt: skip
NAMES = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]


def demsar():
    return rank(pd.DataFrame(-DEMSAR, columns=NAMES))


def test_demsars_worked_example():
    found = demsar()
    assert list(found.ranks) == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    assert list(found.ranks.values()) == pytest.approx([1.964, 2.000, 2.893, 3.143], abs=5e-4)
    assert found.chi2 == pytest.approx(9.28, abs=0.01)
    assert found.f == pytest.approx(3.69, abs=0.01)
    assert stats.f.isf(0.05, 3, 39) == pytest.approx(2.85, abs=0.005)  # the paper's critical value
    assert 0.01 < found.p < 0.05
    assert found.critical == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=0.005)


def test_groups_are_those_of_the_example():
    # 3.143 − 1.964 = 1.18 < 1.25: at 5 % the post-hoc test tells none apart; at 10 % it does.
    assert demsar().groups() == [["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]]
    tenth = rank(pd.DataFrame(-DEMSAR, columns=NAMES), level=0.10)
    # 3.143 − 2.000 = 1.14 > 1.12: C4.5 is worse than both with m, as the paper finds.
    assert tenth.groups() == [["C4.5+m+cf", "C4.5+m", "C4.5+cf"], ["C4.5+cf", "C4.5"]]


@pytest.mark.parametrize("seed", range(4))
def test_friedman_agrees_with_scipy_where_nothing_ties(seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(9, 5)) + np.arange(5) * 0.4
    ranks = stats.rankdata(-scores, axis=1)
    chi2, _, _ = friedman(ranks)
    assert chi2 == pytest.approx(stats.friedmanchisquare(*scores.T).statistic)


def test_lower_is_better_turns_the_ranks_round():
    table = pd.DataFrame(np.arange(15.0).reshape(5, 3), columns=list("abc"))
    assert list(rank(table).ranks) == ["c", "b", "a"]
    assert list(rank(table, lower_is_better=True).ranks) == ["a", "b", "c"]


def test_regions_that_all_agree_are_beyond_doubt():
    found = rank(pd.DataFrame(np.tile([3.0, 2.0, 1.0], (8, 1)), columns=list("abc")))
    assert found.p == 0
    assert found.groups() == [["a", "b"], ["b", "c"]]
    said = ranking_sentence(found, "5 shots")
    assert "Best is a (rank 1.00); it is really better than c" in said


def test_few_regions_or_methods_are_refused_with_the_reason():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least 5 regions, here are 4"):
        rank(pd.DataFrame(rng.normal(size=(4, 3))))
    table = pd.DataFrame(rng.normal(size=(6, 3)), columns=list("abc"))
    table.loc[2, "b"] = np.nan
    with pytest.raises(ValueError, match="at least 3 methods with scores, here are 2"):
        rank(table)


def test_no_difference_is_said_plainly():
    rng = np.random.default_rng(1)
    said = ranking_sentence(rank(pd.DataFrame(rng.normal(size=(6, 4)))), "1 shot")
    assert "1 shot: no method differs" in said
    told = ranking_sentence(demsar(), "5 shots")
    assert "not all alike" in told
    assert "not really better than any other" in told
