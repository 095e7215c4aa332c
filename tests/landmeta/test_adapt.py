"""Adapting: what every step does, and what the region model remembers."""

import hashlib

import numpy as np
import pytest
import torch

from landmeta.adapt import adapt
from landmeta.adaptation import Adaptation, adapt_params, trajectory
from landmeta.checkpoint import load_checkpoint
from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    EmptyRegion,
    OutputExists,
    TooFewTiles,
)
from landmeta.labelled import support_from_taskset
from landmeta.losses import to_batch
from landmeta.meta.inner import inner_loop
from landmeta.support import Support
from landmeta.taskset import Tiles
from tests.program import invoke


@pytest.fixture
def support(checkpoints, tiny):
    return support_from_taskset(checkpoints["maml"], tiny.folder, "t", 3, 0)


def test_sgd_is_the_inner_loop_the_network_was_trained_with(checkpoints, support):
    loaded = load_checkpoint(checkpoints["maml"])
    batch = to_batch(support.tiles, torch.device("cpu"))
    how = Adaptation(optimizer="sgd", rate=0.05, steps=3)
    found = adapt_params(loaded.method, loaded.params, batch, how, 3)
    expected = inner_loop(loaded.method.loss, loaded.params, batch, steps=3, rate=0.05)
    for name in found:
        torch.testing.assert_close(found[name], expected[name])


def test_milestones_lie_on_one_path(checkpoints, support):
    loaded = load_checkpoint(checkpoints["pretrain"])
    batch = to_batch(support.tiles, torch.device("cpu"))
    how = Adaptation(optimizer="adam", rate=0.01, steps=4)
    path = {
        step: {k: p.detach().clone() for k, p in params.items()}
        for step, params in trajectory(loaded.method, loaded.params, batch, how, [0, 2, 4], 3)
    }
    assert all(torch.equal(path[0][k], loaded.params[k]) for k in path[0])
    whole = adapt_params(loaded.method, loaded.params, batch, how, 3)
    assert all(torch.equal(path[4][k], whole[k]) for k in whole)


@pytest.mark.parametrize("method", ["maml", "pretrain", "scratch"])
def test_adapting_lowers_the_loss_and_keeps_a_record(checkpoints, support, tmp_path, method):
    out = tmp_path / "region.safetensors"
    changes = {"optimizer": "adam", "steps": 20, "rate": 0.003}
    done = adapt(checkpoints[method], support, out, changes=changes, device="cpu")
    assert done.loss_after < done.loss_before
    meta = load_checkpoint(out).meta
    assert meta.kind == "region"
    assert meta.adaptation == {3: Adaptation(optimizer="adam", rate=0.003, steps=20)}
    digest = hashlib.sha256(checkpoints[method].read_bytes()).hexdigest()
    assert meta.provenance["checkpoint_sha256"] == digest
    assert len(meta.provenance["support"]) == 3
    labels = support.tiles.label
    counted = [int((labels == i).sum()) for i in range(len(meta.legend))]
    assert list(done.pixels.values()) == counted


def test_bad_requests_leave_no_file(checkpoints, support, tiny, tmp_path):
    out = tmp_path / "region.safetensors"
    empty = Tiles(support.tiles.image, np.full_like(support.tiles.label, 255))
    with pytest.raises(EmptyRegion, match="labelled pixel"):
        adapt(checkpoints["maml"], Support(empty, (), ()), out, device="cpu")
    with pytest.raises(ConfigError, match="rate"):
        adapt(checkpoints["maml"], support, out, changes={"rate": 0.0}, device="cpu")
    assert not out.exists()
    adapt(checkpoints["maml"], support, out, device="cpu")
    with pytest.raises(OutputExists):
        adapt(checkpoints["maml"], support, out, device="cpu")
    with pytest.raises(CheckpointMismatch, match="already adapted"):
        adapt(out, support, tmp_path / "again.safetensors", device="cpu")
    with pytest.raises(TooFewTiles, match="8 tiles, fewer than 9"):
        support_from_taskset(checkpoints["maml"], tiny.folder, "t", 9, 0)


def test_classes_with_few_pixels_are_named(checkpoints, support, tmp_path):
    label = np.full_like(support.tiles.label, 255)
    label[0, :2, :5] = 1
    label[0, 4:, :] = 0
    few = Support(Tiles(support.tiles.image, label), ("drawn by hand",), ())
    done = adapt(checkpoints["maml"], few, tmp_path / "region.safetensors", device="cpu")
    assert done.scarce == ["Water"]


def test_early_stopping_is_settled_and_remembered(checkpoints, tiny, tmp_path):
    five = support_from_taskset(checkpoints["pretrain"], tiny.folder, "t", 5, 0)
    changes = {"optimizer": "sgd", "rate": 5.0, "steps": 4, "early_stopping": True}
    out = tmp_path / "region.safetensors"
    done = adapt(checkpoints["pretrain"], five, out, changes=changes, device="cpu")
    assert done.how.steps == 0  # such a rate makes held-out tiles worse at once
    assert not [note for note in done.notes if "stopping" in note]
    assert load_checkpoint(out).meta.adaptation == {5: done.how}


def test_early_stopping_with_few_tiles_says_what_it_did(checkpoints, support, tmp_path):
    changes = {"rate": 0.01, "steps": 4, "early_stopping": True}
    out = tmp_path / "region.safetensors"
    done = adapt(checkpoints["maml"], support, out, changes=changes, device="cpu")
    assert done.how.steps == 4
    assert "needs 4 with labels, here are 3: the tuned 4 steps were taken" in done.notes[0]


def test_options_that_contradict_each_other_are_refused(checkpoints, support, tmp_path):
    changes = {"optimizer": "trained", "layers": ["head"]}
    with pytest.raises(ConfigError, match="need optimizer sgd or adam"):
        adapt(checkpoints["maml"], support, tmp_path / "x", changes=changes, device="cpu")


def test_the_command_line_has_them_too(checkpoints, tiny, tmp_path):
    out = tmp_path / "region.safetensors"
    ended = invoke(
        "adapt", checkpoints["pretrain"], "--taskset", tiny.folder, "--region", "t", "--shots", 2,
        "--out", out, "--layers", "head", "--prior", 0.5, "--early-stopping", "--optimizer", "sgd",
        "--rate", 0.1, "--steps", 3, "--device", "cpu",
    )  # fmt: skip
    assert ended.exit_code == 0, ended.output
    assert "3 steps of sgd at rate 0.1, of head only, prior 0.5" in ended.output
    assert "early stopping holds tiles out and needs 4" in ended.output
    theta, phi = load_checkpoint(checkpoints["pretrain"]).params, load_checkpoint(out).params
    moved = {name.partition(".")[0] for name in phi if not torch.equal(phi[name], theta[name])}
    assert moved == {"head"}
