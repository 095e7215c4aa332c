"""STAC catalogues from the command line: walked in files, asked for over HTTP."""

import json
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import pytest
from shapely import box

from landmeta.errors import ConfigError
from tests.anydata import CLASSES, THREE, refused, run, scene
from tests.data.rasters import utm, write_raster
from tests.program import write_config
from tests.stacserver import served

pystac = pytest.importorskip("pystac")

WHERE = {"type": "Polygon", "coordinates": [[[15, 45], [15, 46], [16, 46], [16, 45], [15, 45]]]}
LABELS = "https://stac-extensions.github.io/label/v1.0.1/schema.json"


def item(name, assets, collection=None, **properties):
    made = pystac.Item(
        name, WHERE, [15, 45, 16, 46], datetime(2020, 6, 1, tzinfo=UTC), properties,
        collection=collection,
    )  # fmt: skip
    for key, href in assets.items():
        made.add_asset(key, pystac.Asset(str(href)))
    return made


@pytest.fixture
def legend(tmp_path):
    return write_config(tmp_path / "legend.yaml", CLASSES)


@pytest.fixture
def world(tmp_path):
    """Three collections of one item, saved with relative links; images and their labels."""
    truth = {}
    catalog = pystac.Catalog("world", "made up")
    for place, name in enumerate("abc"):
        image, label, _ = scene(tmp_path / "raw", name, place)
        truth[name] = (image, label)
        assets = {key: tmp_path / "raw" / name / f"{key}.tif" for key in ("img", "lab")}
        extent = pystac.Extent(
            pystac.SpatialExtent([[15, 45, 16, 46]]), pystac.TemporalExtent([[None, None]])
        )
        collection = pystac.Collection(name, "one", extent)
        more = {"grid:code": f"MGRS-33T{name}", "season": "wet", "proj:code": "EPSG:32633"}
        collection.add_item(item(f"{name}1", assets, **more))
        catalog.add_child(collection)
    catalog.normalize_hrefs(str(tmp_path / "stac"))
    catalog.make_all_asset_hrefs_relative()
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    return tmp_path / "stac" / "catalog.json", truth


ASSETS = ("--image-assets", "img", "--label-asset", "lab")


def prepared(out, *words):
    return run(out, "stac", *words)


def test_a_catalogue_of_files(tmp_path, world, legend):
    catalog, truth = world
    tasks = prepared(tmp_path / "out", catalog, *ASSETS, "--legend", legend, *THREE)
    assert len(tasks) == 3 * 3 * 4
    for name, (image, label) in truth.items():
        row = tasks.table[tasks.table["region"] == name].iloc[7]
        assert row["source"] == f"{name}1"
        col, top, w, h = row["window"]
        cut = (slice(top, top + h), slice(col, col + w))
        tile = tasks.read([row["id"]])
        assert np.array_equal(tile.image[0], image[:, *cut])
        assert np.array_equal(tile.label[0], label[cut] - 1)


@pytest.mark.parametrize(
    "by, names",
    [("grid", ["MGRS-33Ta", "MGRS-33Tb", "MGRS-33Tc"]), ("season", ["wet"])],
)
def test_regions_by_grid_or_property(tmp_path, world, legend, by, names):
    words = (world[0], *ASSETS, "--legend", legend, "--region", by, "--val", 0, "--test", 0)
    assert sorted(prepared(tmp_path / "out", *words).table["region"].unique()) == names


def test_an_item_collection_and_an_item(tmp_path, world, legend):
    items = list(pystac.Catalog.from_file(str(world[0])).get_items(recursive=True))
    file = tmp_path / "raw" / "items.json"
    for one in items:
        one.clear_links()
        for key, asset in one.assets.items():
            asset.href = f"{one.id[0]}/{key}.tif"
    file.write_text(json.dumps(pystac.ItemCollection(items).to_dict()))
    words = (*ASSETS, "--legend", legend, "--region", "grid", "--val", 0, "--test", 0)
    assert len(prepared(tmp_path / "many", file, *words)) == 36
    single = next((tmp_path / "stac").glob("a/*/*.json"))
    assert len(prepared(tmp_path / "one", single, *words)) == 12


def test_assets_are_stacked(tmp_path, legend):
    catalog = pystac.Catalog("world", "made up")
    for place, name in enumerate("abc"):
        _, _, grid = scene(tmp_path / "raw", name, place)
        bands = {}
        for k, band in enumerate(("red", "swir")):
            pixels = np.full((48, 64) if k == 0 else (24, 32), 10 * place + k, np.uint8)
            there = grid if k == 0 else utm(50 * place, gsd=20)
            bands[band] = write_raster(tmp_path / "raw" / name / f"{band}.tif", pixels, **there)
        bands["lab"] = tmp_path / "raw" / name / "lab.tif"
        catalog.add_item(item(name, bands, place=name))
    catalog.normalize_hrefs(str(tmp_path / "stac"))
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    words = (tmp_path / "stac/catalog.json", "--image-assets", "red,swir", "--label-asset", "lab",
             "--region", "place", "--legend", legend, *THREE)  # fmt: skip
    assert "--resample" in refused(tmp_path / "no", *words, reader="stac")
    tasks = prepared(tmp_path / "out", *words, "--resample", "bilinear")
    assert tasks.bands == ("red", "swir")
    assert tasks.read(tasks.tile_ids("c")[:1]).image[0, :, 5, 5].tolist() == [20, 21]


