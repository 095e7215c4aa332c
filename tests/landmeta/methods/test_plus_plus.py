"""MAML++: each of its parts, together and alone, and the whole way through the program."""

import pytest
import torch

from landmeta.adaptation import Adaptation, adapt_params
from landmeta.errors import ConfigError
from landmeta.losses import cross_entropy
from landmeta.meta.inner import Batch
from landmeta.methods import EpisodeBatch
from landmeta.stepnorm import observed
from landmeta.tune import candidates
from tests.landmeta.methods.episodes import (
    along,
    numeric_slope,
    random_direction,
    small_episode,
    small_method,
)
from tests.tiny import tiny_config
from tests.whole import check_whole_way

OFF = {"multi_step": 0.0, "first_order": 0.0, "learned_rates": False, "step_norm": False}


def made(**parts):
    return small_method("maml_plus_plus", plus_plus=OFF | parts)


def close(found, expected):
    for k, g in expected.items():
        torch.testing.assert_close(found[k], g, rtol=1e-8, atol=1e-12)


def test_without_its_parts_it_is_maml():
    method, theta = made()
    maml, plain = small_method("maml")
    assert theta.keys() == plain.keys()
    assert method.trained() == maml.trained()
    assert method.most_steps is None
    _, found = method.meta_gradient(theta, small_episode(), 0.0)
    close(found, maml.meta_gradient(plain, small_episode(), 0.0)[1])


def test_second_derivatives_come_after_a_share_of_the_training():
    method, theta = made(first_order=0.5)
    first, _ = small_method("fomaml")
    maml, _ = small_method("maml")
    episode = small_episode()
    for progress, other in ((0.0, first), (0.49, first), (0.5, maml), (1.0, maml)):
        _, found = method.meta_gradient(theta, episode, progress)
        close(found, other.meta_gradient(theta, episode, progress)[1])


def test_learned_rates_are_those_of_lslr():
    method, theta = made(learned_rates=True)
    lslr, expected = small_method("lslr")
    assert theta.keys() == expected.keys()
    _, found = method.meta_gradient(theta, small_episode(), 0.0)
    close(found, lslr.meta_gradient(expected, small_episode(), 0.0)[1])


@pytest.mark.parametrize("progress", [0.0, 0.2])
def test_multi_step_loss_with_all_parts_agrees_with_differences(progress):
    method, theta = made(multi_step=0.5, learned_rates=True, step_norm=True)
    episode = small_episode()
    _, grads = method.meta_gradient(theta, episode, progress)
    trained = [k for k in theta if k not in method.own(theta)]
    norms = [k for k in method._weights if "decoder" in k]
    rates = [k for k in trained if k.startswith("rates.")]
    for names in (trained, norms, rates):
        move = random_direction(theta, names)
        slope = numeric_slope(lambda p: method.meta_gradient(p, episode, progress)[0], theta, move)
        assert along(grads, move) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_multi_step_loss_is_the_weighted_mean_over_steps():
    method, theta = made(multi_step=1.0)
    episode = small_episode()
    loss, _ = method.meta_gradient(theta, episode, 0.0)
    losses = [
        method.loss(
            adapt_params(method, theta, episode.support, Adaptation(rate=0.05, steps=k), 4),
            episode.query,
        ).item()
        for k in (1, 2, 3)
    ]
    assert loss.item() == pytest.approx(sum(losses) / 3)


# ---- norm per step ------------------------------------------------------------------------------


def other_query(episode):
    """The same support with quite another query."""
    query = Batch(3 * episode.query.image.flip(0) + 2, episode.query.label)
    return EpisodeBatch(episode.support, query, episode.classes, episode.seed)


def test_statistics_of_support_and_query_never_mix():
    method, theta = made(step_norm=True, multi_step=1.0)
    episode = small_episode()
    _, first = method.meta_gradient(theta, episode, 0.0)
    _, second = method.meta_gradient(theta, other_query(episode), 0.0)
    name = f"{method._norms[0]}.mean"
    assert first[name].shape == (4, *theta[name].shape[1:])
    # What the support was normalised by does not know of the query; what the query was, does.
    assert torch.equal(first[name][:3], second[name][:3])
    assert not torch.allclose(first[name][3], second[name][3])
    # Of the first layer we can say what each is: the statistics of its own tiles alone.
    for step, batch in ((0, episode.support), (3, episode.query)):
        seen = {}
        phi = adapt_with_own_statistics(method, theta, episode.support) if step else theta
        with observed(method.net, method._norms, seen):
            method._at_step(step, phi, batch.image)
        torch.testing.assert_close(first[name][step], seen[name].to(first[name]))


