"""From files to figures: references of every kind, good and bad."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from rasterio.features import rasterize
from shapely.geometry import MultiPoint, Point, box
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from landmeta.assess import assess
from landmeta.assess_files import as_json, write_assessment
from landmeta.assess_tables import headline, tables
from landmeta.design import design_path, write_sample
from landmeta.errors import (
    ConfigError,
    EmptyRegion,
    MissingCRS,
    OutputExists,
    SizeMismatch,
    SourceNotFound,
    UnknownClass,
    UnreadableFile,
)
from landmeta.kinds import Allocation, Kind
from landmeta.landmap import open_map
from landmeta.legend import IGNORE
from landmeta.planning import Aim
from landmeta.sampling import sample_clusters, sample_pixels
from tests.program import invoke, write_config
from tests.rasters import THREE, write_raster

IDS = np.array(THREE.ids)


@pytest.fixture
def world(tmp_path):
    """`map.tif`, `truth.tif` and their ids; 60 × 80 pixels in UTM, some without data."""
    rng = np.random.default_rng(5)
    truth = np.kron(rng.integers(0, 3, (12, 16)), np.ones((5, 5), int))
    wrong = rng.random(truth.shape) < 0.2
    mapped = np.where(wrong, rng.integers(0, 3, truth.shape), truth)
    truth, mapped = IDS[truth].astype(np.uint8), IDS[mapped].astype(np.uint8)
    mapped[:6, :6] = IGNORE
    write_raster(tmp_path / "map.tif", mapped[None], nodata=IGNORE)
    write_raster(tmp_path / "truth.tif", truth[None], nodata=IGNORE)
    return tmp_path, mapped, truth


def run(folder, reference, **more):
    return assess(folder / "map.tif", folder / reference, legend=THREE, **more)


def interpreted(folder, truth, design=None, name="points.gpkg", **change):
    """A sheet filled in from the truth, by class name."""
    land = open_map(folder / "map.tif", THREE)
    if design is None:
        design = sample_pixels(land, Kind.stratified, Allocation.equal, Aim(size=150))[0]
    write_sample(folder / name, design, overwrite=True)
    points = gpd.read_file(folder / name)
    classes = dict(zip(THREE.ids, THREE.names, strict=True))
    seen = truth[list(design.units.row), list(design.units.col)]
    points["reference"] = [classes[i] for i in seen.tolist()]
    points.to_file(folder / name)
    return points, design


def true_area(mapped, truth):
    valid = mapped != IGNORE
    return [100.0 * ((truth == i) & valid).sum() for i in IDS]


# ---- rasters ------------------------------------------------------------------------------------


def test_whole_reference_is_a_census(world):
    folder, mapped, truth = world
    found = run(folder, "truth.tif")
    valid = mapped != IGNORE
    expected = confusion_matrix(mapped[valid], truth[valid], labels=IDS)
    assert found.kind == "census"
    assert np.array_equal(found.accuracy.counts, expected)
    assert found.accuracy.overall.value == pytest.approx((mapped == truth)[valid].mean())
    both = truth[valid], mapped[valid]
    f1 = [e.value for e in found.accuracy.f1]
    assert f1 == pytest.approx(f1_score(*both, labels=IDS, average=None))
    iou = [e.value for e in found.accuracy.iou]
    assert iou == pytest.approx(jaccard_score(*both, labels=IDS, average=None))
    assert [e.value for e in found.accuracy.areas] == pytest.approx(true_area(mapped, truth))
    assert "±" not in "".join(t.markdown() for t in tables(found))
    assert any("36 pixels of the reference lie where the map has no data" in n for n in found.notes)


def test_census_in_degrees_counts_by_area(world):
    folder, mapped, truth = world
    where = {
        "crs": "EPSG:4326",
        "transform": rasterio.Affine(0.5, 0, 5, 0, -0.5, 70),
        "nodata": IGNORE,
    }
    write_raster(folder / "map.tif", mapped[None], **where)
    write_raster(folder / "truth.tif", truth[None], **where)
    found = run(folder, "truth.tif")
    valid = mapped != IGNORE
    area = np.broadcast_to(
        open_map(folder / "map.tif", THREE).area.rows(0, len(mapped)), mapped.shape
    )
    right = area[valid & (mapped == truth)].sum() / area[valid].sum()
    assert found.accuracy.overall.value == pytest.approx(right)
    assert right != pytest.approx((mapped == truth)[valid].mean(), abs=1e-4)


def test_part_of_a_raster_is_no_sample(world):
    folder, _, truth = world
    truth[:, 40:] = IGNORE
    write_raster(folder / "truth.tif", truth[None], nodata=IGNORE)
    found = run(folder, "truth.tif")
    assert found.kind == "labels"
    said = " ".join(headline(found))
    assert "no areas and no intervals" in said
    assert "part of the map" in said
    assert "areas" not in as_json(found)["classes"]["Grassland"]
    with pytest.raises(ConfigError, match="a raster"):
        run(folder, "truth.tif", design="simple")


def test_raster_on_another_grid_is_refused(world):
    folder, _, truth = world
    write_raster(folder / "small.tif", truth[None, 1:])
    with pytest.raises(SizeMismatch):
        run(folder, "small.tif")
    write_raster(folder / "strange.tif", np.full_like(truth, 99)[None])
    with pytest.raises(UnknownClass, match="99"):
        run(folder, "strange.tif")


# ---- polygons -----------------------------------------------------------------------------------


def test_polygons_give_a_plain_matrix(world):
    folder, mapped, _ = world
    # Two of one class that overlap, one of another that overlaps both, one beyond the map.
    shapes = [
        box(500_105, 4_999_555, 500_405, 4_999_855),
        box(500_305, 4_999_555, 500_505, 4_999_755),
        box(500_355, 4_999_605, 500_605, 4_999_655),
        box(499_900, 4_999_900, 500_200, 5_000_100),
    ]
    names = ["Grassland", "grassland", 1, "FOREST & SCRUB"]
    frame = gpd.GeoDataFrame({"reference": [str(n) for n in names]}, geometry=shapes, crs=32633)
    frame.to_file(folder / "drawn.geojson", driver="GeoJSON")  # reprojected to degrees and back
    found = run(folder, "drawn.geojson")
    where = {"out_shape": mapped.shape, "transform": open_map(folder / "map.tif").grid.transform}
    grass = rasterize(shapes[:2], **where) > 0
    forest = rasterize(shapes[2:], **where) > 0
    expected = np.zeros((3, 3), int)
    for column, one, other in ((1, grass, forest), (0, forest, grass)):
        told = one & ~other
        expected[:, column] = [(mapped[told] == i).sum() for i in IDS]
    assert np.array_equal(found.accuracy.counts, expected)
    assert found.kind == "labels"
    assert any(
        f"{(grass & forest).sum()} pixels lie in polygons of different" in n for n in found.notes
    )
    assert any("36 pixels of polygons lie where the map has no data" in n for n in found.notes)
    assert "no probability sample" in found.why
    with pytest.raises(ConfigError, match="polygons"):
        run(folder, "drawn.geojson", design="stratified")


# ---- points -------------------------------------------------------------------------------------


def test_sheet_and_its_design_give_intervals(world):
    folder, mapped, truth = world
    interpreted(folder, truth)
    found = run(folder, "points.gpkg")
    assert (found.kind, found.source) == ("sample", "design file")
    assert found.accuracy.counts.sum() == 150
    for estimate, true in zip(found.accuracy.areas, true_area(mapped, truth), strict=True):
        assert estimate.low < true < estimate.high
    assert sum(e.value for e in found.accuracy.areas) == pytest.approx(
        100 * (mapped != IGNORE).sum()
    )
    assert np.isfinite(found.accuracy.overall.se)


def test_order_format_and_extra_columns_do_not_matter(world):
    folder, _, truth = world
    points, _ = interpreted(folder, truth)
    expected = as_json(run(folder, "points.gpkg"))
    shuffled = points.sample(frac=1, random_state=0).to_crs(3857)
    shuffled["who"] = "me"
    shuffled.to_parquet(folder / "points.parquet")
    told = str(design_path(folder / "points.gpkg"))
    again = as_json(run(folder, "points.parquet", design=told))
    for key in ("overall_accuracy", "classes", "matrix", "notes"):
        assert again[key] == expected[key]


def test_points_without_design_are_no_sample(world):
    folder, _, truth = world
    interpreted(folder, truth)
    design_path(folder / "points.gpkg").unlink()
    found = run(folder, "points.gpkg")
    assert found.kind == "labels"
    assert found.accuracy.counts.sum() == 150
    assert "--design" in found.why


def test_statement_of_the_user_is_recorded(world):
    folder, _, truth = world
    interpreted(folder, truth)
    told = run(folder, "points.gpkg")
    design_path(folder / "points.gpkg").unlink()
    stated = run(folder, "points.gpkg", design="stratified")
    assert stated.source == as_json(stated)["design_by"] == "user's statement"
    for name in ("areas", "users", "producers"):
        ours, theirs = (getattr(f.accuracy, name) for f in (told, stated))
        assert [e.se for e in ours] == pytest.approx([e.se for e in theirs])


def test_simple_sample_with_and_without_post_strata(world):
    folder, mapped, truth = world
    land = open_map(folder / "map.tif", THREE)
    design = sample_pixels(land, Kind.simple, Allocation.equal, Aim(size=200))[0]
    interpreted(folder, truth, design)
    plain, post = run(folder, "points.gpkg"), run(folder, "points.gpkg", post_stratify=True)
    errors = [np.mean([e.se for e in f.accuracy.areas]) for f in (post, plain)]
    assert errors[0] < 0.9 * errors[1]
    mapped_area = [100.0 * (mapped == i).sum() for i in IDS]
    whole = post.accuracy.area.value
    assert post.accuracy.shares.sum(axis=1) * whole == pytest.approx(mapped_area)
    seen = truth[list(design.units.row), list(design.units.col)]
    by_hand = (mapped[list(design.units.row), list(design.units.col)] == seen).mean()
    assert plain.accuracy.overall.value == pytest.approx(by_hand)
    unseen = 1 - 200 / (mapped != IGNORE).sum()
    assert plain.accuracy.overall.se == pytest.approx(
        np.sqrt(unseen * by_hand * (1 - by_hand) / 199)
    )


def test_cluster_sample_by_design_and_by_statement(world):
    folder, _, truth = world
    land = open_map(folder / "map.tif", THREE)
    points, design = interpreted(folder, truth, sample_clusters(land, 12, 8, 10))
    told = run(folder, "points.gpkg")
    assert "12 clusters" in told.design
    points.to_file(folder / "stated.gpkg")
    stated = run(folder, "stated.gpkg", design="cluster", cluster="cluster")
    assert stated.accuracy.overall.value == pytest.approx(told.accuracy.overall.value, abs=0.02)
    right = points["reference"].to_numpy() == np.array(THREE.names)[list(design.units.mapped)]
    means = pd.Series(right).groupby(points["cluster"].to_numpy()).mean()  # of 10 pixels each
    assert stated.accuracy.overall.value == pytest.approx(means.mean())
    assert stated.accuracy.overall.se == pytest.approx(means.std() / np.sqrt(12))
    with pytest.raises(ConfigError, match="knows the clusters"):
        run(folder, "points.gpkg", cluster="cluster")
    with pytest.raises(ConfigError, match="needs the column"):
        run(folder, "stated.gpkg", design="cluster")
    with pytest.raises(ConfigError, match="no column 'block'"):
        run(folder, "stated.gpkg", design="cluster", cluster="block")


def test_partly_interpreted_sheet_says_so(world):
    folder, _, truth = world
    points, _ = interpreted(folder, truth)
    points.loc[points.index[:40], "reference"] = None
    points.loc[points.index[40:45], "reference"] = "  "
    points.drop(index=points.index[50:60]).to_file(folder / "points.gpkg")
    found = run(folder, "points.gpkg")
    assert found.accuracy.counts.sum() == 95
    said = " ".join(found.notes)
    assert "10 of 150 places of the sample are not in the sheet" in said
    assert "45 of 140 points have no class yet" in said
    assert "missing by chance" in said


def test_stratum_without_or_with_one_interpreted_place(world):
    folder, mapped, truth = world
    points, design = interpreted(folder, truth)
    water = np.array(design.units.mapped) == 2
    points.loc[water, "reference"] = None
    points.to_file(folder / "points.gpkg")
    found = run(folder, "points.gpkg")
    assert any("no place was interpreted in the strata Wasser <ä>" in n for n in found.notes)
    rest = 100.0 * np.isin(mapped, IDS[:2]).sum()
    assert found.accuracy.area.value == pytest.approx(rest)
    points.loc[np.flatnonzero(water)[0], "reference"] = "10"
    points.to_file(folder / "points.gpkg")
    found = run(folder, "points.gpkg")
    assert np.isnan(found.accuracy.overall.se)
    assert np.isfinite(found.accuracy.users[0].se)
    assert any("fewer than 2 interpreted places" in n for n in found.notes)


def test_nothing_interpreted_is_an_error(world):
    folder, _, truth = world
    points, _ = interpreted(folder, truth)
    points["reference"] = None
    points.to_file(folder / "points.gpkg")
    with pytest.raises(EmptyRegion, match="150 of 150 points have no class yet"):
        run(folder, "points.gpkg")


def test_points_added_moved_and_doubled(world):
    folder, _, truth = world
    points, _ = interpreted(folder, truth)
    expected = run(folder, "points.gpkg").accuracy.overall
    added = points.iloc[:3].assign(id=[500, 501, -7])
    points.loc[points.index[5], "geometry"] = Point(500_000, 4_999_000)
    again = points.iloc[[8]]
    pd.concat([points, added, again]).to_file(folder / "points.gpkg")
    found = run(folder, "points.gpkg")
    assert found.accuracy.overall == expected
    said = " ".join(found.notes)
    assert "3 points are not of the sample" in said
    assert "1 points no longer lie in the pixel" in said
    assert "1 points share an id with another of the same class" in said
    torn = points.iloc[[8]].assign(
        reference=next(n for n in THREE.names if n != points["reference"].iloc[8])
    )
    pd.concat([points, torn]).to_file(folder / "points.gpkg")
    with pytest.raises(ConfigError, match="different classes that share an id"):
        run(folder, "points.gpkg")
    points.drop(columns="id").to_file(folder / "points.gpkg")
    with pytest.raises(ConfigError, match="no column 'id'"):
        run(folder, "points.gpkg")


def test_points_outside_on_nodata_and_in_one_pixel(world):
    folder, _, _ = world
    places = [
        (500_205, 4_999_695), (500_207, 4_999_697),  # one pixel
        (500_405, 4_999_495),
        (500_015, 4_999_985),  # no data
        (499_000, 4_999_985), (500_015, 5_100_000), (600_000, 4_999_985),  # outside
    ]  # fmt: skip
    frame = gpd.GeoDataFrame({"c": [1] * 7}, geometry=[Point(p) for p in places], crs=32633)
    frame.to_file(folder / "own.shp")
    found = run(folder, "own.shp", column="c", design="simple")
    assert found.accuracy.counts.sum() == 2
    said = " ".join(found.notes)
    assert "3 points lie outside the map" in said
    assert "1 points lie where the map has no data" in said
    assert "1 points lie in one pixel with another of the same class" in said
    frame["c"] = [1, 4, 1, 1, 1, 1, 1]
    frame.to_file(folder / "torn.shp")
    with pytest.raises(ConfigError, match="different classes that lie in one pixel"):
        run(folder, "torn.shp", column="c")
    frame.iloc[3:].to_file(folder / "lost.shp")
    with pytest.raises(EmptyRegion, match="3 points lie outside"):
        run(folder, "lost.shp", column="c")


def test_changed_map_keeps_the_strata_of_the_old_one(world):
    folder, mapped, truth = world
    _, design = interpreted(folder, truth)
    better = np.where(np.random.default_rng(0).random(truth.shape) < 0.5, truth, mapped)
    better[mapped == IGNORE] = IGNORE
    write_raster(folder / "map.tif", better[None].astype(np.uint8), nodata=IGNORE)
    found = run(folder, "points.gpkg")
    assert any("is not the map that the sample was drawn from" in n for n in found.notes)
    # Stehman 2014, equations 2 and 3, by hand.
    rows, cols = list(design.units.row), list(design.units.col)
    right = better[rows, cols] == truth[rows, cols]
    weight = 1 / design.probabilities()
    assert found.accuracy.overall.value == pytest.approx((weight * right).sum() / weight.sum())
    expected = (mapped != IGNORE).sum() * 100
    assert found.accuracy.area.value == pytest.approx(expected)
    better[30:] = IGNORE
    write_raster(folder / "map.tif", better[None].astype(np.uint8), nodata=IGNORE)
    half = run(folder, "points.gpkg")
    assert any("places lie where this map has no data" in n for n in half.notes)
    assert half.accuracy.area.value == pytest.approx(expected / 2, rel=0.2)
    assert half.accuracy.area.se > 0


def test_map_on_a_finer_grid_of_another_crs_meets_the_old_places(world):
    folder, mapped, truth = world
    interpreted(folder, truth)
    before = run(folder, "points.gpkg").accuracy.counts
    fine = np.kron(mapped, np.ones((2, 2), np.uint8))
    write_raster(
        folder / "map.tif", fine[None], nodata=IGNORE,
        transform=rasterio.Affine(5, 0, 500_000, 0, -5, 5_000_000),
    )  # fmt: skip
    assert np.array_equal(run(folder, "points.gpkg").accuracy.counts, before)


def test_too_narrow_intervals_are_marked(tmp_path):
    """A rare class that the map never misses in the sample, beside a stratum that could hide it."""
    mapped = np.full((100, 100), 1, np.uint8)
    mapped[:4, :30] = 10
    write_raster(tmp_path / "map.tif", mapped[None], nodata=IGNORE)
    truth = mapped.copy()
    truth[0, :10] = 1
    interpreted(tmp_path, truth)
    found = run(tmp_path, "points.gpkg")
    assert found.narrow == (2,)
    assert any(n.startswith("†") and "Wasser" in n for n in found.notes)
    assert "†" in tables(found)[-1].markdown()
    assert as_json(found)["classes"]["Wasser <ä>"]["interval_too_narrow"]


# ---- bad references -----------------------------------------------------------------------------


def test_bad_references_are_named(world):
    folder, _, truth = world
    points, _ = interpreted(folder, truth)
    design_path(folder / "points.gpkg").unlink()
    with pytest.raises(SourceNotFound):
        run(folder, "nowhere.gpkg")
    with pytest.raises(ConfigError, match="its columns are id, reference, comment"):
        run(folder, "points.gpkg", column="klass")
    points.assign(reference="Frost").to_file(folder / "typo.gpkg")
    with pytest.raises(UnknownClass, match=r"'Frost' \(150 times\)"):
        run(folder, "typo.gpkg")
    points.set_crs(None, allow_override=True).to_parquet(folder / "no.parquet")
    with pytest.raises(MissingCRS):
        run(folder, "no.parquet")
    mixed = points.copy()
    mixed.loc[mixed.index[0], "geometry"] = box(0, 0, 1, 1)
    mixed.to_parquet(folder / "mixed.parquet")
    with pytest.raises(ConfigError, match="Point, Polygon"):
        run(folder, "mixed.parquet")
    several = points.assign(geometry=[MultiPoint([p, (p.x + 10, p.y)]) for p in points.geometry])
    several.to_parquet(folder / "several.parquet")
    with pytest.raises(ConfigError, match="several points each"):
        run(folder, "several.parquet")
    points.iloc[:0].to_parquet(folder / "none.parquet")
    with pytest.raises(EmptyRegion):
        run(folder, "none.parquet")
    (folder / "junk.gpkg").write_bytes(b"no database" * 100)
    with pytest.raises(UnreadableFile):
        run(folder, "junk.gpkg")
    for option in ({"post_stratify": True}, {"cluster": "id"}, {"design": "random"}):
        with pytest.raises(ConfigError):
            run(folder, "points.gpkg", **option)


# ---- outputs and the program --------------------------------------------------------------------


def test_folder_holds_what_was_said(world):
    folder, _, truth = world
    interpreted(folder, truth)
    found = run(folder, "points.gpkg")
    write_assessment(found, folder / "out")
    assert {p.name for p in (folder / "out").iterdir()} == {
        "accuracy.json", "report.md", "classes.csv", "matrix_counts.csv",
        "matrix_area_shares.csv", "areas.png",
    }  # fmt: skip
    told = json.loads((folder / "out" / "accuracy.json").read_text(encoding="utf-8"))
    assert told == as_json(found)
    table = pd.read_csv(folder / "out" / "classes.csv")
    assert table["class"].tolist() == list(THREE.names)
    areas = [e.value for e in found.accuracy.areas]
    assert table["area_ha"].to_numpy() * 1e4 == pytest.approx(areas)
    assert table["area_km2"].to_numpy() * 1e6 == pytest.approx(areas)
    counts = pd.read_csv(folder / "out" / "matrix_counts.csv", index_col=0)
    assert np.array_equal(counts.to_numpy(), found.accuracy.counts)
    with Image.open(folder / "out" / "areas.png") as picture:
        assert picture.size > (400, 100)
    with pytest.raises(OutputExists):
        write_assessment(found, folder / "out")


def test_program_draws_and_assesses(world):
    folder, _, _ = world
    legend = write_config(folder / "legend.yaml", THREE)
    words = ["--legend", legend]
    sheet = folder / "points.gpkg"
    drawn = invoke(
        "sample", folder / "map.tif", "--out", sheet, "--error", "0.04", *words,
        "--expected", "grassland=0.7", "--allocation", "proportional",
    )  # fmt: skip
    assert drawn.exit_code == 0, drawn.output
    assert "Cochran" in drawn.stdout
    again = invoke("sample", folder / "map.tif", "--out", sheet, *words)
    assert again.exit_code == 2
    points = gpd.read_file(sheet)
    with rasterio.open(folder / "truth.tif") as dataset:
        where = zip(points.geometry.x, points.geometry.y, strict=True)
        points["reference"] = [int(v[0]) for v in dataset.sample(where)]  # by id
    points.to_file(sheet)
    ended = invoke(
        "assess", folder / "map.tif", "--reference", sheet, *words, "--out", folder / "o"
    )
    assert ended.exit_code == 0, ended.output
    assert "overall accuracy: 0." in ended.stdout
    assert "±" in ended.stdout
    assert "Wasser <ä>" in ended.stdout
    plain = invoke("assess", folder / "map.tif", "--reference", folder / "truth.tif", *words)
    assert plain.exit_code == 0
    assert "nothing is estimated" in plain.stdout
    design_path(sheet).unlink()
    labels = invoke("assess", folder / "map.tif", "--reference", sheet, *words)
    assert labels.exit_code == 0
    assert "no areas and no intervals can be given" in labels.stdout
    assert "±" not in labels.stdout
    blocks = invoke(
        "sample", folder / "map.tif", "--out", folder / "c.gpkg", *words,
        "--design", "cluster", "--clusters", "6", "--block", "5",
    )  # fmt: skip
    assert blocks.exit_code == 0, blocks.output
    assert "6 of" in blocks.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "points.shp"], ".gpkg"),
        (["--out", "p.gpkg", "--size", "9", "--error", "0.1"], "more than one way"),
        (["--out", "p.gpkg", "--design", "cluster"], "--clusters"),
        (["--out", "p.gpkg", "--clusters", "4"], "--design cluster"),
        (["--out", "p.gpkg", "--expected", "Moor=0.7"], "Moor"),
        (["--out", "p.gpkg", "--expected", "Grassland"], "NAME=NUMBER"),
        (["--out", "p.gpkg", "--size", "3"], "too few"),
    ],
)
def test_wrong_options_are_named(world, words, said, monkeypatch):
    folder, _, _ = world
    monkeypatch.chdir(folder)
    legend = write_config(folder / "legend.yaml", THREE)
    ended = invoke("sample", folder / "map.tif", "--legend", legend, *words)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert not list(folder.glob("p*.gpkg*"))
