import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from landmeta.checkpoint import load_checkpoint
from landmeta.compare import compare
from landmeta.config import CompareConfig
from landmeta.errors import ConfigError, LeakyTaskSet
from landmeta.leakage.proof import FILE, demand_proof, fingerprint, read_proof
from landmeta.leakage.prove import prove, prove_folder
from landmeta.taskset import TaskSet
from landmeta.train import train
from tests.landmeta.leakage.tiles import SIZE, write
from tests.program import invoke, prepare, write_world
from tests.tiny import tiny_config, tiny_taskset

UTM = "EPSG:32633"
STEP = 10 * SIZE


def here(x, **more):
    return {"crs": UTM, "x": 500_000 + x, **more}


CLEAN = [
    here(0, region="a"),
    here(STEP, region="a"),
    here(2 * STEP, region="v", split="val"),
    here(5 * STEP, region="t", split="test"),
]
ZONE_34 = Transformer.from_crs(UTM, "EPSG:32634").transform(500_000 + 5 * STEP, 5_000_000)
"""The place of the test tile."""
PICTURE = np.kron(
    np.random.default_rng(0).integers(0, 255, (3, 16, 16)), np.ones((1, 4, 4), int)
).astype(np.uint8)
LEAKS = {
    "overlap": ("ground", [*CLEAN, here(5.5 * STEP, region="b")], "the same place"),
    "another season": (
        "ground",
        [*CLEAN, here(5 * STEP, region="t", season="winter")],
        "different seasons (winter, –)",
    ),
    "another zone": (
        "ground",
        [*CLEAN, {"crs": "EPSG:32634", "x": ZONE_34[0], "y": ZONE_34[1], "region": "b"}],
        "the same place",
    ),
    "copy": (
        "looks",
        [{"image": PICTURE}, {"image": PICTURE, "region": "t", "split": "test"}, {}, {}, {}],
        "correlation 1.000",
    ),
    "copy elsewhere": (
        "looks",
        [
            *CLEAN,
            here(9 * STEP, image=PICTURE),
            here(99 * STEP, image=PICTURE, region="u", split="val"),
        ],
        "correlation 1.000",
    ),
    "copy within a task": (
        "looks",
        [{"image": PICTURE}, {"image": PICTURE}, {}, {}],
        "of a (train)",
    ),
    "file": (
        "names",
        [{"source": "one.jpg"}, {"source": "one.jpg", "region": "t", "split": "test"}],
        "file 'one.jpg' is in train and test",
    ),
    "region": (
        "names",
        [{"season": "summer"}, {"season": "winter", "split": "val"}],
        "region 'a' is in train and val",
    ),
    "task": (
        "names",
        [*CLEAN, here(9 * STEP, region="t", split="train")],
        "task 't' is in test and train",
    ),
    "two CRSs in a task": (
        "neighbours",
        [
            *CLEAN,
            {"crs": "EPSG:32634", "x": ZONE_34[0], "y": ZONE_34[1], "region": "t", "split": "test"},
        ],
        "the same place in different CRSs, of t (test)",
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_every_kind_of_leak_is_found_and_named(tmp_path, leak):
    name, tiles, words = LEAKS[leak]
    proof = prove(write(tmp_path / "set", tiles), quiet=True)
    assert not proof.passed
    checks = {check.name: check for check in proof.checks}
    assert name in [check.name for check in proof.failures()]
    assert any(words in offence.text() for offence in checks[name].offences), checks[name]
    assert words in proof.text()


def test_a_clean_set_passes_and_says_what_was_checked(tmp_path):
    proof = prove(write(tmp_path / "set", CLEAN), quiet=True)
    assert proof.passed
    assert [check.name for check in proof.checks] == [
        "ground",
        "looks",
        "names",
        "neighbours",
        "seasons",
    ]
    assert "4 of 4 tiles have a place" in proof.text()
    assert not (tmp_path / "set" / FILE).exists()


def test_the_buffer_is_in_metres(tmp_path):
    taskset = write(tmp_path / "set", CLEAN)
    assert not prove(taskset, buffer=1, quiet=True).passed  # a and v touch
    apart = write(tmp_path / "apart", [CLEAN[0], *CLEAN[2:]])
    assert prove(apart, buffer=600, quiet=True).passed
    failed = prove(apart, buffer=700, quiet=True)
    assert failed.checks[0].found == 1
    assert "640 m apart" in failed.text()
    assert failed.buffer == 700
    for buffer in (-1, float("nan"), 1e9):
        with pytest.raises(ConfigError):
            prove(apart, buffer=buffer, quiet=True)


def test_overlapping_tiles_of_a_task_are_counted_but_kept_apart_by_episodes(tmp_path):
    taskset = tiny_taskset(tmp_path / "set", overlap=True)
    check = prove(taskset, quiet=True).checks[3]
    assert check.passed
    assert check.figures == {"overlapping_pairs": 6 * 7, "overlapping_tiles": 6 * 8}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=3, max_size=14))