def adapt_with_own_statistics(method, theta, support):
    """The inner loop by hand, all rows of the norms kept."""
    phi = theta
    for k in range(3):
        names = method.adapting(phi)
        loss = cross_entropy(method._at_step(k, phi, support.image), support.label)
        grads = torch.autograd.grad(loss, [phi[n] for n in names])
        phi = phi | {n: phi[n] - 0.05 * g for n, g in zip(names, grads, strict=True)}
    return phi


def test_running_statistics_follow_what_is_observed():
    method, theta = made(step_norm=True)
    _, found = method.meta_gradient(theta, small_episode(), 0.0)
    name = method._norms[3]
    own = method.own(theta)
    assert own == {f"{n}.{part}" for n in method._norms for part in ("mean", "var")}
    with torch.no_grad():
        method.own_step(theta, found, dict)
    torch.testing.assert_close(theta[f"{name}.mean"], 0.1 * found[f"{name}.mean"].double())
    expected = 0.9 + 0.1 * found[f"{name}.var"].double()
    torch.testing.assert_close(theta[f"{name}.var"], expected)


def test_a_map_does_not_depend_on_what_is_mapped_along():
    method, theta = made(step_norm=True)
    support = small_episode().support
    image = small_episode(1).query.image
    for phi in (theta, adapt_params(method, theta, support, method.trained(), 4)):
        with torch.no_grad():
            both = method.logits(phi, image)
            alone = method.logits(phi, image[:1])
            with_other = method.logits(phi, torch.cat([image[:1], 100 * image[1:]]))
        torch.testing.assert_close(both[:1], alone)
        torch.testing.assert_close(with_other[:1], alone)


def test_the_map_is_made_with_the_norm_of_its_step():
    method, theta = made(step_norm=True)
    name = method._norms[0]
    rows = torch.arange(4.0, dtype=torch.float64)[:, None].expand_as(theta[f"{name}.bias"])
    theta[f"{name}.bias"] = rows.clone().requires_grad_()
    support = small_episode().support
    for k, phi in enumerate(method.trained_steps(theta, theta, support, 1.0), 1):
        assert torch.equal(phi[f"{name}.bias"], rows[k : k + 1])
        if k == 3:
            break
    assert k == 3


def test_norms_do_not_adapt():
    method, theta = made(step_norm=True)
    support = small_episode().support
    how = Adaptation(optimizer="adam", rate=0.01, steps=5)  # more than trained: norm held
    phi = adapt_params(method, theta, support, how, 4)
    for name in (*method._weights, *method._running):
        assert torch.equal(phi[name], theta[name])
    assert not torch.equal(phi["head.weight"], theta["head.weight"])


def test_more_steps_than_there_are_norms_are_refused():
    method, theta = made(step_norm=True)
    how = method.trained()
    assert how.optimizer == "trained"
    with pytest.raises(ConfigError, match=r"trained with 3 inner steps.*\n.*optimizer sgd"):
        adapt_params(method, theta, small_episode().support, how.model_copy(update={"steps": 4}), 4)


def test_tuning_does_not_ask_for_more_steps(tiny, tmp_path):
    config = tiny_config(tiny, tmp_path, "maml_plus_plus").tune
    config = config.model_copy(update={"steps": (0, 1, 3, 10)})
    method, _ = made(step_norm=True)
    steps = {how.optimizer: s for how, s in candidates(config, method)}
    assert steps["trained"] == [1, 3]
    assert steps["adam"] == [0, 1, 3, 10]


@pytest.mark.parametrize("step_norm", [False, True])
def test_whole_way(tiny, tmp_path, step_norm):
    parts = {"step_norm": step_norm, "multi_step": 0.5, "first_order": 0.5}
    check_whole_way(tiny, tmp_path, "maml_plus_plus", plus_plus=parts)
