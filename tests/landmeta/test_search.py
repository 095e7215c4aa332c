"""Search for a network: short trainings, compared, the best written as a training."""

import csv
import json
import sys

import pytest
import yaml
from typer.testing import CliRunner

import landmeta.search as searching
from landmeta.cli import app
from landmeta.config import SearchConfig, TrainConfig, read_config
from landmeta.errors import (
    ConfigError,
    LandmetaError,
    OutputExists,
    TooLittleMemory,
    TrainingDiverged,
)
from landmeta.search import best, network, search
from landmeta.train import train
from tests.tiny import tiny_config

pytest.importorskip("optuna")

CHOICES = {
    "encoder": ["resnet18"],
    "depth": [3, 5],
    "width": [2, 4],
    "groups": [2, 4],
    "activation": ["silu", "relu"],
    "pooling": ["average"],
}


def _training(tiny, folder, **more):
    """A training file for the search."""
    config = tiny_config(tiny, folder / "run", **more)
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(json.loads(config.model_dump_json(exclude_unset=True))))
    return path


def _config(training, out, **more):
    settings = {"train": training, "out": out, "trials": 8, "steps": 4, "every": 1, "reduction": 2}
    return SearchConfig.model_validate(settings | {"choices": CHOICES} | more)


def _rows(folder):
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _untimed(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in _rows(folder)]


def _logged(folder, number):
    """Step and validation mIoU as the run of a trial wrote them down."""
    lines = (folder / "trials" / f"{number:03d}" / "log.jsonl").read_text().splitlines()
    return [(r["step"], r["val_miou"]) for r in map(json.loads, lines) if "val_miou" in r]


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory):
    """A whole search: its configuration and its folder."""
    folder = tmp_path_factory.mktemp("search")
    config = _config(_training(tiny, folder), folder / "found")
    assert search(config, quiet=True) == folder / "found" / "best.yaml"
    return config, folder / "found"


def test_table_agrees_with_the_runs(done):
    _, folder = done
    rows = _rows(folder)
    assert [int(r["number"]) for r in rows] == list(range(8))
    assert len({tuple(r[name] for name in CHOICES) for r in rows}) == 8  # none is tried twice
    trained = [r for r in rows if r["state"] != "infeasible"]
    assert trained
    for row in trained:
        logged = _logged(folder, int(row["number"]))
        assert int(row["steps"]) == logged[-1][0]
        assert float(row["val_miou"]) == pytest.approx(max(m for _, m in logged), abs=1e-4)
        run = json.loads((folder / "trials" / f"{int(row['number']):03d}/config.json").read_text())
        for name in ("encoder", "depth", "groups", "activation", "pooling"):
            assert str(run["model"][name]) == row[name]
        assert run["model"]["decoder_channels"][-1] == int(row["width"])


