"""CNP, SNAIL and the slot memory: what the start makes of the support set."""

import pytest
import torch

from landmeta.adaptation import NO_ADAPTATION
from landmeta.meta.inner import Batch
from landmeta.methods import EpisodeBatch
from tests.landmeta.methods.small import (
    CLASSES,
    check_meta_gradient,
    small_episode,
    small_method,
)
from tests.whole import check_whole_way

EACH = [(name, legend) for name in ("cnp", "snail", "mann") for legend in ("fixed", "open")]
FEW = {"context": {"size": 8}, "memory": {"pixels": 40, "slots": 6}}


def made(name, legend, **more):
    """The method, with an effect of the support that can be seen: parts that start at zero move."""
    method = small_method(name, legend=legend, **(FEW | more))
    generator = torch.Generator().manual_seed(5)
    theta = {
        n: p.detach() + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for n, p in method.initial().items()
    }
    return method, theta


def same_start(method, theta, first, second):
    one, other = (method.start(theta, support, CLASSES) for support in (first, second))
    assert one.keys() == other.keys()
    for name, p in one.items():
        torch.testing.assert_close(p, other[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "legend"), EACH)
def test_meta_gradient_agrees_with_central_differences(name, legend):
    (method, theta), episode = made(name, legend), small_episode()

    def query_loss(theta):
        with torch.no_grad():
            phi = method.start(theta, episode.support, CLASSES)
            return method.loss(phi, episode.query).item()

    check_meta_gradient(method, theta, query_loss, episode)
    assert method.trained() == NO_ADAPTATION


@pytest.mark.parametrize(("name", "legend"), EACH)
def test_all_that_is_learned_has_an_effect(name, legend):
    (method, theta), (few, all_of_them) = (
        made(name, legend),
        (small_episode(classes=c) for c in (3, 4)),
    )
    episode = EpisodeBatch(few.support, all_of_them.query, CLASSES)  # one class is never labelled
    _, grads = method.meta_gradient(theta, episode, 0.0)
    assert [n for n, g in grads.items() if not g.abs().max() > 0] == []


@pytest.mark.parametrize(("name", "legend"), EACH)
def test_tiles_may_come_in_any_order(name, legend):
    method, theta = made(name, legend, memory={"pixels": 10_000, "slots": 6})
    support, image = small_episode().support, small_episode().query.image
    turned = Batch(support.image.flip(0), support.label.flip(0))
    if name != "snail":  # which keeps the pixels in their order
        same_start(method, theta, support, turned)
    one, other = (method.logits(method.start(theta, s, CLASSES), image) for s in (support, turned))
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "legend"), EACH)
def test_tiles_without_labels_change_nothing(name, legend):
    (method, theta), support = made(name, legend), small_episode().support
    nothing = torch.full_like(support.label, 255)
    more = Batch(
        torch.cat([support.image, 100 * support.image]), torch.cat([support.label, nothing])
    )
    same_start(method, theta, support, more)
    unlabelled = method.start(theta, Batch(support.image, nothing), CLASSES)
    none = method.start(theta, None, CLASSES)
    assert all(torch.equal(p, none[n]) for n, p in unlabelled.items())


@pytest.mark.parametrize(("name", "legend"), EACH)
def test_labels_matter(name, legend):
    (method, theta), episode = made(name, legend), small_episode()
    support, image = episode.support, episode.query.image
    other = Batch(support.image, support.label.where(support.label == 255, 3 - support.label))
    one, two, none = (
        method.logits(method.start(theta, s, CLASSES), image) for s in (support, other, None)
    )
    assert one.shape == none.shape == (2, CLASSES, 16, 16)
    assert (one - two).abs().max() > 1e-4
    assert (one - none).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["cnp", "snail", "mann"])
def test_permuting_the_classes_of_an_open_legend_permutes_the_logits(name):
    (method, theta), episode = made(name, "open"), small_episode()
    support, image = episode.support, episode.query.image
    order = torch.tensor([2, 0, 3, 1])
    place = torch.cat([order.argsort(), torch.full((252,), 255)])
    renamed = Batch(support.image, place[support.label])
    before = method.logits(method.start(theta, support, CLASSES), image)
    after = method.logits(method.start(theta, renamed, CLASSES), image)
    torch.testing.assert_close(after, before[:, order], rtol=1e-9, atol=1e-9)
    assert (before[:, 0] - before[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["cnp", "snail", "mann"])
@pytest.mark.parametrize("classes", [2, 9])
def test_an_open_legend_may_have_any_number_of_classes(name, classes):
    (method, theta), episode = made(name, "open"), small_episode(classes=classes)
    phi = method.start(theta, episode.support, classes)
    assert method.logits(phi, episode.query.image).shape == (2, classes, 16, 16)
    value, _ = method.meta_gradient(theta, episode, 0.0)
    assert torch.isfinite(value)
    unknown = method.logits(method.start(theta, None, classes), episode.query.image)
    torch.testing.assert_close(unknown, unknown[:, :1].expand(-1, classes, -1, -1))


@pytest.mark.parametrize("name", ["cnp", "snail", "mann"])
def test_a_class_without_labels_does_not_break_anything(name):
    for legend in ("fixed", "open"):
        (method, theta), episode = made(name, legend), small_episode(classes=CLASSES - 1)
        phi = method.start(theta, episode.support, CLASSES)
        assert torch.isfinite(method.loss(phi, episode.query))


def test_the_draw_for_attention_is_as_large_as_asked():
    (method, theta), episode = made("snail", "open"), small_episode()
    phi = method.start(theta, episode.support, CLASSES)
    assert phi["memory.classes"].shape == (41, CLASSES)
    assert phi["memory.classes"][1:].sum(0).tolist() == [10.0] * CLASSES


@pytest.mark.parametrize(
    ("name", "legend"), [("cnp", "open"), ("snail", "fixed"), ("mann", "open")]
)
def test_whole_run(tiny, tmp_path, name, legend):
    check_whole_way(tiny, tmp_path, name, legend=legend)
