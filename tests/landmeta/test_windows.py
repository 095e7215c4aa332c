import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmeta.windows import Strip, cut, pad_by_mirror

sizes = st.tuples(st.integers(1, 60), st.integers(1, 24)).flatmap(
    lambda s: st.tuples(st.just(s[0]), st.just(s[1]), st.integers(0, s[1] - 1))
)


@given(sizes)
def test_windows_cover_every_pixel_with_shares_that_sum_to_one(size):
    length, tile, overlap = size
    axis = cut(length, tile, overlap)
    total = np.zeros(length)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        assert (weights[: axis.span] > 0).all()
        total[start : start + axis.span] += weights[: axis.span]
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert axis.starts[0] == 0
    assert axis.starts[-1] + axis.span == length


@given(sizes)
def test_neighbours_overlap_at_least_as_asked(size):
    length, tile, overlap = size
    starts = np.array(cut(length, tile, overlap).starts)
    assert (np.diff(starts) >= 1).all()
    assert (np.diff(starts) <= tile - overlap).all()


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_impossible_overlap(overlap):
    with pytest.raises(ValueError, match="overlap"):
        cut(100, 8, overlap)


def blend(rows, cols, values, order=lambda windows: windows):
    """Run the strip over all windows; `values(r, c)` gives (channel, tile, tile)."""
    channels = values(0, 0).shape[0]
    strip = Strip(rows, cols, channels)
    parts = []
    for row in range(len(rows)):
        for col in order(range(len(cols))):
            strip.add(col, values(row, col))
        parts.append(strip.finished())
    return np.concatenate(parts, axis=1)


@given(sizes, st.integers(1, 60), st.floats(0, 1, width=32))
def test_constant_in_constant_out(down, width, value):
    length, tile, overlap = down
    rows, cols = cut(length, tile, overlap), cut(width, tile, overlap)
    out = blend(rows, cols, lambda r, c: np.full((2, rows.tile, cols.tile), value, np.float32))
    assert out.shape == (2, rows.length, cols.length)
    np.testing.assert_allclose(out, value, atol=2e-6)


@given(sizes, st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_equals_a_weighted_mean_over_the_whole_raster(down, width, seed):
    length, tile, overlap = down
    rows, cols = cut(length, tile, overlap), cut(width, tile, overlap)
    rng = np.random.default_rng(seed)
    tiles = rng.random((len(rows), len(cols), 3, tile, tile), np.float32)
    # The whole raster in float64, with a weight plane: what the strip does without.
    ramp = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    weight = np.outer(ramp, ramp)[: rows.span, : cols.span]
    sums, weights = np.zeros((3, length, width)), np.zeros((length, width))
    for r, top in enumerate(rows.starts):
        for c, left in enumerate(cols.starts):
            window = np.s_[top : top + rows.span, left : left + cols.span]
            sums[:, *window] += tiles[r, c, :, : rows.span, : cols.span] * weight
            weights[window] += weight
    out = blend(rows, cols, lambda r, c: tiles[r, c])
    np.testing.assert_allclose(out, sums / weights, atol=2e-5)
    backwards = blend(rows, cols, lambda r, c: tiles[r, c], lambda w: reversed(list(w)))
    np.testing.assert_allclose(backwards, out, atol=1e-6)


def test_no_seams():
    # Windows that disagree as much as can be: 0 and 1 in turn.
    rows, cols = cut(300, 64, 32), cut(280, 64, 32)
    out = blend(rows, cols, lambda r, c: np.full((1, 64, 64), (r + c) % 2, np.float32))[0]
    assert out.max() - out.min() > 0.9
    step = max(np.abs(np.diff(out, axis=0)).max(), np.abs(np.diff(out, axis=1)).max())
    assert step < 0.1  # a straight ramp over 32 pixels rises by 1/32, a seam by 1


def test_one_window_alone_counts_in_full_on_the_outer_ring():
    axis = cut(100, 32, 8)
    assert axis.weights[0, 0] == 1
    assert axis.weights[-1, -1] == 1


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 3, 9), (2, 8, 5), (1, 8, 8), (1, 9, 10)])
def test_pad_by_mirror(shape):
    pixels = np.arange(np.prod(shape)).reshape(shape)
    padded = pad_by_mirror(pixels, 8)
    assert padded.shape == (shape[0], max(8, shape[1]), max(8, shape[2]))
    np.testing.assert_array_equal(padded[:, : shape[1], : shape[2]], pixels)
    assert set(padded.ravel()) == set(pixels.ravel())
    if shape[1] < 8:  # the row after the last is the last again
        np.testing.assert_array_equal(padded[:, shape[1]], padded[:, shape[1] - 1])
