import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from shapely.geometry import Point, shape

from landmeta.companions import Companions
from landmeta.errors import ConfigError, MissingCRS
from landmeta.predict import predict
from landmeta.raster import Grid
from landmeta.stac_item import item
from landmeta.uncertainty import Quantities
from tests.rasters import THREE, UTM, NearestCentroid, write_raster

pystac = pytest.importorskip("pystac", reason="pystac is not installed")
CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)
GRID = Grid(60, 80, CRS.from_epsg(32633), UTM["transform"])
ALL = Quantities(confidence=True, entropy=True, probabilities=True)


def made(grid=GRID, date="2024-06-30", tags=None, quantities=ALL):
    layers = quantities.layers(Path("somewhere/map.tif"), THREE, "not calibrated")
    return item(layers, grid, date, tags or {})


@pytest.fixture
def raster(tmp_path):
    return write_raster(tmp_path / "a.tif", np.ones((2, 60, 80), np.float32), ("red", "nir"))


def validate(content):
    """By pystac, with the schema of the core that it brings; extensions' schemas lie elsewhere."""
    found = pystac.Item.from_dict(content | {"stac_extensions": []})
    assert found.validate() != []
    return pystac.Item.from_dict(content)


def test_an_item_beside_the_map_that_pystac_finds_valid(tmp_path, raster):
    predict(
        NearestCentroid(CENTROIDS),
        raster,
        tmp_path / "map.tif",
        entropy=True,
        probabilities=True,
        companions=Companions(stac=True, date="2024-06-30T10:30:00+02:00"),
        provenance={"landmeta_model_sha256": "abc", "landmeta_provenance": '{"a": [1]}'},
        quiet=True,
    )
    path = tmp_path / "map.stac.json"
    validate(json.loads(path.read_text()))
    found = pystac.Item.from_file(str(path))
    assert found.id == "map"
    assert found.datetime.isoformat() == "2024-06-30T08:30:00+00:00"
    assert found.properties["landmeta:model_sha256"] == "abc"
    assert found.properties["landmeta:provenance"] == {"a": [1]}
    for asset in found.assets.values():
        with rasterio.open(asset.get_absolute_href()) as dataset:
            assert asset.media_type == pystac.MediaType.COG
            bands = asset.extra_fields["raster:bands"]
            assert len(bands) == dataset.count
            for band, scale, nodata, unit in zip(
                bands, dataset.scales, dataset.nodatavals, dataset.units, strict=True
            ):
                assert band["nodata"] == nodata
                assert band.get("scale", 1) == scale
                assert band.get("unit", "") == (unit or "")


def test_projection_extension_by_pystac():
    from pystac.extensions.projection import ProjectionExtension

    found = ProjectionExtension.ext(validate(made()))
    assert found.epsg == 32633
    assert found.shape == [60, 80]
    assert Affine(*found.transform) == GRID.transform


def test_a_reference_system_without_a_code_is_given_in_words():
    crs = CRS.from_proj4("+proj=laea +lat_0=12 +lon_0=7 +datum=WGS84 +units=m")
    content = made(Grid(60, 80, crs, Affine(10, 0, 0, 0, -10, 0)))
    assert content["properties"]["proj:code"] is None
    assert CRS.from_wkt(content["properties"]["proj:wkt2"]) == crs


def test_classes_by_pystac():
    from pystac.extensions.classification import ClassificationExtension

    asset = validate(made()).assets["map"]
    found = ClassificationExtension.ext(asset).classes
    told = {
        c.value: (c.to_dict()["title"], c.color_hint)
        for c in found
        if not c.to_dict().get("nodata")
    }
    assert told == {c.id: (c.name, c.color[1:].upper()) for c in THREE.classes}
    assert [c.value for c in found if c.to_dict().get("nodata")] == [255]
    # What the extension's schema (2.0.0) asks of names and colours.
    for c in found:
        assert re.fullmatch(r"[0-9A-Za-z\-_]+", c.to_dict()["name"])
        assert c.color_hint is None or re.fullmatch(r"[0-9A-F]{6}", c.color_hint)


