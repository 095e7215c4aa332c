"""Attention over support pixels against a plain loop."""

import math

import torch
from torch.autograd.graph import saved_tensors_hooks

from landmeta.meta import matching
from landmeta.meta.matching import attention_logits


def _problem(queries=7, keys=9, features=4, classes=3):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    onehot = torch.eye(classes, dtype=torch.float64)[torch.arange(keys) % classes]
    value = onehot * random(keys, 1).exp()
    return random(queries, features), random(keys, features), value, torch.tensor(6.0).double()


def _by_loop(query, key, value, scale):
    """The prediction of equation 1, pixel by pixel."""
    rows = []
    for x in query.tolist():
        total, found = 0.0, [0.0] * value.shape[1]
        for k, v in zip(key.tolist(), value.tolist(), strict=True):
            dot = sum(a * b for a, b in zip(x, k, strict=True))
            a = math.exp(scale * dot / (math.hypot(*x) * math.hypot(*k)))
            total += a * sum(v)
            found = [f + a * one for f, one in zip(found, v, strict=True)]
        rows.append([f / total for f in found])
    return torch.tensor(rows, dtype=torch.float64)


def test_probabilities_are_the_attention_of_the_loop(monkeypatch):
    problem = _problem()
    expected = _by_loop(*problem)
    for chunk in (1, 20, 2**21):
        monkeypatch.setattr(matching, "CHUNK", chunk)
        torch.testing.assert_close(attention_logits(*problem).softmax(1), expected)


def test_sharp_attention_stays_finite():
    query, key, value, _ = _problem()
    logits = attention_logits(query.float(), key.float(), value.float(), torch.tensor(500.0))
    assert logits.isfinite().all()
    value[:, 2] = 0
    logits = attention_logits(query, key, value, torch.tensor(6.0).double())
    assert logits.isfinite().all()
    assert logits.softmax(1)[:, 2].max() < 1e-30


def test_nothing_to_attend_to():
    query, key, value, scale = _problem()
    assert torch.equal(attention_logits(query, key[:0], value[:0], scale), torch.zeros(7, 3))


def test_gradient_agrees_with_finite_differences(monkeypatch):
    monkeypatch.setattr(matching, "CHUNK", 20)
    inputs = [t.requires_grad_() for t in _problem()]
    assert torch.autograd.gradcheck(attention_logits, inputs)


def test_similarities_are_not_kept_for_the_way_back():
    query, key = torch.randn(64 * 64, 8, requires_grad=True), torch.randn(2048, 8)
    largest = 0

    def note(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        attention_logits(query, key, torch.ones(2048, 2), torch.tensor(5.0))
    assert largest <= 64 * 64 * 8
