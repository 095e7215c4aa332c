"""Episodes: disjoint, seeded, random-access, without overlapping neighbours."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from landmeta.episodes import EpisodeSampler, dihedral
from landmeta.errors import EmptyRegion, TooFewTiles
from landmeta.taskset import Tiles
from tests.tiny import tiny_taskset


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 10**6), seed=st.integers(0, 100), shots=st.integers(1, 4))
def test_support_and_query_are_disjoint_tiles_of_one_task(tiny, number, seed, shots):
    sampler = EpisodeSampler(tiny, "train", shots=shots, queries=3, seed=seed)
    episode = sampler.episode(number)
    assert len(episode.support) == shots
    assert len(episode.query) == 3
    assert not set(episode.support) & set(episode.query)
    everything = np.concatenate([episode.support, episode.query])
    assert set(tiny.table["task"].iloc[everything]) == {episode.task}
    assert episode.task in tiny.tasks("train")


def test_episode_number_i_is_the_same_whatever_was_drawn_before(tiny):
    first, second = (EpisodeSampler(tiny, "train", shots=2, queries=2, seed=7) for _ in range(2))
    for i in range(20):
        first.episode(i)
    late, direct = first.episode(20), second.episode(20)
    assert late.task == direct.task
    assert np.array_equal(late.support, direct.support)
    assert np.array_equal(late.query, direct.query)


def test_all_tasks_get_drawn(tiny):
    sampler = EpisodeSampler(tiny, "train", shots=1, queries=1, seed=0)
    assert {sampler.episode(i).task for i in range(60)} == set(tiny.tasks("train"))


def test_query_never_overlaps_support_on_the_ground(tmp_path):
    overlapping = tiny_taskset(tmp_path / "overlapping", tiles=12, overlap=True)
    sampler = EpisodeSampler(overlapping, "train", shots=2, queries=12, seed=0)
    bounds = np.stack(overlapping.table["native_bounds"].to_numpy())
    seen_all = True
    for i in range(30):
        episode = sampler.episode(i)
        for s in episode.support:
            for q in episode.query:
                assert box(*bounds[s]).intersection(box(*bounds[q])).area == 0
        seen_all &= len(episode.query) == 10
    assert not seen_all, "some neighbours must have been left out"


def test_too_few_tiles_and_empty_split_are_explained(tiny):
    with pytest.raises(TooFewTiles, match="8 tiles, but 9"):
        EpisodeSampler(tiny, "train", shots=8, queries=1, seed=0)
    tiny_without = EpisodeSampler(tiny, "test", shots=1, queries=1, seed=0)
    assert tiny_without.tasks == ["t", "u"]
    with pytest.raises(EmptyRegion, match="no task 'nowhere'"):
        tiny.tile_ids("nowhere")


@given(seed=st.integers(0, 10_000))
def test_turning_keeps_image_and_label_together(seed):
    label = np.arange(36, dtype=np.uint8).reshape(1, 6, 6)
    tiles = Tiles(np.stack([label, label + 100], axis=1).astype(np.float32), label)
    turned = dihedral(tiles, np.random.default_rng(seed))
    assert np.array_equal(turned.image[:, 0], turned.label)
    assert np.array_equal(turned.image[:, 1], turned.label + 100)
    assert np.array_equal(np.sort(turned.label.ravel()), label.ravel())
