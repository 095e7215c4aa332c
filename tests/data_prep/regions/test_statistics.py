import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score

from data_prep.regions.clustering import components, partition
from data_prep.regions.statistics import image_features, lab, local_binary_patterns


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
    found = partition(components(features, standardise=True), 3, "kmeans", seed=0)
    assert adjusted_rand_score([0, 1, 2] * 8, found) == 1


def test_what_is_not_valid_changes_nothing():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (3, 48, 64)).astype(np.uint8)
    valid = np.ones((48, 64), bool)
    valid[:, 40:] = False
    whole = image_features(image, valid)
    other = np.where(valid, image, rng.integers(0, 255, image.shape).astype(np.uint8))
    assert image_features(other, valid) == pytest.approx(whole)
    assert image_features(image) != pytest.approx(whole)
    cut = image_features(image[:, :, :40])
    assert whole[:21] == pytest.approx(cut[:21])
    for patterns in (slice(24, 34), slice(37, 47)):
        assert whole[patterns] == pytest.approx(cut[patterns])


def test_an_image_of_which_little_is_valid():
    image = np.random.default_rng(0).integers(0, 255, (3, 32, 32)).astype(np.uint8)
    valid = np.zeros((32, 32), bool)
    valid[7, 7] = True  # one pixel: a colour, but no texture
    found = image_features(image, valid)
    assert np.isfinite(found).all() and not found[21:].any()
    assert found[:3] == pytest.approx(lab(image)[:, 7, 7])
