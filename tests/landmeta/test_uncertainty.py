from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from landmeta.legend import IGNORE, LandClass, Legend
from landmeta.uncertainty import Quantities, entropy, split
from tests.rasters import THREE


def shares(classes, seed, sharpness=1.0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(classes, sharpness), (7, 9)).astype(np.float32).transpose(2, 0, 1)


@given(st.integers(2, 30), st.integers(0, 999), st.sampled_from([0.01, 0.3, 1.0, 50.0]))
def test_entropy_is_scipys_over_the_logarithm_of_the_classes(classes, seed, sharpness):
    values = shares(classes, seed, sharpness)
    expected = scipy.stats.entropy(values.astype(np.float64), axis=0) / np.log(classes)
    np.testing.assert_allclose(entropy(values), expected, atol=2e-6)


def test_entropy_at_its_ends():
    sure = np.zeros((4, 1, 1), np.float32)
    sure[2] = 1
    assert entropy(sure) == 0
    assert entropy(np.full((4, 1, 1), 0.25, np.float32)) == pytest.approx(1)
    assert entropy(np.ones((1, 1, 1), np.float32)) == 0


@given(st.integers(0, 999))
def test_bytes_say_what_the_probabilities_say(seed):
    values = shares(3, seed)
    gone = np.random.default_rng(seed).random((7, 9)) < 0.3
    values[:, gone] = 0
    wanted = Quantities(confidence=True, entropy=True, probabilities=True)
    layers = wanted.layers(Path("m.tif"), THREE, "not calibrated")
    bands = wanted.to_bytes(values, THREE)
    ids, confidence, uncertain, probabilities = split(bands, layers)
    for found in (ids, confidence, uncertain, probabilities):
        np.testing.assert_array_equal(found == IGNORE, np.broadcast_to(gone, found.shape))
    there = ~gone
    np.testing.assert_array_equal(ids[0, there], np.array(THREE.ids)[values.argmax(0)][there])
    assert np.abs(confidence[0, there] - 100 * values.max(0)[there]).max(initial=0) <= 0.5001
    assert np.abs(uncertain[0, there] - 100 * entropy(values)[there]).max(initial=0) <= 0.5001
    stored = probabilities[:, there] * layers[-1].scale
    assert np.abs(stored - values[:, there]).max(initial=0) <= 0.0021
    # The map's class is among the most probable of the stored ones.
    best = np.array([THREE.ids.index(i) for i in ids[0, there]], int)
    taken = probabilities[:, there][best, np.arange(len(best))] if len(best) else np.zeros(0)
    np.testing.assert_array_equal(taken, probabilities[:, there].max(0) if len(best) else taken)


@pytest.mark.parametrize(
    "wanted", [(False, False, False), (True, False, True), (False, True, False)]
)
def test_layers_and_bands_go_together(wanted):
    quantities = Quantities(*wanted)
    layers = quantities.layers(Path("x/map.tif"), THREE, "not calibrated")
    bands = quantities.to_bytes(shares(3, 0), THREE)
    assert sum(layer.count for layer in layers) == len(bands)
    names = ["map.tif"] + [
        f"map.{name}.tif"
        for name, there in zip(("confidence", "entropy", "probabilities"), wanted, strict=True)
        if there
    ]
    assert [layer.path.name for layer in layers] == names


def test_many_classes_and_ids_up_to_the_last():
    legend = Legend(
        classes=tuple(LandClass(id=i, name=f"c{i}", color="#000000") for i in range(254, -1, -1))
    )
    values = np.eye(255, dtype=np.float32)[:, None]
    bands = Quantities(confidence=False).to_bytes(values, legend)
    np.testing.assert_array_equal(bands[0, 0], np.arange(254, -1, -1))