def test_as_many_offences_as_a_loop_over_all_pairs(tmp_path_factory, places):
    splits = ("train", "val", "test")
    tiles = [here(x * 100, region=splits[s], split=splits[s]) for x, s in places]
    proof = prove(write(tmp_path_factory.mktemp("sets") / "set", tiles), quiet=True)
    crossing = [
        (i, j)
        for i, (x, s) in enumerate(places)
        for j, (y, t) in enumerate(places[:i])
        if s != t and abs(x - y) * 100 < STEP
    ]
    assert proof.checks[0].found == len(crossing)
    assert {frozenset(o.tiles) for o in proof.checks[0].offences} == set(map(frozenset, crossing))
    within = sum(
        s == t and abs(x - y) * 100 < STEP for i, (x, s) in enumerate(places) for y, t in places[:i]
    )
    assert proof.checks[3].figures["overlapping_pairs"] == within


def test_seasons_are_told(tmp_path):
    tiles = [
        here(0, season="summer"),
        here(2 * STEP, region="v", split="val", season="summer"),
        here(4 * STEP, region="t", split="test", season="winter"),
    ]
    check = prove(write(tmp_path / "set", tiles), quiet=True).checks[4]
    assert check.passed
    assert check.said == "train: summer; val: summer; test: winter"
    assert check.figures["tiles"]["test"] == {"winter": 1}


def test_a_set_whose_metadata_lists_a_task_twice_fails(tmp_path):
    folder = write(tmp_path / "set", CLEAN).folder
    meta = json.loads((folder / "taskset.json").read_text())
    meta["splits"]["train"].append("t")
    (folder / "taskset.json").write_text(json.dumps(meta))
    proof = prove(TaskSet(folder), quiet=True)
    assert "task 't' is listed under train and test" in proof.text()


def test_the_proof_is_of_this_data(tmp_path):
    folder = tiny_taskset(tmp_path / "set").folder
    record = demand_proof(TaskSet(folder))
    assert record["proof"] == "passed"
    assert record["data"] == fingerprint(TaskSet(folder))
    shard = next(p for p in (folder / "images.zarr").rglob("*") if p.parent.name == "0")
    while shard.is_dir():
        shard = next(shard.iterdir())
    shard.write_bytes(shard.read_bytes() + b"0")
    with pytest.raises(LeakyTaskSet, match="has changed"):
        demand_proof(TaskSet(folder))


@pytest.fixture
def leaky(tmp_path):
    """The tiny task set with a test region that lies where a training region does."""
    taskset = tiny_taskset(tmp_path / "leaky")
    table = taskset.table
    rows = np.flatnonzero(table["task"] == "t")
    like = np.flatnonzero(table["task"] == "a")
    for column in ("transform", "native_bounds"):
        values = list(table[column])
        for row, other in zip(rows, like, strict=True):
            values[row] = values[other]
        table[column] = values
    table.to_parquet(taskset.folder / "tiles.parquet", index=False)
    return TaskSet(taskset.folder)


