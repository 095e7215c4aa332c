"""What a training cost, counted."""

import pytest
import torch

from landmeta.budget import COSTS, PassCounter, budget_sentence, cost_of
from landmeta.checkpoint import load_checkpoint
from landmeta.train import train
from tests.tiny import tiny_config


def cost(path):
    return cost_of(load_checkpoint(path).meta.provenance)


def test_passes_are_counted_inside_the_block_only():
    net, counter = torch.nn.Conv2d(1, 1, 1), PassCounter()
    net(torch.zeros(3, 1, 2, 2))
    with counter.counting(net):
        net(torch.zeros(3, 1, 2, 2))
        torch.func.functional_call(net, dict(net.named_parameters()), (torch.zeros(2, 1, 2, 2),))
    net(torch.zeros(3, 1, 2, 2))
    assert counter.passes == 5


def test_trainings_remember_what_they_cost(checkpoints):
    # 6 steps of 4 tiles; of 2 + 2 tiles, the support in 2 inner steps (exact: once more each).
    assert [cost(checkpoints["pretrain"])[k] for k in COSTS[:3]] == [6, 24, 24]
    assert [cost(checkpoints["fomaml"])[k] for k in COSTS[:3]] == [6, 24, 6 * (2 * 2 + 2)]
    assert [cost(checkpoints["maml"])[k] for k in COSTS[:3]] == [6, 24, 6 * (2 * 2 * 2 + 2)]
    assert cost(checkpoints["scratch"])["passes"] == 0


def test_the_cost_of_what_a_training_starts_from_is_its_own_too(checkpoints, tiny, tmp_path):
    config = tiny_config(tiny, tmp_path / "run", "fomaml", init=str(checkpoints["pretrain"]))
    assert cost(train(config, quiet=True))["passes"] == 24 + 36


def test_a_resumed_training_costs_what_an_uninterrupted_one_does(tiny, tmp_path, checkpoints):
    config = tiny_config(tiny, tmp_path / "run", "fomaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("landmeta.train._Run._validate_and_save", _stop_after_saving)
        with pytest.raises(KeyboardInterrupt):
            train(config, quiet=True)
    found = cost(train(config, resume=True, quiet=True))
    assert found["passes"] == cost(checkpoints["fomaml"])["passes"]


def _stop_after_saving(run, log, share):
    run.best.score = 0.0
    run._save_checkpoint()
    run._save_state()
    raise KeyboardInterrupt


def test_the_sentence_says_which_budget_is_equal():
    def of(passes, seconds):
        return {"steps": 1, "images": 1, "passes": passes, "seconds": seconds}

    same = budget_sentence({"a": of(100, 10), "b": of(105, 30), "scratch": of(0, 0), "rf": None})
    assert same == "Budgets of training are equal within 10 % in tiles through the network"
    other = budget_sentence({"a": of(100, 10), "b": of(200, 30)})
    assert "not equal: tiles through the network from 100 (a) to 200 (b); seconds" in other
    assert "fewer than two" in budget_sentence({"a": of(100, 10), "b": None})
