"""Tiles show the pixels that rasterio reads."""

import io

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from landmeta.raster import Grid
from landmeta.studio import tiles
from landmeta.studio.view import View, cut_out, offset
from tests.rasters import write_raster


def _pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def grid_of(path):
    with rasterio.open(path) as dataset:
        return Grid.of(dataset)


@pytest.fixture
def image(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (3, 300, 600)).astype(np.float32)
    pixels[:, 10:20, 5:9] = np.nan
    return write_raster(tmp_path / "image.tif", pixels), pixels


@given(width=st.integers(1, 100_000), height=st.integers(1, 100_000))
def test_the_first_level_is_one_tile_and_the_last_is_whole_pixels(width, height):
    count = tiles.levels(width, height)
    assert max(width, height) <= 256 * 2 ** (count - 1)
    assert count == 1 or max(width, height) > 256 * 2 ** (count - 2)


def test_full_resolution_is_the_pixels_themselves(image):
    path, pixels = image
    shown = ((0.0, 200.0),) * 3
    made = _pixels(tiles.image_tile(path, (1, 2, 3), shown, 2, 1, 0))
    valid = np.isfinite(pixels[0, :256, 256:512])
    expected = (pixels[:, :256, 256:512] / 200 * 255).transpose(1, 2, 0)
    assert np.abs(made[..., :3][valid] - expected[valid]).max() <= 1
    assert (made[..., 3] == 255).all()
    first = _pixels(tiles.image_tile(path, (1, 2, 3), shown, 2, 0, 0))
    assert (first[10:20, 5:9, 3] == 0).all()
    assert (first[..., 3] == 0).sum() == 40


def test_beyond_the_image_is_transparent_and_further_there_is_nothing(image):
    path, _ = image
    shown = ((0.0, 200.0),) * 3
    edge = _pixels(tiles.image_tile(path, (1, 2, 3), shown, 2, 2, 1))
    assert (edge[: 300 - 256, : 600 - 512, 3] == 255).all()
    assert not edge[300 - 256 :, :, 3].any()
    assert not edge[:, 600 - 512 :, 3].any()
    for level, x, y in ((2, 3, 0), (2, 0, 2), (3, 0, 0), (0, 1, 0), (0, -1, 0)):
        with pytest.raises(tiles.OutsideRaster):
            tiles.image_tile(path, (1, 2, 3), shown, level, x, y)


def test_stretch_is_the_quantiles_of_the_data(image):
    path, pixels = image
    low, high = tiles.stretch(path, (1, 2, 3))[1]
    assert low == pytest.approx(np.nanquantile(pixels[1], 0.02), abs=3)
    assert high == pytest.approx(np.nanquantile(pixels[1], 0.98), abs=3)


def test_a_map_has_its_colours_and_no_others_at_every_level(tmp_path):
    classes = np.random.default_rng(1).choice([1, 2, 255], (1, 512, 512)).astype(np.uint8)
    path = write_raster(tmp_path / "map.tif", classes, nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (10, 20, 30, 255), 2: (40, 50, 60, 255)})
    grid = grid_of(path)
    whole = _pixels(tiles.class_tile(path, grid, 1, 0, 0))
    assert (whole[classes[0, :256, :256] == 1] == (10, 20, 30, 255)).all()
    assert (whole[classes[0, :256, :256] == 255][:, 3] == 0).all()
    half = _pixels(tiles.class_tile(path, grid, 0, 0, 0))
    assert {tuple(p) for p in half[half[..., 3] > 0]} == {(10, 20, 30, 255), (40, 50, 60, 255)}


@pytest.mark.parametrize("where", [{}, {"crs": None, "transform": Affine.identity()}])
def test_a_map_of_a_part_lies_where_the_part_was(tmp_path, where):
    rng = np.random.default_rng(2)
    classes = rng.choice([1, 2], (1, 600, 700)).astype(np.uint8)
    path = write_raster(tmp_path / "whole.tif", classes, nodata=255, **where)
    colours = {1: (10, 20, 30, 255), 2: (40, 50, 60, 255)}
    view = View(col=200, row=130, width=150, height=200)
    cut_out(path, view, tmp_path / "part.tif")
    assert offset(grid_of(tmp_path / "part.tif").transform, grid_of(path)) == (200, 130)
    for name in ("whole.tif", "part.tif"):
        with rasterio.open(tmp_path / name, "r+") as dataset:
            dataset.write_colormap(1, colours)
    for x, y in np.ndindex(3, 3):
        inside = np.zeros((256, 256), bool)
        rows, cols = np.arange(256) + 256 * y, np.arange(256) + 256 * x
        inside[np.ix_((rows >= 130) & (rows < 330), (cols >= 200) & (cols < 350))] = True
        args = (grid_of(path), 2, x, y)
        try:
            part = _pixels(tiles.class_tile(tmp_path / "part.tif", *args))
        except tiles.OutsideRaster:
            assert not inside.any()
            continue
        whole = _pixels(tiles.class_tile(path, *args))
        np.testing.assert_array_equal(part[inside], whole[inside])
        assert not part[~inside][:, 3].any()


def test_percentages_are_grey(tmp_path):
    path = write_raster(tmp_path / "sure.tif", np.full((1, 256, 256), 40, np.uint8), nodata=255)
    made = _pixels(tiles.percent_tile(path, grid_of(path), 0, 0, 0))
    assert set(made[..., 0].ravel()) == {102}
