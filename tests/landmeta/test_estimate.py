"""What is concluded from held-out pixels: worked by hand and against scikit-learn."""

import numpy as np
import pytest
from scipy.special import softmax
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
    assert found.temperature is None


def test_a_temperature_that_helps_other_parts_is_kept():
    truth = np.zeros(40, np.int64)
    predicted = np.where(np.arange(40) % 4 == 0, 1, 0)
    part = np.repeat([0, 1], 20)
    found = conclude(
        [judged(predicted, margin=6.0, parts=2)], sample(truth, np.arange(40), part), 2, 1
    )
    assert found.before.error == pytest.approx(0.25, abs=0.01)
    assert found.after.error < 0.05
    assert 1.5 < found.temperature < 6


def votes(right, sure=0.8):
    """A forest's probabilities of two classes; the truth is `np.repeat([0, 1], 10)`."""
    own = np.where(right, sure, 1 - sure)
    return np.where(
        np.repeat([0, 1], 10)[:, None] == np.arange(3), own[:, None], (1 - own)[:, None] / 2
    )


ODD, EVEN = np.arange(20) % 2 == 1, np.arange(20) % 2 == 0


@pytest.mark.parametrize(
    ("network", "forest", "share"),
    [
        (np.ones(20, bool), ODD, 0.0),
        (ODD, np.ones(20, bool), 1.0),
        (np.arange(20) % 5 > 0, np.arange(20) % 5 < 4, 0.5),
    ],
)
def test_the_forest_gets_the_share_that_held_out_labels_give_it(network, forest, share):
    predicted, made = hits(network)
    # Logits that are 0.8 sure, so that neither is more certain of itself than the other.
    way = judged(predicted, margin=float(np.log(0.8 / 0.1)))
    found = conclude([way], made, 1, 1, votes(forest))
    assert found.forest == share
    assert found.network_alone == pytest.approx(network.mean())
    assert found.forest_alone == pytest.approx(forest.mean())
    if share in (0, 1):
        assert found.balanced == pytest.approx((forest if share else network).mean())


def test_of_two_that_say_the_same_each_has_half_the_votes():
    predicted, made = hits(ODD)
    way = judged(predicted)
    assert conclude([way], made, 1, 1, softmax(way.logits[0], axis=1)).forest == 0.5


def test_an_asked_for_share_is_judged_and_kept():
    predicted, made = hits(ODD)
    way = judged(predicted, margin=float(np.log(0.8 / 0.1)))
    for share in (0.0, 0.25):
        found = conclude([way], made, 1, 1, votes(np.ones(20, bool)), (share,))
        assert found.forest == share
        assert found.balanced == found.network_alone == 0.5
    assert conclude([way], made, 1, 1).forest_alone is None


def test_the_record_is_plain_and_without_nan():
    predicted, made = hits(np.arange(20) % 3 > 0)
    record = conclude([judged(predicted)], made, 5, 1).record(("a", "b", "c"))
    assert record["recall"]["a"] == {"share": 0.6, "groups": 10}
    for table in record["reliability"]:
        assert np.isfinite(table).all()
        assert sum(row[0] for row in table) == pytest.approx(1, abs=1e-3)
