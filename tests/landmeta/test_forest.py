"""The forest that is kept in arrays against scikit-learn's own, and its features against loops."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.ensemble import RandomForestClassifier

import landmeta.forest as forests
from landmeta.forest import (
    PixelForest,
    features_at,
    grow,
    grow_on_tiles,
    mixed,
    over_tiles,
    pixel_features,
    some_pixels,
)
from landmeta.legend import IGNORE
from tests.colours import CLASSES, world


def test_features_are_bands_and_local_mean_and_deviation():
    image = world(0, missing=0.2).image
    image[0, 1] = np.nan
    found = pixel_features(image)
    np.testing.assert_array_equal(found[:, :3], image)
    tiles, bands, rows, cols = image.shape
    for t, b, r, c in np.random.default_rng(0).integers(0, [tiles, bands, rows, cols], (60, 4)):
        window = image[t, b, max(0, r - 2) : r + 3, max(0, c - 2) : c + 3]
        known = window[np.isfinite(window)].astype(np.float64)
        mean, std = (known.mean(), known.std()) if len(known) else (np.nan, np.nan)
        assert found[t, 3 + b, r, c] == pytest.approx(mean, rel=1e-5, nan_ok=True)
        assert found[t, 6 + b, r, c] == pytest.approx(std, rel=1e-4, abs=1e-3, nan_ok=True)


def pixels(tiles):
    flat = pixel_features(tiles.image).transpose(0, 2, 3, 1).reshape(tiles.label.size, -1)
    return flat, tiles.label.ravel()


@pytest.mark.parametrize(("learned", "asked"), [(0.0, 0.0), (0.15, 0.15), (0.0, 0.3)])
def test_it_votes_as_scikit_learn_does(learned, asked):
    """Also of missing values, whether or not there were any to learn from."""
    features, label = pixels(world(0, missing=learned))
    other, _ = pixels(world(1, missing=asked))
    theirs = RandomForestClassifier(forests.TREES, random_state=5).fit(features, label)
    ours = grow(features, label, CLASSES, seed=5)
    expected = np.zeros((len(other), CLASSES))
    expected[:, theirs.classes_] = theirs.predict_proba(other)
    np.testing.assert_allclose(ours.shares(other), expected, atol=1e-6)
    assert ours.sizes.sum() == sum(tree.tree_.node_count for tree in theirs.estimators_)


def test_other_features_are_refused():
    features, label = pixels(world(0))
    with pytest.raises(ValueError, match="8 features for a forest of 9"):
        grow(features, label, CLASSES).shares(features[:, :8])


def test_a_vote_for_each_class_on_top():
    features, label = pixels(world(0))
    forest = grow(features, label, CLASSES)
    found = forest.probabilities(features)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found[:, 2], 1 / (forests.TREES + CLASSES))
    assert (found.argmax(axis=1) == forest.shares(features).argmax(axis=1)).all()


def test_it_comes_back_from_a_file_as_it_was(tmp_path):
    tiles, other = world(0, missing=0.1), world(1, missing=0.1).image
    forest = grow_on_tiles(tiles.image, tiles.label, CLASSES, seed=1)
    save_file(forest.tensors() | {"other": torch.zeros(1)}, tmp_path / "f.safetensors")
    again = PixelForest.of(load_file(tmp_path / "f.safetensors"))
    np.testing.assert_array_equal(over_tiles(again, other), over_tiles(forest, other))
    assert PixelForest.of({"other": torch.zeros(1)}) is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("left_child", lambda x: x.fill_(0)),  # round and round
        ("right_child", lambda x: x[0].fill_(10**6)),
        ("right_child", lambda x: x[0].fill_(-1)),
        ("left_child", lambda x: x[0].fill_(-2)),
        ("feature", lambda x: x[0].fill_(9)),
        ("sizes", lambda x: x[0].sub_(1)),
        ("sizes", lambda x: x[:2].copy_(torch.stack([x[0] + x[1], x[0] - x[0]]))),
        ("values", None),
        ("feature", None),
    ],
)
def test_a_damaged_forest_is_not_walked_in(name, change):
    tiles = world(0)
    tensors = grow_on_tiles(tiles.image, tiles.label, CLASSES).tensors()
    PixelForest.of(tensors)
    if change is not None:
        change(tensors[f"forest.{name}"])
    elif name == "values":
        tensors["forest.values"] = tensors["forest.values"][:-1]
    else:
        del tensors["forest.feature"]
    with pytest.raises(ValueError, match=r"nodes do not agree|leads nowhere|lacks feature"):
        PixelForest.of(tensors)


def test_threads_change_nothing():
    features, label = pixels(world(0))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(grow(features, label, CLASSES).shares(features))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_features_of_some_pixels_are_those_of_all():
    tiles = world(0, tiles=4, missing=0.1)
    everything, _ = pixels(tiles)
    places = np.sort(np.random.default_rng(0).choice(tiles.label.size, 50, replace=False))
    np.testing.assert_array_equal(features_at(tiles.image, places), everything[places])
    assert features_at(tiles.image, places[:0]).shape == (0, 9)


def test_of_very_many_pixels_some_are_drawn_and_rare_classes_kept(monkeypatch):
    monkeypatch.setattr(forests, "MOST_PIXELS", 500)
    monkeypatch.setattr(forests, "FEWEST_PIXELS", 20)
    label = np.random.default_rng(0).choice(3, (4, 50, 50), p=[0.7, 0.298, 0.002]).astype(np.uint8)
    label[0] = IGNORE
    places = some_pixels(label, seed=0)
    drawn = np.bincount(label.ravel()[places], minlength=3)
    assert 500 <= len(places) <= 520
    assert drawn[2] == min(20, (label == 2).sum())
    assert drawn[0] / drawn[1] == pytest.approx(0.7 / 0.298, rel=0.25)
    assert (label.ravel()[places] != IGNORE).all()
    assert (np.diff(places) > 0).all()
    assert not np.array_equal(places, some_pixels(label, seed=1))
    monkeypatch.undo()
    assert len(some_pixels(label, seed=0)) == (label != IGNORE).sum()


def test_the_pool_is_between_the_two():
    network, forest = np.array([[0.9, 0.1]]), np.array([[0.2, 0.8]])
    np.testing.assert_allclose(mixed(network, forest, 0.25), [[0.725, 0.275]])
