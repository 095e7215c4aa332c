from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from data_prep.regions import clustering
from data_prep.regions.clustering import (
    METHODS,
    by_size,
    check_k,
    components,
    distinct,
    merge_small,
    partition,
)
from landmeta.errors import ConfigError
from tests.data_prep.regions.blobs import blobs


@pytest.mark.parametrize("standardise", [False, True])
def test_components_are_those_of_scikit_learn_in_units_of_the_first(standardise):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 12)) * np.linspace(1, 9, 12) + 100
    values = features
    if standardise:
        values = np.tanh((features - features.mean(axis=0)) / features.std(axis=0) / 2)
    expected = PCA(0.95, svd_solver="full").fit_transform(values)
    found = components(features, standardise=standardise)
    assert found.shape == expected.shape
    assert found == pytest.approx(expected / expected[:, 0].std(), abs=1e-8)
    assert found[:, 0].std() == pytest.approx(1)
    assert components(1e-6 * features, standardise=standardise) == pytest.approx(found, abs=1e-6)


def test_at_most_fifty_components():
    features = np.random.default_rng(0).normal(size=(90, 200))
    assert components(features, standardise=False).shape == (90, 50)


@pytest.mark.parametrize("value", [0.0, 7.5])
def test_images_that_all_look_the_same_are_refused(value):
    for standardise in (False, True):
        with pytest.raises(ConfigError, match="all 8 images look the same") as caught:
            components(np.full((8, 5), value), standardise=standardise)
        assert caught.value.remedy


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_what_is_plain(method):
    points, group = blobs([12, 30, 20])
    found = partition(points, 3, method, seed=0)
    assert adjusted_rand_score(group, found) == 1
    assert np.array_equal(found, partition(points, 3, method, seed=0))


def test_many_images_go_by_mini_batches(monkeypatch):
    points, group = blobs([40, 60, 50])
    monkeypatch.setattr(clustering, "MANY", 100)
    monkeypatch.setattr(clustering, "KMeans", None)
    assert adjusted_rand_score(group, partition(points, 3, "kmeans", seed=0)) == 1


def test_too_many_pairs_are_refused(monkeypatch):
    monkeypatch.setattr(clustering, "_MOST_PAIRS", 9)
    with pytest.raises(ConfigError, match="10 images are too many") as caught:
        partition(np.zeros((10, 2)), 2, "agglomerative", seed=0)
    assert "kmeans" in caught.value.remedy


def test_small_clusters_join_the_nearest_and_are_told():
    points = np.concatenate([np.zeros((20, 2)), np.full((20, 2), 10.0), [[10, 14], [11, 14]]])
    of = np.repeat([0, 1, 2, 3], [20, 20, 1, 1])
    merged, notes = merge_small(points, of, 2)
    assert merged.tolist() == [0] * 20 + [1] * 20 + [3, 3]
    assert notes == ["a cluster of only 1 image was merged with the nearest one (the least is 2)"]
    merged, notes = merge_small(points, of, 3)
    assert merged.tolist() == [0] * 20 + [1] * 22
    assert "of only 2 images" in notes[1]
    assert merge_small(points, of, 100)[0].tolist() == [merge_small(points, of, 100)[0][0]] * 42


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_clusters_are_numbered_by_size(groups):
    of = np.array(groups)
    found = by_size(of)
    sizes = np.bincount(found)
    assert (np.diff(sizes) <= 0).all() and sizes.min() > 0
    assert adjusted_rand_score(of, found) == 1
    firsts = [found.tolist().index(number) for number in range(len(sizes))]
    for number, (one, other) in enumerate(pairwise(firsts)):
        assert one < other or sizes[number] > sizes[number + 1]


def test_numbers_that_are_possible():
    assert check_k(3, 10) == [3]
    assert check_k(range(3, 9), 10) == [3, 4, 5]
    for k, images, text in [
        (1, 10, "1 regions of 10 images"),
        (6, 10, "6 regions of 10 images"),
        (range(6, 9), 10, "6 to 8 regions of 10 images"),
        (2, 3, "3 images are too few"),
    ]:
        with pytest.raises(ConfigError, match=text):
            check_k(k, images)


def test_points_that_differ_are_counted():
    assert distinct(np.array([[0.0, 1], [0, 1], [1, 0]])) == 2
