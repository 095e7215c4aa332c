import numpy as np
import pytest
import rasterio
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from data_prep.deepglobe import deepglobe
from data_prep.prepare import prepare
from landmeta.errors import (
    ConfigError,
    EmptyRegion,
    MissingBands,
    SizeMismatch,
    SourceNotFound,
    UnknownClass,
    UnreadableFile,
)
from landmeta.legend import DEEPGLOBE
from tests.data.deepglobe import write_deepglobe


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("deepglobe")
    return root, write_deepglobe(root)


def fails(root, out, error, **options):
    with pytest.raises(error) as caught:
        prepare(deepglobe(root, **({"tile": 32, "k": 3} | options)), out, quiet=True)
    assert not out.exists() and not list(out.parent.glob(".*partial*"))
    return str(caught.value)


def image_ids(tasks):
    return tasks.table["source"].str.removesuffix("_sat.jpg")


def test_labels_are_the_masks_binarised(raw, tmp_path):
    root, truth = raw
    values = np.unique(np.asarray(Image.open(root / f"{next(iter(truth))}_mask.png")))
    assert set(values.tolist()) == {0, 1, 2, 3, 252, 253, 254, 255}  # the trap is there
    tasks = prepare(deepglobe(root, tile=32, k=3), tmp_path / "out", quiet=True)
    assert tasks.legend == DEEPGLOBE and tasks.bands == ("R", "G", "B")
    assert tasks.meta.gsd == 0.5 and tasks.meta.dtype == "uint8"
    assert tasks.table["crs"].isna().all()
    assert any("no georeference" in note for note in tasks.meta.notes)
    assert "1 images have no mask and were left out" in tasks.meta.notes
    seen = 0
    for row in tasks.table.itertuples():
        col, top, width, height = row.window
        cut = (slice(top, top + height), slice(col, col + width))
        tile = tasks.read([row.id])
        _, label = truth[row.source.removesuffix("_sat.jpg")]
        assert np.array_equal(tile.label[0], label[cut])
        with rasterio.open(root / row.source) as dataset:
            assert np.array_equal(tile.image[0], dataset.read()[:, *cut])
        seen += 1
    corners = [(row, col) for row in (0, 32, 64) for col in (0, 32, 64)]
    cuts = [lab[r : r + 32, c : c + 32] for _, lab in truth.values() for r, c in corners]
    empty = sum((cut != 255).mean() < 0.05 for cut in cuts)
    assert seen == 9 * len(truth) - empty


def test_clusters_are_the_biomes_and_hold_whole_images(raw, tmp_path):
    root, truth = raw
    tasks = prepare(deepglobe(root, tile=32, k=3), tmp_path / "out", quiet=True)
    regions = tasks.table.groupby(image_ids(tasks))["region"].unique()
    assert regions.str.len().eq(1).all()
    assert set(tasks.table["region"]) == {"cluster_01", "cluster_02", "cluster_03"}
    biomes = [truth[name][0] for name in regions.index]
    assert adjusted_rand_score(biomes, regions.str[0]) == 1
    assert [len(tasks.tasks(s)) for s in ("train", "val", "test")] == [1, 1, 1]


def test_random_regions_mix_the_biomes(raw, tmp_path):
    root, truth = raw
    options = {"tile": 32, "k": 4, "split": "random", "val": ["random_02"], "test": ["random_03"]}
    tasks = prepare(deepglobe(root, **options), tmp_path / "out", quiet=True)
    regions = tasks.table.groupby(image_ids(tasks))["region"].unique().str[0]
    assert regions.value_counts().to_dict() == {f"random_{n:02d}": 3 for n in (1, 2, 3, 4)}
    biomes = [truth[name][0] for name in regions.index]
    assert adjusted_rand_score(biomes, regions) < 0.5
    assert tasks.tasks("val") == ["random_02"] and tasks.tasks("test") == ["random_03"]


def test_number_of_clusters_is_chosen_and_told(tmp_path):
    write_deepglobe(tmp_path / "raw", images=18, size=48)
    tasks = prepare(deepglobe(tmp_path / "raw", tile=24), tmp_path / "out", quiet=True)
    assert set(tasks.meta.options["silhouette"]) == {str(k) for k in range(5, 10)}
    assert tasks.table["region"].nunique() >= 3


def test_images_in_subfolders_are_found(raw, tmp_path):
    for path in raw[0].glob("*.*"):
        part = "train" if (raw[0] / path.name.replace("sat.jpg", "mask.png")).exists() else "valid"
        (tmp_path / "raw" / part).mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / part / path.name).write_bytes(path.read_bytes())
    tasks = prepare(deepglobe(tmp_path / "raw", tile=48, k=3), tmp_path / "out", quiet=True)
    assert tasks.table["source"].nunique() == 12
    assert tasks.table["source"].str.startswith("train/").all()


def test_a_colour_that_is_no_class(tmp_path):
    truth = write_deepglobe(tmp_path / "raw", images=6, size=48)
    name = sorted(truth)[2]
    mask = np.asarray(Image.open(tmp_path / f"raw/{name}_mask.png")).copy()
    mask[20:30, 20:30] = (254, 3, 0)
    Image.fromarray(mask).save(tmp_path / f"raw/{name}_mask.png")
    message = fails(tmp_path / "raw", tmp_path / "out", UnknownClass)
    assert "#ff0000" in message and f"{name}_mask.png" in message


def test_bad_input(tmp_path):
    out = tmp_path / "out"
    assert "is no folder" in fails(tmp_path / "nowhere", out, SourceNotFound)
    root = tmp_path / "raw"
    truth = write_deepglobe(root, images=8, size=48)
    first = sorted(truth)[0]
    assert "no split 'season'" in fails(root, out, ConfigError, split="season")
    assert "5 regions of 8 images" in fails(root, out, ConfigError, k=5)
    assert "no region named nowhere" in fails(root, out, ConfigError, val=["nowhere"])
    assert "smaller than 49" in fails(root, out, EmptyRegion, tile=49)

    mask, photo = root / f"{first}_mask.png", root / f"{first}_sat.jpg"
    whole = mask.read_bytes(), photo.read_bytes()
    Image.open(mask).crop((0, 0, 48, 47)).save(mask)
    message = fails(root, out, SizeMismatch)
    assert "47 × 48" in message and "48 × 48" in message and str(mask) in message
    Image.new("L", (48, 48)).save(mask)
    assert str(mask) in fails(root, out, UnreadableFile)
    mask.write_bytes(whole[0][: len(whole[0]) // 2])
    assert str(mask) in fails(root, out, UnreadableFile)
    mask.write_bytes(whole[0])
    photo.write_bytes(whole[1][: len(whole[1]) // 2])
    for split in ("clustered", "random"):
        assert str(photo) in fails(root, out, UnreadableFile, split=split)
    Image.new("L", (48, 48)).save(photo)
    assert str(photo) in fails(root, out, MissingBands)
    for path in root.glob("*_mask.png"):
        path.unlink()
    assert "9 images named …_sat.jpg" in fails(root, out, SourceNotFound)
