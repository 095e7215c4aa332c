"""Calibration error against torchmetrics and a plain loop."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from landmeta.calibration import (
    expected_calibration_error,
    fit_temperature,
    reliability,
)


def predictions(seed, shape=(3, 8, 8), classes=5, sharp=2.0):
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, sharp, (shape[0], classes, *shape[1:])))
    truth = rng.integers(0, classes, shape).astype(np.uint8)
    truth[rng.random(shape) < 0.3] = 255
    return truth, logits.softmax(1).float()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sharp", [0.3, 2.0, 5.0])
def test_agrees_with_torchmetrics(seed, sharp):
    truth, probabilities = predictions(seed, sharp=sharp)
    sure, predicted = probabilities.max(1)
    metric = MulticlassCalibrationError(5, n_bins=15, norm="l1", ignore_index=255)
    expected = metric(probabilities, torch.from_numpy(truth).long())
    found = expected_calibration_error(truth, predicted.numpy().astype(np.uint8), sure.numpy())
    assert found == pytest.approx(float(expected), abs=1e-6)


def test_agrees_with_a_plain_loop_on_edges_too():
    sure = np.array([0.2, 0.2, 0.6, 1.0, 1.0, 0.99, 0.0], np.float32)
    truth = np.array([0, 1, 1, 1, 0, 255, 1], np.uint8)
    predicted = np.array([0, 0, 1, 1, 1, 1, 1], np.uint8)
    # Bins of the 6 labelled: {0.2, 0.2}: half right; {0.6}: right; {1, 1}: half right; {0}: right.
    expected = (2 * abs(0.2 - 0.5) + abs(0.6 - 1) + 2 * abs(1 - 0.5) + abs(0 - 1)) / 6
    found = expected_calibration_error(truth, predicted, sure, bins=5)
    assert found == pytest.approx(expected, abs=1e-6)


def test_sure_and_right_is_calibrated_sure_and_wrong_is_not():
    truth = np.zeros((4, 4), np.uint8)
    sure = np.ones((4, 4), np.float32)
    assert expected_calibration_error(truth, truth, sure) == 0
    assert expected_calibration_error(truth, truth + 1, sure) == 1


def test_nothing_labelled_has_no_error():
    empty = np.full((2, 2), 255, np.uint8)
    assert np.isnan(expected_calibration_error(empty, empty, np.ones((2, 2), np.float32)))


# ---- reliability and temperature ----------------------------------------------------------------


def logits_of(heat, count=4000, classes=4, seed=0):
    """Logits, and truths drawn with the probabilities of logits / heat."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes)).astype(np.float32)
    draws = logits / heat + rng.gumbel(size=logits.shape)
    return logits, draws.argmax(axis=1)


@pytest.mark.parametrize("heat", [0.4, 1.0, 2.5])
def test_the_temperature_that_made_the_truth_is_found(heat):
    found = fit_temperature(*logits_of(heat))
    assert found == pytest.approx(heat, rel=0.12)


def test_the_temperature_is_the_best_of_a_grid():
    logits, truth = logits_of(1.7, 300)
    weight = np.random.default_rng(1).random(300)
    grid = np.geomspace(0.05, 20, 4000)
    losses = [
        torch.nn.functional.cross_entropy(
            torch.tensor(logits / t, dtype=torch.float64), torch.tensor(truth), reduction="none"
        ).numpy()
        @ weight
        for t in grid
    ]
    assert fit_temperature(logits, truth, weight) == pytest.approx(
        grid[int(np.argmin(losses))], rel=0.01
    )


def test_the_temperature_has_bounds():
    sure = np.eye(3, dtype=np.float32)[[0, 1, 2]] * 5
    assert 1 / 20 <= fit_temperature(sure, np.array([0, 1, 2])) < 0.2
    assert fit_temperature(sure, np.array([1, 2, 0])) == pytest.approx(20, rel=0.05)


def test_a_doubt_keeps_a_few_right_places_from_making_it_sure():
    """With doubt e and logits 5 or 0 of three classes, the truth's best probability is 1 - e."""
    sure = np.eye(3, dtype=np.float32)[[0, 1, 2]] * 5
    heat = fit_temperature(sure, np.array([0, 1, 2]), doubt=0.2)
    assert torch.tensor(sure / heat).softmax(1).max(1).values.numpy() == pytest.approx(
        0.8, abs=1e-3
    )


def test_classes_that_are_ruled_out_do_no_harm():
    logits, truth = logits_of(1.5)
    with_absent = np.concatenate([logits, np.full((len(logits), 1), -1e4, np.float32)], axis=1)
    plain, absent = (fit_temperature(z, truth, doubt=0.02) for z in (logits, with_absent))
    assert absent == pytest.approx(plain, rel=0.25)


def test_calibrated_logits_are_reliable_and_hot_ones_are_not():
    logits, truth = logits_of(3.0)
    tables = []
    for heat in (1.0, fit_temperature(logits, truth)):
        probability = torch.tensor(logits / heat).softmax(1).numpy()
        tables.append(reliability(probability.argmax(1) == truth, probability.max(1)))
    assert tables[0].error > 0.2
    assert tables[1].error < 0.04
    for table in tables:
        assert table.weight.sum() == pytest.approx(1)
        filled = table.weight > 0
        assert (np.isnan(table.accuracy) == ~filled).all()
        edges = np.arange(16) / 15
        assert (table.confidence[filled] >= edges[:-1][filled] - 1e-6).all()
        assert (table.confidence[filled] <= edges[1:][filled] + 1e-6).all()


def test_weights_are_repetitions():
    logits, truth = logits_of(1.0, 50)
    probability = torch.tensor(logits).softmax(1).numpy()
    right, sure = probability.argmax(1) == truth, probability.max(1)
    times = np.random.default_rng(0).integers(1, 4, 50)
    weighted = reliability(right, sure, times.astype(float))
    repeated = reliability(np.repeat(right, times), np.repeat(sure, times))
    np.testing.assert_allclose(weighted.weight, repeated.weight)
    np.testing.assert_allclose(weighted.accuracy, repeated.accuracy)
