"""CAVIA and the bias transformation: what adapts, and the meta-gradient."""

import pytest
import torch

from landmeta.adaptation import Adaptation, trajectory
from landmeta.checkpoint import load_checkpoint
from landmeta.initial import start_from
from landmeta.meta.inner import gradient
from landmeta.methods import MethodSettings, make_method
from tests.landmeta.methods.small import (
    check_meta_gradient,
    small_episode,
    small_method,
)
from tests.whole import check_whole_way

INNER = {"steps": 2, "rate": 0.1}


def test_inner_steps_change_the_task_vector_alone():
    method, episode = small_method("cavia"), small_episode()
    theta = method.initial()
    assert "context" not in theta
    for optimizer in ("sgd", "adam"):
        how = Adaptation(optimizer=optimizer, rate=0.1, steps=3)
        for step, phi in trajectory(method, theta, episode.support, how, [0, 1, 3], 4):
            assert all(torch.equal(phi[name], p) for name, p in theta.items())
            assert phi.keys() - theta.keys() == {"context"}
            assert bool(phi["context"].any()) == (step > 0)


def test_without_labels_the_network_is_not_modulated():
    method, episode = small_method("cavia"), small_episode()
    theta = method.initial()
    phi = method.start(theta, None, 4)
    image = episode.query.image
    plain = method.logits(theta, image)
    assert torch.equal(method.logits(phi, image), plain)
    assert not torch.allclose(
        method.logits(phi | {"context": torch.ones_like(phi["context"])}, image), plain
    )


def _unrolled(method, episode, steps, rate, names):
    """The definition, by gradients one after the other and without the sweep."""

    def query_loss(theta):
        phi = method.start(theta, episode.support, 4)
        for _ in range(steps):
            moving = {k: phi[k].detach().requires_grad_() for k in names(phi)}
            grads = gradient(method.loss(phi | moving, episode.support), moving)
            phi = phi | {k: moving[k].detach() - rate * grads[k] for k in moving}
        return method.loss(phi, episode.query).item()

    return query_loss


@pytest.mark.parametrize(
    ("name", "names"),
    [("cavia", lambda phi: ["context"]), ("bias_transformation", list)],
)
def test_meta_gradient_agrees_with_central_differences(name, names):
    method, episode = small_method(name, inner=INNER), small_episode()
    theta = method.initial()
    check_meta_gradient(method, theta, _unrolled(method, episode, 2, 0.1, names), episode)


def test_weights_of_the_modulation_learn_though_the_task_vector_starts_at_zero():
    method, episode = small_method("cavia", inner=INNER), small_episode()
    _, grads = method.meta_gradient(method.initial(), episode, 0.0)
    films = [g for name, g in grads.items() if name.startswith("film.")]
    assert len(films) == 4
    assert all(g.abs().max() > 0 for g in films)


def test_constant_channels_are_learned_and_adapt_with_the_rest_or_alone():
    method, episode = small_method("bias_transformation"), small_episode()
    theta = method.initial()
    how = Adaptation(rate=0.1, steps=2)
    ((_, phi),) = trajectory(method, theta, episode.support, how, [2], 4)
    assert all(not torch.equal(phi[name], p) for name, p in theta.items())
    alone = small_method("bias_transformation", inner={"layers": ["constant"]})
    ((_, phi),) = trajectory(alone, theta, episode.support, how, [2], 4)
    assert {n for n, p in theta.items() if not torch.equal(phi[n], p)} == {"constant"}
    _, grads = method.meta_gradient(theta, episode, 0.0)
    assert grads["constant"].abs().min() > 0


@pytest.mark.parametrize("name", ["cavia", "bias_transformation"])
def test_whole_run(tiny, tmp_path, name):
    check_whole_way(tiny, tmp_path, name)


@pytest.mark.parametrize("name", ["cavia", "bias_transformation"])
def test_started_from_a_pretrained_network_it_is_that_network(tiny, checkpoints, name):
    made = load_checkpoint(checkpoints["pretrain"])
    settings = MethodSettings(method=name)
    method = make_method(settings, made.meta.unet, 3, 3, seed=8)
    theta = start_from(checkpoints["pretrain"], method, made.meta.unet, tiny.meta).params
    image = torch.from_numpy(tiny.read(tiny.tile_ids("t")[:2]).image)
    torch.testing.assert_close(
        method.logits(method.start(theta, None, 3), image), made.method.logits(made.params, image)
    )
    assert all(p.requires_grad and p.is_leaf for p in theta.values())