def test_label_items_say_which_image_and_which_column(tmp_path):
    catalog = pystac.Catalog("world", "made up")
    for place, name in enumerate("abc"):
        _, _, grid = scene(tmp_path / "raw", name, place)
        x, y = grid["transform"] * (0, 0)
        frame = gpd.GeoDataFrame(
            {"cover": ["Sand", "Water"]}, crs=32633,
            geometry=[box(x, y - 160, x + 160, y), box(x + 160, y - 160, x + 320, y)],
        )  # fmt: skip
        path = tmp_path / "raw" / name / "labels.geojson"
        frame.to_crs(4326).to_file(path)
        image = item(name, {"img": tmp_path / "raw" / name / "img.tif"}, place=name)
        labels = item(f"{name}-labels", {"labels": path}, place=name)
        labels.stac_extensions.append(LABELS)
        labels.properties |= {"label:type": "vector", "label:properties": ["cover"]}
        labels.add_link(pystac.Link("source", image))
        catalog.add_items([image, labels])
    catalog.add_item(item("bare", {"img": tmp_path / "raw/a/img.tif"}, place="d"))
    catalog.normalize_hrefs(str(tmp_path / "stac"))
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    words = (tmp_path / "stac/catalog.json", "--image-assets", "img", "--label-asset", "labels",
             "--region", "place", *THREE)  # fmt: skip
    tasks = prepared(tmp_path / "out", *words)
    assert tasks.meta.legend.names == ("Sand", "Water") and len(tasks) == 6
    assert tasks.class_pixels(range(6)).tolist() == [3 * 256, 3 * 256]
    assert "1 items have no labels and were left out" in tasks.meta.notes

    again = next(catalog.get_items("a-labels")).clone()
    again.id = "a-other"
    catalog.add_item(again)
    catalog.normalize_hrefs(str(tmp_path / "stac"))
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    assert "'a' has several labels: a-labels, a-other" in refused(
        tmp_path / "no", *words, reader="stac"
    )


def test_the_catalogue_may_bring_the_legend(tmp_path):
    catalog = pystac.Catalog("world", "made up")
    for place, name in enumerate("abc"):
        scene(tmp_path / "raw", name, place)
        made = item(name, {k: tmp_path / "raw" / name / f"{k}.tif" for k in ("img", "lab")}, p=name)
        made.assets["lab"].extra_fields["classification:classes"] = [
            {"value": 1, "name": "water", "color_hint": "0000ff"},
            {"value": 2, "name": "wood"},
            {"value": 3, "name": "none", "nodata": True},
        ]
        catalog.add_item(made)
    catalog.normalize_hrefs(str(tmp_path / "stac"))
    catalog.save(pystac.CatalogType.SELF_CONTAINED)
    words = (tmp_path / "stac/catalog.json", *ASSETS, "--region", "p", *THREE)
    tasks = prepared(tmp_path / "out", *words)
    assert tasks.meta.legend.names == ("water", "wood")
    assert tasks.meta.legend.classes[0].color == "#0000ff"
    assert 0.2 < (tasks.read(range(len(tasks))).label == 255).mean() < 0.5


def test_mistakes(tmp_path, world, legend):
    catalog, _ = world
    words = ("--legend", legend, *THREE)
    no = tmp_path / "no"
    assert "assets are called img, lab" in refused(
        no, catalog, "--image-assets", "B2", "--label-asset", "lab", *words, reader="stac"
    )
    assert "no country; its properties are" in refused(
        no, catalog, *ASSETS, "--region", "country", *words, reader="stac"
    )
    assert "cannot be read" in refused(no, tmp_path / "gone.json", *ASSETS, *words, reader="stac")
    assert "cannot be read" in refused(no, legend, *ASSETS, *words, reader="stac")
    next((tmp_path / "stac").glob("b/*/*.json")).unlink()
    assert "b1.json" in refused(no, catalog, *ASSETS, *words, reader="stac")


def test_an_api_and_images_on_a_server(tmp_path, legend):
    pytest.importorskip("pystac_client")
    root = tmp_path / "raw"
    truth = {name: scene(root, name, place) for place, name in enumerate("abcd")}
    items = [
        item(n, {k: f"ADDRESS{n}/{k}.tif" for k in ("img", "lab")}, f"c{n == 'd'}", place=n)
        for n in truth
    ]
    answer = [one.to_dict(include_self_link=False) for one in items]
    (root / "items.json").write_text(json.dumps(answer))
    with served(root) as address:
        words = (*ASSETS, "--region", "place", "--legend", legend, *THREE, "--bbox", "10,40,20,50",
                 "--datetime", "2020-01-01/2020-12-31", "--collection", "cFalse")  # fmt: skip
        tasks = prepared(tmp_path / "out", address, *words)
        says = refused(tmp_path / "no", f"{address}nothing/", *words, reader="stac")
        assert f"{address}nothing/: does not answer as a STAC API" in says
        none = refused(tmp_path / "no", address, *words[:-1], "cNone", reader="stac")
        assert "has no items" in none
    asked = json.loads((root / "asked.json").read_text())
    assert asked["bbox"] == [10, 40, 20, 50] and asked["datetime"].startswith("2020-01-01T")
    assert sorted(tasks.table["region"].unique()) == ["a", "b", "c"]
    image = truth["c"][0]
    assert np.array_equal(tasks.read(tasks.tile_ids("c")[:1]).image[0], image[:, :16, :16])


def test_without_pystac_it_says_what_to_install(monkeypatch):
    from data_prep.stac_items import open_items

    monkeypatch.setitem(__import__("sys").modules, "pystac", None)
    with pytest.raises(ConfigError, match=r"landmeta\[stac\]"):
        open_items("catalog.json")
