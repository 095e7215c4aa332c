"""The demo on a smaller made-up world: all its files, and which folders it replaces."""

import numpy as np
import pandas as pd
import pytest
import rasterio
from PIL import Image

import landmeta.demo
from data_prep.synthetic import write_sen12ms
from landmeta.checkpoint import load_checkpoint
from landmeta.demo import METHODS, demo, train_config
from landmeta.errors import OutputExists
from landmeta.legend import IGBP_SIMPLIFIED, IGNORE
from landmeta.taskset import TaskSet
from tests.program import invoke


def small(settings, **sections):
    """The same settings with some values of some sections replaced."""
    update = {k: getattr(settings, k).model_copy(update=v) for k, v in sections.items()}
    return settings.model_copy(update=update)


def fewer_steps(out, method, device="auto"):
    return small(
        train_config(out, method, device),
        model={"decoder_channels": (16, 8, 8), "skip_channels": 8},
        outer={"steps": 4},
        validation={"every": 2, "draws": 1, "queries": 4},
        tune={"sgd_rates": (), "steps": (0, 1), "queries": 4},
    )


def fewer_draws(*words):
    settings = compare_config(*words)
    return settings.model_copy(update={"draws": 2, "queries": 4})


compare_config = landmeta.demo._compare_config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a demo that replaced an older one, and what the program said."""
    out = tmp_path_factory.mktemp("demo") / "out"
    out.mkdir()
    (out / "demo.json").write_text("{}")
    (out / "older.tif").write_text("of the demo before")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            landmeta.demo,
            "write_sen12ms",
            lambda root, **_: write_sen12ms(root, scenes=8, patches=1, size=96, seed=1),
        )
        patch.setattr(landmeta.demo, "train_config", fewer_steps)
        patch.setattr(landmeta.demo, "_compare_config", fewer_draws)
        ended = invoke(
            "demo", "--world", "synthetic", "--out", out, "--device", "cpu", "--overwrite",
            "--quiet",
        )  # fmt: skip
    assert ended.exit_code == 0, ended.output
    return out, ended.stdout


def test_the_older_demo_is_gone(made):
    assert not (made[0] / "older.tif").exists()


def test_the_map_covers_a_region_that_was_held_out(made):
    out, _ = made
    taskset = TaskSet(out / "taskset")
    model = load_checkpoint(out / "region.safetensors").meta
    support = model.provenance["support"]
    assert len(support) == landmeta.demo.SHOTS
    assert any(all(f": {task}, tile" in s for s in support) for task in taskset.tasks("test"))
    with rasterio.open(out / "map.tif") as land:
        (image,) = (out / "raw").rglob(land.tags()["landmeta_raster"])
        ids = land.read(1)
        with rasterio.open(image) as source:
            assert (land.crs, land.transform) == (source.crs, source.transform)
            assert (land.shape, source.count) == ((96, 96), 13)
            assert "EPSG:32" in land.crs.to_string()
    assert set(np.unique(ids)) <= {*IGBP_SIMPLIFIED.ids, IGNORE}
    assert (ids != IGNORE).any()
    assert (out / "map.confidence.tif").is_file()


def test_pictures_and_page(made):
    out, said = made
    page = (out / "report.html").read_text("utf-8")
    pictures = [out / "map.png", *(out / f"comparison/{n}.png" for n in ("methods", "scores"))]
    pictures += sorted((out / "comparison/regions").iterdir())
    assert len(pictures) == 3 + len(TaskSet(out / "taskset").tasks("test"))
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 200
    assert page.count("data:image/png;base64,") == len(pictures)
    for method in METHODS:
        assert f"train: {method}" in page  # how long each step took
    assert str(out / "report.html") in said


def test_all_methods_are_compared_on_all_held_out_regions(made):
    out, _ = made
    rows = pd.read_csv(out / "comparison/results.csv")
    assert set(rows["method"]) == {*METHODS, "pretrain + forest", "maml + forest"}
    assert sorted(rows["task"].unique()) == TaskSet(out / "taskset").tasks("test")
    assert (rows.groupby(["method", "shots", "task"]).size() == 2).all()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_demo_is_never_replaced(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExists, match=str(tmp_path)):
        demo(tmp_path, world="synthetic", overwrite=overwrite, quiet=True)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [
        ("thesis.tex", "years of work")
    ]


def test_a_demo_is_replaced_only_when_asked(made):
    out, _ = made
    before = sorted(out.rglob("*"))
    with pytest.raises(OutputExists, match="--overwrite"):
        demo(out, world="synthetic", quiet=True)
    assert sorted(out.rglob("*")) == before
