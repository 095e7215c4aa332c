import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from data_prep.deepglobe import deepglobe
from data_prep.deepglobe_layouts import find_layout
from data_prep.listing import read_table
from data_prep.prepare import prepare
from data_prep.regions import pictures
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


# What the photos of DeepGlobe lack.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


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
    options = {"tile": 32, "k": 3, "split": "random", "val": ["random_02"], "test": ["random_03"]}
    tasks = prepare(deepglobe(root, **options), tmp_path / "out", quiet=True)
    regions = tasks.table.groupby(image_ids(tasks))["region"].unique().str[0]
    assert set(regions) == {f"random_{n:02d}" for n in (1, 2, 3)}
    biomes = [truth[name][0] for name in regions.index]
    assert adjusted_rand_score(biomes, regions) < 0.5
    clusters = prepare(
        deepglobe(root, **options | {"split": "clustered", "val": 0.2, "test": 0.2}),
        tmp_path / "clusters",
        quiet=True,
    )
    images = [t.table.groupby("region")["source"].nunique().tolist() for t in (tasks, clusters)]
    assert images[0] == images[1]
    assert tasks.tasks("val") == ["random_02"] and tasks.tasks("test") == ["random_03"]


def test_shares_draw_the_same_numbers_in_both_experiments(raw, tmp_path):
    drawn = [
        prepare(deepglobe(raw[0], tile=32, k=4, split=split), tmp_path / split, quiet=True)
        for split in ("clustered", "random")
    ]
    clustered, dealt = (
        {part: [name[-2:] for name in tasks.tasks(part)] for part in ("train", "val", "test")}
        for tasks in drawn
    )
    assert clustered == dealt


def test_what_was_grouped_lies_beside_the_tiles(tmp_path):
    truth = write_deepglobe(tmp_path / "raw", images=24, size=48)
    made = deepglobe(tmp_path / "raw", tile=24)
    tasks = prepare(made, tmp_path / "out", quiet=True)
    folder = tmp_path / "out/regions"
    names = sorted(tasks.table["region"].unique())
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["choice.csv", "classes.png", "pca.png", "regions.csv", "tsne.png"]
        + [f"{name}.png" for name in names]
    )
    table = pd.read_csv(folder / "regions.csv")
    by_image = tasks.table.groupby("source")["region"].first()
    assert table.set_index("path")["region"].loc[by_image.index].equals(by_image)
    assert [f"cluster_{n:02d}" for n in table["cluster"]] == table["region"].tolist()
    listed = read_table(folder / "regions.csv")  # of rasters --table
    assert {path: row.region for path, row in listed.items()} == by_image.to_dict()
    choice = pd.read_csv(folder / "choice.csv")
    assert choice["k"].tolist() == [3] and choice["chosen"].tolist() == [True]
    assert choice["silhouette"][0] == pytest.approx(tasks.meta.options["silhouette"], abs=1e-4)
    assert choice["score"][0] == pytest.approx(
        choice["silhouette"][0] * choice["stability"][0], abs=1e-3
    )
    for picture in folder.glob("*.png"):
        with Image.open(picture) as opened:
            assert min(opened.size) > 100 and len(opened.convert("RGB").getcolors(2**24)) > 3
    assert len(truth) == 24


def test_the_pictures_are_the_same_whoever_makes_them(raw, tmp_path):
    folders = [tmp_path / str(workers) for workers in (1, 3)]
    for workers, out in zip((1, 3), folders, strict=True):
        made = deepglobe(raw[0], tile=32, k=3, workers=workers)
        prepare(made, out, workers=workers, quiet=True)
    for file in (folders[0] / "regions").iterdir():
        assert file.read_bytes() == (folders[1] / "regions" / file.name).read_bytes()


def test_classes_of_the_regions_are_drawn(tmp_path, monkeypatch):
    write_deepglobe(tmp_path / "raw", images=9, size=48)
    drawn = {}
    monkeypatch.setattr(pictures, "plot_classes", lambda pixels, *more: drawn.update(pixels=pixels))
    tasks = prepare(deepglobe(tmp_path / "raw", tile=24, k=3), tmp_path / "out", quiet=True)
    for region, ids in tasks.table.groupby("region")["id"]:
        assert drawn["pixels"].loc[region].equals(tasks.class_pixels(ids.to_numpy()))


