"""From a folder of rasters to a compared map, by the commands that a user types."""

import hashlib
import json
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import rasterio
import rasterio.shutil
from PIL import Image

import landmeta.train as training
from landmeta.legend import IGNORE
from landmeta.taskset import TaskSet
from tests.program import BANDS, NODATA, invoke, prepare, write_config, write_scene, write_world
from tests.rasters import read_raster
from tests.tiny import LEGEND, tiny_config

METHODS = ("maml", "fomaml", "pretrain", "scratch")


def done(result):
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All files of the way; a new scene of region t is there beside the raw folder."""
    folder = tmp_path_factory.mktemp("way")
    write_world(folder / "raw")
    write_scene(folder, "new", brightness=3, seed=99, shape=(72, 120))
    return folder


@pytest.fixture(scope="module")
def taskset(folder):
    said = done(prepare(folder / "raw", folder / "taskset", "--quiet"))
    assert said == ""
    return TaskSet(folder / "taskset")


@pytest.fixture(scope="module")
def runs(folder, taskset):
    """The checkpoint of each method; the training of fomaml is interrupted and resumed."""
    paths = {}
    for method in METHODS:
        out = folder / "runs" / method
        more = {"outer": {"steps": 30, "rate": 0.01}} if method == "pretrain" else {}
        settings = tiny_config(taskset, out, method, **more)
        config = write_config(folder / f"{method}.yaml", settings)
        words = ["train", config, "--quiet"]
        if method == "fomaml":
            _interrupt(words, at_step=5)
            words.append("--resume")
        said = done(invoke(*words))
        paths[method] = out / "checkpoint.safetensors"
        assert f"landmeta adapt {paths[method]}" in said
    return paths


def _interrupt(words, at_step):
    step = training._Run._outer_step

    def stopped(run, work):
        if run.step == at_step:
            raise KeyboardInterrupt
        return step(run, work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Run, "_outer_step", stopped)
        assert invoke(*words).exit_code == 130


@pytest.fixture(scope="module")
def region_model(folder, runs):
    """Pretraining's network, adapted to the files of region t."""
    out = folder / "region.safetensors"
    pair = f"{folder / 'raw/t/0_image.tif'}={folder / 'raw/t/0_labels.tif'}"
    said = done(
        invoke(
            "adapt", runs["pretrain"], "--support", pair, "--out", out,
            "--optimizer", "adam", "--rate", 0.01, "--steps", 40, "--device", "cpu",
        )
    )  # fmt: skip
    assert "40 steps of adam at rate 0.01" in said
    labels = read_raster(folder / "raw/t/0_labels.tif")[0]
    labels[(read_raster(folder / "raw/t/0_image.tif") == NODATA).all(axis=0)] = IGNORE
    for land in LEGEND.classes:
        assert re.search(rf"^ *{land.name} +{(labels == land.id).sum()}\b", said, re.M)
    return out


@pytest.fixture(scope="module")
def made(folder, region_model):
    """The map of the new scene, and what the program said."""
    out = folder / "map.tif"
    return out, done(
        invoke("predict", region_model, folder / "new_image.tif", "--out", out, "--quiet")
    )


# ---- prepare ---------------------------------------------------------------------------------


def test_task_set_holds_the_tiles_of_the_files(folder, taskset):
    assert (taskset.bands, taskset.legend) == (BANDS, LEGEND)
    assert [taskset.tasks(s) for s in ("train", "val", "test")] == [
        ["a", "b", "c"], ["v"], ["t", "u"]
    ]  # fmt: skip
    assert len(taskset) == 6 * 12
    image = read_raster(folder / "raw/u/0_image.tif")
    for place in taskset.tile_ids("u").tolist():
        row = taskset.table.iloc[place]
        assert (row["source"], row["crs"]) == ("u/0_image.tif", "EPSG:32633")
        left, top, width, height = row["window"]
        stored = np.nan_to_num(taskset.read([place]).image[0], nan=NODATA)
        np.testing.assert_array_equal(stored, image[:, top : top + height, left : left + width])


# ---- train -----------------------------------------------------------------------------------


def test_every_run_leaves_its_files(runs):
    for method, path in runs.items():
        names = {p.name for p in path.parent.iterdir()}
        expected = {"checkpoint.safetensors", "config.json", "log.jsonl", "tuning.csv"}
        assert names == expected | (set() if method == "scratch" else {"state.safetensors"})
        assert json.loads((path.parent / "config.json").read_text())["method"] == method


def test_resumed_run_has_every_step_once(runs):
    lines = (runs["fomaml"].parent / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["step"] for r in records if "loss" in r] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records if "val_miou" in r] == [2, 4, 6]


# ---- adapt and predict -----------------------------------------------------------------------


def test_adapting_to_tiles_of_the_task_set(folder, taskset, runs):
    out = folder / "from_taskset.safetensors"
    said = done(
        invoke(
            "adapt", runs["maml"], "--taskset", taskset.folder, "--region", "u", "--shots", 3,
            "--out", out,
        )
    )  # fmt: skip
    assert "of sgd" in said or "of adam" in said
    predicted = folder / "other.tif"
    done(invoke("predict", out, folder / "new_image.tif", "--out", predicted, "--no-confidence"))
    assert predicted.is_file()
    assert not (folder / "other.confidence.tif").exists()


