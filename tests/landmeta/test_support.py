import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.transform import from_origin

from landmeta.errors import (
    ConfigError,
    EmptyRegion,
    MissingBands,
    MissingCRS,
    SizeMismatch,
    SourceNotFound,
    UnknownClass,
    UnreadableFile,
)
from landmeta.legend import IGBP_SIMPLIFIED, IGNORE
from landmeta.support import load_support, load_warped, parse_pair
from landmeta.taskset import Band
from tests.rasters import THREE, UTM, read_raster, write_raster
from tests.real import real_data

BANDS = (Band(name="red"), Band(name="nir"))


def make_pair(folder, height=20, width=30, labelled=1.0, seed=0, name="a", **profile):
    """An image whose red band numbers the pixels, and ids of THREE; returns what is in them."""
    rng = np.random.default_rng(seed)
    number = np.arange(height * width, dtype=np.float32).reshape(height, width)
    ids = rng.choice(np.array(THREE.ids, np.uint8), (height, width))
    ids[rng.random((height, width)) >= labelled] = IGNORE
    image = write_raster(folder / f"{name}.tif", np.stack([number, number]), ("red", "nir"))
    label = write_raster(folder / f"{name}_labels.tif", ids[None], **profile)
    return (image, label), ids


def load(pairs, size=16, **more):
    return load_support(pairs, bands=BANDS, legend=THREE, tile_size=size, **more)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    labelled=st.sampled_from([0.02, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_every_label_is_there_once_on_its_own_pixel(
    tmp_path_factory, height, width, labelled, seed
):
    folder = tmp_path_factory.mktemp("s")
    pair, ids = make_pair(folder, height, width, labelled, seed)
    if (ids == IGNORE).all():
        with pytest.raises(EmptyRegion):
            load([pair])
        return
    tiles = load([pair]).tiles
    assert tiles.image.shape == (len(tiles), 2, 16, 16)
    assert tiles.label.shape == (len(tiles), 16, 16)
    used = tiles.label != IGNORE
    assert used.any(axis=(1, 2)).all()  # no tile without labels
    pixel = tiles.image[:, 0][used].astype(int)
    assert sorted(pixel) == np.flatnonzero(ids != IGNORE).tolist()
    np.testing.assert_array_equal(np.array(THREE.ids)[tiles.label[used]], ids.ravel()[pixel])


def test_a_tile_keeps_its_whole_surroundings(tmp_path):
    pair, _ = make_pair(tmp_path, 16, 20)
    image = load([pair]).tiles.image
    assert len(image) == 2
    assert not np.isnan(image).any()  # the second overlaps the first instead of being filled up


def test_small_images_are_filled_up(tmp_path):
    pair, _ = make_pair(tmp_path, 5, 7)
    tiles = load([pair]).tiles
    inside = np.zeros((16, 16), bool)
    inside[:5, :7] = True
    np.testing.assert_array_equal(np.isnan(tiles.image[0]), [~inside, ~inside])
    np.testing.assert_array_equal(tiles.label[0] == IGNORE, ~inside)


def test_several_pairs_and_where_tiles_come_from(tmp_path):
    pairs = [make_pair(tmp_path, 16, 16, seed=s, name=f"n{s}")[0] for s in range(3)]
    support = load(pairs)
    assert len(support.tiles) == len(support.sources) == 3
    assert str(pairs[2][0]) in support.sources[2]
    assert "rows 0-16" in support.sources[2]


def test_bands_by_name_and_nodata(tmp_path):
    pixels = np.array([[[1, 2], [3, -9]], [[5, 6], [-9, -9]]], np.int16)
    image = write_raster(tmp_path / "a.tif", pixels, ("nir", "red"), nodata=-9)
    label = write_raster(tmp_path / "b.tif", np.full((1, 2, 2), 4, np.uint8))
    tiles = load([(image, label)], size=2).tiles
    (tile,) = tiles.image
    np.testing.assert_array_equal(tile, [[[5, 6], [np.nan, np.nan]], [[1, 2], [3, np.nan]]])
    # Nothing can be learnt from the label of a pixel of which no band has data.
    np.testing.assert_array_equal(tiles.label[0], [[1, 1], [1, IGNORE]])


def test_notes_are_passed_on(tmp_path):
    image = write_raster(tmp_path / "a.tif", np.ones((2, 4, 4), np.uint8))
    label = write_raster(tmp_path / "b.tif", np.full((1, 4, 4), 4, np.uint8))
    assert "does not name its bands" in " ".join(load([(image, label)]).notes)
    assert load([(image, label)], names=["nir", "red"]).notes == ()


def test_labels_as_colours(tmp_path):
    rng = np.random.default_rng(0)
    index = rng.integers(0, 3, (6, 8))
    colours = THREE.palette()[index]
    Image.fromarray(colours).save(tmp_path / "labels.png")
    image = write_raster(tmp_path / "a.tif", np.ones((2, 6, 8), np.uint8), ("red", "nir"))
    tiles = load([(image, tmp_path / "labels.png")], size=8).tiles
    np.testing.assert_array_equal(tiles.label[0, :6], index)


def test_the_label_files_nodata_is_not_labelled(tmp_path):
    pair, ids = make_pair(tmp_path, 16, 16)
    ids[:8] = 0
    write_raster(pair[1], ids[None], nodata=0)
    (label,) = load([pair]).tiles.label
    np.testing.assert_array_equal(label == IGNORE, ids == 0)


# --- what goes wrong -------------------------------------------------------------------------


def test_nothing_labelled(tmp_path):
    pair, _ = make_pair(tmp_path, labelled=0)
    with pytest.raises(EmptyRegion, match="a_labels"):
        load([pair])
    with pytest.raises(EmptyRegion):
        load([])


def test_nothing_labelled_where_there_are_data(tmp_path):
    image = write_raster(tmp_path / "a.tif", np.full((2, 8, 8), -9, np.int16), nodata=-9)
    label = write_raster(tmp_path / "a_labels.tif", np.full((1, 8, 8), 4, np.uint8))
    with pytest.raises(EmptyRegion, match="a_labels"):
        load([(image, label)])


def test_labels_of_another_size(tmp_path):
    pair, ids = make_pair(tmp_path)
    write_raster(pair[1], ids[None, 1:])
    with pytest.raises(SizeMismatch, match="19 × 30"):
        load([pair])


@pytest.mark.parametrize(
    "grid",
    [UTM | {"transform": from_origin(500_010, 5_000_000, 10, 10)}, UTM | {"crs": "EPSG:32634"}],
)
def test_labels_on_another_grid(tmp_path, grid):
    pair, _ = make_pair(tmp_path, **grid)
    with pytest.raises(SizeMismatch, match="grid"):
        load([pair])


def test_unknown_class(tmp_path):
    pair, ids = make_pair(tmp_path)
    ids[3, 3] = 77
    write_raster(pair[1], ids[None])
    with pytest.raises(UnknownClass, match="77") as error:
        load([pair])
    assert str(pair[1]) in str(error.value)


def test_other_bands(tmp_path):
    pair, _ = make_pair(tmp_path)
    write_raster(pair[0], np.ones((2, 20, 30), np.float32), ("red", "swir"))
    with pytest.raises(MissingBands, match="missing nir"):
        load([pair])


def test_missing_and_truncated_files(tmp_path):
    pair, _ = make_pair(tmp_path)
    with pytest.raises(SourceNotFound):
        load([(pair[0], tmp_path / "no.tif")])
    pair[0].write_bytes(pair[0].read_bytes()[:3000])
    with pytest.raises(UnreadableFile, match=r"a\.tif"):
        load([pair])


def test_parse_pair(tmp_path):
    image, label = parse_pair(" a b.tif = c.tif")
    assert (str(image), str(label)) == ("a b.tif", "c.tif")


@pytest.mark.parametrize("text", ["", "a.tif", "a.tif=", "=b.tif", "a=b=c"])
def test_no_pair(text):
    with pytest.raises(ConfigError, match="IMAGE=LABELS"):
        parse_pair(text)


# --- real imagery ----------------------------------------------------------------------------


def test_a_real_region(tmp_path):
    folder = real_data("modis_igbp") / "india"
    images = sorted(folder.glob("*_img.tif"))
    pairs = [(i, i.with_name(i.name.replace("_img", "_igbp"))) for i in images]
    names = ("red", "green", "blue", "ndvi_max_x1e4", "ndvi_min_x1e4")
    support = load_support(
        pairs, bands=[Band(name=n) for n in names], legend=IGBP_SIMPLIFIED, tile_size=64
    )
    assert support.tiles.image.shape[1:] == (5, 64, 64)
    ids = np.concatenate([read_raster(label).ravel() for _, label in pairs])
    water = IGBP_SIMPLIFIED.names.index("Water")
    assert (support.tiles.label == water).sum() == (ids == 17).sum()
    assert (support.tiles.label != IGNORE).sum() == (ids != 0).sum()


# --- labels on another grid -------------------------------------------------------------------


def test_labels_of_one_raster_are_warped_to_several_images(tmp_path):
    (image, label), ids = make_pair(tmp_path, 20, 30)
    finer = np.kron(np.arange(600).reshape(20, 30), np.ones((2, 2))).astype(np.float32)
    grid = UTM | {"transform": from_origin(500_000, 5_000_000, 5, 5)}
    second = write_raster(tmp_path / "f.tif", np.stack([finer, finer]), ("red", "nir"), **grid)
    support = load_warped([image, second], label, bands=BANDS, legend=THREE, tile_size=16)
    used = support.tiles.label != IGNORE
    pixel = support.tiles.image[:, 0][used].astype(int)
    assert np.bincount(pixel, minlength=600).tolist() == [5] * 600
    np.testing.assert_array_equal(
        np.array(THREE.ids)[support.tiles.label[used]], ids.ravel()[pixel]
    )
    assert next(note for note in support.notes if "was warped" in note).endswith("f.tif")


def test_two_dates_of_a_scene_share_their_groups(tmp_path):
    (image, label), _ids = make_pair(tmp_path, 20, 30, labelled=0.05)
    support = load_warped([image, image], label, bands=BANDS, legend=THREE, tile_size=16)
    first, second = (
        np.unique(support.groups[support.corners[:, 0] == number]) for number in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_labels_without_a_crs_are_not_warped(tmp_path):
    (image, label), ids = make_pair(tmp_path)
    write_raster(label, ids[None], crs=None)
    with pytest.raises(MissingCRS, match="the labels no coordinate"):
        load_warped([image], label, bands=BANDS, legend=THREE, tile_size=16)
