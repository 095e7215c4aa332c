"""Reptile: which tiles its steps see, where it goes, and the whole way through the program."""

import pytest
import torch

from landmeta.meta.inner import inner_loop
from tests.landmeta.methods.episodes import small_episode, small_method
from tests.whole import check_whole_way


def test_all_tiles_each_step_is_the_plain_inner_loop():
    method, theta = small_method("reptile", reptile={"share": 1.0})
    episode = small_episode()
    _, found = method.meta_gradient(theta, episode, 0.0)
    (batch, *_) = method.step_batches(episode, 3)
    assert len(batch.image) == 4
    end = inner_loop(method.loss, theta, batch, steps=3, rate=0.05)
    for name, p in theta.items():
        torch.testing.assert_close(found[name], (p.detach() - end[name]) / (3 * 0.05))


def test_each_step_sees_another_half_the_same_ones_again_with_the_seed():
    method, theta = small_method("reptile")
    batches = method.step_batches(small_episode(), 8)
    assert {len(b.image) for b in batches} == {2}
    assert len({float(b.image.sum()) for b in batches}) > 2
    _, first = method.meta_gradient(theta, small_episode(), 0.0)
    _, again = method.meta_gradient(theta, small_episode(), 0.5)
    assert all(torch.equal(first[k], again[k]) for k in theta)


def test_whole_way(tiny, tmp_path):
    check_whole_way(tiny, tmp_path, "reptile")


@pytest.mark.parametrize("pixels", [None, 7])
def test_pixels_of_each_step(pixels):
    method, _ = small_method("reptile", inner={"pixels": pixels})
    for batch in method.step_batches(small_episode(), 3):
        assert int((batch.label != 255).sum()) == (pixels or 2 * 13 * 16)
