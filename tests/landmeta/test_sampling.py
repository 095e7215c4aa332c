import json
import sqlite3
import tracemalloc

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

import landmeta.landmap
from landmeta.design import design_path, read_design, write_sample
from landmeta.errors import ConfigError, MissingCRS, OutputExists, SourceNotFound, UnreadableFile
from landmeta.kinds import Allocation, Kind
from landmeta.landmap import content, open_map
from landmeta.legend import IGNORE
from landmeta.planning import Aim
from landmeta.sampling import draw_pixels, sample_clusters, sample_pixels
from tests.rasters import THREE, write_raster


def write_map(path, ids, **more):
    return open_map(write_raster(path, ids[None].astype(np.uint8), nodata=IGNORE, **more), THREE)


@pytest.fixture
def ids():
    rng = np.random.default_rng(1)
    values = np.kron(rng.choice([1, 1, 1, 4, 10], (6, 8)), np.ones((5, 5), int))
    values[rng.random(values.shape) < 0.1] = IGNORE
    values[:7, :9] = IGNORE
    return values


@pytest.fixture
def land(tmp_path, ids):
    return write_map(tmp_path / "map.tif", ids)


def stratified(land, n=30, seed=0, how=Allocation.equal):
    return sample_pixels(land, Kind.stratified, how, Aim(size=n), seed=seed)[0]


def test_units_are_distinct_pixels_of_their_class(land, ids):
    design = stratified(land)
    units = design.units
    rows, cols = np.array(units.row), np.array(units.col)
    assert len(set(zip(rows, cols, strict=True))) == 30
    assert np.array_equal(ids[rows, cols], np.array(THREE.ids)[list(units.mapped)])
    assert [s.units for s in design.strata] == [10, 10, 10]
    assert [s.pixels for s in design.strata] == [(ids == i).sum() for i in THREE.ids]
    for place, stratum in enumerate(design.strata):
        mine = np.array(units.mapped)[np.array(units.stratum) == place]
        assert set(mine) == {stratum.klass}


def test_seed_decides(land):
    assert stratified(land, seed=3) == stratified(land, seed=3)
    assert stratified(land, seed=3).units != stratified(land, seed=4).units


def test_order_tells_nothing_of_the_stratum(land):
    stratum = np.array(stratified(land).units.stratum)
    assert (np.diff(stratum) != 0).sum() > 5


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.data(),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    strip=st.integers(1, 100),
    seed=st.integers(0, 2**32),
)
def test_two_passes_draw_what_a_draw_in_memory_does(
    tmp_path_factory, monkeypatch, data, height, width, strip, seed
):
    """The same numbers of pixels, looked up in an array of the whole map."""
    monkeypatch.setattr(landmeta.landmap, "STRIP", strip)
    rng = np.random.default_rng(seed)
    ids = rng.choice(np.array([*THREE.ids, IGNORE]), (height, width))
    ids[0, 0] = 1
    folder = tmp_path_factory.mktemp("draw")
    land = write_map(folder / "map.tif", ids)
    index = THREE.from_map(ids.astype(np.uint8))
    pixels = content(land).pixels
    units = np.array([data.draw(st.integers(0, int(n))) for n in pixels])
    if not units.any():
        units[0] = 1
    table = np.full(256, IGNORE, np.uint8)
    table[:3] = range(3)
    drawn = draw_pixels(land, table, pixels, units, np.random.default_rng(seed))
    again = np.random.default_rng(seed)
    naive = set()
    for h in range(3):
        numbers = again.choice(int(pixels[h]), int(units[h]), replace=False, shuffle=False)
        rows, cols = np.nonzero(index == h)
        naive |= set(zip(rows[numbers].tolist(), cols[numbers].tolist(), strict=True))
    assert set(zip(drawn.row.tolist(), drawn.col.tolist(), strict=True)) == naive
    assert np.array_equal(drawn.mapped, index[drawn.row, drawn.col])


