"""Designs against a survey package, against repeated sampling, and at their edges."""

import numpy as np
import polars as pl
import pytest
import svy

from landmeta.estimators.accuracy import Units, estimate_accuracy, post_strata, ratios
from landmeta.estimators.designs import Clustered, Stratified


def random_units(n, seed):
    rng = np.random.default_rng(seed)
    x = (rng.random(n) < 0.6).astype(float)
    return x * (rng.random(n) < 0.7), x


@pytest.mark.parametrize("seed", range(3))
def test_stratified_ratio_is_that_of_a_survey_package(seed):
    rng = np.random.default_rng(seed)
    pixels, sizes = rng.integers(40, 400, 4), rng.integers(2, 30, 4)
    stratum = np.repeat(np.arange(4), sizes)
    y, x = random_units(len(stratum), seed)
    frame = {"s": stratum, "N": pixels[stratum], "w": (pixels / sizes)[stratum], "x": x, "y": y}
    design = svy.Design(stratum="s", wgt="w", pop_size="N")
    theirs = svy.Sample(pl.DataFrame(frame), design).estimation.ratio("y", "x").estimates[0]
    own = Stratified(np.ones(len(stratum)), stratum, pixels, pixels.astype(float))
    (ours,) = ratios(y[:, None], x[:, None], own, share=False)
    assert ours.value == pytest.approx(theirs.est)
    assert ours.se == pytest.approx(theirs.se)


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_cluster_ratio_is_that_of_a_survey_package(seed, stages):
    rng = np.random.default_rng(seed)
    clusters, there = 9, 31
    drawn = rng.integers(2, 6, clusters)
    pixels = drawn if stages == 1 else drawn + rng.integers(0, 6, clusters)
    cluster = np.repeat(np.arange(clusters), drawn)
    y, x = random_units(len(cluster), seed)
    weight = there / clusters * (pixels / drawn)[cluster]
    frame = pl.DataFrame(
        {"c": cluster, "u": np.arange(len(x)), "M": pixels[cluster], "w": weight, "x": x, "y": y}
    ).with_columns(N=pl.lit(there))
    design = (
        svy.Design(psu="c", wgt="w", pop_size="N")
        if stages == 1
        else svy.Design(psu="c", ssu="u", wgt="w", pop_size=svy.PopSize("N", "M"))
    )
    theirs = svy.Sample(frame, design).estimation.ratio("y", "x").estimates[0]
    own = Clustered(np.ones(len(x)), cluster, pixels, there, 1000.0)
    (ours,) = ratios(y[:, None], x[:, None], own, share=False)
    assert ours.value == pytest.approx(theirs.est)
    assert ours.se == pytest.approx(theirs.se)


# ---- a small map, sampled again and again -------------------------------------------------------

SIDE = 40
CLASSES = 3


@pytest.fixture(scope="module")
def world():
    """Map, truth and pixel areas, shape (1600,): areas fall from 1.5 to 0.5 by row."""
    rng = np.random.default_rng(7)
    truth = np.kron(rng.integers(0, CLASSES, (10, 10)), np.ones((4, 4), int))
    truth[rng.random(truth.shape) < 0.1] = 0
    wrong = rng.random(truth.shape) < 0.25
    mapped = np.where(wrong, rng.integers(0, CLASSES, truth.shape), truth)
    area = np.repeat(np.linspace(1.5, 0.5, SIDE)[:, None], SIDE, axis=1)
    return mapped.ravel(), truth.ravel(), area.ravel()


def figures(found):
    """Overall, user's and producer's accuracy, F1, IoU and areas, as one list."""
    lists = (found.users, found.producers, found.f1, found.iou, found.areas)
    return [found.overall, *(e for values in lists for e in values)]


def true_figures(world):
    mapped, truth, area = world
    right = mapped == truth

    def share(of, where):
        return area[of & where].sum() / area[where].sum()

    rows = [[], [], [], [], []]
    for k in range(CLASSES):
        m, r = mapped == k, truth == k
        both = area[m & r].sum()
        rows[0].append(share(right, m))
        rows[1].append(share(right, r))
        rows[2].append(2 * both / (area[m].sum() + area[r].sum()))
        rows[3].append(both / area[m | r].sum())
        rows[4].append(area[r].sum())
    return np.array([share(right, np.ones_like(m)), *(v for row in rows for v in row)])


