"""What all heads that are built from the support have in common."""

from dataclasses import replace

import pytest
import torch

from landmeta.adaptation import NO_ADAPTATION, Adaptation, adapt_params
from landmeta.config import TuneConfig
from landmeta.errors import ConfigError
from landmeta.meta.inner import Batch
from landmeta.methods import base
from landmeta.methods.heads import ABSENT
from landmeta.tune import candidates
from tests.landmeta.methods.heads import CLASSES, HEADS, SIDE, double, episode


@pytest.mark.parametrize("method", HEADS)
def test_permuting_the_classes_permutes_the_output(method):
    made, theta = double(method, "open", pixels=150, prototypes=2)
    task, order = episode(), torch.tensor([2, 0, 3, 1])
    label = task.support.label
    renamed = torch.where(label == 255, 255, order[label.clamp(max=3)])
    how = Adaptation(rate=0.1, steps=2)
    first, second = (
        made.logits(
            adapt_params(made, theta, Batch(task.support.image, y), how, CLASSES), task.query.image
        )
        for y in (label, renamed)
    )
    torch.testing.assert_close(first, second[:, order])
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("method", HEADS)
def test_what_is_not_labelled_changes_nothing(method):
    made, theta = double(method)
    task = episode()
    support = replace(task.support, label=task.support.label.clone())
    support.label[1] = 255
    other = replace(support, image=support.image.clone())
    other.image[1] = 7.0
    fitted = [made.start(theta, s, CLASSES) for s in (support, other)]
    first = Batch(support.image[:1], support.label[:1])
    alone = made.start(theta, first, CLASSES)
    for name in fitted[0]:
        assert torch.equal(fitted[0][name], fitted[1][name])
        torch.testing.assert_close(fitted[0][name], alone[name])
    whole = made.start(theta, task.support, CLASSES)
    assert any(not torch.equal(whole[name], alone[name]) for name in whole)


@pytest.mark.parametrize("method", HEADS)
@pytest.mark.parametrize("classes", [2, 7])
def test_an_open_legend_may_have_any_number_of_classes(method, classes):
    made, theta = double(method, "open")
    task = episode()
    support = replace(task.support, label=task.support.label.where(task.support.label < 2, 255))
    phi = made.start(theta, support, classes)
    logits = made.logits(phi, task.query.image)
    assert logits.shape == (2, classes, SIDE, SIDE)
    assert logits.isfinite().all()
    probabilities = logits.softmax(1)
    assert (probabilities[:, 2:] < 1e-12).all()
    hit = (logits.argmax(1) == task.query.label)[task.query.label < 2]
    assert hit.double().mean() > 0.6


@pytest.mark.parametrize("method", HEADS)
def test_a_fixed_legend_refuses_others(method):
    made, theta = double(method)
    with pytest.raises(ConfigError, match="4 classes of a fixed legend, not for 5"):
        made.start(theta, episode().support, 5)


@pytest.mark.parametrize("method", HEADS)
def test_without_support_the_prior_or_nothing(method):
    task = episode()
    made, theta = double(method)
    phi = made.start(theta, None, CLASSES)
    logits = made.logits(phi, task.query.image)
    assert logits.shape == (2, CLASSES, SIDE, SIDE)
    assert len(logits.argmax(1).unique()) > 1
    empty = replace(task.support, label=torch.full_like(task.support.label, 255))
    assert torch.equal(logits, made.logits(made.start(theta, empty, CLASSES), task.query.image))
    made, theta = double(method, "open")
    logits = made.logits(made.start(theta, None, 6), task.query.image)
    assert torch.equal(logits, torch.zeros(2, 6, SIDE, SIDE).double())
    assert not any(name.startswith("prior.") for name in theta)


@pytest.mark.parametrize("method", HEADS)
def test_a_class_that_the_support_lacks_follows_its_prior(method):
    """With a fixed legend the query's pixels of the class teach the prior."""
    made, theta = double(method, zero_shot=0.0)
    task = episode(missing=3)
    label = task.query.label.where(task.query.label == 3, 255)
    only = replace(task, query=replace(task.query, label=label))
    loss, grads = made.meta_gradient(theta, only, 0.0)
    assert loss > 0
    name = "prior.prototype" if "prior.prototype" in theta else "prior.weight"
    assert grads[name][3].norm() > 1e-6
    made, theta = double(method, "open")
    loss, grads = made.meta_gradient(theta, only, 0.0)
    assert loss == 0
    assert all((g == 0).all() for g in grads.values())


@pytest.mark.parametrize("method", HEADS)
def test_absent_classes_cost_nothing_with_an_open_legend(method):
    """The others get the probabilities that they would get in a legend of their own."""
    made, theta = double(method, "open")
    task = episode(missing=3)
    with_it, without = (
        made.logits(made.start(theta, task.support, n), task.query.image).softmax(1) for n in (4, 3)
    )
    torch.testing.assert_close(with_it[:, :3], without)


@pytest.mark.parametrize("method", HEADS)
@pytest.mark.parametrize("layers", [None, ("head",)])
def test_gradient_steps_go_on_from_the_head(method, layers):
    made, theta = double(method)
    inner = made.settings.inner.model_copy(update={"layers": layers})
    made.settings = made.settings.model_copy(update={"inner": inner})
    support = episode().support
    start = made.start(theta, support, CLASSES)
    how = Adaptation(optimizer="adam", rate=0.003, steps=10)
    adapted = adapt_params(made, theta, support, how, CLASSES)
    assert made.loss(adapted, support) < made.loss(start, support)
    moved = {n.partition(".")[0] for n in adapted if not torch.equal(adapted[n], start[n])}
    assert moved == ({"head"} if layers else {"head", "skip", "unet"})


def test_tuning_tries_the_head_as_it_is_and_steps_from_it():
    made, _ = double("ridge")
    assert made.trained() == NO_ADAPTATION
    tried = candidates(TuneConfig(steps=(0, 5), sgd_rates=(0.1,), adam_rates=()), made)
    assert [(how.rate, steps) for how, steps in tried] == [(1.0, [0]), (0.1, [0, 5])]
    assert double("proto_maml")[0].trained() == Adaptation(rate=0.1, steps=2)


@pytest.mark.parametrize("method", HEADS)
def test_heads_compute_in_single_precision_where_the_body_does_not(method, monkeypatch):
    made, _ = double(method)
    made.net.float()
    theta = made.initial()
    half = torch.autocast("cpu", dtype=torch.bfloat16)
    monkeypatch.setattr(base, "mixed_precision", lambda device: half)
    support = episode().support
    support = replace(support, image=support.image.float())
    phi = made.start(theta, support, CLASSES)
    logits = made.logits(phi, support.image)
    assert {t.dtype for t in [*phi.values(), logits]} == {torch.float32}
    # Logits of bfloat16 would have 8 bits.
    assert not torch.equal(logits, logits.bfloat16().float())
    rough = made.features(theta, support.image)
    assert torch.equal(rough, rough.bfloat16().float())


def test_absent_is_far_below_any_logit_in_half_precision_too():
    assert torch.tensor(ABSENT).bfloat16().isfinite()
    assert torch.tensor([0.0, ABSENT]).softmax(0)[1] == 0
