"""Ridge, logistic, support-vector and Bayesian heads."""

import math

import pytest
import torch

from landmeta.checkpoint import load_checkpoint
from landmeta.initial import start_from
from landmeta.methods import MethodSettings, make_method
from landmeta.model import UNetConfig
from landmeta.train import train
from tests.landmeta.methods.heads import (
    CLASSES,
    LEGENDS,
    check_meta_gradient,
    double,
    episode,
)
from tests.tiny import NET, tiny_config
from tests.whole import check_whole_way

LINEAR = ("ridge", "logistic", "svm", "alpaca")


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize("legend", LEGENDS)
def test_meta_gradient_agrees_with_central_differences(method, legend):
    check_meta_gradient(method, legend)


@pytest.mark.parametrize("method", LINEAR)
def test_train_resume_adapt_and_map(method, tiny, tmp_path):
    check_whole_way(tiny, tmp_path, method)


def test_the_whole_way_with_an_open_legend(tiny, tmp_path):
    check_whole_way(tiny, tmp_path, "ridge", legend="open")


def test_training_learns(tiny, tmp_path):
    """The features, the prior and the scalars: it is better than untrained on other regions."""
    scores = []
    for steps, rate in ((1, 1e-9), (40, 0.01)):
        more = {"outer": {"steps": steps, "rate": rate}, "validation": {"every": 20, "queries": 6}}
        run = tiny_config(tiny, tmp_path / str(steps), "ridge", **more)
        scores.append(load_checkpoint(train(run, quiet=True)).meta.provenance["val_miou"])
    assert scores[1] > scores[0] + 0.05


def test_start_from_a_pretrained_body(tiny, checkpoints):
    path = checkpoints["pretrain"]
    unet = UNetConfig.model_validate(NET)
    made = make_method(MethodSettings(method="ridge"), unet, 3, 3, seed=5)
    theta = start_from(path, made, unet, tiny.meta).params
    before, fresh = load_checkpoint(path), made.initial()
    assert theta.keys() == fresh.keys()
    for name, p in theta.items():
        source = fresh if name.startswith(("prior.", "fit.")) else before.params
        assert torch.equal(p, source[name])
    assert torch.equal(made.net.mean, before.method.net.mean)


def _by_hand(made, theta, task):
    """Mean and variance of each target at the query pixels, from their joint distribution."""
    rows = []
    for batch in (task.support, task.query):
        x = made.features(theta, batch.image).permute(0, 2, 3, 1).flatten(0, 2)
        rows.append(torch.cat([x, torch.ones(len(x), 1)], 1))
    labelled = task.support.label.flatten() != 255
    seen, new = rows[0][labelled], rows[1]
    y = torch.eye(CLASSES, dtype=torch.float64)[task.support.label.flatten()[labelled]]
    entries = theta["fit.precision"]
    L = torch.tril(entries, -1) + torch.diag(entries.diagonal().exp())
    noise = 10 ** theta["fit.noise"]
    covariance = noise * torch.linalg.inv(L @ L.T)
    prior = torch.cat([theta["prior.weight"].T, theta["prior.bias"][None]])
    joint = seen @ covariance @ seen.T + noise * torch.eye(len(seen)).double()
    across = new @ covariance @ seen.T
    mean = new @ prior + across @ torch.linalg.solve(joint, y - seen @ prior)
    inner = (new @ covariance * new).sum(1)
    inner = inner - (across * torch.linalg.solve(joint, across.T).T).sum(1)
    return mean, inner + noise


def test_alpaca_knows_its_variance():
    made, theta = double("alpaca", balance=0.0)
    task = episode()
    phi = made.start(theta, task.support, CLASSES)
    mean, variance = _by_hand(made, theta, task)
    found = made.predictive_variance(phi, task.query.image)
    torch.testing.assert_close(found.flatten(), variance)
    scale = 10 ** theta["fit.scale"]
    expected = scale * mean / (1 + math.pi / 8 * scale**2 * variance[:, None]).sqrt()
    logits = made.logits(phi, task.query.image).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(logits, expected)


def test_alpaca_is_less_sure_of_what_the_support_does_not_show():
    made, theta = double("alpaca")
    task = episode()
    phi, prior = (made.start(theta, s, CLASSES) for s in (task.support, None))
    image = task.query.image
    near, unknown = (made.predictive_variance(p, image).mean() for p in (phi, prior))
    far = made.predictive_variance(phi, image + 20).mean()
    assert near < far
    assert near < unknown