def draw_stratified(world, rng):
    mapped, _, area = world
    pixels = np.bincount(mapped)
    sizes = [90, 60, 50]
    unit = np.concatenate(
        [rng.choice(np.flatnonzero(mapped == h), n, replace=False) for h, n in enumerate(sizes)]
    )
    totals = np.bincount(mapped, area)
    return unit, Stratified(area[unit], mapped[unit], pixels, totals), True


def draw_simple(world, rng):
    mapped, _, area = world
    unit = rng.choice(len(mapped), 300, replace=False)
    one = np.zeros(len(unit), np.int64)
    whole = np.array([area.sum()])
    return unit, Stratified(area[unit], one, np.array([len(mapped)]), whole), False


def draw_post_stratified(world, rng):
    mapped, _, area = world
    unit = rng.choice(len(mapped), 300, replace=False)
    pixels, totals = np.bincount(mapped), np.bincount(mapped, area)
    return unit, Stratified(area[unit], mapped[unit], pixels, totals), True


def draw_other_strata(world, rng):
    """Strata that are rows, not classes."""
    mapped, _, area = world
    stratum = np.arange(len(mapped)) // (SIDE * 10)
    unit = np.concatenate(
        [
            rng.choice(np.flatnonzero(stratum == h), n, replace=False)
            for h, n in enumerate([40, 60, 50, 50])
        ]
    )
    pixels, totals = np.bincount(stratum), np.bincount(stratum, area)
    return unit, Stratified(area[unit], stratum[unit], pixels, totals), False


def draw_clusters(world, rng, per_cluster=None, n=40, side=4):
    mapped, _, area = world
    row, col = np.divmod(np.arange(len(mapped)), SIDE)
    block = row // side * (SIDE // side) + col // side
    there = block.max() + 1
    chosen = rng.choice(there, n, replace=False)
    parts = [np.flatnonzero(block == b) for b in chosen]
    pixels = np.array([len(p) for p in parts])
    if per_cluster:
        parts = [rng.choice(p, per_cluster, replace=False) for p in parts]
    unit = np.concatenate(parts)
    cluster = np.repeat(np.arange(n), [len(p) for p in parts])
    return unit, Clustered(area[unit], cluster, pixels, int(there), area.sum()), False


def draw_two_stages(world, rng):
    return draw_clusters(world, rng, per_cluster=5)


@pytest.mark.parametrize(
    "draw",
    [
        draw_stratified,
        draw_simple,
        draw_post_stratified,
        draw_other_strata,
        draw_clusters,
        draw_two_stages,
    ],
)
def test_repeated_samples_have_the_truth_in_their_middle_and_the_error_they_say(world, draw):
    mapped, truth, _ = world
    rng = np.random.default_rng(3)
    values, errors, caught = [], [], []
    expected = true_figures(world)
    for _ in range(400):
        unit, design, aligned = draw(world, rng)
        units = Units(mapped[unit], truth[unit], CLASSES)
        found = figures(estimate_accuracy(units, design, strata_are_classes=aligned))
        values.append([e.value for e in found])
        errors.append([e.se for e in found])
        caught.append([e.low <= t <= e.high for e, t in zip(found, expected, strict=True)])
    values, errors = np.array(values), np.array(errors)
    spread = values.std(axis=0, ddof=1)
    # Ratios have a bias of the order of 1 / n, small beside the spread of one sample.
    assert (np.abs(values.mean(axis=0) - expected) / spread).max() < 0.2
    assert np.sqrt((errors**2).mean(axis=0)) / spread == pytest.approx(1, abs=0.12)
    coverage = np.mean(caught, axis=0)
    assert coverage.min() > 0.89 and coverage.max() < 0.99
    assert 0.93 < coverage.mean() < 0.97


def test_all_areas_alike_or_not_shares_add_up(world):
    mapped, truth, area = world
    unit, design, aligned = draw_stratified(world, np.random.default_rng(0))
    found = estimate_accuracy(
        Units(mapped[unit], truth[unit], CLASSES), design, strata_are_classes=aligned
    )
    assert found.shares.sum() == pytest.approx(1)
    assert sum(e.value for e in found.areas) == pytest.approx(area.sum())
    assert found.shares.sum(axis=1) == pytest.approx(np.bincount(mapped, area) / area.sum())


# ---- edges --------------------------------------------------------------------------------------


