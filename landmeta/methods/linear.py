"""Linear heads fitted to the support's labelled pixels."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from landmeta.meta.bayes import lower_root, posterior, spread
from landmeta.meta.logistic import logistic
from landmeta.meta.pixels import Pixels, with_one
from landmeta.meta.ridge import ridge
from landmeta.meta.svm import svm
from landmeta.methods.heads import LinearHead, SolvedHead
from landmeta.model import Params


class Ridge(LinearHead, SolvedHead):
    """Ridge regression on one-hot targets (R2-D2, Bertinetto et al. 2019, arXiv:1805.08136).

    Penalty and scale are learned. The paper's offset, the same for all classes, says nothing after
    a softmax and is left out.
    """

    powers: ClassVar = {"fit.penalty": 1.0, "fit.scale": 0.7}

    def fit(self, params: Params, pixels: Pixels, prior: Tensor) -> Tensor:
        """In closed form; the bias is drawn to its prior like the weights."""
        x, y = with_one(pixels.feature), pixels.onehot(prior.shape[1])
        return ridge(x, y, pixels.weight, 10 ** params["fit.penalty"], prior)


class Logistic(LinearHead, SolvedHead):
    """Logistic regression (Bertinetto et al. 2019, arXiv:1805.08136, section 3.3)."""

    powers: ClassVar = {"fit.penalty": 1.0, "fit.scale": 0.0}

    def fit(self, params: Params, pixels: Pixels, prior: Tensor) -> Tensor:
        """By Newton's method, differentiated at the optimum."""
        penalty = 10 ** params["fit.penalty"]
        return logistic(with_one(pixels.feature), pixels.label, pixels.weight, penalty, prior)


class Svm(LinearHead, SolvedHead):
    """Support vector machine (MetaOptNet, Lee et al. 2019, arXiv:1904.03758)."""

    powers: ClassVar = {"fit.cost": 2.0, "fit.scale": 0.3}

    def fit(self, params: Params, pixels: Pixels, prior: Tensor) -> Tensor:
        """By accelerated projected gradient on the dual; the cost is of the mean slack."""
        share = pixels.weight / pixels.weight.sum()
        cost = 10 ** params["fit.cost"]
        return svm(with_one(pixels.feature), pixels.label, share, cost, prior)


class Alpaca(LinearHead, SolvedHead):
    """Bayesian linear regression on one-hot targets (ALPaCA, Harrison et al. 2018).

    arXiv:1807.08912. Trained, as the other heads, on the cross-entropy of the query, with the
    classes' probabilities brought closer together where the prediction is uncertain.
    """

    powers: ClassVar = {"fit.noise": -1.0, "fit.scale": 0.7}

    def initial(self) -> Params:
        """The precision of the prior too: learned with an open legend as well."""
        size = self.width + 1
        entries = torch.eye(size) * (0.5 * math.log(10))
        return super().initial() | {"fit.precision": entries.requires_grad_()}

    def fit(self, params: Params, pixels: Pixels, prior: Tensor) -> Tensor:
        """The mean of the posterior."""
        x, y = with_one(pixels.feature), pixels.onehot(prior.shape[1])
        return posterior(x, y, pixels.weight, prior, lower_root(params["fit.precision"])).mean

    def head(self, params: Params, pixels: Pixels, classes: int) -> Params:
        """The root of the posterior's covariance besides its mean."""
        x, nothing = with_one(pixels.feature), pixels.feature.new_zeros(len(pixels.label), 0)
        L = lower_root(params["fit.precision"])
        found = posterior(x, nothing, pixels.weight, nothing.new_zeros(x.shape[1], 0), L)
        return super().head(params, pixels, classes) | {"support.root": found.root}

    def predictive_variance(self, phi: Params, image: Tensor) -> Tensor:
        """σ²(1 + xᵀΛ⁻¹x): variance of each class's target, shape (tile, row, col).

        Targets are 0 and 1. It grows with the distance from what the support shows.
        """
        return self._variance(phi, self.features(phi, image))

    def _variance(self, phi: Params, features: Tensor) -> Tensor:
        return 10 ** phi["fit.noise"] * (1 + spread(features, phi["support.root"]))

    def classify(self, phi: Params, features: Tensor) -> Tensor:
        """Means over √(1 + π/8 variance), as scaled logits (MacKay 1992).

        doi:10.1162/neco.1992.4.5.720, equation 5.14: the integral of a logistic function over a
        normal distribution, nearly.
        """
        variance = 10 ** (2 * phi["fit.scale"]) * self._variance(phi, features)
        return super().classify(phi, features) / (1 + math.pi / 8 * variance).sqrt()[:, None]
