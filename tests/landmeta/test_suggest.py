"""Choosing where to label next, and whether that is any better than anywhere."""

import geopandas as gpd
import numpy as np
import pytest
from rasterio.crs import CRS
from sklearn.linear_model import LogisticRegression

from landmeta.errors import OutputExists
from landmeta.raster import Grid
from landmeta.squares import Squares
from landmeta.suggest import Suggestion, choose, write_places
from tests.rasters import THREE, UTM


def squares(feature, entropy, share=None, label=None):
    count = len(feature)
    full = np.ones(count, np.float32)
    return Squares(
        row=np.arange(count),
        col=np.arange(count),
        label=np.zeros(count, np.uint8) if label is None else label.astype(np.uint8),
        share=full if share is None else share.astype(np.float32),
        confidence=full,
        entropy=np.asarray(entropy, np.float32),
        feature=np.asarray(feature, np.float32),
    )


def test_one_of_each_kind_the_largest_unsure_kind_first():
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], [60, 20, 120])
    feature = np.array([[0, 0], [20, 0], [0, 20]])[kind] + rng.normal(0, 1, (200, 2))
    everything = squares(feature, np.array([0.9, 0.8, 0.05])[kind])
    found = choose(everything, everything, 3)
    assert kind[found.squares.row].tolist() == [0, 1, 2]  # 54 against 16 against 6
    np.testing.assert_allclose(found.stands_for, [0.3, 0.1, 0.6])


def test_the_rim_between_classes_is_passed_over():
    feature = np.concatenate([np.zeros((50, 2)), np.full((50, 2), 5.0)])
    share = np.repeat([0.5, 1.0], 50)
    found = choose(*[squares(feature, np.where(share < 1, 0.9, 0.6), share)] * 2, 1)
    assert found.squares.share[0] == 1


@pytest.mark.parametrize("count", [1, 5, 40])
def test_no_more_than_there_are(count):
    feature = np.arange(7.0)[:, None]
    found = choose(squares(feature, np.ones(7)), squares(feature, np.ones(7)), count)
    assert len(found.squares) == min(count, 7)
    assert len(set(found.squares.row.tolist())) == len(found.squares)
    assert found.stands_for.sum() == pytest.approx(1)


def test_nothing_unsure_nothing_suggested():
    sure = squares(np.arange(4.0)[:, None], np.zeros(4))
    assert len(choose(sure, sure, 3).squares) == 0


def made_up_world(seed):
    """Squares of eight kinds, some of them rare, in features that overlap a little."""
    rng = np.random.default_rng(seed)
    frequency = rng.dirichlet(np.full(8, 0.6)) * 0.9 + 0.1 / 8
    kind = rng.choice(8, 3000, p=frequency)
    centres = rng.normal(0, 2.5, (8, 5))
    return centres[kind] + rng.normal(0, 1, (3000, 5)), kind


def taught(feature, kind, which):
    return LogisticRegression(max_iter=300).fit(feature[which], kind[which])


def gain(seed):
    """Mean over classes of the share of right squares: labelling as suggested, less at random."""
    feature, kind = made_up_world(seed)
    rng = np.random.default_rng([seed, 1])
    start = rng.choice(3000, 12, replace=False)
    while len(set(kind[start].tolist())) < 2:
        start = rng.choice(3000, 12, replace=False)
    probability = taught(feature, kind, start).predict_proba(feature)
    unsure = -(probability * np.log(probability + 1e-12)).sum(1) / np.log(probability.shape[1])
    found = choose(*[squares(feature, unsure)] * 2, 12, seed)

    def right(more):
        model = taught(feature, kind, np.concatenate([start, more]))
        hit = model.predict(feature) == kind
        return np.mean([hit[kind == k].mean() for k in np.unique(kind)])

    return right(found.squares.row) - right(rng.choice(3000, 12, replace=False))


def test_suggested_places_teach_more_than_random_ones():
    gains = np.array([gain(seed) for seed in range(24)])
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    assert gains.mean() > 2 * error, f"{gains.mean():.3f} ± {error:.3f}"


def test_places_open_in_other_programs(tmp_path):
    chosen = squares(np.zeros((2, 1)), [0.7, 0.4], label=np.array([2, 0]))
    grid = Grid(20, 30, CRS.from_epsg(32633), UTM["transform"])
    path = tmp_path / "places.gpkg"
    write_places(path, Suggestion(chosen, np.array([0.75, 0.25])), THREE.names, grid, 5)
    table = gpd.read_file(path, layer="places")
    assert table.crs.to_epsg() == 32633
    assert table["rank"].tolist() == [1, 2]
    assert table["guess"].tolist() == ["Wasser <ä>", "Forest & scrub"]
    assert table["class"].isna().all()
    assert table.area.tolist() == [2500, 2500]
    assert table.geometry[1].bounds == (500_010, 4_999_940, 500_060, 4_999_990)
    with pytest.raises(OutputExists):
        write_places(path, Suggestion(chosen, np.ones(2)), THREE.names, grid, 5)
