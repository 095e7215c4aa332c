"""What all gradient methods share: losses and pixels of the inner loop, more steps than trained."""

import pytest
import torch

from landmeta.adaptation import Adaptation, adapt_params
from landmeta.losses import cross_entropy, focal_loss
from landmeta.meta.hessian import plain_gradient
from landmeta.meta.inner import Batch
from tests.landmeta.methods.episodes import (
    along,
    numeric_slope,
    random_direction,
    small_episode,
    small_method,
)
from tests.whole import check_whole_way


def test_inner_loss_is_for_the_support_and_cross_entropy_for_the_query():
    """Against the unrolled loop, with another subset of pixels each step."""
    method, theta = small_method("maml", inner={"loss": "focal", "pixels": 30})
    episode = small_episode()
    loss, found = method.meta_gradient(theta, episode, 0.0)
    batches = method.step_batches(episode, 3)
    assert len({tuple(b.label.flatten().tolist()) for b in batches}) == 3
    phi = theta
    for batch in batches:
        value = focal_loss(method.logits(phi, batch.image), batch.label)
        grads = torch.autograd.grad(value, list(phi.values()), create_graph=True)
        phi = {n: phi[n] - 0.05 * g for n, g in zip(phi, grads, strict=True)}
    query = cross_entropy(method.logits(phi, episode.query.image), episode.query.label)
    torch.testing.assert_close(loss, query.detach())
    for ours, theirs in zip(
        found.values(), torch.autograd.grad(query, list(theta.values())), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", ["balanced", "focal"])
def test_gradient_through_other_inner_losses_agrees_with_differences(kind):
    method, theta = small_method("maml", inner={"loss": kind, "pixels": 40, "steps": 2})
    episode = small_episode()
    _, grads = method.meta_gradient(theta, episode, 0.0)
    move = random_direction(theta, list(theta))
    slope = numeric_slope(lambda p: method.meta_gradient(p, episode, 0.0)[0], theta, move)
    assert along(grads, move) == pytest.approx(slope, rel=1e-5)


def test_adapting_goes_down_the_same_loss():
    method, theta = small_method("maml", inner={"loss": "balanced"})
    support = small_episode().support
    _, grads = plain_gradient(lambda p: method.inner_loss(p, support), theta)
    _, plain = plain_gradient(lambda p: method.loss(p, support), theta)
    found = adapt_params(method, theta, support, Adaptation(rate=0.1, steps=1), 4)
    assert not torch.allclose(grads["head.weight"], plain["head.weight"])
    for name, p in theta.items():
        torch.testing.assert_close(found[name].detach(), p.detach() - 0.1 * grads[name])


@pytest.mark.parametrize("name", ["maml", "lslr", "meta_sgd", "alpha_maml", "reptile"])
def test_more_steps_than_trained_go_further_down(name):
    method, theta = small_method(name)
    support = small_episode().support
    how = method.trained()

    def after(steps):
        wanted = how.model_copy(update={"steps": steps})
        adapted = adapt_params(method, theta, support, wanted, 4)
        return method.inner_loss(adapted, support).item()

    losses = [after(n) for n in (0, 3, 12)]
    assert losses == sorted(losses, reverse=True)


def test_whole_way_with_pixels_and_focal_loss(tiny, tmp_path):
    inner = {"steps": 2, "rate": 0.05, "loss": "focal", "pixels": 20}
    check_whole_way(tiny, tmp_path, "maml", inner=inner)


def test_nothing_labelled_changes_nothing():
    method, theta = small_method("maml", inner={"pixels": 9, "loss": "balanced"})
    support = small_episode().support
    nothing = Batch(support.image, torch.full_like(support.label, 255))
    found = adapt_params(method, theta, nothing, Adaptation(rate=0.1, steps=2), 4)
    assert all(torch.equal(found[k], theta[k]) for k in theta)


@pytest.mark.parametrize("name", ["maml", "lslr", "meta_sgd", "imaml", "lstm", "maml_plus_plus"])
@pytest.mark.parametrize("loss", ["cross_entropy", "balanced"])
def test_permuted_classes_permute_the_logits(name, loss):
    method, theta = small_method(name, inner={"loss": loss})
    support, image = small_episode().support, small_episode(1).query.image
    order = torch.tensor([2, 0, 3, 1])
    other = theta | {k: p[order] for k, p in theta.items() if k.startswith("head.")}
    places = torch.cat([order.argsort(), torch.full((252,), 255)])
    relabelled = Batch(support.image, places[support.label])
    how = method.trained()
    plain = method.logits(adapt_params(method, theta, support, how, 4), image)
    found = method.logits(adapt_params(method, other, relabelled, how, 4), image)
    torch.testing.assert_close(found, plain[:, order])
