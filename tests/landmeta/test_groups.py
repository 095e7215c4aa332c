"""Groups of labelled pixels, and how they are dealt into parts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from landmeta.groups import by_tile, connected, count_cells, deal, merged, without


def random_label(seed, shape, share):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, shape).astype(np.uint8)
    label[rng.random(shape) >= share] = 255
    return label


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_connected_is_scipys_labelling_where_it_is_small(seed, share):
    label = random_label(seed, (14, 17), share)
    expected, _ = ndimage.label(label != 255, structure=np.ones((3, 3)))
    np.testing.assert_array_equal(connected(label, 100), expected - 1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.3, 0.5, 1.0]), size=st.integers(3, 20))
def test_large_ones_are_parted_at_a_grid_and_small_ones_never(seed, share, size):
    label = random_label(seed, (25, 30), share)
    whole, parted = connected(label, 100), connected(label, size)
    np.testing.assert_array_equal(parted >= 0, label != 255)
    for number in np.unique(whole[whole >= 0]):
        rows, cols = np.nonzero(whole == number)
        parts = parted[rows, cols]
        if max(np.ptp(rows), np.ptp(cols)) < size:
            assert len(set(parts)) == 1
        else:
            cells = {(r // size, c // size, p) for r, c, p in zip(rows, cols, parts, strict=True)}
            assert len(cells) == len({c[:2] for c in cells}) == len(set(parts))
        assert not np.isin(parts, parted[whole != number]).any()


def test_merged_is_the_finest_that_both_refine():
    first, second = np.array([0, 0, 1, 2, 3]), np.array([5, 1, 1, 2, 2])
    found = merged([first, second])
    assert found[0] == found[1] == found[2] != found[3] == found[4]
    assert len(np.unique(merged([first]))) == 4


def cells_of(seed, groups=12, size=8, corners=None):
    rng = np.random.default_rng(seed)
    number = np.full((4, size, size), -1, np.int32)
    label = np.full((4, size, size), 255, np.uint8)
    for group in range(groups):
        tile, row, col = rng.integers(4), rng.integers(size), rng.integers(size)
        number[tile, row, col : col + 3] = group
        label[tile, row, col : col + 3] = rng.integers(3)
    return count_cells(number, label, corners, size), number, label


def test_cells_count_pixels():
    cells, number, label = cells_of(3)
    for group, index, pixels in zip(cells.group, cells.label, cells.pixels, strict=True):
        assert pixels == ((number == group) & (label == index)).sum() > 0
    assert cells.pixels.sum() == (label != 255).sum()
    assert (cells.block == cells.group).all()


def test_blocks_are_squares_of_ground():
    label = np.zeros((3, 4, 4), np.uint8)
    number = np.arange(48, dtype=np.int32).reshape(3, 4, 4)
    corners = np.array([[0, 0, 0], [0, 0, 4], [1, 0, 0]])
    cells = count_cells(number, label, corners, 4)
    block = cells.block[np.argsort(cells.group)].reshape(3, 16)
    assert (block == block[:, :1]).all()
    assert len(set(block[:, 0].tolist())) == 3
    assert len(set(count_cells(number, label, corners, 2).block.tolist())) == 12


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), groups=st.integers(1, 25), count=st.integers(2, 6))
def test_parts_are_disjoint_and_leave_every_class_to_learn_from(seed, groups, count):
    cells, number, label = cells_of(seed, groups)
    parts = deal(cells, count, seed)
    together = np.concatenate([*parts, []])
    assert len(together) == len(set(together.tolist()))
    for part in parts:
        kept, held = without(label, number, part)
        assert set(np.unique(kept[kept != 255])) == set(np.unique(label[label != 255]))
        assert ((kept != 255) ^ (held != 255) == (label != 255)).all()
    often = {c for c, n in cells.groups_of().items() if n > 1}
    if often and len(np.unique(cells.group)) > count:
        assert len(together)  # something can be judged


def test_classes_are_dealt_evenly():
    label = np.repeat(np.arange(3, dtype=np.uint8), 10)[None, None]
    cells = count_cells(np.arange(30, dtype=np.int32)[None, None], label, None, 8)
    for part in deal(cells, 5, 0):
        assert np.bincount(label[0, 0, part], minlength=3).tolist() == [2, 2, 2]


def test_blocks_stay_together_where_there_are_enough():
    label = np.zeros((1, 40, 40), np.uint8)
    label[:, :, ::3] = 1
    number = np.arange(1600, dtype=np.int32).reshape(1, 40, 40)
    cells = count_cells(number, label, np.zeros((1, 3), np.int64), 5)
    block = dict(zip(cells.group.tolist(), cells.block.tolist(), strict=True))
    parts = deal(cells, 5, 0)
    for part in parts:
        own = {block[g] for g in part.tolist()}
        others = {block[g] for p in parts if p is not part for g in p.tolist()}
        assert not own & others


def test_a_tile_is_a_group():
    label = random_label(0, (3, 4, 4), 0.5)
    groups = by_tile(label)
    assert ((groups == -1) == (label == 255)).all()
    assert [set(g[g >= 0].tolist()) for g in groups] == [{0}, {1}, {2}]
