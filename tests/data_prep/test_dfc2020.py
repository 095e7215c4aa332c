import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from rasterio.windows import bounds as window_bounds

from data_prep.dfc2020 import dfc2020
from data_prep.prepare import prepare
from data_prep.synthetic_dfc2020 import CITIES, write_dfc2020
from landmeta.errors import (
    ConfigError,
    MissingBands,
    SizeMismatch,
    SourceNotFound,
    UnknownClass,
    UnreadableFile,
    UnsafeFile,
)
from landmeta.legend import find_legend
from tests.data.sen12ms import bad_pickle, rewrite
from tests.program import invoke


@pytest.fixture(scope="module")
def cities(tmp_path_factory):
    return write_dfc2020(
        tmp_path_factory.mktemp("dfc") / "DFC_Public_Dataset", cities=3, patches=2, size=32
    )


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return write_dfc2020(
        tmp_path_factory.mktemp("dfc") / "raw", layout="parts", cities=3, patches=2, size=32
    )


def read(path, window):
    with rasterio.open(path) as file:
        return file.read(window=Window(*window))


def partner(root, source, kind):
    """The file of another kind beside an s2 file."""
    return root / source.replace("/s2_", f"/{kind}_").replace("_s2_", f"_{kind}_")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("layout", ["cities", "parts"])
@pytest.mark.parametrize("legend", ["igbp-simplified", "igbp-simplified-no-savanna"])
def test_round_trip_equals_what_rasterio_reads(request, tmp_path, layout, legend):
    root = request.getfixturevalue(layout)
    made = prepare(dfc2020(root, tile=16, legend=legend), tmp_path / "set", quiet=True)
    assert len(made) == 6 * 4
    for row in made.table.itertuples():
        s2, s1, dfc = (
            read(partner(root, row.source, kind), row.window) for kind in ("s2", "s1", "dfc")
        )
        tile = made.read([row.id])
        gap = (s2 == 0).all(axis=0)
        expected = np.concatenate([np.where(gap, np.nan, s2 * np.float32(1e-4)), s1])
        np.testing.assert_allclose(tile.image[0], expected, rtol=1e-6)
        # The band has the simplified classes already.
        stored = np.where(np.isnan(expected).all(axis=0) | (dfc[0] == 0), 255, dfc[0])
        np.testing.assert_array_equal(made.legend.to_ids(tile.label[0]), stored)
    assert made.legend.names == find_legend(legend).names
    assert made.meta.gsd == 10


def test_cities_are_tasks_in_their_season_and_all_are_for_testing(cities, tmp_path):
    made = prepare(dfc2020(cities, tile=16), tmp_path / "set", quiet=True)
    assert made.meta.splits == {
        "train": [], "val": [], "test": ["CapeTown/autumn", "KippaRing/winter", "MexicoCity/winter"]
    }  # fmt: skip
    for row in made.table.itertuples():
        with rasterio.open(cities / row.source) as file:
            expected = window_bounds(Window(*row.window), file.transform)
        np.testing.assert_allclose(row.native_bounds, expected)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_parts_are_tasks_without_a_place(parts, tmp_path):
    assert (parts / "ROIs0000_validation/dfc_validation/ROIs0000_validation_dfc_0_p0.tif").is_file()
    assert (parts / "ROIs0000_test/s1_0/ROIs0000_test_s1_0_p3.tif").is_file()
    made = prepare(dfc2020(parts, tile=16), tmp_path / "set", quiet=True)
    assert made.meta.splits == {"train": [], "val": [], "test": ["test", "validation"]}
    assert made.table["crs"].isna().all()
    assert any("no georeference" in note for note in made.meta.notes)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_system_without_a_place_is_no_georeference(parts, tmp_path):
    root = shutil.copytree(parts, tmp_path / "raw")
    for path in root.rglob("*.tif"):
        rewrite(path, crs="EPSG:4326", transform=rasterio.Affine(1, 0, 0, 0, 1, 0))
    made = prepare(dfc2020(root, tile=16), tmp_path / "set", quiet=True)
    assert made.table["crs"].isna().all()
    assert made.meta.gsd == 10


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_both_layouts_at_once_are_the_same_images(cities, parts, tmp_path):
    shutil.copytree(cities, tmp_path / "raw" / "one")
    shutil.copytree(parts, tmp_path / "raw" / "two")
    source = dfc2020(tmp_path / "raw", tile=16)
    assert len(source.parts) == 12
    assert any("both layouts" in note for note in source.meta.notes)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_gives_what_the_folder_gives(cities, tmp_path, kind):
    archive = tmp_path / f"DFC_Public_Dataset.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(cities.rglob("*")):
                file.write(path, f"DFC_Public_Dataset/{path.relative_to(cities)}")
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(cities, "DFC_Public_Dataset")
    with pytest.raises(ConfigError, match="an archive to unpack"):
        dfc2020(archive, tile=16)
    one = prepare(
        dfc2020(archive, tile=16, unpack_to=tmp_path / "work"), tmp_path / "a", quiet=True
    )
    two = prepare(dfc2020(cities, tile=16), tmp_path / "b", quiet=True)
    assert one.table.drop(columns="geometry").equals(two.table.drop(columns="geometry"))
    ids = np.arange(len(one))
    np.testing.assert_array_equal(one.read(ids).image, two.read(ids).image)


