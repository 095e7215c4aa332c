"""What is concluded from held-out pixels: worked by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from landmeta.adaptation import Adaptation
from landmeta.estimate import Judged, Sample, conclude


def judged(predicted, steps=1, margin=2.0, classes=3, parts=1):
    logits = margin * np.eye(classes, dtype=np.float32)[predicted]
    return Judged(Adaptation(rate=0.1, steps=steps), np.array_split(logits, parts))


def sample(truth, group, part=None):
    made = [np.array(x, np.int64) for x in (truth, group)]
    return Sample(*made, np.zeros(len(truth), np.int64) if part is None else np.array(part))


def test_groups_count_alike_and_so_do_classes():
    truth = [0] * 8 + [0, 0] + [1, 1]
    group = [1] * 8 + [2, 2] + [3, 3]
    found = conclude([judged(np.array([0] * 8 + [1, 1] + [1, 0]))], sample(truth, group), 3, 1)
    assert found.accuracy == pytest.approx((1 + 0 + 0.5) / 3)
    assert found.balanced == pytest.approx(((1 + 0) / 2 + 0.5) / 2)
    assert found.recall == {0: (0.5, 2), 1: (0.5, 1)}
    assert found.groups == 3
    assert not found.how_changed


def test_with_groups_of_one_pixel_it_is_scikit_learns():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 60))
    found = conclude([judged(predicted)], sample(truth, np.arange(60)), 5, 1)
    assert found.accuracy == pytest.approx((truth == predicted).mean())
    assert found.balanced == pytest.approx(balanced_accuracy_score(truth, predicted))


def hits(right):
    """Twenty groups of a pixel each, ten of each class, of which so many are right."""
    truth = np.repeat([0, 1], 10)
    return np.where(right, truth, 2), sample(truth, np.arange(20))


@pytest.mark.parametrize(("more", "changed"), [(0, False), (1, False), (2, True), (8, True)])
def test_another_way_must_be_clearly_better(more, changed):
    """A gain of one place of n is as large as its own standard error."""
    tuned = np.arange(20) < 10
    other = tuned | (np.arange(20) < 10 + more)
    predicted, made = hits(tuned)
    found = conclude([judged(predicted, 5), judged(hits(other)[0], 9)], made, 5, 1)
    assert found.how_changed == changed
    assert found.how.steps == (9 if changed else 5)
    assert found.as_tuned == 0.5
    assert found.balanced == pytest.approx(0.5 + (more / 20 if changed else 0))
    assert found.tried == 2


def test_of_equals_the_one_with_the_fewest_steps():
    bad, made = hits(np.zeros(20, bool))
    good, _ = hits(np.ones(20, bool))
    ways = [judged(bad, 1), judged(good, 9), judged(good, 3), judged(good, 5)]
    assert conclude(ways, made, 5, 1).how.steps == 3


def test_the_temperature_of_a_part_is_that_of_the_others():
    """Part 0 is overconfident, part 1 is right: each is judged by what the other asks for."""
    truth = np.zeros(40, np.int64)
    predicted = np.where(np.arange(40) % 2 < (np.arange(40) < 20), 1, 0)
    part = np.repeat([0, 1], 20)
    found = conclude(
        [judged(predicted, margin=6.0, parts=2)], sample(truth, np.arange(40), part), 2, 1
    )
    assert found.before.error == pytest.approx(0.25, abs=0.03)
    assert found.after.error > 0.4  # confident where half is wrong, doubtful where all is right
    assert 1.5 < found.temperature < 6


def test_the_record_is_plain_and_without_nan():
    predicted, made = hits(np.arange(20) % 3 > 0)
    record = conclude([judged(predicted)], made, 5, 1).record(("a", "b", "c"))
    assert record["recall"]["a"] == {"share": 0.6, "groups": 10}
    for table in record["reliability"]:
        assert np.isfinite(table).all()
        assert sum(row[0] for row in table) == pytest.approx(1, abs=1e-3)
