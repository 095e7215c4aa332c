import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score

from data_prep.regions import cluster_images, image_features, lab, local_binary_patterns
from landmeta.errors import ConfigError


@pytest.mark.parametrize(
    "rgb, expected",
    [  # Lindbloom's calculator, sRGB, D65
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(rgb, expected):
    colour = np.array(rgb, np.uint8).reshape(3, 1, 1)
    assert lab(colour).ravel() == pytest.approx(expected, abs=0.05)


def patterns_by_hand(grey):
    """Ojala's definition, one pixel at a time."""
    ring = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
    counts = np.zeros(10)
    for row in range(1, grey.shape[0] - 1):
        for col in range(1, grey.shape[1] - 1):
            bits = [grey[row + r, col + c] >= grey[row, col] for r, c in ring]
            changes = sum(bits[i] != bits[i - 1] for i in range(8))
            counts[sum(bits) if changes <= 2 else 9] += 1
    return counts / counts.sum()


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.integers(3, 9))
def test_local_binary_patterns_by_definition(seed, rows, cols):
    grey = np.random.default_rng(seed).integers(0, 4, (rows, cols)).astype(float)
    assert local_binary_patterns(grey) == pytest.approx(patterns_by_hand(grey))


def test_patterns_and_colours_do_not_change_with_a_quarter_turn():
    image = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8)
    turned = np.rot90(image, axes=(1, 2))
    assert image_features(turned) == pytest.approx(image_features(image))


def noise(rng, grain, size=64):
    field = ndimage.gaussian_filter(rng.normal(size=(size, size)), grain)
    grey = np.clip(128 + 30 * field / field.std(), 0, 255)
    return np.repeat(grey[None], 3, axis=0).astype(np.uint8)


def test_texture_tells_images_of_equal_colours_apart():
    rng = np.random.default_rng(0)
    grains = [0.5, 2, 6] * 8
    features = np.stack([image_features(noise(rng, grain)) for grain in grains])
    assert features.shape == (24, 47)
    found = cluster_images(features, 3, seed=0)
    assert adjusted_rand_score(grains, found.of) == 1


def blobs(sizes, distance=20.0, seed=0):
    """Well separated groups of points, and the group of each."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    centres = distance * rng.normal(size=(len(sizes), 6))
    return centres[group] + rng.normal(size=(len(group), 6)), group


@pytest.mark.parametrize("count", [3, 5])
def test_silhouette_finds_the_number_of_groups(count):
    points, group = blobs([12] * count)
    found = cluster_images(points, range(2, 9), seed=1)
    assert adjusted_rand_score(group, found.of) == 1
    assert max(found.silhouette, key=found.silhouette.__getitem__) == count


def test_clusters_are_numbered_by_size_and_repeatable():
    points, group = blobs([5, 20, 10])
    found = cluster_images(points, 3, seed=0)
    assert np.bincount(found.of).tolist() == [20, 10, 5]
    assert np.array_equal(found.of, cluster_images(points, 3, seed=0).of)
    assert found.of[group == 1].tolist() == [0] * 20


def test_tiny_clusters_join_the_nearest_and_are_noted():
    rng = np.random.default_rng(0)
    points = rng.normal(scale=0.1, size=(41, 2)) + np.repeat([[0, 0], [10, 0]], [20, 21], axis=0)
    points[-1] = [10, 4]  # alone, nearest to the second group
    found = cluster_images(points, 3, seed=0)
    assert np.bincount(found.of).tolist() == [21, 20]
    assert found.of[-1] == found.of[-2]
    assert found.notes == ["a cluster of only 1 images was merged with the nearest one"]


@pytest.mark.parametrize("k", [1, 6, range(6, 9)])
def test_impossible_numbers_of_clusters(k):
    with pytest.raises(ConfigError, match="of 10 images"):
        cluster_images(np.random.default_rng(0).normal(size=(10, 4)), k)
