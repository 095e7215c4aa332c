import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.windows import Window

from landmeta.errors import MissingCRS, SizeMismatch
from landmeta.imagery import open_raster, read_header, read_image
from landmeta.legend import LandClass, Legend
from landmeta.warping import on_same_ground, open_on, read_label_on, same_grid
from tests.data.rasters import utm, write_raster

LEGEND = Legend(
    classes=tuple(
        LandClass(id=i, name=f"c{i}", color=c)
        for i, c in [(1, "#ff0000"), (2, "#00ff00"), (7, "#0000ff")]
    ),
    ignore=("0",),
)
IDS = np.array([0, 1, 2, 7], np.uint8)
WHOLE = Window(0, 0, 48, 40)


def label_file(path, crs, transform, seed=0, shape=(60, 70), **more):
    values = IDS[np.random.default_rng(seed).integers(0, 4, shape)]
    return write_raster(path, values, crs=crs, transform=transform, **more), values


def image_header(path):
    return read_header(write_raster(path, np.zeros((40, 48), np.uint8), **utm()))


def warped_by_rasterio(values, transform, crs, header):
    out = np.zeros((header.height, header.width), np.uint8)
    reproject(
        values, out, src_transform=transform, src_crs=crs, dst_transform=header.transform,
        dst_crs=header.crs, resampling=Resampling.nearest, tolerance=0,
    )  # fmt: skip
    return LEGEND.from_ids(out)


OTHER_GRIDS = {
    "half a pixel off": ("EPSG:32633", Affine(10, 0, 500_005, 0, -10, 5_000_005)),
    "finer": ("EPSG:32633", Affine(3, 0, 500_100.5, 0, -3, 4_999_900)),
    "coarser": ("EPSG:32633", Affine(25, 0, 499_950, 0, -25, 5_000_030)),
    "another zone": ("EPSG:32632", Affine(10, 0, 971_600, 0, -10, 5_017_540)),
    "degrees": ("EPSG:4326", Affine(1.2e-4, 0, 15.001, 0, -9e-5, 45.154)),
    "rows upwards": ("EPSG:32633", Affine(10, 0, 500_003, 0, 10, 4_999_571)),
}


@pytest.mark.parametrize("kind", OTHER_GRIDS)
def test_labels_are_warped_as_rasterio_does(tmp_path, kind):
    crs, transform = OTHER_GRIDS[kind]
    path, values = label_file(tmp_path / "l.tif", crs, transform)
    header = image_header(tmp_path / "i.tif")
    expected = warped_by_rasterio(values, transform, crs, header)
    assert (expected != 255).mean() > 0.1  # they do meet
    with open_raster(path) as dataset:
        found = read_label_on(header, dataset, LEGEND, WHOLE)
        assert set(np.unique(found)) <= {0, 1, 2, 255}
        assert (found == expected).mean() > 0.999  # ties of rounding between two pixels
        # a window is a piece of the whole
        part = read_label_on(header, dataset, LEGEND, Window(7, 11, 16, 16))
    assert np.array_equal(part, found[11:27, 7:23])


@settings(max_examples=30, deadline=None)
@given(col=st.floats(-30, 30), row=st.floats(-30, 30), gsd=st.floats(2, 40), seed=st.integers(0, 9))
def test_each_pixel_takes_the_class_below_its_centre(tmp_path_factory, col, row, gsd, seed):
    folder = tmp_path_factory.mktemp("warp")
    transform = Affine(gsd, 0, 500_000 + 10 * col, 0, -gsd, 5_000_000 + 10 * row)
    path, values = label_file(folder / "l.tif", "EPSG:32633", transform, seed, (20, 24))
    header = image_header(folder / "i.tif")
    with open_raster(path) as dataset:
        found = read_label_on(header, dataset, LEGEND, WHOLE)
    classes = LEGEND.from_ids(values)
    for r in range(0, 40, 3):
        for c in range(0, 48, 3):
            x, y = ~transform * (header.transform * (c + 0.5, r + 0.5))
            if min(x % 1, 1 - x % 1, y % 1, 1 - y % 1) < 1e-6:
                continue  # on the border of two pixels
            inside = 0 <= x < 24 and 0 <= y < 20
            assert found[r, c] == (classes[int(y), int(x)] if inside else 255)


def test_colours_and_nodata_are_warped_as_categories(tmp_path):
    _, transform = OTHER_GRIDS["finer"]
    _, values = label_file(tmp_path / "l.tif", "EPSG:32633", transform)
    colours = np.zeros((256, 3), np.uint8)
    for c in LEGEND.classes:
        colours[c.id] = c.rgb
    rgb = np.moveaxis(colours[values], -1, 0)
    in_colours = LEGEND.model_copy(update={"ignore": ("#000000",)})
    header = image_header(tmp_path / "i.tif")
    grid = {"crs": "EPSG:32633", "transform": transform}
    forms = {
        "rgb": write_raster(tmp_path / "rgb.tif", rgb, **grid),
        "nodata": write_raster(tmp_path / "nodata.tif", values, nodata=0, **grid),
        "palette": write_raster(
            tmp_path / "palette.tif", values, **grid,
            colormap={i: (*colours[i].tolist(), 255) for i in range(256)},
        ),
        "third band": write_raster(
            tmp_path / "bands.tif", np.stack([values * 0, values * 0, values, values]), **grid
        ),
    }  # fmt: skip
    expected = warped_by_rasterio(values, transform, "EPSG:32633", header)
    for name, path in forms.items():
        band = 3 if name == "third band" else None
        legend = in_colours if name in ("rgb", "palette") else LEGEND
        with open_raster(path) as dataset:
            assert (read_label_on(header, dataset, legend, WHOLE, band) == expected).all(), name