def test_census_has_no_error(world):
    mapped, truth, area = world
    pixels, totals = np.bincount(mapped), np.bincount(mapped, area)
    design = Stratified(area, mapped, pixels, totals)
    found = estimate_accuracy(Units(mapped, truth, CLASSES), design, strata_are_classes=True)
    assert [e.value for e in figures(found)] == pytest.approx(true_figures(world))
    assert all(e.se == 0 and e.low == e.high for e in figures(found))


def test_one_unit_of_a_stratum_gives_no_interval_where_it_matters():
    mapped = np.array([0] * 10 + [1])
    truth = np.array([0] * 8 + [1] * 2 + [1])
    pixels = np.array([500, 300])
    design = Stratified(np.ones(11), mapped, pixels, pixels.astype(float))
    found = estimate_accuracy(Units(mapped, truth, 2), design, strata_are_classes=True)
    assert found.users[0].low < 0.8 < found.users[0].high  # not of that stratum
    for e in (found.overall, found.areas[0], found.producers[1]):
        assert np.isfinite(e.value)
        assert np.isnan(e.se) and np.isnan(e.low)


def test_agreement_of_all_units_is_no_certainty():
    mapped = np.repeat([0, 1], 50)
    pixels = np.array([5000, 3000])
    design = Stratified(np.ones(100), mapped, pixels, pixels.astype(float))
    found = estimate_accuracy(Units(mapped, mapped, 2), design, strata_are_classes=True)
    assert found.users[0].value == 1
    assert found.users[0].exact
    assert found.users[0].low == pytest.approx(0.025 ** (1 / 50))
    assert found.users[0].high == 1
    for e in (found.overall, found.producers[0], found.areas[0], found.f1[0]):
        assert e.se == 0 and np.isnan(e.low)


def test_units_outside_a_changed_map_are_no_part_of_it(world):
    """A domain: the half of the map that a newer one covers."""
    mapped, truth, area = world
    inside = np.arange(len(mapped)) >= len(mapped) // 2
    rng = np.random.default_rng(1)
    shares, areas, errors = [], [], []
    for _ in range(300):
        unit, design, _ = draw_stratified(world, rng)
        now = np.where(inside, mapped, -1)[unit]
        found = estimate_accuracy(
            Units(now, truth[unit], CLASSES), design, strata_are_classes=False
        )
        shares.append(found.overall.value)
        areas.append(found.areas[1].value)
        errors.append(found.areas[1].se)
    right = inside & (mapped == truth)
    assert np.mean(shares) == pytest.approx(area[right].sum() / area[inside].sum(), abs=0.01)
    assert np.mean(areas) == pytest.approx(area[inside & (truth == 1)].sum(), rel=0.03)
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.15)


def test_few_clusters_use_student(world):
    _, design, _ = draw_clusters(world, np.random.default_rng(0), n=5)
    assert design.quantile == pytest.approx(2.776, abs=0.001)  # t, 4 degrees of freedom
    _, alone, _ = draw_clusters(world, np.random.default_rng(0), n=1)
    assert np.isnan(alone.variances(np.ones((len(alone.area), 1)))).all()


def test_single_unit_in_clusters_takes_the_ultimate_cluster(world):
    unit, design, _ = draw_clusters(world, np.random.default_rng(0), per_cluster=1)
    right = (world[0] == world[1])[unit].astype(float)[:, None]
    free = Clustered(design.area, design.cluster, design.cluster_pixels, None, design.total_area)
    assert design.variances(right) == pytest.approx(free.variances(right))


def test_a_stratum_without_unit_is_refused():
    with pytest.raises(ValueError, match="no unit"):
        Stratified(np.ones(2), np.array([0, 0]), np.array([5, 5]), np.ones(2))


@pytest.mark.parametrize(
    ("mapped", "expected"),
    [
        ([0, 0, 1, 1, 2, 2], [0, 1, 2]),
        ([0, 0, 0, 1, 2, 2], [1, 0, 0]),  # 1 with 2, the next smallest
        ([0] * 9, [0, 0, 0]),
    ],
)
def test_post_strata_join_what_is_too_small(mapped, expected):
    found = post_strata(np.array(mapped), 3)
    same = found[:, None] == found
    wanted = np.array(expected)
    assert np.array_equal(same, wanted[:, None] == wanted)
    used = found[np.array(mapped)]
    assert min(np.bincount(used)[np.unique(used)]) >= 2
