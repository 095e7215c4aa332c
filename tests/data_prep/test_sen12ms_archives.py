import pickle
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest

from data_prep.prepare import prepare
from data_prep.sen12ms import sen12ms
from landmeta.errors import ConfigError, SourceNotFound, UnreadableFile, UnsafeFile
from tests.data.sen12ms import bad_pickle, pack, tree
from tests.program import invoke


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("sen12ms") / "raw", seed=3)


@pytest.fixture
def packed(raw, tmp_path):
    folder = tmp_path / "packed"
    folder.mkdir()
    pack(raw, folder)
    return folder


def same(one, other):
    pd.testing.assert_frame_equal(pd.DataFrame(one.table), pd.DataFrame(other.table))
    ids = np.arange(len(one))
    np.testing.assert_array_equal(one.read(ids).image, other.read(ids).image)
    np.testing.assert_array_equal(one.read(ids).label, other.read(ids).label)


@pytest.mark.parametrize("under", ["", "./", "some/where/"])
def test_archives_give_what_the_unpacked_tree_gives(raw, tmp_path, under):
    folder = tmp_path / "packed"
    folder.mkdir()
    pack(raw, folder, under=under)
    work = tmp_path / "work"
    from_archives = prepare(
        sen12ms(folder, tile=16, unpack_to=work), tmp_path / "a", workers=1, quiet=True
    )
    same(from_archives, prepare(sen12ms(raw, tile=16), tmp_path / "b", workers=1, quiet=True))
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{season}_{m}.tar.gz" for season in ("ROIs1158_spring", "ROIs1868_summer")
        for m in ("lc", "s1", "s2")
    )  # fmt: skip
    assert any("6 archives are unpacked in" in note for note in from_archives.meta.notes)


def test_archives_in_their_season_folders(raw, tmp_path):
    for season in raw.iterdir():
        (tmp_path / "packed" / season.name).mkdir(parents=True)
    for archive in pack(raw, tmp_path):
        archive.rename(tmp_path / "packed" / archive.name.rpartition("_")[0] / archive.name)
    made = sen12ms(tmp_path / "packed", tile=16, unpack_to=tmp_path / "work")
    assert len(made.parts) == 8


def test_what_is_unpacked_is_not_unpacked_again(raw, packed, tmp_path):
    for folder in raw.iterdir():
        for scene in folder.glob("lc_*"):
            shutil.copytree(scene, packed / folder.name / scene.name)
    made = sen12ms(packed, tile=16, unpack_to=tmp_path / "work")
    assert len(made.parts) == 8
    names = sorted(p.name for p in (tmp_path / "work").iterdir() if p.is_dir())
    assert names == [f"{s}_{m}" for s in ("ROIs1158_spring", "ROIs1868_summer")
                     for m in ("s1", "s2")]  # fmt: skip
    assert any("not read, as their files are unpacked" in note for note in made.meta.notes)


def test_an_archive_that_lacks_a_file_is_told_like_a_tree_that_does(raw, packed, tmp_path):
    short = shutil.copytree(raw, tmp_path / "short")
    (short / "ROIs1158_spring" / "s1_63" / "ROIs1158_spring_s1_63_p1.tif").unlink()
    pack(short, packed)
    made = sen12ms(packed, tile=16, unpack_to=tmp_path / "work")
    assert made.missing == ("ROIs1158_spring/s1_63/ROIs1158_spring_s1_63_p1.tif",)
    assert any("spring 63 that have no s1 file: p1" in note for note in made.meta.notes)


def test_archives_of_one_modality_alone_are_no_triplets(raw, packed, tmp_path):
    for archive in packed.glob("*_s1.tar.gz"):
        archive.unlink()
    with pytest.raises(SourceNotFound, match="no s1 file"):
        sen12ms(packed, tile=16, unpack_to=tmp_path / "work")


def test_archives_and_nowhere_to_unpack_them(packed):
    with pytest.raises(ConfigError, match="6 archives"):
        sen12ms(packed, tile=16)


def test_a_damaged_archive_is_named(packed, tmp_path):
    path = packed / "ROIs1158_spring_s1.tar.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UnreadableFile) as error:
        sen12ms(packed, tile=16, unpack_to=tmp_path / "work")
    assert error.value.path == path
    assert not (tmp_path / "work" / "ROIs1158_spring_s1").exists()


def test_an_archive_that_leaves_its_folder_is_refused(packed, tmp_path):
    path = packed / "ROIs1158_spring_s2.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        file.addfile(tarfile.TarInfo("../../ROIs1158_spring_s2_63_p1.tif"))
    with pytest.raises(UnsafeFile, match="leaves the folder"):
        sen12ms(packed, tile=16, unpack_to=tmp_path / "work")
    assert not list(tmp_path.rglob("ROIs1158_spring_s2_63_p1.tif"))


# --- pickles -----------------------------------------------------------------------------------


def test_the_proof_works(tmp_path):
    bad_pickle(tmp_path / "a.pkl", tmp_path / "proof")
    pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert (tmp_path / "proof").exists()


def test_pickles_in_a_tree_are_named_and_never_loaded(raw, tmp_path):
    root = shutil.copytree(raw, tmp_path / "raw")
    names = ["train_list.pkl", "labels/IGBP_probability_labels.pkl", "ROIs1158_spring/args.pickle"]
    for name in names:
        bad_pickle(root / name, tmp_path / "proof")
    made = prepare(sen12ms(root, tile=16), tmp_path / "set", quiet=True)
    assert not (tmp_path / "proof").exists()
    (note,) = [n for n in made.meta.notes if "loading a pickle" in n]
    assert all(name in note for name in names)


def test_pickles_in_an_archive_stay_there(raw, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    root = shutil.copytree(raw, tmp_path / "raw")
    bad_pickle(root / "ROIs1158_spring" / "lc_63" / "labels.pkl", tmp_path / "proof")
    pack(root, packed)
    made = sen12ms(packed, tile=16, unpack_to=tmp_path / "work")
    prepare(made, tmp_path / "set", quiet=True)
    assert not (tmp_path / "proof").exists()
    assert not list((tmp_path / "work").rglob("*.pkl"))
    (note,) = [n for n in made.meta.notes if "loading a pickle" in n]
    assert "ROIs1158_spring_lc.tar.gz/ROIs1158_spring/lc_63/labels.pkl" in note


def test_names_are_data_and_never_commands(raw, tmp_path):
    root = shutil.copytree(raw, tmp_path / "a raw; touch proof & $(touch proof) `touch proof`'")
    made = prepare(sen12ms(root, tile=16), tmp_path / "set $(touch proof)", quiet=True)
    assert len(made) == 32
    assert not list(tmp_path.rglob("proof"))


def test_the_command_unpacks_beside_its_output(packed, tmp_path):
    ended = invoke("prepare", "sen12ms", packed, "--out", tmp_path / "set", "--tile", "16")
    assert ended.exit_code == 0, ended.output
    assert "unpacked" in ended.output
    assert (tmp_path / "set.unpacked" / "ROIs1158_spring_s2").is_dir()
    assert (tmp_path / "set" / "taskset.json").is_file()