def test_map_lies_on_the_images_grid(folder, made):
    with rasterio.open(made[0]) as land, rasterio.open(folder / "new_image.tif") as image:
        assert (land.crs, land.transform, land.shape) == (image.crs, image.transform, image.shape)
        assert (land.count, land.dtypes, land.nodata) == (1, ("uint8",), IGNORE)


def test_map_shows_classes_by_colour_and_name(made, tmp_path):
    with rasterio.open(made[0]) as land:
        colours, tags = land.colormap(1), land.tags()
    for known in LEGEND.classes:
        rgb = tuple(int(known.color[i : i + 2], 16) for i in (1, 3, 5))
        assert colours[known.id] == (*rgb, 255)
    assert colours[IGNORE][3] == 0
    rasterio.shutil.copy(made[0], tmp_path / "map.vrt", driver="VRT")  # GDAL's own view of it
    categories = [c.text for c in ElementTree.parse(tmp_path / "map.vrt").iter("Category")]
    assert [categories[i] for i in LEGEND.ids] == list(LEGEND.names)
    told = {c["id"]: c["name"] for c in json.loads(tags["landmeta_classes"])}
    assert told == dict(zip(LEGEND.ids, LEGEND.names, strict=True))


def test_map_is_right_where_the_region_was_adapted_to(folder, made):
    ids, truth = read_raster(made[0])[0], read_raster(folder / "new_labels.tif")[0]
    labelled = (truth != IGNORE) & (ids != IGNORE)
    share = np.bincount(truth[labelled]).max() / labelled.sum()
    assert share < 0.6
    assert (ids[labelled] == truth[labelled]).mean() > 0.8


def test_no_data_in_no_data_out(folder, made):
    gone = (read_raster(folder / "new_image.tif") == NODATA).all(axis=0)
    assert 0 < gone.sum() < gone.size
    for path in (made[0], folder / "map.confidence.tif"):
        np.testing.assert_array_equal(read_raster(path)[0] == IGNORE, gone)


def test_confidence_is_in_percent(folder, made):
    with rasterio.open(folder / "map.confidence.tif") as dataset, rasterio.open(made[0]) as land:
        assert (dataset.crs, dataset.transform) == (land.crs, land.transform)
        assert (dataset.dtypes, dataset.nodata) == (("uint8",), IGNORE)
        percent = dataset.read(1, masked=True).compressed()
    assert 100 / len(LEGEND) - 1 <= percent.min() < percent.max() <= 100


def test_map_remembers_its_model_and_the_model_its_checkpoint(folder, made, region_model, runs):
    with rasterio.open(made[0]) as land:
        tags = land.tags()
    assert tags["landmeta_model"] == "region.safetensors"
    assert tags["landmeta_model_sha256"] == _sha256(region_model)
    assert tags["landmeta_raster"] == "new_image.tif"
    provenance = json.loads(tags["landmeta_provenance"])
    assert provenance["checkpoint_sha256"] == _sha256(runs["pretrain"])
    assert provenance["trained"]["training_regions"] == ["a", "b", "c"]
    assert all("t/0_image.tif" in source for source in provenance["support"])


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_shares_that_were_told_are_those_of_the_map(made):
    path, said = made
    ids = read_raster(path)[0]
    for land in LEGEND.classes:
        share = (ids == land.id).sum() / (ids != IGNORE).sum()
        assert f"{land.name}: {share:.1%}" in said
    assert f"written to {path} and " in said


# ---- compare ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(folder, taskset, runs):
    out = folder / "comparison"
    settings = {
        "taskset": str(taskset.folder),
        "out": str(out),
        "checkpoints": {method: str(path) for method, path in runs.items()},
        "device": "cpu",
        "shots": [0, 1, 2],
        "draws": 2,
        "queries": 4,
        "picture_shots": 2,
    }
    said = done(invoke("compare", write_config(folder / "compare.yaml", settings), "--quiet"))
    return out, said


def test_comparison_has_every_draw_of_every_region(compared):
    rows = pd.read_csv(compared[0] / "results.csv")
    counts = rows.groupby(["method", "task", "shots"])["draw"].agg(list)
    assert len(rows) == 4 * 2 * 3 * 2
    assert counts.map(lambda draws: sorted(draws) == [0, 1]).all()
    assert set(rows["method"]) == set(METHODS)
    assert set(rows["task"]) == {"t", "u"}


def test_summary_differences_and_page_agree_with_the_rows(compared):
    out, said = compared
    rows, page = pd.read_csv(out / "results.csv"), (out / "report.html").read_text("utf-8")
    summary = pd.read_csv(out / "summary.csv").set_index(["measure", "method", "shots"])["mean"]
    differences = pd.read_csv(out / "differences.csv").set_index(["measure", "method", "shots"])
    for measure in ("miou", "accuracy", "macro_f1"):
        regions = rows.groupby(["method", "shots", "task"])[measure].mean()
        means = regions.groupby(["method", "shots"]).mean()
        for (method, shots), mean in means.items():
            assert summary[measure, method, shots] == pytest.approx(mean)
            assert f"{mean:.3f}" in page
            if method != "pretrain":
                difference = differences.loc[(measure, method, shots), "mean"]
                assert difference == pytest.approx(mean - means["pretrain", shots])
    assert str(out / "report.html") in said


def test_comparison_has_its_pictures(compared):
    out, _ = compared
    names = ("methods.png", "scores.png", "regions/t.png", "regions/u.png")
    pictures = [out / name for name in names]
    assert {p.name for p in (out / "regions").iterdir()} == {"t.png", "u.png"}
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 200
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # not blank
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == len(pictures)
