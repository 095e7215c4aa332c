"""The Gaussian prior: the closed form of its minimum, and no strength that makes steps unstable."""

import itertools

import numpy as np
import pytest
import torch

from landmeta.adaptation import Adaptation, trajectory
from landmeta.meta.inner import Batch
from landmeta.meta.prior import draw_back


class Quadratic:
    """½ φᵀAφ − bᵀφ, adapted whole."""

    def __init__(self, seed=0, size=6):
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(size, size))
        self.A = torch.tensor(root @ root.T / size + 0.2 * np.eye(size))
        self.b = torch.tensor(rng.normal(size=size))
        self.theta = {"x": torch.tensor(rng.normal(size=size)).requires_grad_()}

    def start(self, params, support, classes):
        return params

    def adapting(self, phi):
        return list(phi)

    def loss(self, phi, batch):
        x = phi["x"]
        return 0.5 * x @ self.A @ x - self.b @ x

    inner_loss = loss

    def minimum(self, prior):
        size = len(self.b)
        return torch.linalg.solve(
            self.A + prior * torch.eye(size, dtype=torch.float64),
            self.b + prior * self.theta["x"].detach(),
        )

    def after(self, steps, **how):
        batch = Batch(torch.zeros(1), torch.zeros(1))
        how = Adaptation(steps=steps, **how)
        ((_, phi),) = trajectory(self, self.theta, batch, how, [steps], 2)
        return phi["x"].detach()


@pytest.mark.parametrize("prior", [0.0, 0.1, 1.0, 30.0])
@pytest.mark.parametrize(
    ("way", "tolerance"),
    [
        ({"optimizer": "sgd", "rate": 0.3, "steps": 1500}, 1e-8),
        ({"optimizer": "adam", "rate": 0.003, "steps": 6000}, 2e-3),
    ],
)
def test_steps_lead_to_the_minimum_of_loss_and_prior(prior, way, tolerance):
    problem = Quadratic()
    found = problem.after(prior=prior, **way)
    torch.testing.assert_close(found, problem.minimum(prior), atol=tolerance, rtol=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_strong_prior_keeps_phi_where_it_starts(optimizer):
    problem = Quadratic()
    start = problem.theta["x"].detach()
    far = (problem.after(50, optimizer=optimizer, rate=0.1) - start).norm()
    apart = [
        (problem.after(50, optimizer=optimizer, rate=0.1, prior=s) - start).norm()
        for s in (1.0, 1e3, 1e9)
    ]
    assert all(a > b for a, b in itertools.pairwise([far, *apart]))
    assert apart[-1] < 1e-7


def test_the_proximal_map_by_hand():
    phi, centre = torch.tensor([3.0, -1.0]), torch.tensor([1.0, 1.0])
    draw_back(phi, centre, 2.0, 0.25)  # αλ = ½: two parts φ', one part φ₀
    torch.testing.assert_close(phi, torch.tensor([7 / 3, -1 / 3]))
    draw_back(phi, centre, 0.0, 0.25)
    torch.testing.assert_close(phi, torch.tensor([7 / 3, -1 / 3]))
