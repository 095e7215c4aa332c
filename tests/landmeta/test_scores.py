"""Scores against torchmetrics and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from sklearn.metrics import confusion_matrix as sk_confusion
from torchmetrics.classification import MulticlassJaccardIndex

from landmeta.scores import confusion_matrix, scores, tile_accuracy

CLASSES = 5


@given(seed=st.integers(0, 10_000), ignored=st.floats(0, 0.9))
def test_scores_agree_with_scikit_learn(seed, ignored):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, (3, 7, 6)).astype(np.uint8)
    predicted = rng.integers(0, CLASSES, truth.shape).astype(np.uint8)
    truth[rng.random(truth.shape) < ignored] = 255
    matrix = confusion_matrix(truth, predicted, CLASSES)
    keep = truth != 255
    if not keep.any():
        assert np.isnan(scores(matrix).miou)
        return
    y, p = truth[keep], predicted[keep]
    assert np.array_equal(matrix, sk_confusion(y, p, labels=range(CLASSES)))
    found, present = scores(matrix), np.unique(y)
    assert found.accuracy == pytest.approx(accuracy_score(y, p))
    assert found.macro_f1 == pytest.approx(
        f1_score(y, p, labels=present, average="macro", zero_division=0)
    )


def test_miou_agrees_with_torchmetrics():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, CLASSES, (4, 16, 16)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, (truth + 1) % CLASSES)
    truth[0] = 255
    metric = MulticlassJaccardIndex(CLASSES, average="macro", ignore_index=255)
    expected = metric(torch.tensor(predicted).long(), torch.tensor(truth).long())
    found = scores(confusion_matrix(truth, predicted.astype(np.uint8), CLASSES)).miou
    assert found == pytest.approx(float(expected), abs=1e-6)


def test_classes_absent_from_the_truth_do_not_count_but_their_pixels_do():
    truth = np.zeros((2, 2), np.uint8)
    predicted = np.array([[0, 0], [0, 3]], np.uint8)
    found = scores(confusion_matrix(truth, predicted, CLASSES))
    assert found.miou == found.accuracy == 0.75


def test_tiles_are_right_where_the_most_frequent_class_is():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, CLASSES, (40, 5, 5)).astype(np.uint8)
    predicted = np.where(
        rng.random(truth.shape) < 0.5, truth, rng.integers(0, CLASSES, truth.shape)
    )
    truth[rng.random(truth.shape) < 0.3] = 255
    truth[7] = 255
    hits = []
    for t, p in zip(truth, predicted, strict=True):
        pairs = [(a, b) for a, b in zip(t.ravel().tolist(), p.ravel().tolist(), strict=True)]
        pairs = [(a, b) for a, b in pairs if a != 255]
        if pairs:
            trues, founds = zip(*pairs, strict=True)
            hits.append(
                max(range(CLASSES), key=trues.count) == max(range(CLASSES), key=founds.count)
            )
    assert len(hits) == 39
    assert 0.2 < np.mean(hits) < 0.95
    found = tile_accuracy(truth, predicted.astype(np.uint8), CLASSES)
    assert found == pytest.approx(np.mean(hits))


def test_of_tied_classes_the_first_of_the_legend_is_the_tiles():
    truth = np.array([[[0, 0], [1, 1]]], np.uint8)
    assert tile_accuracy(truth, np.array([[[0, 0], [0, 1]]], np.uint8), CLASSES) == 1
    assert tile_accuracy(truth, np.array([[[0, 1], [1, 1]]], np.uint8), CLASSES) == 0
    assert np.isnan(tile_accuracy(np.full((1, 2, 2), 255, np.uint8), truth, CLASSES))