def test_elsewhere_is_ignored_and_nowhere_is_refused(tmp_path):
    header = image_header(tmp_path / "i.tif")
    far, _ = label_file(tmp_path / "far.tif", "EPSG:32633", Affine(10, 0, 0, 0, -10, 0))
    with open_raster(far) as dataset:
        assert (read_label_on(header, dataset, LEGEND, WHOLE) == 255).all()
    nowhere = write_raster(tmp_path / "nowhere.tif", np.ones((40, 48), np.uint8))
    with open_raster(nowhere) as dataset, pytest.raises(MissingCRS, match=r"nowhere\.tif"):
        read_label_on(header, dataset, LEGEND, WHOLE)


# ---- images in a stack -----------------------------------------------------------------------


@pytest.fixture
def fine(tmp_path):
    """10 m, 48 × 36 pixels."""
    return read_header(write_raster(tmp_path / "fine.tif", np.zeros((36, 48), np.uint16), **utm()))


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("factor", [2, 6])
def test_coarser_bands_are_resampled_as_rasterio_does(tmp_path, fine, method, factor):
    values = np.random.default_rng(1).integers(0, 9000, (36 // factor, 48 // factor))
    values = values.astype(np.uint16)
    grid = utm(gsd=10 * factor)
    header = read_header(write_raster(tmp_path / "coarse.tif", values, **grid))
    expected = np.zeros((36, 48), np.uint16)
    reproject(
        values, expected, src_transform=grid["transform"], src_crs=grid["crs"],
        dst_transform=fine.transform, dst_crs=fine.crs, resampling=Resampling[method], tolerance=0,
    )  # fmt: skip
    with open_on(fine, header, method) as read:
        found, valid = read(Window(0, 0, 48, 36))
        piece, _ = read(Window(5, 7, 16, 16))
    assert found.dtype == np.uint16 and valid.all()
    assert np.array_equal(found[0], expected)
    assert np.array_equal(piece[0], expected[7:23, 5:21])
    if method == "nearest":
        assert np.array_equal(found[0], np.kron(values, np.ones((factor, factor), np.uint16)))


@pytest.mark.parametrize("kind", ["nodata", "nan", "mask"])
def test_what_is_no_data_does_not_spread(tmp_path, fine, kind):
    dtype = np.float32 if kind == "nan" else np.int16
    values = np.full((2, 18, 24), 100, dtype)
    hole = {"nodata": -9999, "nan": np.nan, "mask": -9999}[kind]
    values[0, 4:8, 4:8] = hole
    if kind == "mask":
        values[1, 4:8, 4:8] = hole
    profile = {"nodata": -9999} if kind == "nodata" else {}
    path = write_raster(tmp_path / "c.tif", values, **utm(gsd=20), **profile)
    if kind == "mask":
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(values[0] > 0)
    with open_on(fine, read_header(path), "bilinear") as read:
        found, valid = read(Window(0, 0, 48, 36))
    assert (found[valid] == 100).all()
    assert not valid[0, 9:15, 9:15].any() and valid[0, :7].all() and valid[0, 17:].all()
    assert valid[1].all() == (kind != "mask")


def test_other_ground_is_refused(tmp_path, fine):
    names = {
        "part.tif": ((18, 20), utm(gsd=20)),
        "claims 60 m.tif": ((36, 48), utm(gsd=60)),
        "moved.tif": ((18, 24), utm(gsd=20, col=2)),
        "zone.tif": ((18, 24), utm(gsd=20) | {"crs": "EPSG:32632"}),
    }
    for name, (shape, grid) in names.items():
        header = read_header(write_raster(tmp_path / name, np.ones(shape, np.uint8), **grid))
        with pytest.raises(SizeMismatch, match="other ground") as caught:
            on_same_ground(fine, header)
        assert name in str(caught.value) and "fine.tif" in str(caught.value)
    coarse = read_header(write_raster(tmp_path / "c.tif", np.ones((6, 8), np.uint8), **utm(gsd=60)))
    on_same_ground(fine, coarse)
    assert same_grid(fine, fine) and not same_grid(fine, coarse)


def test_a_stack_of_photos_without_coordinates(tmp_path):
    big = write_raster(tmp_path / "big.png", np.zeros((1, 20, 30), np.uint8))
    small = write_raster(tmp_path / "small.tif", np.full((1, 20, 30), 9, np.float32))
    reference, header = read_header(big), read_header(small)
    on_same_ground(reference, header)
    assert same_grid(reference, header)
    with open_raster(small) as dataset:
        plain, _ = read_image(dataset, header)
    with open_on(reference, header, "nearest") as read:
        assert np.array_equal(read(Window(0, 0, 30, 20))[0], plain)