def test_trials_that_fall_behind_are_ended_early(done):
    _, folder = done
    rows = _rows(folder)
    pruned = [r for r in rows if r["state"] == "pruned"]
    assert pruned
    assert all(int(r["steps"]) < 4 for r in pruned)
    assert all(int(r["steps"]) == 4 for r in rows if r["state"] == "complete")
    for row in pruned:  # by hand: of those that came so far, it was not in the better half
        step = int(row["steps"])
        before = range(int(row["number"]) + 1)
        logs = [_logged(folder, n) for n in before if rows[n]["state"] != "infeasible"]
        at_step = sorted((dict(log)[step] for log in logs if step in dict(log)), reverse=True)
        own = dict(_logged(folder, int(row["number"])))[step]
        assert own < at_step[max(len(at_step) // 2, 1) - 1]


def test_what_does_not_fit_is_recorded_with_the_reason(done):
    _, folder = done
    deep = [r for r in _rows(folder) if r["depth"] == "5"]
    assert deep
    for row in deep:
        assert row["state"] == "infeasible"
        assert row["reason"] == "tiles of 16 px cannot be halved 5 times"
        assert (row["steps"], row["val_miou"]) == ("0", "")


def test_activations_without_second_derivatives_are_infeasible_for_differences(tiny, tmp_path):
    more = {"inner": {"steps": 1, "hvp": "central"}}
    choices = {name: values[:1] for name, values in CHOICES.items()} | {"activation": ["relu"]}
    config = _config(_training(tiny, tmp_path, **more), tmp_path / "out", choices=choices)
    with pytest.raises(ConfigError, match=r"none of 1 networks could be trained.*inner.hvp"):
        search(config, quiet=True)
    (row,) = _rows(tmp_path / "out")
    assert row["state"] == "infeasible"
    assert "inner.hvp central" in row["reason"]


def test_what_does_not_fit_into_memory_or_diverges_is_infeasible(tiny, tmp_path, monkeypatch):
    def trained(run, **more):
        if run.model.groups == 2:
            raise TooLittleMemory("needs 9 GB", remedy="")
        if run.model.activation == "relu":
            raise TrainingDiverged("step 3: loss nan", remedy="")
        return train(run, **more)

    monkeypatch.setattr(searching, "train", trained)
    choices = CHOICES | {"depth": [3], "width": [2]}
    search(_config(_training(tiny, tmp_path), tmp_path / "out", choices=choices), quiet=True)
    found = {(r["groups"], r["activation"]): r for r in _rows(tmp_path / "out")}
    assert found["2", "silu"]["reason"] == found["2", "relu"]["reason"] == "needs 9 GB"
    assert found["4", "relu"]["reason"] == "step 3: loss nan"
    assert [r["state"] for r in found.values()].count("infeasible") == 3
    assert found["4", "silu"]["state"] == "complete"


def test_missing_task_set_is_said_before_anything_is_written(tiny, tmp_path):
    more = {"changes": [f"taskset={tmp_path / 'nowhere'}"]}
    with pytest.raises(LandmetaError, match="nowhere"):
        search(_config(_training(tiny, tmp_path), tmp_path / "out", **more), quiet=True)
    assert not (tmp_path / "out").exists()


def test_best_is_a_training_that_runs(done, tmp_path):
    config, folder = done
    found = read_config(folder / "best.yaml", TrainConfig)
    complete = [r for r in _rows(folder) if r["state"] == "complete"]
    winner = max(complete, key=lambda r: float(r["val_miou"]))
    for name in ("encoder", "depth", "groups", "activation", "pooling"):
        assert str(getattr(found.model, name)) == winner[name]
    base = read_config(config.train, TrainConfig)
    same = {name: getattr(base, name) for name in TrainConfig.model_fields} | {"out": found.out}
    assert found.model_copy(update={"model": base.model}) == TrainConfig.model_validate(same)
    assert found.model.skip_channels == base.model.skip_channels  # is not searched over
    assert train(found.model_copy(update={"out": tmp_path / "run"}), quiet=True).is_file()


def test_same_seed_same_trials_other_seed_others(done, tmp_path):
    config, folder = done
    search(config.model_copy(update={"out": tmp_path / "again"}), quiet=True)
    assert _untimed(tmp_path / "again") == _untimed(folder)
    search(config.model_copy(update={"out": tmp_path / "other", "seed": 1}), quiet=True)
    assert _untimed(tmp_path / "other") != _untimed(folder)


def test_resumed_search_equals_uninterrupted_search(done, tmp_path, monkeypatch):
    config, folder = done
    config = config.model_copy(update={"out": tmp_path / "broken"})
    trained = []

    def killed(run, **more):
        trained.append(run.out.name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(run, **more)

    monkeypatch.setattr(searching, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        search(config, quiet=True)
    with pytest.raises(OutputExists):
        search(config, quiet=True)
    with pytest.raises(ConfigError, match="another seed"):
        search(config.model_copy(update={"seed": 1}), resume=True, quiet=True)
    search(config, resume=True, quiet=True)
    assert _untimed(config.out) == _untimed(folder)
    assert trained[2] == trained[3]  # the one that was interrupted is done again
    assert len(set(trained)) == len(trained) - 1  # and no other


def test_no_more_trials_than_networks(tiny, tmp_path):
    choices = {name: values[:1] for name, values in CHOICES.items()} | {"groups": [4, 2, 4]}
    config = _config(_training(tiny, tmp_path), tmp_path / "out", choices=choices, steps=1)
    search(config, quiet=True)
    assert sorted(r["groups"] for r in _rows(tmp_path / "out")) == ["2", "4"]


def test_width_doubles_with_depth():
    one = {"depth": 4, "width": 16, "groups": 8}
    assert network(one) == {"depth": 4, "decoder_channels": [128, 64, 32, 16], "groups": 8}


def test_only_trials_that_came_to_their_end_can_be_best():
    def result(number, state, miou):
        given = {"settings": {}, "scores": [(1, miou)], "seconds": 1}
        return searching.Result(number=number, state=state, **given)

    behind, first = result(0, "pruned", 0.9), result(1, "complete", 0.5)
    second = result(2, "complete", 0.5)
    assert best([behind, first, second]) == first
    assert best([behind]) is None


@pytest.mark.parametrize(
    ("more", "says"),
    [({"method": "scratch"}, "scratch trains nothing"), ({"init": "a.safetensors"}, "one network")],
)
def test_trainings_that_cannot_be_searched_over_are_refused(tiny, tmp_path, more, says):
    config = _config(_training(tiny, tmp_path, **more), tmp_path / "out")
    with pytest.raises(ConfigError, match=says):
        search(config, quiet=True)
    assert not (tmp_path / "out").exists()


def test_missing_optuna_is_said_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"landmeta\[search\]"):
        search(_config(_training(tiny, tmp_path), tmp_path / "out"), quiet=True)
    assert not (tmp_path / "out").exists()


def test_verb(tiny, tmp_path):
    path = tmp_path / "search.yaml"
    choices = {name: values[:1] for name, values in CHOICES.items()}
    given = {"train": str(_training(tiny, tmp_path)), "out": str(tmp_path / "out"), "steps": 1}
    path.write_text(yaml.safe_dump(given | {"choices": choices}))
    ended = CliRunner().invoke(app, ["search", str(path), "--device", "cpu"])
    assert ended.exit_code == 0, ended.output
    assert f"next: landmeta train {tmp_path / 'out' / 'best.yaml'}" in ended.stdout
    assert "trial 0 (encoder resnet18, depth 3" in ended.stdout
    assert read_config(tmp_path / "out" / "best.yaml", TrainConfig).device == "cpu"
