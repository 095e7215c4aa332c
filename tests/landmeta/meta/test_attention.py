"""Attention against loops, and the even draw."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from landmeta.meta.attention import attend, class_logits, draw_evenly


@pytest.mark.parametrize("value", [3, 8, 11])
def test_attention_is_the_formula(value):
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (
        torch.randn(2, n, d, generator=generator, dtype=torch.float64)
        for n, d in ((5, 8), (7, 8), (7, value))
    )
    expected = torch.stack(
        [(q @ k.T / 8**0.5).softmax(1) @ v for q, k, v in zip(queries, keys, values, strict=True)]
    )
    torch.testing.assert_close(attend(queries, keys, values), expected)


def test_its_gradient_is_that_of_the_formula():
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(2, n, d, generator=generator, dtype=torch.float64, requires_grad=True)
        for n, d in ((5, 8), (7, 8), (7, 3))
    ]
    assert torch.autograd.gradcheck(attend, inputs)


def test_class_logits_by_hand():
    shares = torch.tensor([[[0.75, 0.25]], [[0.5, 0.5]]], dtype=torch.float64)
    found = class_logits(shares, torch.tensor([1.0, 2.0], dtype=torch.float64))
    expected = shares[0].log() + 2 * shares[1].log()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 40))
def test_the_draw_is_as_even_as_the_classes_allow(counts, most):
    label = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    kept = draw_evenly(label, most, len(counts))
    assert len(kept) == min(most, len(label)) == len(kept.unique())
    drawn = torch.bincount(label[kept], minlength=len(counts)).tolist()
    # Whoever got less than the most by more than one had no more to give.
    assert all(n >= max(drawn) - 1 or n == of for n, of in zip(drawn, counts, strict=True))


def test_the_draw_is_the_same_each_time_and_whatever_the_order_of_the_classes():
    label = torch.randint(0, 3, (200,), generator=torch.Generator().manual_seed(0))
    kept = draw_evenly(label, 50, 3)
    assert torch.equal(kept, draw_evenly(label, 50, 3))
    assert torch.equal(kept, draw_evenly(torch.tensor([2, 0, 1])[label], 50, 3))
    assert not torch.equal(kept, draw_evenly(F.pad(label[1:], (0, 1)), 50, 3))
