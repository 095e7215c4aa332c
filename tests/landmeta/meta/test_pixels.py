"""The draw of labelled pixels: fair, repeatable, and blind to what is not labelled."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landmeta.meta.pixels import draw_pixels, fair_quota, no_pixels, with_one


def _support(tiles=3, side=16, features=5, classes=4):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(tiles, features, side, side, generator=generator, dtype=torch.float64)
    label = torch.randint(0, classes, (tiles, side, side), generator=generator)
    label[label == 2] = torch.where(torch.rand((label == 2).sum()) < 0.05, 2, 0)  # a rare class
    label[:, :5] = 255
    return features, label


def test_all_labelled_pixels_in_their_order():
    features, label = _support()
    found = draw_pixels(features, label, 10_000)
    rows = [
        (features[t, :, r, c], int(label[t, r, c]))
        for t, r, c in np.ndindex(*label.shape)
        if label[t, r, c] != 255
    ]
    assert torch.equal(found.feature, torch.stack([x for x, _ in rows]))
    assert found.label.tolist() == [y for _, y in rows]
    assert torch.equal(found.weight, torch.ones(len(rows), dtype=torch.float64))


def test_what_is_not_labelled_changes_nothing():
    features, label = _support()
    other = features.clone()
    other[:, :, :5] = torch.nan
    for most in (10_000, 50):
        first, second = (draw_pixels(f, label, most, 0.5) for f in (features, other))
        assert torch.equal(first.feature, second.feature)
        assert torch.equal(first.label, second.label)
        assert torch.equal(first.weight, second.weight)
    nothing = draw_pixels(features, torch.full_like(label, 255), 50, 0.5)
    assert nothing.feature.shape == no_pixels(5, features).feature.shape == (0, 5)


def test_a_draw_is_fair_and_stands_for_all():
    features, label = _support()
    whole = draw_pixels(features, label, 10_000).label.bincount()
    found = draw_pixels(features, label, 50)
    counts = found.label.bincount()
    assert counts[2] == whole[2] < 12  # all of the rare class
    assert counts.sum() <= 50 < counts.sum() + len(counts)
    assert counts.max() - counts[counts != counts[2]].min() == 0
    stands_for = torch.zeros(4, dtype=torch.float64).index_add(0, found.label, found.weight)
    torch.testing.assert_close(stands_for, whole.double())
    again = draw_pixels(features, label, 50)
    assert torch.equal(found.feature, again.feature)


def test_a_draw_is_spread_over_the_tiles():
    features, label = torch.zeros(4, 1, 32, 32), torch.zeros(4, 32, 32, dtype=torch.int64)
    features += torch.arange(4)[:, None, None, None]
    drawn = draw_pixels(features, label, 400).feature[:, 0]
    counts = drawn.long().bincount()
    assert counts.sum() == 400
    assert abs(counts - 100).max() <= 3


def test_a_draw_does_not_depend_on_which_class_has_which_number():
    features, label = _support()
    order = torch.tensor([2, 0, 3, 1])
    renamed = torch.where(label == 255, 255, order[label.clamp(max=3)])
    first, second = draw_pixels(features, label, 50, 0.5), draw_pixels(features, renamed, 50, 0.5)
    assert torch.equal(first.feature, second.feature)
    assert torch.equal(order[first.label], second.label)
    torch.testing.assert_close(first.weight, second.weight)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_balance_makes_up_for_rare_classes(balance):
    features, label = _support()
    counts = draw_pixels(features, label, 10_000).label.bincount().double()
    found = draw_pixels(features, label, 10_000, balance)
    of_class = torch.zeros(4, dtype=torch.float64).index_add(0, found.label, found.weight)
    expected = counts ** (1 - balance)
    torch.testing.assert_close(of_class, expected * counts.sum() / expected.sum())


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=6), most=st.integers(1, 60))
def test_quota_is_the_largest_that_fits(counts, most):
    if sum(counts) <= most:
        return
    quota = fair_quota(counts, most)

    def kept(q):
        return sum(min(c, q) for c in counts)

    assert quota == 1 or kept(quota) <= most
    assert kept(quota + 1) > most


def test_column_of_ones():
    assert with_one(torch.zeros(2, 1)).tolist() == [[0, 1], [0, 1]]
