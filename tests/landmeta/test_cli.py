"""The command line: what it imports, what it says, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

import data_prep.earth
import landmeta
from landmeta.cli import app
from landmeta.errors import SourceNotFound
from landmeta.taskset import TaskSet
from tests.real import real_data

HEAVY = {
    "geopandas", "matplotlib", "numpy", "optuna", "pandas", "pyarrow", "rasterio", "scipy",
    "segmentation_models_pytorch", "sklearn", "torch", "zarr",
}  # fmt: skip
"""Not pydantic: typer loads it by itself for some commands, where it is installed."""


def invoke(*words: str | Path):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["prepare", "--help"]])
def test_help_imports_nothing_heavy(words):
    program = (
        "import sys\n"
        "from landmeta.cli import main\n"
        f"sys.argv = ['landmeta', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())


def test_version():
    assert invoke("--version").stdout == f"landmeta {landmeta.__version__}\n"


def test_error_names_file_value_and_remedy_without_traceback(tmp_path):
    out = tmp_path / "out"
    ended = invoke("prepare", "sen12ms", tmp_path / "no[red]where", "--out", out)
    assert ended.exit_code == 2
    assert f"error: {tmp_path / 'no[red]where'}: " in ended.stderr  # not taken as markup
    assert "remedy: " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_debug_lets_the_error_through(tmp_path):
    ended = invoke("--debug", "prepare", "sen12ms", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert isinstance(ended.exception, SourceNotFound)


def test_interruption_ends_with_130(tmp_path, monkeypatch):
    def stop(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data_prep.earth, "earth", stop)
    ended = invoke("prepare", "earth", "--out", tmp_path / "out")
    assert ended.exit_code == 130
    assert "Traceback" not in ended.output


def test_real_folder_becomes_a_task_set(tmp_path):
    out = tmp_path / "set"
    words = [
        "prepare", "rasters", real_data("modis_igbp"), "--out", out,
        "--images", "{region}/{name}_img.tif", "--labels", "{region}/{name}_igbp.tif",
        "--legend", "igbp-simplified", "--val", "india, lena", "--test", "0.25", "--tile", "64",
        "--scale", "ndvi_max_x1e4=0.0001", "--scale", "ndvi_min_x1e4=1e-4",
    ]  # fmt: skip
    ended = invoke(*words)
    assert ended.exit_code == 0, ended.output
    taskset = TaskSet(out)
    assert taskset.tasks("val") == ["india", "lena"]
    assert len(taskset.tasks("test")) == round(0.25 * 22)
    ndvi = taskset.read(taskset.tile_ids("lena")).image[:, 3:]
    assert -0.3 < np.nanmin(ndvi) < np.nanmax(ndvi) <= 1
    assert f"{len(taskset)} tiles of 64 × 64 pixels" in ended.stdout
    assert str(out) in ended.stdout
    assert "landmeta train" in ended.stdout

    again = invoke(*words)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert invoke(*words, "--overwrite", "--quiet").exit_code == 0


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--scale", "0.1", "BAND=FACTOR"),
        ("--scale", "b1=tiny", "BAND=FACTOR"),
        ("--val", "1.5", "1.5"),
        ("--legend", "nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_wrong_value_of_an_option_is_named(tmp_path, option, value, said):
    words = {"--images": "{name}.tif", "--labels": "{name}.png", "--legend": "deepglobe"}
    words[option] = value
    pairs = [word for pair in words.items() for word in pair]
    ended = invoke("prepare", "rasters", tmp_path, "--out", tmp_path / "out", *pairs)
    assert ended.exit_code == 2
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("layout", "options", "classes"),
    [("sen12ms", ["--seasons", "summer,winter"], 10), ("deepglobe", ["--regions", "4"], 6)],
)
def test_made_up_imagery_is_prepared_by_the_reader_of_the_real_one(
    tmp_path, layout, options, classes
):
    raw, out = tmp_path / "raw", tmp_path / "set"
    made = invoke(
        "prepare", "synthetic", raw, "--layout", layout, "--regions", 5, "--images", 2,
        "--size", 128, *options,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    more = ["--split", "random", "--k", "4", "--min-images", "1"] if layout == "deepglobe" else []
    ended = invoke("prepare", layout, raw, "--out", out, "--tile", 64, *more)
    assert ended.exit_code == 0, ended.output
    meta = json.loads((out / "taskset.json").read_text())
    assert meta["source"] == layout
    assert len(meta["legend"]["classes"]) == classes
    assert all(meta["splits"][s] for s in ("train", "val", "test"))


def test_made_up_imagery_follows_its_seed(tmp_path):
    pictures = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        invoke(
            "prepare", "synthetic", tmp_path / folder, "--layout", "deepglobe", "--regions", 1,
            "--images", 1, "--size", 64, "--seed", seed,
        )  # fmt: skip
        (path,) = (tmp_path / folder).glob("*_sat.jpg")
        with rasterio.open(path) as dataset:
            pictures.append(dataset.read())
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
