"""Regions that bring their own classes, from training to the map, by the commands a user types."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch

import landmeta.train as training
import landmeta.tune as tuning
from landmeta import memory
from landmeta.adapt import adapt
from landmeta.checkpoint import load_checkpoint
from landmeta.compare import compare
from landmeta.config import CompareConfig, RelabelConfig, TrainConfig
from landmeta.contenders import Network
from landmeta.errors import CheckpointMismatch, EmptyRegion, TrainingDiverged
from landmeta.initial import start_from
from landmeta.legend import IGNORE, Legend
from landmeta.methods import METHODS, make_method
from landmeta.relabel import with_legend
from landmeta.support import Support
from landmeta.taskset import TaskSet, Tiles
from tests.program import invoke, prepare, write_config, write_scene, write_world
from tests.prototypes import Prototypes
from tests.rasters import read_raster
from tests.tiny import tiny_config

NEW = {
    "classes": [
        {"id": 40, "name": "Nowhere", "color": "#ffffff"},
        {"id": 7, "name": "Wet", "color": "#0000ff"},
        {"id": 9, "name": "Dry", "color": "#aa5500"},
    ],
    "remap": {2: 7, 1: 9, 5: 9, 6: 40},
}
"""Two of the three classes of the training are one here, and one class is nowhere."""

METHOD = "anil"
"""The name that the test's own method goes by."""


@pytest.fixture(scope="module", autouse=True)
def prototypes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, METHOD, Prototypes)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    write_world(folder / "raw")
    write_scene(folder, "new", brightness=3, seed=99)
    assert prepare(folder / "raw", folder / "taskset", "--quiet").exit_code == 0
    write_config(folder / "new.yaml", NEW)
    return folder


@pytest.fixture(scope="module")
def taskset(folder):
    return TaskSet(folder / "taskset")


def settings(taskset, out, **more):
    sizes = {"outer": {"steps": 12, "rate": 0.01}, "validation": {"every": 6, "draws": 1}}
    episodes = {"shots": 3, "queries": 3, "tasks": 1}
    plain = {"legend": "open", "episodes": episodes} | sizes | more
    return tiny_config(taskset, out, METHOD, **plain)


@pytest.fixture(scope="module")
def checkpoint(folder, taskset):
    config = settings(taskset, folder / "run")
    ended = invoke("train", write_config(folder / "run.yaml", config), "--quiet")
    assert ended.exit_code == 0, ended.output
    return folder / "run/checkpoint.safetensors"


@pytest.fixture(scope="module")
def fixed(folder, taskset):
    config = tiny_config(taskset, folder / "fixed", "scratch")
    return training.train(config, quiet=True)


def pair(folder, region="t"):
    return f"{folder / f'raw/{region}/0_image.tif'}={folder / f'raw/{region}/0_labels.tif'}"


@pytest.fixture(scope="module")
def region(folder, checkpoint):
    out = folder / "region.safetensors"
    words = ("--support", pair(folder), "--legend", folder / "new.yaml", "--steps", 0)
    ended = invoke("adapt", checkpoint, *words, "--out", out)
    assert ended.exit_code == 0, ended.output
    return out, ended.stdout


# ---- training --------------------------------------------------------------------------------


def test_the_checkpoint_remembers_what_it_was_trained_with(checkpoint, taskset):
    meta = load_checkpoint(checkpoint).meta
    assert meta.open_legend
    assert meta.legend == taskset.legend
    assert meta.provenance["val_miou"] > 0.4  # of two or three classes
    tuned = pd.read_csv(checkpoint.parent / "tuning.csv")
    assert tuned["val_miou"].between(0, 1).all()


