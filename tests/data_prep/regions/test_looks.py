import numpy as np
import pytest

from data_prep.regions.looks import colour_bands, look_at
from landmeta.errors import UnreadableFile
from landmeta.imagery import read_header
from tests.data.rasters import write_raster

# What the rasters of tests lack.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.mark.parametrize(
    "names, expected",
    [
        (("R", "G", "B"), (0, 1, 2)),
        (("blue", "green", "Red", "nir"), (2, 1, 0)),
        (("B2", "B3", "B4", "B8"), (2, 1, 0)),
        (("B01", "B02", "B03", "B04"), (3, 2, 1)),
        (("b1", "b2", "b3", "b4"), (0, 1, 2)),
        (("VV", "VH"), (0, 0, 0)),
    ],
)
def test_which_bands_are_colours(names, expected):
    assert colour_bands(names) == expected


def test_a_picture_is_the_average(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 60)).astype(np.uint8)
    header = read_header(write_raster(tmp_path / "image.tif", pixels))
    rgb, valid = look_at([header]).see(0, (10, 15))
    blocks = pixels.reshape(3, 10, 4, 15, 4).mean(axis=(2, 4))
    assert np.abs(rgb - blocks).max() <= 1 and valid.all()


def test_values_are_stretched_alike_over_all_images(tmp_path):
    rng = np.random.default_rng(0)
    values = [rng.integers(low, low + 500, (4, 40, 40)).astype(np.uint16) for low in (300, 1500)]
    for value in values:
        value[3] = 60_000  # near infrared
    headers = [
        read_header(write_raster(tmp_path / f"{i}.tif", v, descriptions=("B2", "B3", "B4", "B8")))
        for i, v in enumerate(values)
    ]
    looks = look_at(headers, workers=2)
    both = np.concatenate([v.reshape(4, -1) for v in values], axis=1)[[2, 1, 0]]
    low, high = np.percentile(both, (2, 98), axis=1)
    assert looks.low.ravel() == pytest.approx(low, abs=20)
    assert looks.high.ravel() == pytest.approx(high, abs=20)
    for place, value in enumerate(values):
        rgb, _ = looks.see(place, (40, 40))
        expected = (value[[2, 1, 0]] - looks.low) / (looks.high - looks.low) * 255
        assert np.abs(rgb - np.clip(expected, 0, 255)).max() <= 0.5


def test_what_is_not_valid_is_grey_and_told(tmp_path):
    pixels = np.full((3, 32, 32), 50, np.int16)
    pixels[:, :16] = -1
    header = read_header(write_raster(tmp_path / "a.tif", pixels, nodata=-1))
    rgb, valid = look_at([header]).see(0, (8, 8))
    assert np.array_equal(valid, np.repeat([False, True], 4)[:, None].repeat(8, axis=1))
    assert (rgb[:, ~valid] == 128).all()
    header = read_header(write_raster(tmp_path / "b.tif", np.full_like(pixels, -1), nodata=-1))
    with pytest.raises(UnreadableFile, match="no pixel of it is valid"):
        look_at([header])


def test_transparent_and_nan_pixels_are_not_valid(tmp_path):
    pixels = np.full((4, 20, 20), 255, np.uint8)
    pixels[3, :, :10] = 0
    header = read_header(write_raster(tmp_path / "a.png", pixels))
    assert look_at([header]).see(0, (4, 4))[1].tolist() == [[False, False, True, True]] * 4
    heights = np.ones((1, 20, 20), np.float32)
    heights[:, 10:] = np.nan
    header = read_header(write_raster(tmp_path / "b.tif", heights))
    assert look_at([header]).see(0, (4, 4))[1].tolist() == [[True] * 4] * 2 + [[False] * 4] * 2


def test_palette_images_are_seen_in_their_colours(tmp_path):
    places = np.repeat([0, 1], 10)[None, :].repeat(20, axis=0).astype(np.uint8)
    colormap = {0: (10, 20, 30, 255), 1: (200, 100, 0, 255)}
    header = read_header(write_raster(tmp_path / "a.png", places, colormap=colormap))
    rgb, valid = look_at([header]).see(0, (2, 2))
    assert rgb[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 0]] and valid.all()


def test_images_shrink_alike(tmp_path):
    sizes = [(300, 200), (300, 300), (600, 450), (2400, 300), (90, 20)]
    headers = [
        read_header(write_raster(tmp_path / f"{i}.tif", np.zeros((1, *s), np.uint8)))
        for i, s in enumerate(sizes)
    ]
    looks = look_at(headers)
    found = [looks.in_proportion(i, 100) for i in range(5)]
    assert found == [(100, 67), (100, 100), (200, 150), (200, 25), (30, 16)]
    assert looks.in_proportion(0, 1000) == (300, 200)
