from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import transform_bounds
from shapely.geometry import LineString, Point, box

from data_prep.places import footprints, place_all, read_places
from landmeta.errors import ConfigError, MissingCRS, SourceNotFound, UnreadableFile

WEST, EAST = box(5, 45, 10, 50), box(10, 45, 15, 50)


def frame(crs="EPSG:4326", **more):
    table = gpd.GeoDataFrame(
        {"land": ["West", "East"], "part": ["one", "one"], **more},
        geometry=[WEST, EAST],
        crs="EPSG:4326",
    )
    return table.to_crs(crs)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3035"])
@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.parquet"])
def test_polygons_of_any_format_and_system(tmp_path, crs, name):
    path = tmp_path / name
    table = frame(crs)
    if name == "a.parquet":
        table.to_parquet(path)
    else:
        table.to_file(path)
    places = read_places(path, "land")
    assert list(places.name) == ["West", "East"]
    assert places.crs == "EPSG:4326"
    tiles = [box(6, 46, 6.1, 46.1), box(12, 48, 12.1, 48.1)]
    assert place_all(tiles, places).names == ["West", "East"]


def test_rows_of_one_name_are_one_place_and_rows_without_a_name_none(tmp_path):
    frame(part=["one", None]).to_file(tmp_path / "a.gpkg")
    assert list(read_places(tmp_path / "a.gpkg", "part").name) == ["one"]
    frame().to_file(tmp_path / "b.gpkg")
    both = read_places(tmp_path / "b.gpkg", "part")
    across = box(9.9, 46, 10.1, 46.2)
    assert place_all([across], both).names == ["one"]


def test_what_lies_on_a_border_or_outside_is_left_out_and_counted(tmp_path):
    frame().to_file(tmp_path / "a.gpkg")
    places = read_places(tmp_path / "a.gpkg", "land")
    tiles = [box(9.9, 46, 10.1, 46.2), box(0, 0, 1, 1), box(4.9, 46, 5.1, 46.2)]
    placed = place_all(tiles, places)
    assert placed.names == [None, None, "West"]  # the last one reaches over the coast
    assert (placed.outside, placed.border) == (1, 1)
    assert placed.notes("patches", Path("a.gpkg")) == [
        "left out 1 patches that lie in no place of a.gpkg",
        "left out 1 patches that lie on the border of several places of a.gpkg",
    ]


@given(
    st.lists(
        st.tuples(st.floats(5, 14), st.floats(45, 49), st.floats(0.01, 1), st.floats(0.01, 1)),
        min_size=1,
        max_size=8,
    )
)
def test_footprints_of_two_places_never_overlap(corners):
    places = gpd.GeoDataFrame({"name": ["West", "East"]}, geometry=[WEST, EAST], crs="EPSG:4326")
    tiles = [box(x, y, x + w, y + h) for x, y, w, h in corners]
    placed = place_all(tiles, places)
    for tile, name in zip(tiles, placed.names, strict=True):
        # By hand: which of the two it meets.
        met = [n for n, place in (("West", WEST), ("East", EAST)) if tile.intersects(place)]
        assert name == (met[0] if len(met) == 1 else None)
    of = {n: [t for t, m in zip(tiles, placed.names, strict=True) if m == n] for n in placed.names}
    for a in of.get("West", []):
        assert not any(a.intersects(b) for b in of.get("East", []))


def test_footprints_are_those_of_rasterio():
    bounds = [(300_000, 5_000_000, 302_560, 5_002_560), (700_000, 1_000_000, 702_560, 1_002_560)]
    systems = ["EPSG:32633", "EPSG:32718"]
    for outline, native, crs in zip(footprints(bounds, systems), bounds, systems, strict=True):
        np.testing.assert_allclose(
            outline.bounds, transform_bounds(crs, "EPSG:4326", *native), atol=1e-4
        )
    assert footprints([(1, 2, 3, 4)], ["EPSG:4326"])[0].equals(box(1, 2, 3, 4))


def test_a_footprint_across_the_antimeridian_lies_on_both_sides():
    (outline,) = footprints([(262_000, 5_000_000, 268_000, 5_010_000)], ["EPSG:32601"])
    west, _, east, _ = outline.bounds
    assert (west, east) == (-180, 180)
    assert outline.area < 0.02
    (near,) = footprints([(500_000, 5_000_000, 500_100, 5_000_100)], ["EPSG:32601"])
    assert near.bounds[2] < -176


def test_countries_and_continents_of_a_real_map():
    folder = Path(pyogrio.__file__).parent / "tests" / "fixtures" / "naturalearth_lowres"
    if not folder.is_dir():
        pytest.skip("this build of pyogrio came without its sample of Natural Earth")
    tiles = [Point(x, y).buffer(0.1) for x, y in [(11, 48.5), (28, -1), (134, -25), (-150, 20)]]
    countries = place_all(tiles, read_places(folder / "naturalearth_lowres.shp", "name"))
    assert countries.names == ["Germany", "Dem. Rep. Congo", "Australia", None]
    continents = place_all(tiles, read_places(folder / "naturalearth_lowres.shp", "continent"))
    assert continents.names == ["Europe", "Africa", "Oceania", None]
    assert continents.border == 0  # neighbours of one continent are one place


def write(path, table):
    table.to_file(path)
    return path


BAD = {
    "no such file": (lambda p: p / "no.gpkg", SourceNotFound, "not there"),
    "no map": (lambda p: _text(p / "a.gpkg"), UnreadableFile, "cannot be read"),
    "no parquet": (lambda p: _text(p / "a.parquet"), UnreadableFile, "cannot be read"),
    "no column": (
        lambda p: write(p / "a.gpkg", frame().drop(columns="land")), ConfigError, "no column 'land'"
    ),
    "no names": (lambda p: write(p / "a.gpkg", frame(land=[None, None])), ConfigError, "nothing"),
    "lines": (
        lambda p: write(p / "a.gpkg", frame().set_geometry(
            [LineString([(0, 0), (1, 1)]), LineString([(0, 0), (2, 1)])], crs="EPSG:4326")),
        ConfigError, "LineString",
    ),
    "no system": (
        lambda p: write(p / "a.shp", frame().set_crs(None, allow_override=True)), MissingCRS,
        "no coordinate reference system",
    ),
}  # fmt: skip


def _text(path):
    path.write_text("hello")
    return path


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(("make", "error", "message"), BAD.values(), ids=BAD.keys())
def test_files_that_are_no_places(tmp_path, make, error, message):
    path = make(tmp_path)
    with pytest.raises(error, match=message) as caught:
        read_places(path, "land")
    assert caught.value.path == path


def test_a_polygon_that_crosses_itself_still_serves(tmp_path):
    bow = gpd.GeoSeries.from_wkt(["POLYGON((0 0, 10 10, 10 0, 0 10, 0 0))"], crs="EPSG:4326")
    gpd.GeoDataFrame({"land": ["Bow"]}, geometry=bow).to_file(tmp_path / "a.gpkg")
    places = read_places(tmp_path / "a.gpkg", "land")
    assert place_all([box(1, 4, 1.5, 5), box(4.9, 0, 5.1, 1)], places).names == ["Bow", None]
