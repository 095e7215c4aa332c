import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmeta.errors import ConfigError
from landmeta.estimators.size import allocate, expected_error, least_size
from landmeta.kinds import Allocation
from landmeta.planning import Aim, plan

strata = st.lists(st.integers(1, 10**9), min_size=1, max_size=20).map(np.array)


@settings(deadline=None)
@given(strata, st.integers(1, 5000), st.sampled_from(Allocation), st.integers(2, 100), st.data())
def test_every_allocation_adds_up_within_its_bounds(pixels, n, how, minimum, data):
    chances = st.lists(st.floats(0, 0.5), min_size=len(pixels), max_size=len(pixels))
    deviations = np.array(data.draw(chances))
    units = allocate(how, n, pixels, deviations, minimum)
    least = np.minimum(2, pixels)
    assert (units >= least).all()
    assert (units <= pixels).all()
    assert units.sum() == min(max(n, least.sum()), pixels.sum())


def test_allocations_of_olofsson_2014_table_5():
    pixels = np.array([200_000, 150_000, 3_200_000, 6_450_000])
    deviations = np.full(4, 0.4)
    equal = allocate(Allocation.equal, 640, pixels, deviations)
    assert equal.tolist() == [160, 160, 160, 160]
    proportional = allocate(Allocation.proportional, 641, pixels, deviations)
    assert proportional.tolist() == [13, 10, 205, 413]
    balanced = allocate(Allocation.balanced, 641, pixels, deviations, 100)
    assert balanced[:2].tolist() == [100, 100]
    assert balanced[2] / balanced[3] == pytest.approx(3200 / 6450, rel=0.01)


def test_neyman_has_the_least_error():
    pixels = np.array([2000, 1500, 32_000, 64_500])
    weights = pixels / pixels.sum()
    deviations = np.sqrt(np.array([0.7, 0.6, 0.9, 0.95]) * np.array([0.3, 0.4, 0.1, 0.05]))
    errors = {
        how: expected_error(weights, deviations, pixels, allocate(how, 600, pixels, deviations))
        for how in Allocation
    }
    assert min(errors, key=errors.__getitem__) is Allocation.neyman
    shaken = allocate(Allocation.neyman, 600, pixels, deviations) + np.array([3, -3, 0, 0])
    assert expected_error(weights, deviations, pixels, shaken) > errors[Allocation.neyman]


def test_least_size_is_the_first_that_will_do():
    assert least_size(lambda n: 1 / n, 0.01, 3, 10_000) == 100
    assert least_size(lambda n: 1 / n, 0.5, 3, 10_000) == 3
    assert least_size(lambda n: 1.0, 0.5, 3, 10_000) == 10_000


@pytest.mark.parametrize("how", [*Allocation, None])
def test_planned_error_is_met_on_a_map_as_expected(how):
    """Drawn many times from a map that is as right as was expected."""
    pixels = np.array([20_000, 5_000, 1_000])
    users = np.array([0.9, 0.7, 0.6])
    aim = Aim(error=0.02, users=dict(enumerate(users)))
    planned = plan(pixels, pixels.astype(float), how, aim)
    assert planned.error <= 0.02
    rng = np.random.default_rng(0)
    if how is None:
        right = rng.hypergeometric(*_right(pixels.sum(), 0.85), planned.units[0], 4000)
        estimates = right / planned.units[0]
        assert planned.overall == pytest.approx(pixels @ users / pixels.sum())
    else:
        parts = [
            rng.hypergeometric(*_right(N, p), n, 4000) / n * N
            for N, p, n in zip(pixels, users, planned.units, strict=True)
        ]
        estimates = sum(parts) / pixels.sum()
    assert estimates.std() == pytest.approx(planned.error, rel=0.05)
    assert estimates.std() < 0.021


def _right(pixels, share):
    return round(pixels * share), pixels - round(pixels * share)


def test_half_width_of_an_area_decides_the_size():
    pixels = np.array([90_000, 10_000])
    areas = pixels * 0.09
    aim = Aim(class_area={1: 200.0}, users={0: 0.98, 1: 0.7})
    planned = plan(pixels, areas, Allocation.neyman, aim)
    units = planned.units
    shares = np.array([0.02, 0.7])
    rng = np.random.default_rng(0)
    parts = [
        rng.hypergeometric(*_right(N, p), n, 4000) / n * N * 0.09
        for N, p, n in zip(pixels, shares, units, strict=True)
    ]
    assert 1.96 * sum(parts).std() == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize(
    ("aim", "said"),
    [
        (Aim(size=3), "3 places are too few"),
        (Aim(error=0), "an error of 0"),
        (Aim(error=1.5), "an error of 1.5"),
        (Aim(users={0: 1.2}), "1.2"),
        (Aim(class_area={0: 1e9}), "of the whole"),
    ],
)
def test_senseless_aims_are_refused(aim, said):
    with pytest.raises(ConfigError, match=said):
        plan(np.array([50, 60]), np.array([50.0, 60.0]), Allocation.balanced, aim)