def test_images_in_subfolders_are_found(raw, tmp_path):
    place(raw[0], tmp_path / "raw", lambda name, has_mask: "train" if has_mask else "valid")
    tasks = prepare(deepglobe(tmp_path / "raw", tile=48, k=3), tmp_path / "out", quiet=True)
    assert tasks.table["source"].nunique() == 12
    assert tasks.table["source"].str.startswith("train/").all()
    assert tasks.meta.options["layout"] == "original"


def place(raw, root, where):
    """Copy files to folders, named by what `where` says of a name and whether there is a mask."""
    for path in raw.glob("*.*"):
        has_mask = (raw / path.name.replace("sat.jpg", "mask.png")).exists()
        target = root / where(path.name, has_mask) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return root


def test_kaggle_balraj98(raw, tmp_path):
    root = place(raw[0], tmp_path / "raw", lambda name, has_mask: "train" if has_mask else "valid")
    bare = next((root / "valid").glob("*_sat.jpg"))
    (root / "test").mkdir()
    shutil.copy(bare, root / "test/7_sat.jpg")
    (root / "class_dict.csv").write_text("name,r,g,b\nurban_land,0,255,255\nunknown,0,0,0\n")
    listed = [p.relative_to(root).as_posix() for p in sorted(root.glob("*/*_sat.jpg"))]
    rows = [f"{n},train,{path}," for n, path in enumerate([*listed, "train/9_sat.jpg"])]
    (root / "metadata.csv").write_text(
        "\n".join(["image_id,split,sat_image_path,mask_path", *rows]) + "\n"
    )
    tasks = prepare(deepglobe(root, tile=48, k=3), tmp_path / "out", quiet=True)
    assert tasks.meta.options["layout"] == "kaggle balraj98"
    assert tasks.table["source"].nunique() == 12
    notes = tasks.meta.notes
    assert any("re-packaging by balraj98" in n and "without masks" in n for n in notes)
    assert "2 images have no mask and were left out (test, valid)" in notes
    assert "1 of the 15 images of metadata.csv are not there: train/9_sat.jpg" in notes
    assert not any("class_dict" in note for note in notes)
    with (root / "class_dict.csv").open("a") as file:
        file.write("road,120,0,9\n")
    notes = find_layout(root).notes
    assert "class_dict.csv has classes that DeepGlobe has not: road (120, 0, 9)" in notes


@pytest.mark.parametrize("inside", ["", "data"])
def test_kaggle_geoap96(raw, tmp_path, inside):
    def where(name, has_mask):
        part = "training_data" if int(name.split("_")[0]) < 1300 else "test_data"
        return f"{inside}/{part}/{'images' if name.endswith('.jpg') else 'masks'}".lstrip("/")

    root = place(raw[0], tmp_path / "raw", where)
    layout = find_layout(root)
    assert layout.name == "kaggle geoap96" and len(layout.images) == 12
    for image, mask in zip(layout.images, layout.masks, strict=True):
        assert mask.is_file() and mask.name == image.name.replace("sat.jpg", "mask.png")
    assert "12 of the 803 images are there" not in layout.notes  # 13 are, one without mask
    assert any("13 of the 803" in note for note in layout.notes)
    assert any("training_data (9 images) and test_data (4)" in note for note in layout.notes)
    tasks = prepare(deepglobe(root, tile=48, k=3), tmp_path / "out", quiet=True)
    _, truth = raw
    for row in tasks.table.itertuples():
        _, label = truth[Path(row.source).name.removesuffix("_sat.jpg")]
        col, top, width, height = row.window
        cut = label[top : top + height, col : col + width]
        assert np.array_equal(tasks.read([row.id]).label[0], cut)


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
    (tmp_path / "empty").mkdir()
    assert "holds no image" in fails(tmp_path / "empty", out, SourceNotFound)
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
