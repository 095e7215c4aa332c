"""Adapting: what every step does, and what the region model remembers."""

import hashlib

import numpy as np
import pytest
import torch

from landmeta.adapt import adapt, support_from_taskset
from landmeta.adaptation import Adaptation, adapt_params, trajectory
from landmeta.checkpoint import load_checkpoint
from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    EmptyRegion,
    OutputExists,
    TooFewTiles,
)
from landmeta.losses import to_batch
from landmeta.meta.inner import inner_loop
from landmeta.support import Support
from landmeta.taskset import Tiles


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
