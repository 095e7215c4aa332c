"""Training: repeatable, resumable bit for bit, refusing what cannot work, learning something."""

import json

import numpy as np
import pytest
import torch

import landmeta.train as training
from landmeta.checkpoint import load_checkpoint, read_tensors
from landmeta.config import TrainConfig, read_config
from landmeta.errors import (
    CheckpointMismatch,
    ConfigError,
    OutputExists,
    TooFewTiles,
    TrainingDiverged,
)
from landmeta.train import band_statistics, train
from tests.tiny import NET, tiny_config, tiny_taskset


def _weights(path):
    return load_checkpoint(path).params


def _same(first, second):
    return all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("method", ["maml", "pretrain"])
def test_interrupted_run_equals_uninterrupted_run(tiny, tmp_path, monkeypatch, method):
    whole = train(tiny_config(tiny, tmp_path / "whole", method), quiet=True)
    config = tiny_config(tiny, tmp_path / "broken", method)
    step = training._Run._outer_step

    def killed(run, work):
        if run.step == 5:  # after the state of step 4 was saved
            raise KeyboardInterrupt
        return step(run, work)

    monkeypatch.setattr(training._Run, "_outer_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, quiet=True)
    monkeypatch.undo()
    resumed = train(config, resume=True, quiet=True)
    assert _same(_weights(whole), _weights(resumed))

    def losses(name):
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        return [(r["step"], r["loss"]) for r in map(json.loads, lines) if "loss" in r]

    assert losses("whole") == losses("broken")
    assert [s for s, _ in losses("broken")] == [1, 2, 3, 4, 5, 6]


def test_same_seed_same_weights_other_seed_other_weights(tiny, tmp_path):
    first, second = (train(tiny_config(tiny, tmp_path / n), quiet=True) for n in ("1", "2"))
    other = train(tiny_config(tiny, tmp_path / "3", seed=1), quiet=True)
    assert _same(_weights(first), _weights(second))
    assert not _same(_weights(first), _weights(other))


def test_each_validation_is_told_and_may_end_the_run(tiny, tmp_path):
    told = []

    def watch(step, miou):
        told.append((step, miou))
        if step == 4:
            raise KeyboardInterrupt

    config = tiny_config(tiny, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(config, quiet=True, watch=watch, tuned=False)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert told == [(r["step"], r["val_miou"]) for r in map(json.loads, lines) if "val_miou" in r]
    assert [step for step, _ in told] == [2, 4]
    train(config, resume=True, quiet=True, watch=lambda *_: None, tuned=False)
    assert not (tmp_path / "run" / "tuning.csv").exists()


def test_pretraining_learns(tiny, tmp_path):
    more = {"outer": {"steps": 60, "rate": 0.01}, "validation": {"every": 20}}
    path = train(tiny_config(tiny, tmp_path / "run", "pretrain", **more), quiet=True)
    assert load_checkpoint(path).meta.provenance["val_miou"] > 0.6
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [r["loss"] for r in map(json.loads, lines) if "loss" in r]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


def test_checkpoint_tells_how_to_adapt_for_each_number_of_shots(checkpoints):
    for path in checkpoints.values():
        meta = load_checkpoint(path).meta
        assert set(meta.adaptation) == {1, 2}
        assert meta.adaptation_for(0).steps == 0
        assert meta.adaptation_for(7) == meta.adaptation[2]


def test_start_from_a_checkpoint(tiny, checkpoints, tmp_path):
    started = tiny_config(
        tiny, tmp_path / "run", "maml", init=str(checkpoints["pretrain"]), outer={"steps": 1}
    )
    path = train(started, quiet=True)
    distance = [
        (a - b).abs().max().item()
        for a, b in zip(
            _weights(path).values(), _weights(checkpoints["pretrain"]).values(), strict=True
        )
    ]
    assert 0 < max(distance) < 0.01  # one Adam step at rate 1e-3 away


def test_init_with_another_network_is_refused(tiny, checkpoints, tmp_path):
    config = tiny_config(
        tiny,
        tmp_path / "run",
        init=str(checkpoints["pretrain"]),
        model=NET | {"decoder_channels": [8, 8, 16]},
    )
    with pytest.raises(CheckpointMismatch, match="holds the network"):
        train(config, quiet=True)


def test_existing_run_and_changed_config_are_refused(tiny, tmp_path):
    config = tiny_config(tiny, tmp_path / "run", "scratch")
    train(config, quiet=True)
    with pytest.raises(OutputExists):
        train(config, quiet=True)
    with pytest.raises(ConfigError, match="another seed"):
        train(config.model_copy(update={"seed": 9}), resume=True, quiet=True)


@pytest.mark.parametrize("method", ["maml", "pretrain"])
def test_divergence_stops_and_keeps_the_last_good_checkpoint(tiny, tmp_path, monkeypatch, method):
    config = tiny_config(tiny, tmp_path / "run", method)
    gradient = training.make_learner

    def poisoned(*arguments):
        learner = gradient(*arguments)
        plain, calls = learner.gradient, []

        def compute(params, work, progress):
            calls.append(1)
            loss, grads = plain(params, work, progress)
            return (loss * torch.nan if len(calls) > 3 else loss), grads

        learner.gradient = compute
        return learner

    monkeypatch.setattr(training, "make_learner", poisoned)
    with pytest.raises(TrainingDiverged, match=r"step 4: loss nan[^$]*step 2\) is kept") as stopped:
        train(config, quiet=True)
    assert ("inner.rate (0.05)" in stopped.value.remedy) == (method == "maml")
    kept = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert kept.meta.provenance["step"] == 2
    assert all(p.isfinite().all() for p in kept.params.values())


@pytest.mark.parametrize("method", ["maml", "fomaml"])
def test_an_inner_rate_far_too_large_is_named(tiny, tmp_path, method):
    config = tiny_config(tiny, tmp_path / "run", method, inner={"steps": 3, "rate": 1e20})
    with pytest.raises(TrainingDiverged, match=r"step 1: loss .*gradient norm") as stopped:
        train(config, quiet=True)
    assert stopped.value.remedy.startswith("lower inner.rate (1e+20) or outer.rate (0.003)")
    assert "none was saved" in stopped.value.remedy
    assert not (tmp_path / "run/checkpoint.safetensors").exists()


def test_gradients_are_clipped_and_their_norms_logged(tiny, tmp_path):
    outer = {"steps": 3, "rate": 0.003, "clip": 1e-12}
    train(tiny_config(tiny, tmp_path / "run", outer=outer), quiet=True)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    norms = [r["gradient_norm"] for r in map(json.loads, lines) if "gradient_norm" in r]
    assert len(norms) == 3
    assert min(norms) > 1e-3  # as they were
    state, _ = read_tensors(tmp_path / "run" / "state.safetensors")
    moments = [m.square().sum() for name, m in state.items() if name.startswith("exp_avg/")]
    assert 0 < torch.stack(moments).sum().sqrt() <= 1e-12


def test_impossible_requests_are_explained_before_anything_is_written(tiny, tmp_path):
    for more, error, words in (
        ({"episodes": {"shots": 8}}, TooFewTiles, "8 tiles"),
        (
            {"model": {"depth": 5, "decoder_channels": [8] * 5}},
            ConfigError,
            "halved 5 times",
        ),
    ):
        with pytest.raises(error, match=words):
            train(tiny_config(tiny, tmp_path / "run", **more), quiet=True)
        assert not (tmp_path / "run").exists()


def test_band_statistics_agree_with_numpy(tiny):
    tiles = tiny.read(tiny.split_ids("train")).image
    mean, std = band_statistics(tiny, seed=0)
    np.testing.assert_allclose(mean, tiles.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(std, tiles.std(axis=(0, 2, 3)), rtol=1e-4)


def test_config_errors_name_the_place_and_the_value(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("taskset: x\nout: y\nmethod: maml\ninner: {steps: 0}\nspeed: 3\n")
    with pytest.raises(ConfigError, match=r"inner\.steps.*got 0.*speed"):
        read_config(path, TrainConfig)
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="no YAML"):
        read_config(path, TrainConfig)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.yaml", TrainConfig)


def test_tensorboard_log_is_written(tiny, tmp_path):
    pytest.importorskip("tensorboard")
    train(tiny_config(tiny, tmp_path / "run", "pretrain", tensorboard=True), quiet=True)
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_more_shots_than_a_task_set_has_tiles(tmp_path):
    few = tiny_taskset(tmp_path / "few", tiles=3)
    with pytest.raises(TooFewTiles, match="'a' has 3 tiles"):
        train(tiny_config(few, tmp_path / "run", episodes={"shots": 3}), quiet=True)


def test_settings_are_changed_by_name(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("taskset: x\nout: y\nmethod: maml\ninner: {steps: 4}\n")
    changes = ["method=fomaml", "inner.rate=0.5", "outer.steps=7", "init=pretrained", "out=z=1"]
    config = read_config(path, TrainConfig, changes)
    assert config.method == "fomaml"
    assert (config.inner.steps, config.inner.rate, config.outer.steps) == (4, 0.5, 7)
    assert (config.init, str(config.out)) == ("pretrained", "z=1")
    for change, words in (
        ("method", "does not set anything"),
        ("method.x=1", "method holds 'maml'"),
        ("inner.pace=1", r"inner\.pace.*got 1"),
        ("inner.steps=zero", r"inner\.steps.*got 'zero'"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_config(path, TrainConfig, [change])


def test_second_derivatives_by_differences_train_alike_and_tell_their_error(tiny, tmp_path):
    losses, errors = {}, {}
    for hvp in ("exact", "central", "forward"):
        config = tiny_config(tiny, tmp_path / hvp, inner={"steps": 2, "rate": 0.05, "hvp": hvp})
        train(config, quiet=True)
        lines = (tmp_path / hvp / "log.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        losses[hvp] = [r["loss"] for r in records if "loss" in r]
        errors[hvp] = [r["meta_gradient_error"] for r in records if "meta_gradient_error" in r]
    assert errors["exact"] == []
    assert len(errors["central"]) == len(errors["forward"]) == 3  # at each validation
    assert 0 < max(errors["central"]) < 1e-3
    assert 0 < max(errors["forward"]) < 1e-2
    np.testing.assert_allclose(losses["central"], losses["exact"], rtol=1e-3)
    np.testing.assert_allclose(losses["forward"], losses["exact"], rtol=1e-2)


@pytest.mark.parametrize("kink", [{"activation": "relu"}, {"pooling": "max"}])
def test_differences_are_refused_where_gradients_jump(kink):
    settings = {"taskset": "x", "out": "y", "method": "maml", "model": kink}
    TrainConfig.model_validate(settings)
    with pytest.raises(ValueError, match="jump"):
        TrainConfig.model_validate(settings | {"inner": {"hvp": "forward"}})
