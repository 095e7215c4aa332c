"""Legends of episodes: what may become of labels, and that draws repeat."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmeta import distributed, learners
from landmeta.config import RelabelConfig
from landmeta.episodes import EpisodeTiles
from landmeta.learners import MetaLearner
from landmeta.legend import IGNORE
from landmeta.methods import METHODS, make_method
from landmeta.relabel import draw_legend, numbering, present, with_legend
from landmeta.taskset import Tiles
from tests.prototypes import Prototypes
from tests.tiny import tiny_config

CLASSES = 9


@pytest.fixture
def prototypes(monkeypatch):
    monkeypatch.setitem(METHODS, "anil", Prototypes)
    return "anil"


@st.composite
def settings_of_draws(draw):
    fewest = draw(st.integers(1, 4))
    most = draw(st.none() | st.integers(fewest, 6))
    chance = st.floats(0, 1)
    return RelabelConfig(drop=draw(chance), merge=draw(chance), min_ways=fewest, max_ways=most)


labels = st.lists(st.sampled_from([*range(CLASSES), IGNORE]), min_size=4, max_size=4).map(
    lambda values: np.array(values, np.uint8).reshape(1, 2, 2)
)


def tiles(label):
    return Tiles(np.zeros((len(label), 1, *label.shape[1:]), np.float32), label)


@given(support=labels, query=labels, how=settings_of_draws(), seed=st.integers(0, 1000))
def test_an_episode_has_the_classes_of_its_support_or_fewer(support, query, how, seed):
    found = with_legend(tiles(support), tiles(query), CLASSES, how, [seed])
    there = set(present(support).tolist())
    ways = set(present(found.support.label).tolist())
    assert ways == set(range(found.classes)) or (not there and not ways and found.classes == 1)
    assert set(present(found.query.label).tolist()) <= ways
    assert len(ways) >= min(len(there), how.min_ways)
    assert len(ways) <= min(len(there), how.max_ways or CLASSES)
    # One table for both: what was one class stays one, and what was not labelled stays so.
    before = np.concatenate([support.ravel(), query.ravel()])
    after = np.concatenate([found.support.label.ravel(), found.query.label.ravel()])
    for value in np.unique(before):
        assert len(set(after[before == value].tolist())) == 1
    assert (after[before == IGNORE] == IGNORE).all()
    unseen = ~np.isin(query, support)
    assert (found.query.label[unseen] == IGNORE).all()


@given(classes=st.sets(st.integers(0, 254), min_size=1), seed=st.integers(0, 1000))
def test_without_chances_classes_are_permuted_only(classes, seed):
    how = RelabelConfig(drop=0, merge=0)
    given_classes = np.array(sorted(classes), np.uint8)
    table, ways = draw_legend(given_classes, how, np.random.default_rng(seed))
    assert ways == len(classes)
    assert sorted(table[given_classes].tolist()) == list(range(ways))
    assert (np.delete(table, given_classes) == IGNORE).all()


def test_every_thing_that_can_happen_to_a_class_happens_as_often_as_is_said():
    how = RelabelConfig(drop=0.25, merge=0.5, min_ways=1)
    classes = np.arange(8, dtype=np.uint8)
    tables, ways = zip(
        *(draw_legend(classes, how, np.random.default_rng(i)) for i in range(2000)), strict=True
    )
    numbers = np.stack(tables)[:, :8]
    dropped = (numbers == IGNORE).mean(axis=0)
    np.testing.assert_allclose(dropped, 0.25, atol=0.03)
    assert np.mean(ways) == pytest.approx(8 * 0.75 * 0.5, rel=0.03)
    # Each class gets each of the numbers, and each two are made one now and then.
    for a in range(8):
        assert set(numbers[:, a].tolist()) >= set(range(6))
        for b in range(a):
            one = (numbers[:, a] == numbers[:, b]) & (numbers[:, a] != IGNORE)
            assert 0.05 < one.mean() < 0.3


def test_numbering_is_undone_by_looking_up():
    classes = np.array([2, 5, 7], np.uint8)
    assert np.array_equal(classes[numbering(classes)[classes]], classes)


def test_a_fixed_legend_is_left_alone(tiny):
    both = tiny.read([0]), tiny.read([1])
    found = with_legend(*both, 3, None, [0])
    assert found == EpisodeTiles(*both, 3)


def _learner(tiny, tmp_path, **more):
    config = tiny_config(tiny, tmp_path, "anil", legend="open", **more)
    method = make_method(config.settings(), config.model, 3, 3)
    return MetaLearner(config, tiny, method, None)


def _labels(work):
    return [(w.classes, w.support.label.tobytes(), w.query.label.tobytes()) for w in work]


def test_an_episode_is_relabelled_by_its_number_alone(tiny, tmp_path, prototypes, monkeypatch):
    more = {"episodes": {"shots": 2, "queries": 2, "tasks": 4}}
    learner, later = _learner(tiny, tmp_path, **more), _learner(tiny, tmp_path, **more)
    keys = []

    def noting(*arguments):
        keys.append(tuple(arguments[-1]))
        return with_legend(*arguments)

    monkeypatch.setattr(learners, "with_legend", noting)
    whole = [_labels(learner.load(step)) for step in range(4)]
    assert len(set(keys)) == 16  # a draw of its own for each episode
    assert _labels(later.load(3)) == whole[3]  # as a resumed run does
    assert len({classes for work in whole for classes, *_ in work}) > 1
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "own", lambda items, rank=rank: items[rank::2])
        shares.append(_labels(later.load(3)))
    assert [*shares[0], *shares[1]] == [*whole[3][::2], *whole[3][1::2]]


def test_labels_move_with_their_pixels(tiny, tmp_path, prototypes):
    """In the tiny world the brightest band says the class: one band, one number."""
    learner = _learner(tiny, tmp_path)
    for number in range(6):
        (work,) = learner.load(number)
        for part in (work.support, work.query):
            brightest = part.image.argmax(axis=1)
            for band in range(3):
                numbers, counts = np.unique(part.label[brightest == band], return_counts=True)
                if len(numbers):
                    assert counts.max() / counts.sum() > 0.9


def test_bounds_out_of_order_are_refused():
    with pytest.raises(ValueError, match="max_ways 2 is below min_ways 3"):
        RelabelConfig(min_ways=3, max_ways=2)
