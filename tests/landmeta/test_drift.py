"""Images beside the trained range."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from landmeta.drift import out_of_range

MEAN, STD = np.array([100.0, 2.0], np.float32), np.array([10.0, 0.5], np.float32)


def image(seed=0, **bands):
    rng = np.random.default_rng(seed)
    made = np.stack([rng.normal(m, s, (3, 16, 16)) for m, s in zip(MEAN, STD, strict=True)], 1)
    return made.astype(np.float32)


def test_like_the_training_is_silent():
    assert out_of_range(image(), MEAN, STD, ("red", "nir")) == []


def test_another_scale_is_told_with_its_numbers():
    wrong = image()
    wrong[:, 1] *= 1e4
    (told,) = out_of_range(wrong, MEAN, STD, ("red", "nir"))
    assert told.startswith("band nir has mean 1.99")
    assert "2 ± 0.5" in told
    assert "100%" in told


def test_many_pixels_beyond_though_the_mean_is_right():
    wide = image()
    wide[:, 0] = 100 + (wide[:, 0] - 100) * 5
    assert len(out_of_range(wide, MEAN, STD, ("red", "nir"))) == 1


def test_nodata_does_not_count_and_none_is_told():
    some = image()
    some[:, 0, 0] = np.nan
    assert out_of_range(some, MEAN, STD, ("red", "nir")) == []
    some[:, 0] = np.nan
    assert out_of_range(some, MEAN, STD, ("red", "nir")) == ["band red has no data"]


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(-8, 8), seed=st.integers(0, 99))
def test_the_bound_is_three_deviations_or_a_quarter_of_the_pixels(shift, seed):
    moved = image(seed)
    moved[:, 0] += np.float32(shift * 10)
    away = np.abs((moved[:, 0] - 100) / 10)
    expected = abs(((moved[:, 0] - 100) / 10).mean()) > 3 or (away > 3).mean() > 0.25
    assert bool(out_of_range(moved, MEAN, STD, ("red", "nir"))) == expected
