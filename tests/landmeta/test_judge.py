"""Figures of one adapted contender, and what is said of those that cannot."""

import numpy as np
import pytest
import torch

from landmeta.calibration import expected_calibration_error
from landmeta.contenders import Adapted, Baseline, Prediction, changed
from landmeta.errors import CannotAdapt
from landmeta.judge import Refusals, figures, judge
from landmeta.scores import confusion_matrix, scores, tile_accuracy
from landmeta.taskset import Tiles


@pytest.fixture
def query():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (4, 6, 6)).astype(np.uint8)
    label[0, :3] = 255
    return Tiles(rng.normal(size=(4, 2, 6, 6)).astype(np.float32), label)


def test_figures_are_those_of_all_query_tiles_together(query):
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 3, query.label.shape).astype(np.uint8)
    sure = rng.uniform(0.3, 1, query.label.shape).astype(np.float32)
    found, made = figures(Adapted(lambda image: Prediction(classes, sure), 7), query, 3)
    pooled = scores(confusion_matrix(query.label, classes, 3))
    assert (found["miou"], found["accuracy"]) == (pooled.miou, pooled.accuracy)
    assert found["tile_accuracy"] == tile_accuracy(query.label, classes, 3)
    assert found["ece"] == expected_calibration_error(query.label, classes, sure)
    assert found["predict_seconds"] > 0
    assert made is classes


def test_support_without_labels_is_refused_by_a_baseline(query):
    empty = Tiles(query.image, np.full_like(query.label, 255))
    for support in (empty, Tiles(query.image[:0], query.label[:0])):
        with pytest.raises(CannotAdapt, match="given none"):
            judge(Baseline("random_forest"), support, query, 3, 0)


def test_refusals_are_told_once_for_each_reason():
    refusals, error = Refusals(), CannotAdapt("it cannot", remedy="do not ask")
    for shots in (0, 0, 1):
        refusals.note("a", shots, error)
    refusals.note("b", 1, error)
    assert refusals.sentences(2) == [
        "a has no scores with 0 shots, 1 shot (1 of 2 draws): it cannot",
        "b has no scores with 1 shot (1 of 2 draws): it cannot",
    ]


def test_numbers_that_adapting_set_are_counted():
    theta = {"same": torch.ones(2), "moved": torch.ones(3), "rate": torch.ones(5)}
    phi = {"same": torch.ones(2), "moved": torch.zeros(3), "head": torch.ones(4)}
    assert changed(theta, phi) == 3 + 4
    assert changed(theta, theta) == 0
