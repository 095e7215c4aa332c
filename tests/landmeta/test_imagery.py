import numpy as np
import pytest
import rasterio

from landmeta.errors import MissingBands, SizeMismatch, SourceNotFound
from landmeta.imagery import check_same_grid, open_raster, read_header, read_image
from landmeta.location import is_virtual, located, name_of
from tests.data.rasters import utm, write_raster


def read(path, bands=None):
    with open_raster(path) as dataset:
        return read_image(dataset, read_header(path, bands))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_a_mask_and_nodata_count_both(tmp_path, dtype):
    pixels = np.full((2, 8, 8), 50, dtype)
    pixels[0, 0] = 7  # nodata, in one band
    path = write_raster(tmp_path / "x.tif", pixels, nodata=7, **utm())
    mask = np.full((8, 8), 255, np.uint8)
    mask[:, 0] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    found, valid = read(path)
    assert found.dtype == dtype
    expected = np.ones((2, 8, 8), bool)
    expected[:, :, 0] = False
    expected[0, 0] = False
    assert np.array_equal(valid, expected)


def test_transparency_and_nodata_count_both(tmp_path):
    pixels = np.full((4, 8, 8), 50, np.uint8)
    pixels[1, 0] = 7
    pixels[3] = 255
    pixels[3, :, 0] = 0
    path = write_raster(
        tmp_path / "x.tif", pixels, nodata=7, photometric="RGB", alpha="yes", **utm()
    )
    _, valid = read(path)
    expected = np.ones((3, 8, 8), bool)
    expected[:, :, 0] = False
    expected[1, 0] = False
    assert np.array_equal(valid, expected)


VRT = """<VRTDataset rasterXSize="8" rasterYSize="8"><SRS>EPSG:32633</SRS>
<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>
<VRTRasterBand dataType="Byte" band="1"><NoDataValue>3</NoDataValue><SimpleSource>
<SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource></VRTRasterBand>
<VRTRasterBand dataType="Float32" band="2"><NoDataValue>7</NoDataValue><SimpleSource>
<SourceFilename relativeToVRT="1">b.tif</SourceFilename></SimpleSource></VRTRasterBand>
</VRTDataset>"""


def test_bands_of_several_types_and_nodata_values(tmp_path):
    a = np.full((8, 8), 7, np.uint8)
    b = np.full((8, 8), 3.5, np.float32)
    a[0], b[1], b[2, 2] = 3, 7, np.nan
    write_raster(tmp_path / "a.tif", a, **utm())
    write_raster(tmp_path / "b.tif", b, **utm())
    (tmp_path / "x.vrt").write_text(VRT)
    found, valid = read(tmp_path / "x.vrt", {"second": 2, "first": 1})
    assert found.dtype == np.float32 and np.array_equal(found, [b, a], equal_nan=True)
    assert np.array_equal(valid[1], a != 3)
    assert np.array_equal(valid[0], (b != 7) & np.isfinite(b))


def test_bands_by_place(tmp_path):
    pixels = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 8, 8), np.uint8)
    path = write_raster(tmp_path / "x.tif", pixels, photometric="RGB", alpha="yes", **utm())
    found, valid = read(path, {"nir": 4, "red": 1})
    assert found[:, 0, 0].tolist() == [3, 0] and valid.all()  # band 4 is no transparency here
    for place in (0, 5):
        with pytest.raises(MissingBands, match=f"x={place}"):
            read_header(path, {"x": place, "y": 4})


LOCAL = 'LOCAL_CS["somewhere",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'


def test_a_local_system_says_nothing_of_places(tmp_path):
    image = read_header(write_raster(tmp_path / "i.tif", np.ones((8, 8), np.uint8), **utm()))
    local = {"crs": rasterio.crs.CRS.from_wkt(LOCAL)}
    label = write_raster(tmp_path / "l.tif", np.ones((8, 8), np.uint8), **(utm() | local))
    assert read_header(label).crs is None and read_header(label).gsd is None
    check_same_grid(image, read_header(label))
    moved = write_raster(tmp_path / "m.tif", np.ones((8, 8), np.uint8), **(utm(1) | local))
    with pytest.raises(SizeMismatch, match="another grid"):
        check_same_grid(image, read_header(moved))


def test_where_files_are(tmp_path):
    for text in (
        "https://a/b.tif?k=v/c",
        "/vsizip/a.zip/b.tif",
        "s3://a/b.tif",
        "zip+file://b.tif",
    ):
        assert is_virtual(text) and located(text, tmp_path) == text
    for text in ("a/b.tif", "/a/b.tif", "WMS:b.tif", "<VRTDataset>b.tif", "x:b.tif"):
        assert not is_virtual(text)
        assert located(text, tmp_path) == tmp_path / text
    assert name_of("https://a/b.tif?k=v/c") == "b.tif"
    assert name_of(tmp_path / "b?.tif") == "b?.tif"
    with pytest.raises(SourceNotFound, match="cannot be opened"):
        open_raster(f"/vsizip/{tmp_path}/no.zip/x.tif")
    with pytest.raises(SourceNotFound, match="is not there"):
        open_raster("WMS:nothing")
