import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.merge import merge

from landmeta.errors import MissingBands, MissingCRS, SizeMismatch, SourceNotFound, UnreadableFile
from landmeta.mosaic import find_rasters, open_rasters
from landmeta.predict import predict
from landmeta.taskset import Band
from tests.rasters import UTM, PlaceInTile, read_raster, write_raster

CENTROIDS = np.array([[0, 0], [3, 0], [0, 3]], np.float32)
BANDS = (Band(name="red"), Band(name="nir"))
NAMES = ("red", "nir")


def place(col, row):
    return {"transform": UTM["transform"] @ Affine.translation(col, row)}


def tiles_of(folder, pixels, size, names=NAMES):
    """Cut (band, row, col) into files, named so that they are not in order of place."""
    paths = []
    for row in range(0, pixels.shape[1], size):
        for col in range(0, pixels.shape[2], size):
            part = pixels[:, row : row + size, col : col + size]
            name = f"{(row * 7 + col * 3) % 97:02}_{row}_{col}.tif"
            paths.append(write_raster(folder / name, part, names, nodata=-1, **place(col, row)))
    return paths


def whole(paths, bands=BANDS):
    with open_rasters(paths, bands) as image:
        return image.read(0, 0, image.grid.width, image.grid.height), image.grid


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    size=st.integers(7, 30),
    shuffle=st.randoms(),
    data=st.data(),
)
def test_tiles_of_a_raster_are_that_raster(tmp_path_factory, height, width, size, shuffle, data):
    folder = tmp_path_factory.mktemp("m")
    rng = np.random.default_rng(0)
    pixels = rng.integers(-1, 50, (2, height, width)).astype(np.int16)
    paths = tiles_of(folder, pixels, size)
    shuffle.shuffle(paths)
    expected = np.where(pixels == -1, np.nan, pixels).astype(np.float32)
    with open_rasters(paths, BANDS) as image:
        assert (image.grid.height, image.grid.width) == (height, width)
        assert image.grid.transform.almost_equals(UTM["transform"])
        for _ in range(4):
            row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
            down = data.draw(st.integers(1, height - row))
            across = data.draw(st.integers(1, width - col))
            np.testing.assert_array_equal(
                image.read(col, row, across, down),
                expected[:, row : row + down, col : col + across],
            )


def test_where_they_overlap_the_first_that_has_data_counts_as_rasterio_merges(tmp_path):
    rng = np.random.default_rng(1)
    made = []
    for i, (col, row) in enumerate(((0, 0), (11, 5), (4, 16), (40, 30))):
        pixels = rng.integers(0, 1000, (2, 20, 24)).astype(np.int16)
        pixels[:, rng.random((20, 24)) < 0.4] = -1
        made.append(
            write_raster(tmp_path / f"{i}.tif", pixels, NAMES, nodata=-1, **place(col, row))
        )
    for paths in (made, made[::-1]):
        expected, transform = merge(paths, nodata=-1)
        found, grid = whole(paths)
        assert grid.transform.almost_equals(transform)
        np.testing.assert_array_equal(np.nan_to_num(found, nan=-1), expected)


def test_a_map_of_tiles_is_the_map_of_the_raster(tmp_path):
    pixels = np.random.default_rng(2).uniform(0, 4, (2, 70, 61)).astype(np.float32)
    raster = write_raster(tmp_path / "a.tif", pixels, NAMES)
    (tmp_path / "tiles").mkdir()
    tiles = tiles_of(tmp_path / "tiles", pixels, 17)
    classifier = PlaceInTile(CENTROIDS, tile_size=8)
    predict(classifier, raster, tmp_path / "one.tif", quiet=True)
    made = predict(classifier, tiles, tmp_path / "many.tif", quiet=True)
    for name in ("", ".confidence"):
        one, many = (read_raster(tmp_path / f"{stem}{name}.tif") for stem in ("one", "many"))
        np.testing.assert_array_equal(many, one)
    assert made.nodata == 0


def test_few_files_are_open_at_a_time(tmp_path):
    pixels = np.ones((2, 100, 20), np.int16)
    paths = tiles_of(tmp_path, pixels, 10)
    with open_rasters(paths, BANDS) as image:
        most = 0
        for row in range(0, 96, 4):
            image.read(0, row, 20, 4)
            most = max(most, len(image._open))
        held = list(image._open.values())
        assert most <= 4
    assert not image._open
    assert all(dataset.closed for dataset, _ in held)


@pytest.mark.parametrize(
    "other",
    [
        {"crs": "EPSG:32634"},
        {"transform": UTM["transform"] @ Affine.translation(20.5, 0)},
        {"transform": UTM["transform"] @ Affine.scale(1.01)},
        {"transform": UTM["transform"] @ Affine.rotation(1)},
    ],
)
def test_other_grids_are_refused(tmp_path, other):
    pixels = np.ones((2, 20, 20), np.int16)
    a = write_raster(tmp_path / "a.tif", pixels, NAMES)
    b = write_raster(tmp_path / "b.tif", pixels, NAMES, **other)
    with pytest.raises(SizeMismatch, match=r"b\.tif: lies on another grid than .*a\.tif") as error:
        whole([a, b])
    assert "--out FOLDER" in str(error.value)


def test_one_without_a_place_is_refused(tmp_path):
    pixels = np.ones((2, 20, 20), np.int16)
    a = write_raster(tmp_path / "a.tif", pixels, NAMES)
    b = write_raster(tmp_path / "b.tif", pixels, NAMES, crs=None)
    with pytest.raises(MissingCRS, match=r"b\.tif"):
        whole([a, b])


def test_one_with_other_bands_is_named(tmp_path):
    pixels = np.ones((2, 20, 20), np.int16)
    a = write_raster(tmp_path / "a.tif", pixels, NAMES)
    b = write_raster(tmp_path / "b.tif", pixels, ("red", "green"), **place(20, 0))
    with pytest.raises(MissingBands, match=r"b\.tif"):
        whole([a, b])


def test_a_damaged_one_is_named(tmp_path):
    rng = np.random.default_rng(0)
    paths = [
        write_raster(
            tmp_path / f"{i}.tif",
            rng.integers(0, 9999, (2, 300, 300)).astype(np.int16),
            NAMES,
            tiled=True,
            **place(300 * i, 0),
        )
        for i in range(2)
    ]
    paths[1].write_bytes(paths[1].read_bytes()[:200_000])
    with pytest.raises(UnreadableFile, match=r"1\.tif"):
        predict(PlaceInTile(CENTROIDS), paths, tmp_path / "map.tif", quiet=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.tif", "1.tif"]


def test_rasters_of_a_folder(tmp_path):
    for name in ("b.tif", "a.TIFF", "c.txt", ".hidden.tif", "b.tif.aux.xml", "d.jp2"):
        (tmp_path / name).write_text("")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "e.tif").write_text("")
    named = tmp_path / "sub" / "e.tif"
    assert find_rasters([named, tmp_path]) == [
        named, tmp_path / "a.TIFF", tmp_path / "b.tif", tmp_path / "d.jp2",
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFound, match=r"empty: holds no raster"):
        find_rasters([tmp_path / "empty"])
