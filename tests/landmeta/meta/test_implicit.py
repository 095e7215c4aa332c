"""Implicit MAML against the closed form on a quadratic and against long unrolled MAML."""

from itertools import repeat

import pytest
import torch

from landmeta.meta.hessian import reverse_over_reverse
from landmeta.meta.implicit import (
    conjugate_gradient,
    gradient_descent,
    meta_gradient,
    proximal_steps,
)

SOLVERS = {"conjugate_gradient": 12, "gradient_descent": 200}
"""Iterations until each is as good as exact."""


def quadratic(seed=0, n=6):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    A = root @ root.T / n
    a, b, theta = (torch.randn(n, generator=generator, dtype=torch.float64) for _ in range(3))
    return A, a, b, theta


@pytest.mark.parametrize("solver", SOLVERS)
def test_closed_form_on_a_quadratic(solver):
    """L_s = ½(φ−a)ᵀA(φ−a): φ* = (A + λI)⁻¹(Aa + λθ), dL_q/dθ = λ(A + λI)⁻¹(φ* − b)."""
    A, a, b, theta = quadratic()
    strength, eye = 0.7, torch.eye(6).double()

    def support(p):
        return 0.5 * (p["w"] - a) @ A @ (p["w"] - a)

    def query(p):
        return 0.5 * (p["w"] - b).square().sum()

    steps = proximal_steps(repeat(support), {"w": theta}, {"w": 0.2}, strength)
    for _ in range(400):
        phi = next(steps)
    minimum = torch.linalg.solve(A + strength * eye, A @ a + strength * theta)
    torch.testing.assert_close(phi["w"], minimum)
    value, found = meta_gradient(
        support, query, phi, ["w"], reverse_over_reverse, strength, solver, SOLVERS[solver]
    )
    expected = strength * torch.linalg.solve(A + strength * eye, minimum - b)
    torch.testing.assert_close(found["w"], expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(value, query({"w": minimum}))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("adapting", [["a", "b"], ["a"]])
def test_long_unrolled_maml_on_a_small_network(solver, adapting):
    """Autograd through 300 proximal steps, also where a part of the parameters stays."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, y, x2, y2 = random(8, 3), random(8), random(8, 3), random(8)
    theta = {"a": random(4), "b": random(3, 4)}

    def loss(p, x, y):
        return ((x @ p["b"]).tanh() @ p["a"] - y).square().mean()

    strength, rate = 2.0, 0.1
    start = {k: p.clone().requires_grad_() for k, p in theta.items()}
    phi = start
    for _ in range(300):
        grads = torch.autograd.grad(loss(phi, x, y), [phi[n] for n in adapting], create_graph=True)
        moved = zip(adapting, grads, strict=True)
        phi = phi | {n: phi[n] - rate * (g + strength * (phi[n] - start[n])) for n, g in moved}
    expected = torch.autograd.grad(loss(phi, x2, y2), list(start.values()))

    steps = proximal_steps(repeat(lambda p: loss(p, x, y)), theta, dict.fromkeys(adapting, rate), 2)
    for _ in range(300):
        ours = next(steps)
    _, found = meta_gradient(
        lambda p: loss(p, x, y),
        lambda p: loss(p, x2, y2),
        ours,
        adapting,
        reverse_over_reverse,
        strength,
        solver,
        SOLVERS[solver],
    )
    for k, g in zip(theta, expected, strict=True):
        torch.testing.assert_close(found[k], g, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("solve", [conjugate_gradient, gradient_descent])
def test_solvers_come_closer_and_stop_at_negative_curvature(solve):
    A, _, b, _ = quadratic(n=6)
    A = A + torch.eye(6)
    exact = torch.linalg.solve(A, b)
    errors = [float((solve(A.mv, b, n) - exact).norm()) for n in (1, 3, 6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[2]
    assert torch.equal(solve(lambda x: -x, b, 9), b)
    torch.testing.assert_close(solve(lambda x: x, b, 9), b)


def test_conjugate_gradients_are_exact_after_as_many_steps_as_unknowns():
    A, _, b, _ = quadratic(n=6)
    A = A + torch.eye(6)
    torch.testing.assert_close(conjugate_gradient(A.mv, b, 7), torch.linalg.solve(A, b))
