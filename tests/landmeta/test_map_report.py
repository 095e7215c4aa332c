"""The page of a map shows the map, and says no more than is known."""

import base64
import io
import json
import re

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from PIL import Image
from shapely.geometry import Point, box

from landmeta.errors import OutputExists, SizeMismatch, UnreadableFile
from landmeta.map_report import write_map_report
from tests.browser import open_page
from tests.rasters import THREE, UTM, write_raster

HEIGHT, WIDTH = 40, 60
CLASSES = np.random.default_rng(0).choice([1, 4, 10], (HEIGHT, WIDTH)).astype(np.uint8)
CLASSES[:5, :7] = 255
HELD_OUT = {
    "groups": 12,
    "accuracy": 0.81,
    "balanced_accuracy": 0.74,
    "forest_share": 0.25,
    "balanced_accuracy_network_alone": 0.71,
    "balanced_accuracy_forest_alone": 0.66,
    "reliability": [[[0.5, 0.6, 0.5], [0.5, 0.9, 0.8]], [[1.0, 0.7, 0.7]]],
}


@pytest.fixture
def made(tmp_path):
    """An image, its map and its confidence."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (3, HEIGHT, WIDTH)).astype(np.uint8)
    write_raster(tmp_path / "image.tif", pixels, ("R", "G", "B"))
    write_raster(tmp_path / "map.tif", CLASSES[None], nodata=255)
    tags = {
        "landmeta_classes": json.dumps([c.model_dump() for c in THREE.classes]),
        "landmeta_model": "region.safetensors",
        "landmeta_provenance": json.dumps({"held_out": HELD_OUT, "support": ["<script>"]}),
    }
    with rasterio.open(tmp_path / "map.tif", "r+") as dataset:
        dataset.update_tags(**tags)
    sure = np.full((1, HEIGHT, WIDTH), 40, np.uint8)
    write_raster(tmp_path / "map.confidence.tif", sure, nodata=255)
    return tmp_path


def _page(made, **more):
    write_map_report(made / "page.html", made / "map.tif", made / "image.tif", **more)
    return (made / "page.html").read_text(encoding="utf-8")


def _picture(page, alt):
    data = re.search(rf'src="data:image/png;base64,([^"]+)" alt="{alt}"', page)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))


def test_the_map_is_shown_as_it_is(made):
    page = _page(made)
    shown = _picture(page, "map")
    assert (shown[CLASSES == 255, 3] == 0).all()
    for known in THREE.classes:
        assert (shown[known.id == CLASSES] == (*known.rgb, 255)).all()
        share = (known.id == CLASSES).sum() / (CLASSES != 255).sum()
        assert f"{100 * share:.1f} %" in page
        assert f"{(known.id == CLASSES).sum() * 0.01:,.1f} ha" in page
    assert "Wasser &lt;ä&gt;" in page
    assert "<script>]" not in page
    for share in ("25 % of the votes", "network alone: 71 %", "66 %"):
        assert share in page


def test_the_image_is_brought_to_the_maps_grid(made, tmp_path):
    """An image in another coordinate system still lies under the map."""
    bright = np.zeros((3, HEIGHT, WIDTH), np.uint8) + 10
    bright[:, 20:, :] = 200
    write_raster(tmp_path / "image.tif", bright, ("R", "G", "B"))
    straight = _picture(_page(made), "image")
    with rasterio.open(tmp_path / "image.tif") as source:
        transform, width, height = rasterio.warp.calculate_default_transform(
            source.crs, "EPSG:4326", source.width, source.height, *source.bounds
        )
        warped = np.zeros((3, height, width), np.uint8)
        rasterio.warp.reproject(
            source.read(), warped, src_transform=source.transform, src_crs=source.crs,
            dst_transform=transform, dst_crs="EPSG:4326",
        )  # fmt: skip
    write_raster(tmp_path / "image.tif", warped, crs="EPSG:4326", transform=transform, nodata=0)
    again = _picture(_page(made, overwrite=True), "image")
    inside = np.s_[3:-3, 3:-3, 0]
    assert (np.abs(straight[inside].astype(int) - again[inside]) < 60).mean() > 0.9
    assert straight[30, 30, 0] > straight[10, 30, 0]


def test_without_a_sample_there_is_no_interval(made):
    page = _page(made)
    assert "estimated area" not in page
    assert "no estimate of the true area" in page


def test_an_assessment_is_told_with_its_intervals(made):
    interval = {"value": 0.8, "se": 0.02, "low": 0.75, "high": 0.85}
    area = {"value": 100_000.0, "se": 5_000.0, "low": 90_000.0, "high": 110_000.0}
    one = {"area": area, "users_accuracy": interval, "producers_accuracy": {"value": None}}
    found = {
        "kind": "sample",
        "design": "stratified",
        "units": 50,
        "overall_accuracy": interval,
        "no_intervals_because": None,
        "notes": ["a note <b>"],
        "classes": {"Grassland": one},
    }
    (made / "accuracy").mkdir()
    (made / "accuracy/accuracy.json").write_text(json.dumps(found), encoding="utf-8")
    page = _page(made, assessment=made / "accuracy")
    assert "10.0 ha (9.0 ha to 11.0 ha)" in page
    assert page.count("80.0% (75.0% to 85.0%)") == 2
    assert "a probability sample (stratified), 50 units" in page
    assert "a note &lt;b&gt;" in page
    (made / "accuracy/accuracy.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UnreadableFile, match="no assessment"):
        _page(made, assessment=made / "accuracy", overwrite=True)


def test_bad_input_leaves_the_page_as_it_was(made):
    _page(made)
    before = (made / "page.html").read_bytes()
    with pytest.raises(OutputExists):
        _page(made)
    write_raster(made / "other.tif", np.zeros((1, 3, 3), np.uint8))
    with pytest.raises(SizeMismatch, match="has 3 × 3 pixels, the map 40 × 60"):
        _page(made, confidence=made / "other.tif", overwrite=True)
    with pytest.raises(UnreadableFile, match="no file of polygons"):
        _page(made, labels=made / "image.tif", overwrite=True)
    assert (made / "page.html").read_bytes() == before


def test_labels_as_geoparquet_are_drawn_as_from_a_geopackage(made):
    left, top = UTM["transform"] * (0, 0)
    frame = gpd.GeoDataFrame(
        geometry=[box(left + 100, top - 200, left + 200, top - 100)], crs="EPSG:32633"
    )
    frame.to_parquet(made / "labels.parquet")
    frame.to_file(made / "labels.gpkg")
    drawn = []
    for name in ("labels.parquet", "labels.gpkg"):
        page = _page(made, labels=made / name, overwrite=True)
        drawn.append(re.findall(r'<path[^>]* d="([^"]+)"', page))
    assert drawn[0] == drawn[1] != []


def test_a_large_map_makes_a_picture_for_a_screen(made):
    classes = np.ones((1, 100, 4000), np.uint8)
    write_raster(made / "map.tif", classes)
    write_raster(made / "image.tif", np.ones((3, 100, 4000), np.uint8))
    assert _picture(_page(made), "map").shape == (40, 1600, 4)


@pytest.mark.slow
def test_in_a_browser(made):
    left, top = UTM["transform"] * (0, 0)
    frame = gpd.GeoDataFrame(
        geometry=[box(left + 100, top - 200, left + 200, top - 100), Point(left + 300, top - 300)],
        crs="EPSG:32633",
    )
    frame.to_crs("EPSG:4326").to_file(made / "labels.gpkg")
    text = _page(made, labels=made / "labels.gpkg", confidence=made / "map.confidence.tif")
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    with open_page((made / "page.html").as_uri()) as page:
        box_ = page.locator("#swipe").bounding_box()
        page.mouse.move(box_["x"] + box_["width"] / 2, box_["y"] + 30)
        page.mouse.down()
        page.mouse.move(box_["x"] + box_["width"] / 4, box_["y"] + 30)
        page.mouse.up()
        assert int(page.get_attribute("#swipe", "aria-valuenow")) == 25
        page.press("#swipe", "ArrowRight")
        assert int(page.get_attribute("#swipe", "aria-valuenow")) == 27
        assert page.is_visible("[data-layer=map]")
        page.check("[value=confidence]")
        assert page.is_visible("[data-layer=confidence]")
        assert not page.is_visible("[data-layer=map]")
        outline = page.locator("#labels path").first.bounding_box()
        scale = box_["width"] / WIDTH
        assert outline["x"] - box_["x"] == pytest.approx(10 * scale, abs=scale)
        assert outline["width"] == pytest.approx(10 * scale, abs=scale)
        page.uncheck("#show-labels")
        assert not page.is_visible("#labels")
        assert page.is_visible("img[alt='reliability diagram']")
