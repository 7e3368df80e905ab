"""Regressions of the loss on the mixture: n mixtures of D domains, losses of T targets.

``REGRESSORS[name](weights_nD, loss, seed, importance_T)`` returns a model with ``predict``. ``loss`` is float64 (n,) or
(n, T), with the importance of each target in the objective ``loss @ importance_T`` (None: equal). The log-linear law
fits each target on its own: a sum of such laws can have its best mixture anywhere, one law only at the rim.

How mixtures are ranked by a model is measured in predictability.py. The best mixture is sought in search.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

EPSILON = 0.002  # in log(w + ε): a domain that is left out costs a finite loss
DELTA = 0.02  # residuals of the logarithm above it count linearly
PENALTY = 1e-6, 1e-5  # of the squares of t and a
STARTS = (0.3, 0.6, 0.9)  # c, as a share of the least loss
LARGEST = 50.0  # exponents beyond it would overflow


class Model(Protocol):
    def predict(self, weights_nD: np.ndarray) -> np.ndarray:
        """The predicted objective of mixtures (n, D), float64 (n,); less is better."""


Fit = Callable[..., Model]


def objective(loss: np.ndarray, importance_T: np.ndarray | None = None) -> np.ndarray:
    """The loss of each mixture, float64 (n,): ``loss`` itself, or the weighted mean over its T targets."""
    loss = np.asarray(loss, np.float64)
    return loss if loss.ndim == 1 else loss @ _shares(importance_T, loss.shape[1])


def _shares(importance_T: np.ndarray | None, n_targets: int) -> np.ndarray:
    importance_T = np.ones(n_targets) if importance_T is None else np.asarray(importance_T, np.float64)
    return importance_T / importance_T.sum()


@dataclass(frozen=True)
class LogLinear:
    """Σ_j s_j [c_j + exp(b_j + t_j·w − a_j·log(w + ε))] over targets j, with a ≥ 0, so it is convex in w.

    ``floor_T``: c. ``rate_TF``: b, t and a one after the other. ``powers``: whether there is an a.
    """

    share_T: np.ndarray
    floor_T: np.ndarray
    rate_TF: np.ndarray
    powers: bool

    def predict(self, weights_nD: np.ndarray) -> np.ndarray:
        """float64 (n,)."""
        with threadpool_limits(1):
            return (self.floor_T + self._above(weights_nD)) @ self.share_T

    def gradient(self, weights_nD: np.ndarray) -> np.ndarray:
        """Of the prediction by each weight, float64 (n, D)."""
        d = np.shape(weights_nD)[1]
        with threadpool_limits(1):
            above_nT = self._above(weights_nD) * self.share_T
            slope_nD = above_nT @ self.rate_TF[:, 1 : 1 + d]
            if self.powers:
                slope_nD -= (above_nT @ self.rate_TF[:, 1 + d :]) / (weights_nD + EPSILON)
            return slope_nD

    def _above(self, weights_nD: np.ndarray) -> np.ndarray:
        return np.exp(np.clip(_features(weights_nD, self.powers) @ self.rate_TF.T, -LARGEST, LARGEST))


def _features(weights_nD: np.ndarray, powers: bool) -> np.ndarray:
    """1, w and −log(w + ε) side by side, float64 (n, F)."""
    columns = [np.ones((len(weights_nD), 1)), weights_nD]
    return np.hstack([*columns, -np.log(weights_nD + EPSILON)] if powers else columns)


def loglinear(
    weights_nD: np.ndarray,
    loss: np.ndarray,
    seed: int = 0,
    importance_T: np.ndarray | None = None,
    powers: bool = True,
) -> LogLinear:
    """The law of data mixing laws [arXiv 2403.16952] for each target, with a factor Π (w_d + ε)^−a_d.

    Huber's loss of log(predicted) − log(measured) is minimised from several starts. Nothing is random, so ``seed`` is
    not used. ``powers=False``: the plain law c + exp(b + t·w).
    """
    loss_nT = np.asarray(loss, np.float64).reshape(len(loss), -1)
    features_nF = _features(np.asarray(weights_nD, np.float64), powers)
    with threadpool_limits(1):
        laws = [_law(features_nF, loss_n, np.shape(weights_nD)[1]) for loss_n in loss_nT.T]
    floors, rates = zip(*laws, strict=True)
    return LogLinear(_shares(importance_T, loss_nT.shape[1]), np.array(floors), np.array(rates), powers)


def _law(features_nF: np.ndarray, loss_n: np.ndarray, d: int) -> tuple[float, np.ndarray]:
    """c and the rates (F,) of one target."""
    from scipy.optimize import minimize  # slow to import

    least = float(loss_n.min())
    middle_F = features_nF.mean(axis=0)
    middle_F[0] = 0
    x_nF = features_nF - middle_F
    f = x_nF.shape[1]
    penalty_F = np.r_[0, np.full(d, PENALTY[0]), np.full(f - 1 - d, PENALTY[1])]
    log_loss_n = np.log(loss_n)

    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        share = 1 / (1 + np.exp(-parameters[0]))
        above_n = np.exp(np.clip(x_nF @ parameters[1:], -LARGEST, LARGEST))
        predicted_n = share * least + above_n
        off_n = np.log(predicted_n) - log_loss_n
        near_n = np.abs(off_n) <= DELTA
        value = np.where(near_n, off_n**2 / 2, DELTA * (np.abs(off_n) - DELTA / 2)).mean()
        pull_n = np.clip(off_n, -DELTA, DELTA) / predicted_n / len(loss_n)
        slope_F = x_nF.T @ (pull_n * above_n) + 2 * penalty_F * parameters[1:]
        slope = np.r_[pull_n.sum() * least * share * (1 - share), slope_F]
        return (value + penalty_F @ parameters[1:] ** 2) * 1e4, slope * 1e4

    bounds = [(-8, 8), (None, None), *[(None, None)] * d, *[(0, None)] * (f - 1 - d)]
    fits = []
    for start in STARTS:
        first_F = np.linalg.solve(x_nF.T @ x_nF + 1e-2 * np.eye(f), x_nF.T @ np.log(loss_n - start * least))
        first_F[1 + d :] = np.maximum(first_F[1 + d :], 0)
        begin = np.r_[np.log(start / (1 - start)), first_F]
        fits.append(minimize(cost, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000}))
    best = min(fits, key=lambda fit: fit.fun).x
    rate_F = best[1:].copy()
    rate_F[0] -= middle_F @ best[1:]
    return least / (1 + np.exp(-best[0])), rate_F


REGRESSORS: dict[str, Fit] = {"loglinear": loglinear}
