"""Distances to what was labelled: against scipy and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from landmeta.checkpoint import load_checkpoint
from landmeta.groups import by_tile
from landmeta.labelled import support_from_taskset
from landmeta.losses import to_batch
from landmeta.novelty import Novelty, fit_novelty, novelty_of


def two_classes(seed=0, count=400, features=6):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    spread = rng.normal(0, 1, (features, features))
    values = rng.normal(0, 1, (count, features)) @ spread + 8 * label[:, None]
    return values, label, np.arange(count) // 10


def test_the_distance_is_mahalanobis_with_the_shrunk_covariance():
    values, label, group = two_classes()
    made = fit_novelty(values, label, group)
    centres = np.stack([values[label == i].mean(axis=0) for i in range(2)])
    scale = values.std(axis=0)
    whole = LedoitWolf(assume_centered=True).fit((values - centres[label]) / scale)
    expected = cdist(values / scale, centres / scale, "mahalanobis", VI=whole.precision_).min(1)
    found = made.distance(values.T.reshape(6, 20, 20)).ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_threshold_is_the_quantile_of_labelled_places_that_are_left_out():
    values, label, group = two_classes(1, 4000)
    made = fit_novelty(values, label, group)
    fresh, _, _ = two_classes(1, 4000)
    assert 0.005 < (made.distance(fresh.T) > made.threshold).mean() < 0.02
    assert (made.distance(fresh.T + 100) > made.threshold).all()


def test_a_threshold_from_other_groups_is_higher_than_from_ones_own():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(8), 50)
    values = rng.normal(0, 3, (8, 5))[group] + rng.normal(0, 0.3, (400, 5))
    label = np.zeros(400, int)
    honest, own = fit_novelty(values, label, group), fit_novelty(values, label, 0 * group)
    assert honest.threshold > own.threshold


def test_scale_of_a_feature_does_not_matter_and_constant_ones_are_harmless():
    values, label, group = two_classes()
    factors = np.array([1e3, 1, 1e-3, 1, 1, 1])
    plain = fit_novelty(values, label, group).distance(values.T)
    scaled = fit_novelty(values * factors, label, group).distance((values * factors).T)
    np.testing.assert_allclose(scaled, plain, rtol=1e-5)
    dull = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    assert np.isfinite(fit_novelty(dull, label, group).distance(dull.T)).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_pixels(count):
    made = fit_novelty(np.ones((count, 4)), np.zeros(count, int), np.arange(count))
    assert np.isfinite(made.distance(np.zeros((4, 2, 3)))).all()
    assert made.distance(np.zeros((4, 2, 3))).shape == (2, 3)


def test_of_a_network_and_back_from_its_file(checkpoints, tiny):
    loaded = load_checkpoint(checkpoints["pretrain"])
    support = support_from_taskset(checkpoints["pretrain"], tiny.folder, "t", 3, 0)
    batch = to_batch(support.tiles, torch.device("cpu"))
    made = novelty_of(loaded.method, loaded.params, batch, by_tile(support.tiles.label))
    again = Novelty.of(made.tensors())
    with torch.no_grad():
        features = loaded.method.features(loaded.params, batch.image).numpy()
    inside = np.stack([made.distance(f) for f in features])
    assert (inside <= made.threshold).mean() > 0.9
    np.testing.assert_allclose(inside[0], again.distance(features[0]))
    with torch.no_grad():
        strange = loaded.method.features(loaded.params, batch.image * -3).numpy()
    assert (made.distance(strange[0]) > made.threshold).mean() > 0.9
    assert Novelty.of({}) is None