def test_each_pixel_of_a_stratum_is_as_likely(tmp_path):
    ids = np.array([[1, 1, 4, 10], [4, IGNORE, 4, 1], [1, 4, 10, 1]])
    land = write_map(tmp_path / "map.tif", ids)
    pixels = content(land).pixels
    units = np.array([2, 3, 1])
    table = np.full(256, IGNORE, np.uint8)
    table[:3] = range(3)
    rng = np.random.default_rng(0)
    times = np.zeros(ids.shape)
    pairs = 0
    draws = 1000
    for _ in range(draws):
        drawn = draw_pixels(land, table, pixels, units, rng)
        times[drawn.row, drawn.col] += 1
        pairs += {(0, 0), (0, 1)} <= set(zip(drawn.row.tolist(), drawn.col.tolist(), strict=True))
    for h, number in enumerate(THREE.ids):
        found = times[ids == number]
        assert found.sum() == draws * units[h]
        # A binomial would vary more; far from equal it would show all the same.
        assert stats.chisquare(found).pvalue > 0.001
    assert times[ids == IGNORE].sum() == 0
    assert pairs / draws == pytest.approx(1 / 10, abs=0.03)  # 2 of 5: each pair alike


def test_cluster_probabilities(land, ids):
    rng = np.random.default_rng(0)
    times = np.zeros(ids.shape)
    for seed in rng.integers(0, 10**9, 150):
        units = sample_clusters(land, 5, 8, 3, seed=int(seed)).units
        times[list(units.row), list(units.col)] += 1
    design = sample_clusters(land, 5, 8, 3)
    row, col = np.nonzero(ids != IGNORE)
    blocks = row // 8 * 5 + col // 8
    there = len(np.unique(blocks))
    assert design.clusters == there
    inside = np.bincount(blocks)
    expected = 5 / there * np.minimum(3, inside) / np.maximum(1, inside)
    for block in np.unique(blocks):
        mine = times[row[blocks == block], col[blocks == block]].mean() / 150
        assert mine == pytest.approx(expected[block], abs=0.06)
    probabilities = design.probabilities()
    places = np.array(design.units.row) // 8 * 5 + np.array(design.units.col) // 8
    assert probabilities == pytest.approx(expected[places])