def test_raster_bands_by_pystac():
    from pystac.extensions.raster import DataType, RasterExtension

    asset = validate(made()).assets["probabilities"]
    bands = RasterExtension.ext(asset).bands
    assert [(b.data_type, b.nodata, b.scale, b.offset) for b in bands] == [
        (DataType.UINT8, 255, 0.004, 0)
    ] * 3
    assert [b["description"] for b in asset.extra_fields["bands"]] == list(THREE.names)
    assert bands[0].spatial_resolution == 10


@pytest.mark.parametrize("angle", [0, 25])
def test_the_footprint_holds_all_pixels_and_runs_against_the_clock(angle):
    grid = Grid(600, 800, GRID.crs, UTM["transform"] @ Affine.rotation(angle))
    content = made(grid)
    outline = shape(content["geometry"])
    assert outline.exterior.is_ccw
    np.testing.assert_allclose(content["bbox"], outline.bounds)
    rows, cols = np.mgrid[5:600:100, 5:800:100]
    x, y = grid.transform @ (cols.ravel(), rows.ravel())
    lon, lat = rasterio.warp.transform(grid.crs, "EPSG:4326", x, y)
    assert all(outline.contains(Point(a, b)) for a, b in zip(lon, lat, strict=True))
    pixels = outline.area / (8000 * 6000) * (111_200**2 * np.cos(np.radians(45.1)))
    assert pixels == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2024-06-30", {"datetime": "2024-06-30T00:00:00Z"}),
        ("2024-06-30T12:00:00Z", {"datetime": "2024-06-30T12:00:00Z"}),
        (
            "2024-06-01/2024-08-31",
            {
                "datetime": None,
                "start_datetime": "2024-06-01T00:00:00Z",
                "end_datetime": "2024-08-31T00:00:00Z",
            },
        ),
    ],
)
def test_dates(date, expected):
    properties = made(date=date)["properties"]
    assert {k: v for k, v in properties.items() if "datetime" in k} == expected


@pytest.mark.parametrize("date", ["yesterday", "2024-13-01", "2024/2023", "2024-09-01/2024-06-01"])
def test_no_dates(tmp_path, raster, date):
    companions = Companions(stac=True, date=date)
    with pytest.raises(ConfigError, match="is no date"):
        predict(
            NearestCentroid(CENTROIDS),
            raster,
            tmp_path / "map.tif",
            companions=companions,
            quiet=True,
        )
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_the_images_own_date(tmp_path, raster):
    with rasterio.open(raster, "r+") as dataset:
        dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2001-03-21T16:20:00")
    predict(
        NearestCentroid(CENTROIDS),
        raster,
        tmp_path / "map.tif",
        companions=Companions(stac=True),
        quiet=True,
    )
    found = pystac.Item.from_file(str(tmp_path / "map.stac.json"))
    assert found.datetime.isoformat() == "2001-03-21T16:20:00+00:00"


def test_no_date_at_all_and_no_place_at_all(tmp_path, raster):
    classifier = NearestCentroid(CENTROIDS)
    with pytest.raises(ConfigError, match=r"a\.tif: does not say when") as error:
        predict(
            classifier, raster, tmp_path / "m.tif", companions=Companions(stac=True), quiet=True
        )
    assert "--date" in str(error.value)
    bare = write_raster(
        tmp_path / "b.tif", np.ones((2, 9, 9), np.float32), ("red", "nir"), crs=None
    )
    with pytest.raises(MissingCRS, match="STAC"):
        predict(
            classifier,
            bare,
            tmp_path / "m.tif",
            companions=Companions(stac=True, date="2024-06-30"),
            allow_no_crs=True,
            quiet=True,
        )