def test_interrupted_run_equals_uninterrupted_run(taskset, tmp_path, monkeypatch):
    more = {"outer": {"steps": 4, "rate": 0.01}, "validation": {"every": 2, "draws": 1}}
    whole = training.train(settings(taskset, tmp_path / "whole", **more), quiet=True)
    config, step = settings(taskset, tmp_path / "broken", **more), training._Run._outer_step

    def killed(run, work):
        if run.step == 3:
            raise KeyboardInterrupt
        return step(run, work)

    monkeypatch.setattr(training._Run, "_outer_step", killed)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, quiet=True)
    monkeypatch.undo()
    resumed = training.train(config, resume=True, quiet=True)
    first, second = (load_checkpoint(path).params for path in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    tables = [(tmp_path / name / "tuning.csv").read_text() for name in ("whole", "broken")]
    assert tables[0] == tables[1]


def test_validation_and_tuning_keep_to_a_legend_for_each_draw(taskset, tmp_path, monkeypatch):
    drawn = {}
    for module in (training, tuning):
        seen = drawn[module] = []

        def noting(*arguments, seen=seen):
            found = with_legend(*arguments)
            assert arguments[3] == RelabelConfig()
            seen.append((tuple(arguments[-1]), found.classes, found.query.label.tobytes()))
            return found

        monkeypatch.setattr(module, "with_legend", noting)
    more = {"outer": {"steps": 2, "rate": 0.01}, "validation": {"every": 1, "draws": 3}}
    shots = {"shots": [4], "draws": 3, "sgd_rates": [0.1], "adam_rates": [], "steps": [0]}
    training.train(settings(taskset, tmp_path / "run", **more, tune=shots), quiet=True)
    for seen in drawn.values():  # twice the three draws of one region
        assert len(seen) == 6
        assert seen[:3] == seen[3:]
        assert len({key for key, *_ in seen}) == 3
        assert len({query for *_, query in seen}) == 3


def test_a_head_with_a_place_for_each_class_is_refused():
    config = {"taskset": "x", "out": "y", "method": "maml", "legend": "open"}
    with pytest.raises(ValueError, match=rf"head of maml .* legend fixed, or .*: {METHOD}"):
        TrainConfig.model_validate(config)
    with pytest.raises(ValueError, match=r"episodes\.relabel .* use legend open"):
        TrainConfig.model_validate(config | {"legend": "fixed", "episodes": {"relabel": {}}})
    assert TrainConfig.model_validate(config | {"method": METHOD}).relabel is not None


@pytest.mark.parametrize(("most", "ways"), [(None, 3), (2, 2), (9, 3)])
def test_memory_is_estimated_for_the_most_ways(taskset, tmp_path, monkeypatch, most, ways):
    seen = []

    def measured(loss, phi, *_, **__):
        seen.append(len(phi["prototype"]))
        return memory.StepSize(1, 1, 1)

    monkeypatch.setattr(memory, "measure", measured)
    episodes = {"shots": 2, "queries": 2, "tasks": 1, "relabel": {"max_ways": most}}
    config = settings(taskset, tmp_path, episodes=episodes)
    method = make_method(config.settings(), config.model, 3, 3)
    memory.refuse_what_will_not_fit(config, method, method.initial(), 3, 16)
    assert seen == [ways]


def test_an_open_training_starts_from_a_network_of_other_classes(fixed, taskset, tmp_path):
    config = settings(taskset, tmp_path)
    method = make_method(config.settings(), config.model, 3, 3)
    renamed = Legend.model_validate({"classes": NEW["classes"]})
    data = taskset.meta.model_copy(update={"legend": renamed})
    start = start_from(fixed, method, config.model, data)
    trained = load_checkpoint(fixed).params
    assert all(torch.equal(p, trained[name]) for name, p in start.params.items())


# ---- adapting and mapping --------------------------------------------------------------------


def test_a_region_model_maps_the_labels_own_classes(folder, region):
    path, said = region
    meta = load_checkpoint(path).meta
    assert meta.legend.names == ("Wet", "Dry")
    assert meta.provenance["training_classes"] == ["Forest", "Water", "Urban"]
    labels = read_raster(folder / "raw/t/0_labels.tif")[0]
    labelled = labels[(read_raster(folder / "raw/t/0_image.tif")[0] > 0) & (labels != IGNORE)]
    assert re.search(rf"^ *Wet +{(labelled == 2).sum()}\b", said, re.M)
    assert re.search(rf"^ *Dry +{(labelled != 2).sum()}\b", said, re.M)
    assert "note: nothing is labelled Nowhere" in said


def test_the_map_has_their_names_ids_and_colours_and_is_right(folder, region):
    out = folder / "map.tif"
    ended = invoke("predict", region[0], folder / "new_image.tif", "--out", out, "--quiet")
    assert ended.exit_code == 0, ended.output
    assert "Wet: " in ended.stdout
    with rasterio.open(out) as made:
        ids, colours, tags = made.read(1), made.colormap(1), made.tags()
    assert set(np.unique(ids)) == {7, 9, IGNORE}
    assert colours[7] == (0, 0, 255, 255)
    assert {c["id"]: c["name"] for c in json.loads(tags["landmeta_classes"])} == {
        7: "Wet",
        9: "Dry",
    }
    truth = read_raster(folder / "new_labels.tif")[0]
    seen = (truth != IGNORE) & (ids != IGNORE)
    right = ((truth == 2) == (ids == 7))[seen].mean()
    assert right > max(0.75, (truth[seen] != 2).mean() + 0.05)


def test_the_order_of_a_legend_does_not_change_the_map(folder, checkpoint, region):
    legend = NEW | {"classes": NEW["classes"][::-1]}
    turned = write_config(folder / "turned.yaml", legend)
    words = ("--support", pair(folder), "--legend", turned, "--steps", 0)
    out = folder / "turned.safetensors"
    assert invoke("adapt", checkpoint, *words, "--out", out).exit_code == 0
    assert load_checkpoint(out).meta.legend.names == ("Dry", "Wet")
    maps = []
    for model in (region[0], out):
        to = folder / f"{model.stem}_order.tif"
        invoke("predict", model, folder / "new_image.tif", "--out", to, "--quiet")
        maps.append(read_raster(to))
    assert (maps[0] == maps[1]).mean() > 0.999


def test_without_a_legend_the_labels_have_the_trainings(folder, checkpoint):
    out = folder / "same.safetensors"
    ended = invoke("adapt", checkpoint, "--support", pair(folder), "--out", out)
    assert ended.exit_code == 0, ended.output
    assert load_checkpoint(out).meta.legend.names == ("Forest", "Water", "Urban")


@pytest.fixture(scope="module")
def other(folder):
    """The world as a task set with the new legend."""
    words = ("--legend", folder / "new.yaml", "--quiet")
    ended = prepare(folder / "raw", folder / "other", *words)
    assert ended.exit_code == 0, ended.output
    return TaskSet(folder / "other")


def test_a_task_set_brings_its_own_legend(checkpoint, other, tmp_path):
    words = ("--taskset", other.folder, "--region", "u", "--shots", 4, "--out", tmp_path / "out")
    ended = invoke("adapt", checkpoint, *words)
    assert ended.exit_code == 0, ended.output
    assert load_checkpoint(tmp_path / "out").meta.legend.names == ("Wet", "Dry")
    ended = invoke("adapt", checkpoint, *words, "--legend", "deepglobe", "--overwrite")
    assert ended.exit_code == 2
    assert "has one of its own" in ended.stderr


def test_one_class_makes_no_map(checkpoint, taskset, tmp_path):
    tiles = taskset.read([0])
    one = Tiles(tiles.image, np.where(tiles.label == 1, 1, IGNORE).astype(np.uint8))
    with pytest.raises(EmptyRegion, match="Water is the only class"):
        adapt(checkpoint, Support(one, ("here",), ()), tmp_path / "out", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_adapting_that_diverges_writes_nothing(checkpoint, taskset, tmp_path):
    support = Support(taskset.read([0, 1]), ("here", "there"), ())
    changes = {"optimizer": "sgd", "rate": 1e30, "steps": 5}
    with pytest.raises(TrainingDiverged, match="rate 1e\\+30"):
        adapt(checkpoint, support, tmp_path / "out", changes=changes, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_unadapted_it_maps_nothing(folder, checkpoint, tmp_path):
    image = folder / "new_image.tif"
    ended = invoke("predict", checkpoint, image, "--out", tmp_path / "map.tif", "--quiet")
    assert ended.exit_code == 2
    assert "open legend" in ended.stderr
    assert "landmeta adapt" in ended.stderr


def test_a_fixed_legend_takes_no_other(folder, fixed, tmp_path):
    words = ("--support", pair(folder), "--legend", folder / "new.yaml")
    ended = invoke("adapt", fixed, *words, "--out", tmp_path / "out")
    assert ended.exit_code == 2
    assert "legend: fixed" in ended.stderr
    assert METHOD in ended.stderr.partition("remedy")[2]


# ---- comparing -------------------------------------------------------------------------------


def comparison(taskset, out, **checkpoints):
    return CompareConfig(
        taskset=taskset.folder,
        out=out,
        checkpoints=checkpoints,
        reference=next(iter(checkpoints)),
        device="cpu",
        shots=(0, 4),
        draws=2,
        queries=6,
    )


def test_open_networks_are_compared_on_classes_of_their_own(checkpoint, other, tmp_path):
    found = compare(comparison(other, tmp_path / "out", one=checkpoint, two=checkpoint), quiet=True)
    by_shots = found.results.groupby("shots")["miou"]
    assert by_shots.get_group(0).isna().all()
    assert by_shots.get_group(4).between(0.4, 1).all()
    assert any("one has no scores with 0 shots: it takes its legend" in s for s in found.sentences)


def test_a_fixed_one_beside_an_open_one(checkpoint, fixed, taskset, other, tmp_path):
    both = {"scratch": fixed, "proto": checkpoint}
    with pytest.raises(CheckpointMismatch, match="'scratch' was made for the classes"):
        compare(comparison(other, tmp_path / "out", **both), quiet=True)
    assert list(tmp_path.iterdir()) == []
    found = compare(comparison(taskset, tmp_path / "out", **both), quiet=True)
    missing = found.results.set_index(["method", "shots"])["miou"].isna()
    assert missing["proto", 0].all()
    assert not missing["scratch"].any()
    assert not missing["proto", 4].any()


def test_classes_without_labels_are_never_mapped(checkpoint, taskset, tmp_path):
    """Of three classes, the support shows the last two: all three stay where they belong."""
    loaded = load_checkpoint(checkpoint)
    network = Network("proto", loaded, torch.device("cpu"), of="proto")
    tiles = taskset.read(taskset.tile_ids("t"))
    label = np.where(tiles.label == 0, IGNORE, tiles.label).astype(np.uint8)
    support = Tiles(tiles.image, label)
    predicted = network.adapt(support, len(taskset.legend), 0).predict(tiles.image).classes
    assert set(np.unique(predicted)) == {1, 2}
    seen = label != IGNORE
    assert (predicted == label)[seen].mean() > 0.6
