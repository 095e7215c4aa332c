"""Calibration error against torchmetrics and a plain loop."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from landmeta.calibration import expected_calibration_error


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
