"""Tiles around polygons and points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import from_origin
from shapely import Point

from landmeta.errors import EmptyRegion
from landmeta.raster import Grid
from landmeta.sparse import around, load_shapes
from landmeta.taskset import Band
from landmeta.vectors import read_shapes
from tests.rasters import THREE, UTM, write_raster
from tests.shapes import at, write_shapes

BANDS = (Band(name="red"), Band(name="nir"))


def make_image(path, height=40, width=60, nodata=None, **profile):
    """The red band numbers the pixels."""
    number = np.arange(height * width, dtype=np.float32).reshape(height, width)
    more = {} if nodata is None else {"nodata": nodata}
    return write_raster(path, np.stack([number, number]), ("red", "nir"), **more, **profile)


def load(images, shapes, size=16, **more):
    return load_shapes(images, shapes, bands=BANDS, tile_size=size, **more)


def shapes_of(folder, geometry, classes, **more):
    path = write_shapes(folder / "l.gpkg", geometry, classes, **more)
    return read_shapes(path, "class", THREE)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    count=st.integers(0, 12),
    size=st.integers(4, 40),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
)
def test_windows_cover_every_box_inside_the_image(seed, count, size, height, width):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, [width, height], (count, 2))
    high = np.minimum(low + rng.integers(1, 30, (count, 2)), [width, height])
    windows = around(
        np.concatenate([low, high], axis=1), Grid(height, width, None, None), size, rng
    )
    covered = np.zeros((height, width), bool)
    for w in windows:
        assert 0 <= w.row_off <= w.row_off + w.height <= height
        assert 0 <= w.col_off <= w.col_off + w.width <= width
        assert (w.height, w.width) == (min(size, height), min(size, width))
        covered[w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width] = True
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        assert covered[top:bottom, left:right].all()
    assert len(windows) <= sum(np.ceil((high - low) / size).prod(axis=1)) if count else not windows


def test_every_label_is_there_once_on_its_own_pixel(tmp_path):
    image = make_image(tmp_path / "a.tif")
    geometry = [at(2, 2, 8, 8), at(30, 5, 55, 35), Point(500_105, 4_999_795), at(20, 30, 24, 34)]
    shapes = shapes_of(tmp_path, geometry, ["1", "4", "10", "1"])
    support = load([image], shapes)
    whole = shapes.on(Grid(40, 60, CRS.from_epsg(32633), UTM["transform"])).draw()
    assert support.views == 4
    for view in np.split(np.arange(len(support.tiles)), 4):
        label = support.tiles.label[view]
        used = label != 255
        pixel = support.tiles.image[view, 0][used].astype(int)
        assert sorted(pixel) == np.flatnonzero(whole.label != 255).tolist()
        np.testing.assert_array_equal(whole.label.ravel()[pixel], label[used])
        np.testing.assert_array_equal(support.groups[view] >= 0, used)
        assert len(np.unique(support.groups[view][used])) == 4
    assert dict(support.shapes) == {"Forest & scrub": 2, "Grassland": 1, "Wasser <ä>": 1}
    for number, (_, top, left) in enumerate(support.corners):
        assert support.tiles.image[number, 0, 0, 0] == top * 60 + left


def test_a_place_lies_anywhere_in_its_tiles(tmp_path):
    image = make_image(tmp_path / "a.tif")
    shapes = shapes_of(tmp_path, [at(20, 20, 24, 24)], [1])
    found = np.concatenate([load([image], shapes, seed=s).corners for s in range(40)])
    assert found[:, 1:].min() in (8, 9)  # metres are not whole pixels to the last digit
    assert found[:, 1:].max() in (19, 20)
    assert len(np.unique(found, axis=0)) > 50
    again = load([image], shapes, seed=3)
    np.testing.assert_array_equal(again.corners, load([image], shapes, seed=3).corners)


def test_very_many_tiles_are_cut_once(tmp_path, monkeypatch):
    monkeypatch.setattr("landmeta.sparse.ROOM", 2 * 16 * 16)
    image = make_image(tmp_path / "a.tif")
    one = load([image], shapes_of(tmp_path, [at(0, 0, 4, 4)], ["1"]))
    many = load([image], shapes_of(tmp_path, [at(0, 0, 60, 40)], ["1"]))
    assert (one.views, many.views) == (2, 1)


def test_several_images_in_other_projections(tmp_path):
    """The second image lies on another grid; a polygon on both is one group."""
    first = make_image(tmp_path / "a.tif")
    second = make_image(tmp_path / "b.tif", 30, 30, transform=from_origin(500_300, 4_999_900, 5, 5))
    geometry = [at(32, 12, 36, 16), at(2, 2, 5, 5)]
    shapes = shapes_of(tmp_path, geometry, [1, 4])
    support = load([first, second], shapes)
    assert set(support.corners[:, 0]) == {0, 1}
    groups = [
        set(np.unique(g[g >= 0]).tolist())
        for g in (support.groups[support.corners[:, 0] == i] for i in range(2))
    ]
    assert len(groups[0]) == 2
    assert len(groups[1]) == 1
    assert groups[1] < groups[0]
    second_pixels = (support.tiles.label[support.corners[:, 0] == 1] != 255).sum()
    assert second_pixels == 64 * support.views  # 40 m of 5 m pixels


def test_what_labels_nothing_is_told(tmp_path):
    image = make_image(tmp_path / "a.tif", nodata=0)
    geometry = [
        at(0, 0, 4, 4), at(100, 0, 104, 4), at(10.6, 10.6, 10.9, 10.9),
        at(20, 20, 24, 24), at(22, 20, 26, 24),
    ]  # fmt: skip
    support = load([image], shapes_of(tmp_path, geometry, ["1", "1", "4", "1", "4"]))
    told = "; ".join(support.notes)
    assert "1 of 5 shapes lie outside" in told
    assert "1 shapes label nothing" in told
    assert "8 pixels lie in shapes of different classes" in told
    assert "1 labelled pixels lie where the image has no data" in told


def test_points_with_a_radius(tmp_path):
    image = make_image(tmp_path / "a.tif")
    point = shapes_of(tmp_path, [Point(500_205, 4_999_795)], [1])
    for radius, count in ((0, 1), (1, 5), (2, 13)):
        support = load([image], point, radius=radius)
        assert (support.tiles.label[: support.shots] != 255).sum() == count


def test_far_away_labels(tmp_path):
    image = make_image(tmp_path / "a.tif")
    with pytest.raises(EmptyRegion, match="none of the 1 shapes") as error:
        load([image], shapes_of(tmp_path, [at(900, 0, 904, 4)], [1]))
    assert "coordinate reference" in error.value.remedy


def test_an_image_smaller_than_a_tile(tmp_path):
    image = make_image(tmp_path / "a.tif", 6, 9)
    support = load([image], shapes_of(tmp_path, [at(0, 0, 20, 20)], [1]))
    assert (support.tiles.label != 255).sum() == 54 * support.views
    assert support.tiles.image.shape == (support.views, 2, 16, 16)