def test_nothing_is_trained_on_a_set_that_leaks_unless_told(leaky, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(LeakyTaskSet, match="has changed"):
        train(tiny_config(leaky, out), quiet=True)
    assert not prove_folder(leaky.folder, quiet=True).passed
    with pytest.raises(LeakyTaskSet, match="ground: 8 pairs"):
        train(tiny_config(leaky, out), quiet=True)
    (leaky.folder / FILE).unlink()
    with pytest.raises(LeakyTaskSet, match="--write"):
        train(tiny_config(leaky, out), quiet=True)
    assert not out.exists()
    prove_folder(leaky.folder, quiet=True)
    path = train(tiny_config(leaky, out, allow_leakage=True), quiet=True)
    kept = load_checkpoint(path).meta.provenance["leakage"]
    assert kept["proof"] == "failed"
    assert kept["leakage_allowed"] is True


def test_a_clean_checkpoint_says_so(checkpoints):
    kept = load_checkpoint(checkpoints["maml"]).meta.provenance["leakage"]
    assert kept["proof"] == "passed"
    assert kept["leakage_allowed"] is False


def test_nothing_is_compared_on_a_set_that_leaks_unless_told(leaky, checkpoints, tmp_path):
    prove_folder(leaky.folder, quiet=True)
    settings = {
        "taskset": leaky.folder,
        "out": tmp_path / "compared",
        "checkpoints": {"maml": checkpoints["maml"]},
        "baselines": ["nearest_prototype"],
        "reference": "maml",
        "shots": [1],
        "draws": 2,
        "queries": 2,
        "device": "cpu",
    }
    with pytest.raises(LeakyTaskSet):
        compare(CompareConfig.model_validate(settings), quiet=True)
    assert not (tmp_path / "compared").exists()
    found = compare(CompareConfig.model_validate({**settings, "allow_leakage": True}), quiet=True)
    page = (found.folder / "report.html").read_text()
    assert "FAILED: the splits leak (allowed by --allow-leakage)" in page


def test_check_repeats_the_proof_and_writes_only_when_asked(leaky):
    before = {p: p.read_bytes() for p in leaky.folder.rglob("*") if p.is_file()}
    result = invoke("check", leaky.folder, "--quiet")
    assert result.exit_code == 2
    assert "FAIL ground: 8 pairs" in result.output
    assert "a (train) and t (test)" in result.output
    assert "a.tif" in result.output
    assert {p: p.read_bytes() for p in leaky.folder.rglob("*") if p.is_file()} == before
    assert read_proof(leaky.folder).passed  # of the data as it was
    assert invoke("check", leaky.folder, "-q", "--write", "--buffer", 5).exit_code == 2
    proof = read_proof(leaky.folder)
    assert (proof.passed, proof.buffer) == (False, 5)
    assert "at least 5 m" in invoke("check", leaky.folder, "-q").output  # the buffer is kept


def test_check_of_a_clean_set_ends_well(tiny):
    result = invoke("check", tiny.folder, "-q")
    assert result.exit_code == 0
    assert "no leakage found" in result.output


def test_check_of_what_is_no_task_set(tmp_path):
    result = invoke("check", tmp_path)
    assert result.exit_code == 2
    assert "is no task set" in result.output


def test_prepare_ends_with_the_proof(tmp_path):
    root = write_world(tmp_path / "raw")
    result = prepare(root, tmp_path / "set", "--buffer", 1000)
    assert result.exit_code == 0, result.output
    assert "proof: no leakage found, splits at least 1000 m apart" in result.output
    assert read_proof(tmp_path / "set").buffer == 1000
    result = prepare(root, tmp_path / "far", "--buffer", 10_000)
    assert result.exit_code == 0
    assert "proof: LEAKAGE" in result.output
    assert "training will refuse this set" in result.output
    assert not read_proof(tmp_path / "far").passed
