"""Baselines against plain loops and by what they must be able to do."""

import numpy as np
import pytest

from landmeta.baselines import (
    NearestPrototype,
    RandomForest,
    fit_baseline,
)
from landmeta.taskset import Tiles
from tests.colours import CLASSES, world


@pytest.mark.parametrize("name", ["random_forest", "nearest_prototype"])
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_they_learn_colours_and_give_probabilities(name, missing):
    support, query = world(0, missing=missing), world(1, missing=missing)
    model = fit_baseline(name, support, CLASSES, seed=0)
    found = model.probabilities(query.image)
    assert found.shape == (3, CLASSES, 12, 12)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert (found[:, 2] == 0).all()  # never seen
    assert (found.argmax(axis=1) == query.label).mean() > 0.85
    assert model.parameters() > 0


@pytest.mark.parametrize("name", ["random_forest", "nearest_prototype"])
def test_pixels_without_labels_teach_nothing(name):
    support, query = world(0), world(1)
    label = support.label.copy()
    label[0] = 255
    before = fit_baseline(name, Tiles(support.image, label), CLASSES, seed=0)
    image = support.image.copy()
    image[0] = 1e4
    after = fit_baseline(name, Tiles(image, label), CLASSES, seed=0)
    np.testing.assert_array_equal(
        before.probabilities(query.image), after.probabilities(query.image)
    )


@pytest.mark.parametrize("name", ["random_forest", "nearest_prototype"])
def test_same_seed_same_map(name):
    first, second = (fit_baseline(name, world(0), CLASSES, seed=3) for _ in range(2))
    image = world(1).image
    np.testing.assert_array_equal(first.probabilities(image), second.probabilities(image))


def test_nearest_prototype_is_that_of_a_plain_loop():
    support, query = world(2), world(3)
    model = NearestPrototype(CLASSES)
    model.fit(support)
    found = model.probabilities(query.image)
    pixels = support.image.transpose(0, 2, 3, 1).reshape(-1, 3).astype(np.float64)
    labels = support.label.ravel()
    mean, std = pixels.mean(axis=0), pixels.std(axis=0)
    for t, r, c in [(0, 0, 0), (1, 5, 7), (2, 11, 3)]:
        pixel = (query.image[t, :, r, c] - mean) / std
        weights = np.zeros(CLASSES)
        for k in np.unique(labels):
            prototype = ((pixels[labels == k] - mean) / std).mean(axis=0)
            weights[k] = np.exp(-0.5 * ((pixel - prototype) ** 2).sum())
        np.testing.assert_allclose(found[t, :, r, c], weights / weights.sum(), atol=1e-5)
    assert model.parameters() == 3 * 3


def test_permuted_classes_permute_the_forest_no_more_than_its_trees():
    support, query = world(0), world(1)
    order = np.array([3, 2, 1, 0])
    straight = RandomForest(CLASSES)
    straight.fit(support)
    turned = RandomForest(CLASSES)
    turned.fit(Tiles(support.image, order[support.label].astype(np.uint8)))
    same = straight.probabilities(query.image).argmax(1)
    other = turned.probabilities(query.image).argmax(1)
    assert (order[same] == other).mean() > 0.97


def test_a_constant_band_and_a_single_class_do_no_harm():
    support = world(0)
    image = support.image.copy()
    image[:, 1] = 7.0
    only = Tiles(image, np.full_like(support.label, 1))
    for name in ("random_forest", "nearest_prototype"):
        found = fit_baseline(name, only, CLASSES, seed=0).probabilities(image)
        assert (found[:, 1] == 1).all()
