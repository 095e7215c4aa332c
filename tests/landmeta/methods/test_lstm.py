"""The learned update rule on the network, and the whole way through the program."""

import pytest
import torch

from landmeta.adaptation import adapt_params
from landmeta.checkpoint import load_checkpoint
from landmeta.meta.inner import Batch
from landmeta.meta.learned_update import fresh_cell, update
from tests.landmeta.methods.episodes import (
    along,
    numeric_slope,
    random_direction,
    small_episode,
    small_method,
)
from tests.whole import check_whole_way


def frozen_gradients(method, theta, episode):
    """Query loss as a function of θ with the gradients that θ itself gives, as the paper has it."""
    names = method.adapting(method.start(theta, None, 4))
    seen = []
    phi = {k: p.detach() for k, p in theta.items()}
    for after in method.trained_steps(theta, method.start(theta, None, 4), episode.support, 1.0):
        at = {k: phi[k].detach().requires_grad_() for k in names}
        loss = method.inner_loss(phi | at, episode.support)
        grads = torch.autograd.grad(loss, list(at.values()))
        seen.append((loss.detach(), torch.cat([g.flatten() for g in grads])))
        phi = phi | after
        if len(seen) == method.settings.inner.steps:
            break

    def query_loss(params):
        rule = {k.removeprefix("update."): p for k, p in params.items() if "update." in k}
        values = torch.cat([params[k].flatten() for k in names])
        cell = fresh_cell(len(values), method.settings.lstm.hidden, values)
        for loss, grads in seen:
            values, cell = update(rule, cell, values, grads, loss)
        parts = torch.split(values, [params[k].numel() for k in names])
        adapted = {k: v.view_as(params[k]) for k, v in zip(names, parts, strict=True)}
        return method.loss(params | adapted, episode.query)

    return query_loss


def test_meta_gradient_agrees_with_differences_at_constant_gradients():
    method, theta = small_method("lstm", lstm={"hidden": 4})
    episode = small_episode()
    loss, grads = method.meta_gradient(theta, episode, 0.0)
    function = frozen_gradients(method, theta, episode)
    assert loss.item() == pytest.approx(function(theta).item())
    rule = [k for k in theta if k.startswith("update.")]
    network = [k for k in theta if k not in rule]
    for names in (rule, network, ["head.weight"]):
        move = random_direction(theta, names)
        slope = numeric_slope(function, theta, move)
        assert along(grads, move) == pytest.approx(slope, rel=1e-5, abs=1e-9)
        assert abs(slope) > 1e-7


def test_only_the_head_and_the_last_block_move():
    method, theta = small_method("lstm")
    support = small_episode().support
    phi = adapt_params(method, theta, support, method.trained(), 4)
    moved = {k for k in phi if not torch.equal(phi[k], theta[k])}
    assert moved
    assert all(k.startswith(("head.", "unet.decoder.blocks.2.")) for k in moved)
    assert {k.split(".")[0] for k in moved} == {"head", "unet"}
    other, theta = small_method("lstm", inner={"layers": ["skip."]})
    phi = adapt_params(other, theta, support, other.trained(), 4)
    assert {k.split(".")[0] for k in phi if not torch.equal(phi[k], theta[k])} == {"skip"}


def test_whole_way(tiny, tmp_path):
    path = check_whole_way(tiny, tmp_path, "lstm")
    params = load_checkpoint(path).params
    assert params["update.input.bias"].sigmoid().item() != pytest.approx(0.05, rel=1e-5)
    region = load_checkpoint(tmp_path / "region.safetensors")
    assert not any(k.startswith("update.") for k in region.params)


def test_more_steps_than_trained_and_nothing_labelled():
    method, theta = small_method("lstm")
    support = small_episode().support
    how = method.trained().model_copy(update={"steps": 9})
    losses = [
        method.inner_loss(adapt_params(method, theta, support, h, 4), support).item()
        for h in (how.model_copy(update={"steps": 0}), how)
    ]
    assert losses[1] < losses[0]
    nothing = Batch(support.image, torch.full_like(support.label, 255))
    phi = adapt_params(method, theta, nothing, how.model_copy(update={"steps": 1}), 4)
    forgotten = phi["head.weight"] / theta["head.weight"]  # the gate alone moved it
    assert 0.99 < forgotten.min() <= forgotten.max() < 1
