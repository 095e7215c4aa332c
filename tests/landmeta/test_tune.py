"""Candidates of the search, and the whole search on the tiny task set."""

import pytest
import torch
from pydantic import ValidationError

from landmeta.adaptation import Adaptation
from landmeta.checkpoint import load_checkpoint
from landmeta.config import TuneConfig
from landmeta.errors import ConfigError
from landmeta.methods import MethodSettings, make_method
from landmeta.model import UNetConfig
from landmeta.tune import Trial, best, candidates, check_candidates, tune, tuning_table
from tests.tiny import NET


class Double:
    """Says how a method adapts as trained, and nothing else."""

    most_steps = None

    def __init__(self, trained=None):
        self.trained = lambda: trained


PLAIN = Double()


def config(**more):
    base = {"sgd_rates": (0.1,), "adam_rates": (), "steps": (0, 1, 4)}
    return TuneConfig.model_validate(base | more)


def test_by_default_nothing_restrains():
    found = candidates(TuneConfig(), PLAIN)
    assert len(found) == 5
    assert all(
        how == Adaptation(optimizer=how.optimizer, rate=how.rate, steps=50) for how, _ in found
    )


def test_every_layer_choice_is_tried_with_every_prior_and_rate():
    found = candidates(
        config(adam_rates=(0.01,), layers=("all", "head", ("head", "skip")), priors=(0, 0.5)), PLAIN
    )
    assert len(found) == 2 * 3 * 2
    assert {how.layers for how, _ in found} == {None, ("head",), ("head", "skip")}
    assert {how.prior for how, _ in found} == {0, 0.5}
    assert all(steps == [0, 1, 4] for _, steps in found)


def test_unfreezing_has_a_path_for_each_number_of_steps():
    found = candidates(config(layers=(), unfreezing=((0.3, 0.6),)), PLAIN)
    assert [(how.steps, steps) for how, steps in found] == [(1, [1]), (4, [4])]
    assert all(how.unfreeze == (0.3, 0.6) for how, _ in found)


def test_the_trained_loop_is_tried_once_and_only_with_the_layers_it_adapts():
    trained = Adaptation(rate=0.1, steps=2)
    looped = Double(trained)
    ((how, steps),) = candidates(config(), looped)
    assert (how, steps) == (trained, [1, 2, 4])
    looped.most_steps = 2
    assert candidates(config(), looped) == [(trained, [1, 2])]
    assert trained not in [how for how, _ in candidates(config(layers=("head",)), looped)]


@pytest.mark.parametrize(
    "more", [{"layers": ()}, {"priors": ()}, {"priors": (-1,)}, {"unfreezing": ((0.5, 2),)}]
)
def test_searches_that_make_no_sense_are_refused(more):
    with pytest.raises(ValidationError):
        config(**more)


def test_a_method_without_those_layers_is_refused_before_the_training():
    boil = make_method(MethodSettings(method="boil"), UNetConfig.model_validate(NET), 3, 3)
    check_candidates(boil, boil.initial(), config(), 3)
    with pytest.raises(ConfigError, match="head, which boil does not adapt"):
        check_candidates(boil, boil.initial(), config(unfreezing=((0.3, 0.6),)), 3)
    with pytest.raises(ConfigError, match="tail"):
        check_candidates(boil, boil.initial(), config(layers=("tail",)), 3)


def test_the_search_yields_all_and_its_table_says_what_they_were(checkpoints, tiny):
    loaded = load_checkpoint(checkpoints["pretrain"])
    wanted = config(
        shots=(2,), draws=1, queries=2, layers=("all", "head"), unfreezing=((0.5, 0.5),),
        priors=(0, 1.5),
    )  # fmt: skip
    device = torch.device("cpu")
    found = list(tune(loaded.method, loaded.params, tiny, wanted, seed=0, device=device))
    assert len(found) == 2 * (2 * 3 + 2)
    assert all(0 <= trial.miou <= 1 for trial in found)
    lines = tuning_table(found).splitlines()
    assert lines[0] == "shots,optimizer,rate,steps,layers,unfreeze,prior,val_miou"
    assert {line.split(",")[4] for line in lines[1:]} == {"all", "head"}
    assert any(",0.5 0.5,1.5," in line for line in lines)


def test_of_equals_the_fewest_steps_are_best():
    hows = [Adaptation(rate=0.1, steps=s) for s in (5, 1, 2)]
    trials = [Trial(1, how, miou) for how, miou in zip(hows, (0.5, 0.4, 0.5), strict=True)]
    assert best(trials) == {1: hows[2]}
