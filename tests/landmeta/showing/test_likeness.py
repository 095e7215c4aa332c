import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import sqrtm
from scipy.spatial.distance import jensenshannon
from sklearn.decomposition import PCA

from landmeta.showing.likeness import (
    Appearance,
    appearance,
    class_shares,
    jensen_shannon,
    tile_features,
)


@given(arrays(np.float64, (4, 5), elements=st.floats(0, 1)))
def test_jensen_shannon_is_scipys(counts):
    counts[:, 0] += 0.1
    counts[:2, 1:] *= counts[:2, 1:] > 0.5  # classes that some lack
    shares = counts / counts.sum(axis=1, keepdims=True)
    found = jensen_shannon(shares)
    for i in range(4):
        for j in range(4):
            assert found[i, j] == pytest.approx(jensenshannon(shares[i], shares[j], 2), abs=1e-6)


def test_nothing_in_common_is_one():
    np.testing.assert_allclose(jensen_shannon(np.eye(2)), 1 - np.eye(2))


def test_frechet_distance_of_normal_distributions():
    rng = np.random.default_rng(0)
    looks = Appearance(rng.normal(size=(3, 4)), rng.uniform(0.1, 2, (3, 4)))
    for i in range(3):
        for j in range(3):
            a, b = (np.diag(looks.deviation[k] ** 2) for k in (i, j))
            square = np.sum((looks.mean[i] - looks.mean[j]) ** 2)
            square += np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
            assert looks.distances()[i, j] == pytest.approx(np.sqrt(square / 4), abs=1e-6)


def test_plane_is_that_of_the_principal_components():
    mean = np.random.default_rng(1).normal(size=(6, 9))
    plane = Appearance(mean, np.ones((6, 9))).plane()
    np.testing.assert_allclose(np.abs(plane), np.abs(PCA(2).fit_transform(mean)), atol=1e-9)
    assert Appearance(mean[:1], mean[:1]).plane().shape == (1, 2)


def test_features_pass_over_what_is_not_valid():
    image = np.random.default_rng(2).normal(size=(1, 2, 8, 8)).astype(np.float32)
    image[0, 0, :, 4:] = np.nan
    seen = image[0, 0, :, :4].astype(float)
    found = tile_features(image)[0]
    assert found[0] == pytest.approx(seen.mean())
    assert found[2] == pytest.approx(seen.std())
    steps = np.abs(np.diff(seen, axis=0)).mean() + np.abs(np.diff(seen, axis=1)).mean()
    assert found[4] == pytest.approx(steps / 2)
    image[0, 0] = np.nan
    assert np.isnan(tile_features(image)[0, ::2]).all()


def test_regions_that_are_ever_brighter_lie_ever_farther(tiny):
    tasks = ["a", "b", "c", "v", "t", "u"]  # in the order of their brightness
    distances = appearance(tiny, tasks).distances()
    assert (np.diff(distances[0]) > 0).all()
    np.testing.assert_allclose(distances, distances.T)
    np.testing.assert_allclose(class_shares(tiny, tasks).sum(axis=1), 1)
