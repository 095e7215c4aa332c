import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from data_prep.regions import choice
from data_prep.regions.choice import best, silhouette, stability, try_numbers
from data_prep.regions.clustering import METHODS
from tests.data_prep.regions.blobs import blobs


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [3, 5])
def test_the_number_of_groups_is_found(method, count):
    points, group = blobs([14] * count)
    candidates = try_numbers(points, range(2, 8), method, seed=1)
    chosen = best(candidates)
    assert chosen.k == count and adjusted_rand_score(group, chosen.of) == 1
    assert chosen.stability == pytest.approx(1) and chosen.smallest == 14
    assert [c.k for c in candidates] == list(range(2, 8))


def test_silhouette_by_definition():
    points, _ = blobs([5, 7, 3], distance=2)
    of = np.repeat([0, 1, 2], [5, 7, 3])
    values = []
    for i, point in enumerate(points):
        to = [
            [np.linalg.norm(point - q) for j, q in enumerate(points) if of[j] == c and j != i]
            for c in range(3)
        ]
        own = np.mean(to[of[i]])
        other = min(np.mean(to[c]) for c in range(3) if c != of[i])
        values.append((other - own) / max(other, own))
    assert silhouette(points, of, seed=0) == pytest.approx(np.mean(values))
    assert silhouette(points, np.zeros(15, int), seed=0) == -1


def test_silhouettes_of_many_points_are_of_some(monkeypatch):
    points, group = blobs([50, 60])
    monkeypatch.setattr(choice, "_MANY", 40)
    few = silhouette(points, group, seed=0)
    assert few == silhouette(points, group, seed=0) != silhouette(points, group, seed=1)
    assert few == pytest.approx(silhouette(points, group, seed=1), abs=0.05)


def test_what_is_no_cluster_is_not_stable():
    cloud = np.random.default_rng(0).normal(size=(80, 6))
    plain, _ = blobs([20] * 4)
    assert stability(plain, 4, "kmeans", seed=0) == pytest.approx(1)
    assert stability(cloud, 4, "kmeans", seed=0) < 0.6
    assert stability(plain, 7, "kmeans", seed=0) < 0.9  # groups are torn, each time elsewhere


def test_bad_clusters_score_nothing():
    points, _ = blobs([10, 10])
    candidate = choice.Candidate(2, np.zeros(20, int), -0.5, -0.1)
    assert candidate.score == 0
    assert best(try_numbers(points, [2], "kmeans", seed=0)).k == 2
