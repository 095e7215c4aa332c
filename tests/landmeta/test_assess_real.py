"""A map of real land cover whose every pixel is known, assessed again and again by samples."""

import numpy as np
import pytest
import rasterio

from landmeta.estimators.accuracy import Units, estimate_accuracy
from landmeta.estimators.designs import Clustered, Stratified
from landmeta.kinds import Allocation, Kind
from landmeta.landmap import content, open_map
from landmeta.legend import IGBP_SIMPLIFIED, IGNORE
from landmeta.pixelarea import pixel_area
from landmeta.planning import Aim
from landmeta.sampling import sample_clusters, sample_pixels
from tests.real import real_data


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    """One tile of MODIS land cover as truth; the same with every class partly wrong as map."""
    source = next(iter(sorted(real_data("modis_igbp").glob("*/*_igbp.tif"))))
    with rasterio.open(source) as dataset:
        values, profile = dataset.read(1), dataset.profile
    truth = IGBP_SIMPLIFIED.from_ids(values)
    rng = np.random.default_rng(2)
    mapped = values.copy()
    near = np.roll(values, (9, -7), (0, 1))  # errors lie where classes meet, in patches
    patch = np.kron(rng.random((32, 32)) < 0.25, np.ones((4, 4), bool))
    mapped[patch] = near[patch]
    path = tmp_path_factory.mktemp("real") / "map.tif"
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(mapped, 1)
    land = open_map(path, IGBP_SIMPLIFIED)
    area = np.broadcast_to(pixel_area(land.grid).rows(0, 128), truth.shape)
    return land, truth, area


def true_areas(region):
    land, truth, area = region
    known = truth != IGNORE
    return np.bincount(truth[known], area[known], minlength=len(land.legend))


def estimates(region, draw, samples):
    """Intervals of class areas and overall accuracy from repeated samples."""
    land, truth, area = region
    for seed in range(samples):
        design = draw(land, seed)
        row, col = np.array(design.units.row), np.array(design.units.col)
        units = Units(np.array(design.units.mapped), truth[row, col].astype(int), len(land.legend))
        if design.kind is Kind.cluster:
            made = Clustered(
                area[row, col],
                np.array(design.units.cluster),
                np.array(design.cluster_pixels),
                design.clusters,
                design.strata[0].area,
            )
        else:
            made = Stratified(
                area[row, col],
                np.array(design.units.stratum),
                np.array([s.pixels for s in design.strata]),
                np.array([s.area for s in design.strata]),
            )
        aligned = design.kind is Kind.stratified
        yield estimate_accuracy(units, made, strata_are_classes=aligned)


def stratified(land, seed):
    how = Allocation.proportional
    return sample_pixels(land, Kind.stratified, how, Aim(size=400), seed=seed)[0]


def simple(land, seed):
    return sample_pixels(land, Kind.simple, Allocation.equal, Aim(size=400), seed=seed)[0]


def clusters(land, seed):
    return sample_clusters(land, 60, 8, 8, seed=seed)


@pytest.mark.parametrize("draw", [stratified, simple, clusters])
def test_intervals_hold_the_truth_as_often_as_they_say(region, draw):
    land, truth, area = region
    areas = true_areas(region)
    common = np.flatnonzero(areas > 0.05 * areas.sum())
    assert len(common) >= 2
    (index,) = (labels for _, labels in land.strips())
    overall = area[index == truth].sum() / area.sum()
    caught, shares = [], []
    for found in estimates(region, draw, 150):
        held = [found.areas[k].low <= areas[k] <= found.areas[k].high for k in common]
        caught.append([found.overall.low <= overall <= found.overall.high, *held])
        shares.append(found.overall.value)
    assert np.mean(shares) == pytest.approx(overall, abs=0.006)
    # 150 samples: a rate of 0.95 is seen to 0.018.
    assert np.mean(caught) == pytest.approx(0.95, abs=0.03)
    assert np.mean(caught, axis=0).min() > 0.89


def test_areas_of_the_map_itself_are_biased_and_estimates_are_not(region):
    land, _, _ = region
    areas = true_areas(region)
    k = int(np.argmax(np.abs(content(land).areas - areas)))
    biased = abs(content(land).areas[k] - areas[k])
    found = [e.areas[k].value for e in estimates(region, stratified, 60)]
    assert abs(np.mean(found) - areas[k]) < max(biased, 3 * np.std(found) / np.sqrt(60))
