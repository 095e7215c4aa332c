"""The learned update rule against torch's LSTM cell and the paper's equations by hand."""

import math

import torch
from torch import nn

from landmeta.meta.learned_update import fresh_cell, initial_weights, squeezed, update

HIDDEN = 3


def random_rule():
    generator = torch.Generator().manual_seed(0)
    rule = initial_weights(HIDDEN, 0.1, generator)
    return {
        k: torch.randn(p.shape, generator=generator, dtype=torch.float64) for k, p in rule.items()
    }


def test_preprocessing_of_the_appendix():
    x = torch.tensor([1.0, -math.e, math.exp(-10) / 2, 0.0, -math.exp(-9)], dtype=torch.float64)
    expected = [[0, 1], [0.1, -1], [-1, 0.5], [-1, 0], [-0.9, -1]]
    torch.testing.assert_close(squeezed(x), torch.tensor(expected, dtype=torch.float64))


def test_two_steps_agree_with_the_equations():
    rule, values = random_rule(), torch.randn(5, dtype=torch.float64)
    reader = nn.LSTMCell(4, HIDDEN).double()
    with torch.no_grad():
        weight = rule["read.weight"]
        # torch's order of gates: in, forget, new, out; ours: in, forget, out, new
        order = torch.cat([torch.arange(0, 2 * HIDDEN), torch.arange(9, 12), torch.arange(6, 9)])
        reader.weight_ih.copy_(weight[order, :4])
        reader.weight_hh.copy_(weight[order, 4:])
        reader.bias_ih.copy_(rule["read.bias"][order])
        reader.bias_hh.zero_()
    cell = fresh_cell(5, HIDDEN, values)
    state = torch.zeros(5, HIDDEN).double(), torch.zeros(5, HIDDEN).double()
    forget, take, c = torch.ones(5).double(), torch.zeros(5).double(), values
    for step in range(2):
        gradient, loss = torch.randn(5).double() * 10.0 ** (-3 * step), torch.tensor(0.4).double()
        values, cell = update(rule, cell, values, gradient, loss)
        state = reader(torch.cat([squeezed(gradient), squeezed(loss).expand(5, 2)], 1), state)
        for k in range(5):  # one coordinate after the other
            h = state[0][k]
            into = torch.cat([h, c[k : k + 1], take[k : k + 1]])
            back = torch.cat([h, c[k : k + 1], forget[k : k + 1]])
            i = (into @ rule["input.weight"] + rule["input.bias"]).sigmoid()
            f = (back @ rule["forget.weight"] + rule["forget.bias"]).sigmoid()
            torch.testing.assert_close(values[k], f * c[k] - i * gradient[k])
        forget, take, c = cell.forget, cell.input, values


def test_it_starts_out_as_gradient_descent():
    rule = initial_weights(8, 0.1, torch.Generator().manual_seed(0))
    values, gradient = torch.randn(50), torch.randn(50)
    moved, _ = update(rule, fresh_cell(50, 8, values), values, gradient, torch.tensor(1.0))
    torch.testing.assert_close(moved, values - 0.1 * gradient, atol=0.02, rtol=0.02)
