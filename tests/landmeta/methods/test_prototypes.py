"""Prototype networks, Proto-MAML and matching networks."""

from dataclasses import replace

import pytest
import torch

from landmeta.adaptation import Adaptation, adapt_params
from tests.landmeta.methods.heads import (
    CLASSES,
    LEGENDS,
    check_direction,
    check_meta_gradient,
    double,
    episode,
)
from tests.whole import check_whole_way


@pytest.mark.parametrize("method", ["protonet", "matching"])
@pytest.mark.parametrize("legend", LEGENDS)
def test_meta_gradient_agrees_with_central_differences(method, legend):
    check_meta_gradient(method, legend)


@pytest.mark.parametrize("legend", LEGENDS)
def test_proto_maml_gradient_agrees_with_central_differences(legend):
    made, theta = double("proto_maml", legend)
    task = episode(missing=3)
    judged = made.judged(task)

    def query_loss(params):
        how = Adaptation(rate=0.1, steps=2)
        phi = adapt_params(made, params, task.support, how, CLASSES)
        return made.loss(phi, judged).item()

    _, grads = made.meta_gradient(theta, task, 0.0)
    check_direction(query_loss, theta, grads)


def test_each_episode_draws_its_own_pixels_for_proto_maml():
    made, theta = double("proto_maml", "open")
    inner = made.settings.inner.model_copy(update={"pixels": 20})
    made.settings = made.settings.model_copy(update={"inner": inner})
    task = episode()
    losses = [made.meta_gradient(theta, replace(task, seed=s), 0.0)[0] for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("legend", LEGENDS)
def test_proto_maml_starts_as_a_prototype_network(legend):
    task = episode(missing=3)
    found = []
    for method in ("protonet", "proto_maml"):
        made, theta = double(method, legend)
        phi = made.start(theta, task.support, CLASSES)
        found.append(made.logits(phi, task.query.image).softmax(1))
    torch.testing.assert_close(*found)


def test_several_prototypes_make_another_map_than_one():
    task = episode()
    found = []
    for count in (1, 3):
        made, theta = double("protonet", prototypes=count)
        phi = made.start(theta, task.support, CLASSES)
        assert phi["head.prototype"].shape == (CLASSES, count, made.width)
        found.append(made.logits(phi, task.query.image).softmax(1))
    assert not torch.allclose(*found, atol=1e-3)


@pytest.mark.parametrize("method", ["protonet", "matching", "proto_maml"])
def test_train_resume_adapt_and_map(method, tiny, tmp_path):
    check_whole_way(tiny, tmp_path, method)