def test_an_archive_with_a_link_is_refused(tmp_path):
    archive = tmp_path / "dfc.tar.gz"
    link = tarfile.TarInfo("ROIs0000_autumn/s2_Mumbai/ROIs0000_autumn_s2_Mumbai_p1.tif")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(archive, "w:gz") as file:
        file.addfile(link)
    with pytest.raises(UnsafeFile):
        dfc2020(archive, unpack_to=tmp_path / "work")


def test_patches_that_are_not_whole_and_pickles_are_left_out_and_told(cities, tmp_path):
    root = shutil.copytree(cities, tmp_path / "raw")
    (root / "ROIs0000_autumn/dfc_CapeTown/ROIs0000_autumn_dfc_CapeTown_p2.tif").unlink()
    shutil.rmtree(root / "ROIs0000_winter" / "lc_KippaRing")  # is not needed
    bad_pickle(root / "args.pkl", tmp_path / "proof")
    source = dfc2020(root, tile=16)
    made = prepare(source, tmp_path / "set", quiet=True)
    assert len(made) == 5 * 4
    assert source.missing == ("ROIs0000_autumn_dfc_CapeTown_p2.tif",)
    assert any("dfc_CapeTown_p2" in note for note in made.meta.notes)
    assert any("args.pkl" in note for note in made.meta.notes)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"legend": "igbp"}, "'igbp'"),
        ({"bands": ["B13"]}, "B13"),
        ({"tile": 33}, "33 pixels does not fit a patch of 32"),
        ({"tile": 4}, "4 pixels does not fit"),
    ],
)
def test_wrong_options(cities, options, message):
    with pytest.raises(ConfigError, match=message):
        dfc2020(cities, **options)


def test_no_folder_and_no_patch(tmp_path, cities):
    for name in ("nowhere", "nowhere.zip"):
        with pytest.raises(SourceNotFound) as error:
            dfc2020(tmp_path / name, unpack_to=tmp_path / "work")
        assert "ROIs0000_validation/s2_validation" in error.value.remedy
    root = shutil.copytree(cities, tmp_path / "raw")
    for folder in root.glob("*/s1_*"):
        shutil.rmtree(folder)
    with pytest.raises(SourceNotFound, match="6 files are missing: ROIs0000_autumn_s1_CapeTown_p1"):
        dfc2020(root)


FIRST = "ROIs0000_autumn/{0}_CapeTown/ROIs0000_autumn_{0}_CapeTown_p1.tif"
BROKEN = [
    (lambda p: p.write_bytes(b"no tiff"), "dfc", UnreadableFile),
    (lambda p: rewrite(p, lambda a: np.concatenate([a, a])), "dfc", MissingBands),
    (lambda p: rewrite(p, lambda a: np.full_like(a, 17)), "dfc", UnknownClass),
    (lambda p: rewrite(p, lambda a: a[:, :16]), "s1", SizeMismatch),
    (lambda p: rewrite(p, crs="EPSG:32601"), "dfc", SizeMismatch),
]


@pytest.mark.parametrize(("damage", "kind", "error"), BROKEN)
def test_damage_is_named(cities, tmp_path, damage, kind, error):
    root = shutil.copytree(cities, tmp_path / "raw")
    path = root / FIRST.format(kind)
    damage(path)
    with pytest.raises(error) as caught:
        prepare(dfc2020(root, tile=16), tmp_path / "set", quiet=True)
    assert caught.value.path == path
    assert not (tmp_path / "set").exists()


def test_the_commands(tmp_path):
    raw = tmp_path / "raw"
    for layout, tasks in (("dfc2020", ["KippaRing/winter", "MexicoCity/winter"]),
                          ("dfc2020-parts", ["test", "validation"])):  # fmt: skip
        ended = invoke("prepare", "synthetic", raw, "--layout", layout, "--regions", 2,
                       "--images", 1, "--size", 32, "--overwrite")  # fmt: skip
        assert ended.exit_code == 0, ended.output
        assert f"landmeta prepare dfc2020 {raw}" in ended.output
        out = tmp_path / layout
        ended = invoke("prepare", "dfc2020", raw, "--out", out, "--tile", 16, "--bands", "VV,B4")
        assert ended.exit_code == 0, ended.output
        assert "landmeta compare CONFIG" in ended.output
        assert all(f'"{task}"' in (out / "taskset.json").read_text() for task in tasks)


def test_made_up_cities_are_those_of_dfc2020(tmp_path):
    root = write_dfc2020(tmp_path / "raw", patches=1, size=16)
    found = {p.name.removeprefix("dfc_"): p.parent.name for p in root.glob("*/dfc_*")}
    assert found == {
        city: f"ROIs0000_{'autumn' if season == 'fall' else season}"
        for city, season in CITIES.items()
    }
    for path in root.glob("*/dfc_*/*.tif"):
        with rasterio.open(path) as file:
            assert file.count == 1
            assert set(np.unique(file.read())) <= {0, 1, 2, 4, 5, 6, 7, 9, 10}
    for wrong in ({"cities": 8}, {"patches": 0}, {"size": 15}, {"shift": -1.0}):
        with pytest.raises(ConfigError):
            write_dfc2020(tmp_path / "more", **wrong)
