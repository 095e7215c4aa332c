"""Parts of images are what the images hold there."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from landmeta.raster import Grid
from landmeta.studio.view import AT_ONCE, SIDE, View, cut_out, is_large, offset
from tests.rasters import write_raster

PLACE = st.floats(-5000, 30_000)
LENGTH = st.floats(0, 40_000)
WHOLE = st.integers(1, 20_000)


def grid(height, width, **more):
    return Grid(height, width, None, Affine.identity(), **more)


@given(col=PLACE, row=PLACE, width=LENGTH, height=LENGTH, high=WHOLE, wide=WHOLE)
def test_a_view_is_in_the_image_and_not_too_large(col, row, width, height, high, wide):
    view = View.of((col, row, width, height), grid(high, wide))
    assert 0 <= view.col <= view.col + view.width <= wide
    assert 0 <= view.row <= view.row + view.height <= high
    assert 1 <= view.width <= SIDE
    assert 1 <= view.height <= SIDE


def test_what_is_seen_is_what_is_mapped():
    assert View.of((100.2, 50.4, 300, 200), grid(5000, 6000)) == View(100, 50, 300, 200)
    middle = View.of((0, 0, 6000, 5000), grid(5000, 6000))
    assert (middle.col + SIDE / 2, middle.row + SIDE / 2) == (3000, 2500)
    assert View.of((-500, -500, 600, 700), grid(5000, 6000)) == View(0, 0, 100, 200)


def test_large_is_what_takes_long():
    side = int(AT_ONCE**0.5)
    assert not is_large(grid(side, side))
    assert is_large(grid(side + 1, side))
    point = rasterio.control.GroundControlPoint(0, 0, 0, 0)
    assert not is_large(grid(side + 1, side, gcps=(point,)))


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask", "nan"])
def test_a_part_holds_what_the_image_holds_there(tmp_path, kind):
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 200, (4, 60, 80)).astype(np.float32 if kind == "nan" else np.uint8)
    hole = np.s_[20:30, 30:50]
    more = {}
    if kind == "nodata":
        pixels[:, *hole] = 0
        more = {"nodata": 0}
    elif kind == "alpha":
        pixels[3] = 255
        pixels[3][hole] = 0
    elif kind == "nan":
        pixels[:, *hole] = np.nan
    path = write_raster(tmp_path / "image.tif", pixels, ("R", "G", "B", "N"), **more)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5,) * 4, (1.0,) * 4
        if kind == "alpha":
            dataset.colorinterp = (*[ColorInterp.gray] * 3, ColorInterp.alpha)
        if kind == "mask":
            mask = np.full((60, 80), 255, np.uint8)
            mask[hole] = 0
            dataset.write_mask(mask)
    view = View(col=25, row=10, width=40, height=30)
    cut_out(path, view, tmp_path / "part.tif")
    with rasterio.open(path) as whole, rasterio.open(tmp_path / "part.tif") as part:
        window = Window(25, 10, 40, 30)
        np.testing.assert_array_equal(part.read(), whole.read(window=window))
        np.testing.assert_array_equal(part.dataset_mask(), whole.dataset_mask(window=window))
        assert part.transform == whole.window_transform(window)
        for name in ("crs", "descriptions", "scales", "offsets", "nodata", "colorinterp", "dtypes"):
            assert str(getattr(part, name)) == str(getattr(whole, name)), name
        assert offset(part.transform, Grid.of(whole)) == (25, 10)
