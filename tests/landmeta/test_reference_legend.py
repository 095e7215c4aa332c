"""References whose values are those of another coding than the map's."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import Point
from sklearn.metrics import confusion_matrix

from landmeta.assess import assess
from landmeta.assess_tables import shown_classes
from landmeta.design import write_sample
from landmeta.errors import UnknownClass
from landmeta.kinds import Allocation, Kind
from landmeta.landmap import content, open_map
from landmeta.legend import IGNORE, LandClass, Legend, find_legend
from landmeta.planning import Aim
from landmeta.raster import Grid, Layer, write_layers
from landmeta.sampling import sample_pixels
from landmeta.translation import translate
from tests.program import invoke
from tests.rasters import THREE, write_raster
from tests.real import real_data

SOURCE = Legend(
    classes=(
        LandClass(id=1, name="wasser <ä>", color="#0000ff"),
        LandClass(id=2, name="FOREST & SCRUB", color="#009900"),
        LandClass(id=3, name="Snow", color="#ffffff"),
        LandClass(id=4, name="Grassland", color="#b6ff05"),
    ),
    remap={"50": 1, "51": 1, "60": 2, "70": 3, "80": 4},
    ignore=("99",),
)
MEANT = {10: 50, 1: 60, 4: 80}


@pytest.fixture
def world(tmp_path):
    """A map that names its classes, and a truth in other ids and with one class more."""
    rng = np.random.default_rng(3)
    mapped = rng.choice(THREE.ids, (40, 50)).astype(np.uint8)
    truth = np.vectorize(MEANT.get)(np.where(rng.random((40, 50)) < 0.2, 4, mapped))
    truth[truth == 50] = rng.choice([50, 51], (truth == 50).sum())
    truth[:5] = 70
    grid = Grid(40, 50, rasterio.crs.CRS.from_epsg(32633), Affine(10, 0, 5e5, 0, -10, 5e6))
    with write_layers([Layer(tmp_path / "map.tif", "land cover", THREE)], grid, {}) as (writer,):
        writer.write(mapped)
    return tmp_path, mapped, truth.astype(np.uint8), {"transform": grid.transform, "crs": grid.crs}


def in_map_terms(truth):
    """Index by class of the map, 3 for snow; 255 for 99."""
    table = np.full(256, IGNORE)
    table[[50, 51, 60, 70, 80]] = [2, 2, 0, 3, 1]
    return table[truth]


def test_a_raster_in_other_ids(world):
    folder, mapped, truth, grid = world
    truth[-2:] = 99
    write_raster(folder / "truth.tif", truth[None], **grid)
    found = assess(folder / "map.tif", folder / "truth.tif", reference_legend=SOURCE)
    known = in_map_terms(truth) != IGNORE
    expected = confusion_matrix(
        THREE.from_ids(mapped)[known], in_map_terms(truth)[known], labels=range(4)
    )
    np.testing.assert_array_equal(found.accuracy.counts, expected)
    assert [c.name for c in found.classes] == [*THREE.names, "Snow"]
    assert [c.id for c in found.classes] == [1, 4, 10, 3]
    done = invoke("assess", folder / "map.tif", "-r", folder / "truth.tif")
    assert done.exit_code == 2
    assert "--reference-legend" in done.output


def test_points_of_a_sample_by_ids_of_the_source(world):
    """The design is still that of this map, and its strata are its classes."""
    folder, mapped, truth, _ = world
    land = open_map(folder / "map.tif")
    design = sample_pixels(land, Kind.stratified, Allocation.equal, Aim(size=90))[0]
    write_sample(folder / "points.gpkg", design, overwrite=True)
    points = gpd.read_file(folder / "points.gpkg")
    seen = truth[list(design.units.row), list(design.units.col)]
    points["reference"] = seen.astype(str)
    points.to_file(folder / "points.gpkg")
    found = assess(folder / "map.tif", folder / "points.gpkg", reference_legend=SOURCE)
    own = in_map_terms(seen)
    points["reference"] = [("Forest & scrub", "Grassland", "Wasser <ä>", "")[i] for i in own]
    points.to_file(folder / "points.gpkg")
    assert found.kind == "sample"
    assert "not the map that the sample was drawn from" not in " ".join(found.notes)
    shares = np.bincount(own, minlength=4)
    assert found.accuracy.counts.sum(axis=0).tolist() == shares.tolist()
    # Weighted by hand: each stratum's share of the map times the share of snow in its sample.
    index = THREE.from_ids(mapped)
    rows, cols = list(design.units.row), list(design.units.col)
    stratum = index[rows, cols]
    snow = sum((index == k).mean() * (own[stratum == k] == 3).mean() for k in range(3))
    assert found.accuracy.area_shares[3].value == pytest.approx(snow)


def test_names_that_the_legend_does_not_know(world):
    folder = world[0]
    frame = gpd.GeoDataFrame(
        {"reference": ["60", "61"]}, geometry=[Point(5e5 + 5, 5e6 - 5)] * 2, crs=32633
    )
    frame.to_file(folder / "points.gpkg")
    with pytest.raises(UnknownClass, match="'61'") as caught:
        assess(folder / "map.tif", folder / "points.gpkg", reference_legend=SOURCE)
    assert "--reference-legend" in caught.value.remedy


def test_a_class_behind_the_others_gets_a_free_id(world):
    land = open_map(world[0] / "map.tif")
    other = Legend(
        classes=(
            LandClass(id=4, name="Snow", color="#ffffff"),
            LandClass(id=2, name="Forest & scrub", color="#009900"),
            LandClass(id=7, name="Rock", color="#777777"),
        )
    )
    wider, found, coding = translate(land, content(land), other)
    assert wider.legend.names == (*THREE.names, "Snow", "Rock")
    assert wider.legend.ids == (1, 4, 10, 2, 7)
    assert coding.table[:3].tolist() == [3, 0, 4]
    assert (coding.table[3:] == IGNORE).all()
    assert found.pixels[3:].tolist() == [0, 0]


def test_a_real_map_of_simplified_classes_against_its_source(tmp_path):
    """The map is IGBP simplified, written by its own ids; the reference is IGBP as it came."""
    source = next(iter(sorted(real_data("modis_igbp").glob("*/*_igbp.tif"))))
    legend = find_legend("igbp-simplified")
    with rasterio.open(source) as dataset:
        ids = legend.to_ids(legend.from_ids(dataset.read(1)))
        grid = Grid.of(dataset)
    some = legend.only(sorted(set(legend.from_map(ids).ravel().tolist()) - {IGNORE})[1:])
    rare = legend.ids[int(legend.from_map(ids).min())]
    ids[ids == rare] = some.ids[0]  # a class that the map does not have
    with write_layers([Layer(tmp_path / "map.tif", "x", some)], grid, {}) as (writer,):
        writer.write(ids)
    found = assess(tmp_path / "map.tif", source, reference_legend=legend)
    names = [found.classes[k].name for k in shown_classes(found)]
    missing = next(c.name for c in legend.classes if c.id == rare)
    assert missing in names
    counts = found.accuracy.counts
    wrong = int(counts.sum() - np.trace(counts))
    column = [c.name for c in found.classes].index(missing)
    assert wrong == counts[:, column].sum() > 0
