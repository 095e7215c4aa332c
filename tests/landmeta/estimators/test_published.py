"""The worked examples of the papers."""

import numpy as np
import pytest

from landmeta.estimators.accuracy import Units, estimate_accuracy
from landmeta.estimators.designs import Stratified
from landmeta.estimators.size import cochran_size, expected_error, expected_shares


def units_of(matrix):
    """Units of a matrix of counts by (map class, reference class)."""
    counts = np.array(matrix)
    mapped, reference = np.indices(counts.shape)
    return Units(
        np.repeat(mapped.ravel(), counts.ravel()),
        np.repeat(reference.ravel(), counts.ravel()),
        len(counts),
    )


# Olofsson et al. 2014: table 8 (counts), table 9 (shares) and section 5.2 (accuracies, areas).
DEFORESTATION = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
MAPPED_PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = 0.09
"""Of a Landsat pixel."""


@pytest.fixture(scope="module")
def deforestation():
    units = units_of(DEFORESTATION)
    design = Stratified(
        np.full(len(units.mapped), HECTARES), units.mapped, MAPPED_PIXELS, MAPPED_PIXELS * HECTARES
    )
    return estimate_accuracy(units, design, strata_are_classes=True)


def test_olofsson_2014_accuracies(deforestation):
    assert deforestation.overall.value == pytest.approx(0.95, abs=0.005)
    assert deforestation.overall.half_width == pytest.approx(0.02, abs=0.005)
    users = [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    # The paper prints 0.23 and 0.01 as half-widths of classes 2 and 4; its equation 7 gives 0.25
    # and 0.02 from its own table.
    producers = [(0.75, 0.21), (0.85, 0.25), (0.93, 0.03), (0.96, 0.02)]
    for found, printed in ((deforestation.users, users), (deforestation.producers, producers)):
        for estimate, (value, half) in zip(found, printed, strict=True):
            assert estimate.value == pytest.approx(value, abs=0.005)
            assert estimate.half_width == pytest.approx(half, abs=0.005)


def test_olofsson_2014_areas(deforestation):
    printed = [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]
    for estimate, (hectares, half) in zip(deforestation.areas, printed, strict=True):
        assert estimate.value == pytest.approx(hectares, abs=1)
        assert estimate.half_width == pytest.approx(half, abs=1.5)  # the paper has no n / N
    pixels = deforestation.areas[0]
    assert pixels.value / HECTARES == pytest.approx(235_086, abs=1)
    assert pixels.half_width / HECTARES == pytest.approx(68_418, abs=15)
    assert deforestation.area_shares[0].se == pytest.approx(0.0035, abs=0.00005)


def test_olofsson_2014_table_9(deforestation):
    weights = MAPPED_PIXELS / MAPPED_PIXELS.sum()
    counts = np.array(DEFORESTATION)
    expected = weights[:, None] * counts / counts.sum(axis=1, keepdims=True)  # equation 4
    assert deforestation.shares == pytest.approx(expected)
    assert deforestation.shares[0, 0] == pytest.approx(0.0176, abs=0.00005)
    assert deforestation.counts.tolist() == DEFORESTATION


def test_olofsson_2014_size():
    weights = np.array([0.020, 0.015, 0.320, 0.645])
    users = np.array([0.70, 0.60, 0.90, 0.95])
    deviations = np.sqrt(users * (1 - users))
    assert cochran_size(weights, deviations, 0.01, 10_000_000) == 641


def test_olofsson_2013_example():
    """Olofsson et al. 2013, doi:10.1016/j.rse.2012.10.031, example 1: area of deforestation."""
    units = units_of([[97, 0, 3], [3, 279, 18], [2, 1, 97]])
    pixels = np.array([22_353, 1_122_543, 610_228])
    design = Stratified(np.ones(len(units.mapped)), units.mapped, pixels, pixels.astype(float))
    found = estimate_accuracy(units, design, strata_are_classes=True)
    assert found.areas[0].value == pytest.approx(45_112, abs=1)
    assert found.areas[0].se == pytest.approx(10_752, rel=2e-3)
    assert found.overall.value == pytest.approx(0.944, abs=0.0005)
    assert [u.value for u in found.users] == pytest.approx([0.97, 0.93, 0.97])
    assert found.producers[0].value == pytest.approx(0.48, abs=0.005)


def test_stehman_2014_example():
    """Strata that differ from the map's classes: 40 units of table 2, pages 4932-4936."""
    number = {letter: i for i, letter in enumerate("ABCD")}
    mapped = "AAAAAAABBB" + "ABBBBBBBBB" + "BBCCCCCCBB" + "DDDDDDDDDD"
    truth = "AAAAACBABC" + "ABBBBBAABB" + "CCCCCDDBBA" + "DDDDDDDCCB"
    stratum = np.repeat(np.arange(4), 10)
    pixels = np.array([40_000, 30_000, 20_000, 10_000])
    units = Units(
        np.array([number[c] for c in mapped]), np.array([number[c] for c in truth]), classes=4
    )
    design = Stratified(np.ones(40), stratum, pixels, pixels.astype(float))
    found = estimate_accuracy(units, design, strata_are_classes=False)
    a, b, c = 0, 1, 2
    assert found.area_shares[a].value == pytest.approx(0.35)
    assert found.area_shares[a].se == pytest.approx(0.082, abs=0.0005)
    assert found.area_shares[c].value == pytest.approx(0.20)
    assert found.area_shares[c].se == pytest.approx(0.064, abs=0.0005)
    assert found.overall.value == pytest.approx(0.63)
    assert found.overall.se == pytest.approx(0.085, abs=0.0005)
    assert found.users[b].value == pytest.approx(0.574, abs=0.0005)
    assert found.users[b].se == pytest.approx(0.125, abs=0.0005)
    assert found.producers[b].value == pytest.approx(0.794, abs=0.0005)
    assert found.producers[b].se == pytest.approx(0.1165, abs=0.0005)
    assert found.shares[b, c] == pytest.approx(0.08)


def test_planning_agrees_with_itself():
    weights = np.array([0.1, 0.3, 0.6])
    users = np.array([0.6, 0.8, 0.9])
    shares = expected_shares(users, weights)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert np.diag(shares) == pytest.approx(users)
    assert shares[0, 2] == pytest.approx(2 * shares[0, 1])
    deviations = np.sqrt(users * (1 - users))
    pixels = np.array([1000, 3000, 6000])
    n = cochran_size(weights, deviations, 0.02, 10_000)
    optimal = n * pixels * deviations / (pixels @ deviations)
    assert expected_error(weights, deviations, pixels, optimal) == pytest.approx(0.02, rel=0.005)
