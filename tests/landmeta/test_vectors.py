"""Reading labelled shapes: against geopandas and rasterio alone."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.features import rasterize
from shapely import LineString, MultiPolygon, Point, Polygon

from landmeta.errors import (
    ConfigError,
    EmptyRegion,
    MissingCRS,
    SizeMismatch,
    SourceNotFound,
    UnknownClass,
    UnreadableFile,
)
from landmeta.raster import Grid
from landmeta.vectorfile import is_vector, layers
from landmeta.vectors import read_shapes
from tests.rasters import THREE, UTM, read_raster, write_raster
from tests.real import real_data
from tests.shapes import at, write_shapes

GRID = Grid(20, 30, CRS.from_epsg(32633), UTM["transform"])
SUFFIXES = [".gpkg", ".geojson", ".shp", ".parquet"]


def read(path, column="class", legend=THREE, **more):
    return read_shapes(path, column, legend, **more)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3035"])
def test_every_format_and_crs_gives_the_pixels_rasterio_gives(tmp_path, suffix, crs):
    third = at(2, 12, 4, 14) if suffix == ".shp" else Point(500_045, 4_999_885)
    polygons = gpd.GeoSeries(
        [at(1.2, 1.2, 9.7, 6.8), at(15.3, 8.2, 26.6, 18.7), third], crs="EPSG:32633"
    ).to_crs(crs)
    path = write_shapes(tmp_path / f"l{suffix}", polygons, ["Grassland", "Wasser <ä>", "1"], crs)
    back = gpd.read_parquet(path) if suffix == ".parquet" else gpd.read_file(path)
    back = back.to_crs("EPSG:32633")
    expected = rasterize(
        zip(back.geometry, [1, 2, 0], strict=True),
        (20, 30),
        fill=255,
        transform=UTM["transform"],
        dtype=np.uint8,
    )
    shapes = read(path)
    np.testing.assert_array_equal(shapes.on(GRID).draw().label, expected)
    assert (expected != 255).sum() > 100
    assert is_vector(path)


def test_multi_part_shapes_and_collections_are_taken_apart(tmp_path):
    parts = MultiPolygon([at(0, 0, 2, 2), at(5, 5, 8, 8)])
    path = write_shapes(tmp_path / "l.gpkg", [parts], ["Grassland"])
    shapes = read(path)
    assert len(shapes) == 2
    drawn = shapes.on(GRID).draw()
    assert (drawn.label == 1).sum() == 4 + 9
    assert set(np.unique(drawn.number)) == {-1, 0, 1}


def test_invalid_and_empty_shapes_and_lines(tmp_path):
    x, y = 500_000, 5_000_000
    bow_tie = Polygon([(x, y), (x + 100, y - 100), (x + 100, y), (x, y - 100)])
    geometry = [bow_tie, None, Polygon(), LineString([(x, y), (x + 50, y)]), at(20, 0, 22, 2)]
    path = write_shapes(tmp_path / "l.parquet", geometry, ["Grassland"] * 4 + [None])
    path2 = write_shapes(
        tmp_path / "m.parquet", [*geometry, at(25, 0, 26, 1)], [1, 1, 1, 1, None, 4]
    )
    for file, count in ((path, 2), (path2, 3)):
        shapes = read(file)
        assert len(shapes) == count  # the bow tie is two triangles
        told = " ".join(shapes.notes)
        for said in (
            "2 shapes are empty",
            "1 shapes were invalid",
            "(number 1)",
            "1 shapes are lines",
        ):
            assert said in told
        assert f"1 of {count + 3} shapes have no class" in told or count == 3
    label = read(path).on(GRID).draw().label
    assert 40 <= (label == 1).sum() <= 60  # half of the 10 x 10 box that it spans


def test_shapes_outside_the_image_are_known(tmp_path):
    geometry = [at(0, 0, 2, 2), at(40, 0, 42, 2), at(29, 19, 50, 50), Point(0, 0)]
    placed = read(write_shapes(tmp_path / "l.gpkg", geometry, [1, 4, 10, 1])).on(GRID)
    assert placed.inside.tolist() == [True, False, True, False]
    assert (placed.draw().label != 255).sum() == 4 + 1


def test_what_cannot_be_projected_is_outside(tmp_path):
    geometry = [Point(15, 45), Point(-165, -89.99999), Point(195, 90)]
    path = write_shapes(tmp_path / "l.gpkg", geometry, [1, 4, 10], "EPSG:4326")
    placed = read(path).on(Grid(5, 5, CRS.from_epsg(3857), UTM["transform"]))
    assert not placed.inside.any()
    assert (placed.draw().label == 255).all()


def test_classes_by_name_or_id_whatever_the_case_and_spaces(tmp_path):
    named = ["forest  & SCRUB", "4", 10, " Grass-land "]
    geometry = [at(2 * i, 0, 2 * i + 1, 1) for i in range(4)]
    path = write_shapes(tmp_path / "l.geojson", geometry, [str(n) for n in named])
    assert read(path, "CLASS").index.tolist() == [0, 1, 2, 1]


def test_unknown_classes_are_named(tmp_path):
    path = write_shapes(
        tmp_path / "l.gpkg", [at(0, 0, 1, 1)] * 3, ["Gras", "Gras", "Forest & scrub"]
    )
    with pytest.raises(UnknownClass, match=r"'Gras' \(2 times\).*Forest & scrub \(1\)") as error:
        read(path)
    assert "--class-column" in error.value.remedy


def test_an_open_legend_is_made_of_the_column(tmp_path):
    geometry = [at(i, 0, i + 1, 1) for i in range(4)]
    path = write_shapes(tmp_path / "l.gpkg", geometry, ["maize", "Wasser <ä>", "maize ", "Wald"])
    shapes = read(path, open_legend=True)
    assert shapes.legend.names == ("maize", "Wald", "Wasser <ä>")
    assert shapes.index.tolist() == [0, 2, 0, 1]
    assert shapes.legend.classes[2] == THREE.classes[2]


@pytest.mark.parametrize("column", [None, "klass"])
def test_without_a_column_its_error_lists_them(tmp_path, column):
    path = write_shapes(tmp_path / "l.gpkg", [at(0, 0, 1, 1)], ["Grassland"])
    with pytest.raises(ConfigError, match=r"class \(Grassland …\), note \(x …\)"):
        read(path, column)


def test_one_of_several_layers(tmp_path):
    path = tmp_path / "l.gpkg"
    write_shapes(path, [at(0, 0, 1, 1)], ["Grassland"], layer="first")
    write_shapes(path, [at(0, 0, 2, 2)], ["Grassland"], layer="second")
    assert layers(path) == ["first", "second"]
    with pytest.raises(ConfigError, match="first, second"):
        read(path)
    with pytest.raises(ConfigError, match="no layer 'third'"):
        read(path, layer="third")
    assert (read(path, layer="second").on(GRID).draw().label == 1).sum() == 4


def test_a_missing_crs_is_not_guessed(tmp_path):
    path = write_shapes(tmp_path / "l.shp", [at(0, 0, 1, 1)], ["Grassland"], crs=None)
    with pytest.raises(MissingCRS, match="the labels have no coordinate"):
        read(path).on(GRID)
    placed = read(path).on(Grid(20, 30, None, UTM["transform"]))
    assert (placed.draw().label == 1).sum() == 1
    path = write_shapes(tmp_path / "m.gpkg", [at(0, 0, 1, 1)], ["Grassland"])
    with pytest.raises(MissingCRS, match="the image has no coordinate"):
        read(path).on(Grid(20, 30, None, UTM["transform"]))


def test_metres_in_a_geojson_without_crs(tmp_path):
    path = write_shapes(tmp_path / "l.geojson", [at(0, 0, 1, 1)], ["Grassland"], crs=None)
    with pytest.raises(MissingCRS, match="in degrees"):
        read(path)


def test_an_image_that_lies_by_ground_control_points(tmp_path):
    point = rasterio.control.GroundControlPoint(0, 0, 500_000, 5_000_000)
    grid = Grid(20, 30, CRS.from_epsg(32633), UTM["transform"], (point,))
    path = write_shapes(tmp_path / "l.gpkg", [at(0, 0, 1, 1)], ["Grassland"])
    with pytest.raises(SizeMismatch, match="ground control points"):
        read(path).on(grid)


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(SourceNotFound):
        read(tmp_path / "no.gpkg")
    for suffix in SUFFIXES:
        path = write_shapes(tmp_path / f"l{suffix}", [at(0, 0, 1, 1)] * 50, ["Grassland"] * 50)
        path.write_bytes(path.read_bytes()[:90])
        with pytest.raises((UnreadableFile, EmptyRegion), match=path.name):
            read(path)


def test_files_without_shapes(tmp_path):
    raster = write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8))
    assert not is_vector(raster)
    with pytest.raises(UnreadableFile, match=r"a\.tif"):
        read(raster)
    table = tmp_path / "t.csv"
    pd.DataFrame({"class": ["Grassland"]}).to_csv(table)
    with pytest.raises(EmptyRegion, match="no layer with shapes"):
        read(table)
    empty = write_shapes(tmp_path / "e.gpkg", [], [])
    with pytest.raises(EmptyRegion):
        read(empty)
    nameless = write_shapes(tmp_path / "n.gpkg", [at(0, 0, 1, 1)], [None])
    with pytest.raises(EmptyRegion):
        read(nameless)
    with pytest.raises(EmptyRegion, match="no class is named"):
        read(nameless, open_legend=True)


def test_real_polygons_and_the_raster_made_of_them():
    folder = real_data("landsat7_chiapas_sparse")
    with rasterio.open(folder / "training_data.gtif") as dataset:
        grid, ids = Grid.of(dataset), dataset.read(1)
    for file in ("training_data.shp", "training_data.zip"):
        shapes = read_shapes(folder / file, "class", None)
        drawn = shapes.on(grid).draw()
        column = gpd.read_file(folder / file).groupby("class")["id"].first()
        ours = np.array([column[name] for name in shapes.legend.names] + [0])
        found = ours[np.minimum(drawn.label, len(shapes.legend))]
        assert (found != ids).mean() < 0.002  # theirs covers some pixels by another rule
        assert abs(int((drawn.label != 255).sum()) - 718) < 60
    assert (read_raster(folder / "training_data.gtif") > 0).sum() == 718