def test_one_stage_takes_all_of_a_block(land, ids):
    design = sample_clusters(land, 4, 8)
    units = np.array([design.units.row, design.units.col]) // 8
    for number in range(4):
        mine = np.array(design.units.cluster) == number
        (row, col) = np.unique(units[:, mine], axis=1).T[0]
        block = ids[8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
        assert mine.sum() == (block != IGNORE).sum() == design.cluster_pixels[number]
    assert design.probabilities() == pytest.approx(4 / design.clusters)


def test_simple_sample_is_of_the_whole_map(land):
    design, planned = sample_pixels(land, Kind.simple, Allocation.equal, Aim(error=0.05))
    assert len(design.strata) == 1
    assert design.strata[0].klass is None
    assert planned.units.tolist() == [len(design.units.row)]
    whole = content(land).pixels.sum()
    assert design.probabilities() == pytest.approx(len(design.units.row) / whole)


def test_memory_does_not_grow_with_the_height(tmp_path):
    """A sparse map: GDAL holds no blocks, numpy a few rows."""
    peaks = []
    for height in (2_000, 20_000):
        path = tmp_path / f"{height}.tif"
        profile = {"width": 2000, "height": height, "count": 1, "dtype": "uint8"}
        where = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
        with rasterio.open(
            path, "w", tiled=True, sparse_ok=True, compress="deflate", **profile, **where
        ) as dataset:
            dataset.write(np.full((1, 256, 2000), 4, np.uint8), window=((0, 256), (0, 2000)))
        legend = THREE.model_copy(update={"ignore": ("0",)})
        tracemalloc.start()
        design = stratified(open_map(path, legend), n=500)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert max(design.units.row) < 256
    assert peaks[1] < 1.2 * peaks[0]


# ---- files --------------------------------------------------------------------------------------


def test_sheet_is_blind_and_lies_on_the_pixels(land, tmp_path):
    design = stratified(land)
    sheet = tmp_path / "points.gpkg"
    write_sample(sheet, design)
    points = gpd.read_file(sheet)
    assert set(points.columns) == {"id", "reference", "comment", "geometry"}
    assert points["reference"].isna().all()
    assert points["id"].tolist() == list(range(1, 31))
    assert points.crs == "EPSG:32633"
    with rasterio.open(land.path) as dataset:
        x, y = points.geometry.x, points.geometry.y
        seen = [int(v[0]) for v in dataset.sample(zip(x, y, strict=True))]
        middle = [dataset.xy(r, c) for r, c in zip(design.units.row, design.units.col, strict=True)]
    assert seen == [THREE.ids[k] for k in design.units.mapped]
    assert np.allclose(np.array(middle), np.stack([x, y], axis=1))
    assert read_design(design_path(sheet)) == design


def test_sheet_offers_the_classes(land, tmp_path):
    sheet = tmp_path / "my points.gpkg"
    write_sample(sheet, stratified(land))
    with sqlite3.connect(sheet) as connection:
        rows = connection.execute(
            "SELECT value FROM gpkg_data_columns JOIN gpkg_data_column_constraints "
            "USING (constraint_name) WHERE table_name = 'my points' AND column_name = 'reference'"
        ).fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert [value for (value,) in rows] == list(THREE.names)


def test_revealed_sheet_has_weights(land, tmp_path):
    design = stratified(land)
    write_sample(tmp_path / "open.gpkg", design, reveal=True)
    points = gpd.read_file(tmp_path / "open.gpkg")
    sizes = {s.name: s.pixels for s in design.strata}
    assert points["map_class"].tolist() == points["stratum"].tolist()
    weights = (1 / points["probability"]).groupby(points["stratum"]).sum()
    assert weights.to_dict() == pytest.approx(sizes)


def test_nothing_is_overwritten_and_nothing_half_written(land, tmp_path):
    sheet = tmp_path / "points.gpkg"
    write_sample(sheet, stratified(land))
    before = sheet.read_bytes()
    with pytest.raises(OutputExists):
        write_sample(sheet, stratified(land, seed=9))
    assert sheet.read_bytes() == before
    write_sample(sheet, stratified(land, seed=9), overwrite=True)
    assert read_design(design_path(sheet)).seed == 9
    sheet.unlink()
    with pytest.raises(OutputExists):  # the design of another sheet
        write_sample(sheet, stratified(land))
    assert not sheet.exists()


def test_bad_designs_are_named(land, tmp_path):
    with pytest.raises(SourceNotFound):
        read_design(tmp_path / "nowhere.json")
    path = tmp_path / "bad.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UnreadableFile, match="is not the design"):
        read_design(path)
    content = json.loads(stratified(land).model_dump_json())
    content["units"]["row"] = content["units"]["row"][:-1]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UnreadableFile, match="differ in length"):
        read_design(path)
    content = json.loads(stratified(land).model_dump_json())
    content["strata"][0]["units"] = 3
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UnreadableFile, match="strata tell of"):
        read_design(path)


def test_senseless_samples_are_refused(land, tmp_path, ids):
    for number, side, per in ((1, 8, None), (500, 8, None), (5, 0, None), (5, 8, 0)):
        with pytest.raises(ConfigError):
            sample_clusters(land, number, side, per)
    nowhere = write_map(tmp_path / "photo.tif", ids, crs=None)
    with pytest.raises(MissingCRS):
        stratified(nowhere)
    no_water = write_map(tmp_path / "dry.tif", np.where(ids == 10, 1, ids))
    aim = Aim(class_area={2: 100.0})
    with pytest.raises(ConfigError, match="Wasser"):
        sample_pixels(no_water, Kind.stratified, Allocation.equal, aim)
