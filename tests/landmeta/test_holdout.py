"""Holding labelled places out of an adaptation."""

import numpy as np
import pytest
import torch

import landmeta.holdout as holdout
from landmeta.adaptation import Adaptation, adapt_params
from landmeta.checkpoint import load_checkpoint
from landmeta.forest import grow_on_tiles, over_tiles
from landmeta.groups import count_cells
from landmeta.holdout import search, ways
from landmeta.labelled import support_from_taskset
from landmeta.legend import IGNORE
from landmeta.meta.inner import Batch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def places(checkpoints, tiny):
    """Quarters of five tiles, each a group, most pixels of which are labelled."""
    loaded = load_checkpoint(checkpoints["pretrain"])
    tiles = support_from_taskset(checkpoints["pretrain"], tiny.folder, "t", 5, 0).tiles
    quarter = np.kron(np.arange(4).reshape(2, 2), np.ones((8, 8), int))
    groups = (4 * np.arange(5)[:, None, None] + quarter).astype(np.int32)
    keep = np.random.default_rng(0).random(groups.shape) < 0.8
    label = np.where(keep, tiles.label, np.uint8(IGNORE))
    groups = np.where(keep, groups, np.int32(-1))
    batch = Batch(torch.from_numpy(tiles.image), torch.from_numpy(label).long())
    return loaded, batch, groups, count_cells(groups, label, None, 16)


def find(places, tuned, label=None, **more):
    loaded, batch, groups, cells = places
    if label is not None:
        batch = Batch(batch.image, torch.from_numpy(label).long())
        cells = count_cells(groups, label, None, 16)
    return search(loaded.method, loaded.params, batch, groups, cells, tuned, 3, **more)


def test_nothing_of_a_judged_place_is_learned_from(places, monkeypatch):
    _, batch, groups, _ = places
    follow, seen = holdout._follow, []

    def watched(method, params, support, kept, held, tries, classes):
        seen.append((kept, held))
        yield from follow(method, params, support, kept, held, tries, classes)

    monkeypatch.setattr(holdout, "_follow", watched)
    found = find(places, Adaptation(rate=0.01, steps=1), fixed=True)
    assert len(seen) == found.parts * found.repeats
    for kept, held in seen:
        learned, judged = (np.unique(groups[x != IGNORE]) for x in (kept, held))
        assert not np.intersect1d(learned, judged).size
        for label in (kept, held):
            inside = label != IGNORE
            assert (label[inside] == batch.label.numpy()[inside]).all()
    together = np.concatenate([np.unique(groups[held != IGNORE]) for _, held in seen])
    assert len(together) == len(np.unique(together)) * found.repeats == found.groups


def test_the_figures_are_those_of_adapting_by_hand(places):
    loaded, batch, groups, cells = places
    tuned = Adaptation(optimizer="adam", rate=0.003, steps=3)
    found = find(places, tuned, fixed=True, forest=0.0)
    shares, trees = {}, []
    for part in holdout.deal(cells, holdout.PARTS, 0):
        out = torch.from_numpy(np.isin(groups, part))
        kept = Batch(batch.image, batch.label.masked_fill(out, IGNORE))
        phi = adapt_params(loaded.method, loaded.params, kept, tuned, 3)
        with torch.no_grad():
            right = loaded.method.logits(phi, batch.image).argmax(1) == batch.label
            forest = grow_on_tiles(batch.image.numpy(), kept.label.numpy().astype(np.uint8), 3)
            votes = over_tiles(forest, batch.image.numpy()).argmax(axis=1)
        for group in part:
            trees.append((votes == batch.label.numpy())[groups == group].mean())
            shares[group] = right[torch.from_numpy(groups == group)].double().mean().item()
    assert found.accuracy == pytest.approx(np.mean(list(shares.values())), abs=1e-6)
    alone = find(places, tuned, fixed=True, forest=1.0)
    assert alone.accuracy == pytest.approx(np.mean(trees), abs=1e-6)
    assert alone.network_alone == found.balanced
    assert alone.balanced == alone.forest_alone == found.forest_alone


def test_labels_without_meaning_are_not_predicted(places):
    """A class for each place at random: what is memorised says nothing of other places."""
    rng = np.random.default_rng(3)
    groups = places[2]
    label = np.where(groups < 0, IGNORE, rng.permutation(np.arange(20) % 3)[groups])
    tuned = Adaptation(optimizer="adam", rate=0.01, steps=15)
    found = find(places, tuned, label.astype(np.uint8), fixed=True)
    assert found.balanced < 0.6
    assert found.forest_alone < 0.6


def test_a_bad_way_is_left(places):
    awful = Adaptation(optimizer="sgd", rate=30.0, steps=4)
    found = find(places, awful)
    assert found.how_changed
    assert found.balanced > found.as_tuned + 0.1


def test_it_is_repeatable_and_tells_how_far_it_is(places):
    told = []
    tuned = Adaptation(rate=0.01, steps=1)
    first, again = find(places, tuned, progress=told.append), find(places, tuned)
    assert first.how == again.how
    assert first.temperature == again.temperature
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_the_first_way_is_the_tuned_one(places):
    method = places[0].method
    tuned = Adaptation(rate=0.01, steps=4, early_stopping=True)
    first, *others = ways(method, tuned, fixed=False)
    assert first == (Adaptation(rate=0.01, steps=4), [4])
    assert others
    assert ways(method, tuned, fixed=True) == [first]


def test_too_few_places(places):
    label = np.where(places[2] < 3, places[1].label.numpy(), IGNORE).astype(np.uint8)
    assert find(places, Adaptation(rate=0.01, steps=1), label) is None
    one_class = np.where(places[2] < 0, IGNORE, 1).astype(np.uint8)
    assert find(places, Adaptation(rate=0.01, steps=1), one_class) is None
