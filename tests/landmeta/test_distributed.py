"""Several processes train what one process trains; one that is killed does no harm."""

import json

import pandas as pd
import pytest
import torch

from landmeta import distributed
from landmeta.checkpoint import load_checkpoint, read_tensors
from landmeta.config import TrainConfig
from landmeta.methods import make_method
from landmeta.train import train
from tests.program import write_config
from tests.tiny import tiny_config
from tests.together import torchrun

pytestmark = pytest.mark.slow

ODD = {"episodes": {"shots": 2, "queries": 2, "tasks": 3}, "batch": 5}
"""Three tasks and five tiles cannot be halved."""


def _config(tiny, folder, method):
    config = tiny_config(tiny, folder / method, method, **ODD)
    path = folder / f"{method}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config.model_dump_json(), encoding="utf-8")
    return config, path


def _log(folder, key):
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return {r["step"]: r[key] for r in map(json.loads, lines) if key in r}


def _parameters(folder):
    state, _ = read_tensors(folder / "state.safetensors")
    return torch.cat([state[k].flatten() for k in sorted(state) if k.startswith("param/")])


def _assert_same_run(alone, together):
    """Up to rounding: the parameters are apart by little of the way they came."""
    for key in ("loss", "gradient_norm"):
        assert _log(together, key) == pytest.approx(_log(alone, key), rel=1e-5), key
    miou = _log(alone, "val_miou")  # a pixel between two classes may fall to the other one
    assert _log(together, "val_miou") == pytest.approx(miou, abs=0.01)
    config = TrainConfig.model_validate_json((alone / "config.json").read_text(encoding="utf-8"))
    theta = make_method(config.settings(), config.model, 3, 3, seed=0).initial()
    start = torch.cat([theta[k].detach().flatten() for k in sorted(theta)])
    end = _parameters(alone)
    assert torch.dist(_parameters(together), end) < 1e-3 * torch.dist(end, start)
    tables = [pd.read_csv(folder / "tuning.csv") for folder in (alone, together)]
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=0, atol=0.01)


def _partial_files(folder):
    return [p.name for p in folder.rglob("*") if ".partial" in p.name]


def test_two_processes_end_where_one_does(tiny, tmp_path):
    methods = ("maml", "fomaml", "alpha_maml", "pretrain")
    alone = [_config(tiny, tmp_path / "alone", m)[0] for m in methods]
    pairs = [_config(tiny, tmp_path / "together", m) for m in methods]
    done = torchrun("-m", "tests.together", *(path for _, path in pairs))
    assert done.returncode == 0, done.stderr
    for one, (two, _) in zip(alone, pairs, strict=True):
        train(one, quiet=True)
        _assert_same_run(one.out, two.out)
        assert load_checkpoint(two.out / "checkpoint.safetensors").meta.provenance["processes"] == 2


def test_a_killed_process_is_restarted_and_the_run_ends_the_same(tiny, tmp_path):
    """It is the one that writes; the other then finds itself alone and stops too."""
    whole, _ = _config(tiny, tmp_path / "whole", "pretrain")
    train(whole, quiet=True)
    killed, path = _config(tiny, tmp_path / "killed", "pretrain")
    words = ("--max-restarts", 1, "-m", "tests.together", path)
    done = torchrun(*words, LANDMETA_TEST_KILL="0")
    assert done.returncode == 0, done.stderr
    assert "exitcode: -9" in done.stderr  # so it was killed
    _assert_same_run(whole.out, killed.out)
    assert not _partial_files(killed.out)


def test_from_the_command_line(tiny, tmp_path):
    """The first process speaks; a folder that was there is refused, after a restart too."""
    config, _ = _config(tiny, tmp_path, "pretrain")
    path = write_config(tmp_path / "run.yaml", config.model_copy(update={"device": "cpu"}))
    done = torchrun("-m", "landmeta", "train", path, "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    before = {p: p.read_bytes() for p in config.out.iterdir()}
    again = torchrun("--max-restarts", 1, "-m", "landmeta", "train", path, "--quiet")
    assert again.returncode != 0
    assert "the output already exists" in again.stderr
    assert {p: p.read_bytes() for p in config.out.iterdir()} == before


def test_one_process_computes_alone():
    grads = {"a": torch.ones(2)}
    loss = torch.tensor(3.0)
    assert distributed.mean(loss, grads, 7.0) == (loss, grads)
    assert distributed.own([1, 2, 3]) == [1, 2, 3]
    assert distributed.is_first() and distributed.size() == 1
