"""The log-linear law of a loss over mixtures, and its fit. Shapes: n mixtures, D domains, T targets, F features.

The law of data mixing laws [arXiv 2403.16952] is c + exp(b + t·w). Ours has one more factor, Π (w_d + ε)^−a_d with
a ≥ 0: the first texts of a domain lower its loss far more than later ones. It stays convex in w.
"""

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError

EPSILON = 0.002  # a domain that is left out costs a finite loss
DELTA = 0.02  # residuals of the logarithm above it count linearly [Huber 1964]
PENALTIES = 1e-6, 1e-5  # of the squares of t and of a
STARTS = (0.6, 0.9)  # c as a share of the least loss
LARGEST = 50.0  # exponents beyond it would overflow
ITERATIONS = 60
ENOUGH = 1e-2  # a fit ends when its cost falls by a smaller share of itself, twice
STUCK = 1e6  # damping beyond which no step helps


@dataclass(frozen=True)
class LogLinear:
    """Σ_j s_j [c_j + exp(b_j + t_j·w − Σ_d a_jd log(w_d + ε))], where the shares s_j of the targets j sum to 1.

    ``floor_T``: c. ``rate_TF``: b, t and a side by side; without a, if ``powers`` is false.
    """

    share_T: np.ndarray
    floor_T: np.ndarray
    rate_TF: np.ndarray
    powers: bool

    def of(self, target: int) -> tuple[float, np.ndarray]:
        """c and the rates (F,) of one target."""
        return float(self.floor_T[target]), self.rate_TF[target]

    def predict(self, weights_nD: np.ndarray) -> np.ndarray:
        """float64 (n,)."""
        with threadpool_limits(1):
            return (self.floor_T + self._above(weights_nD)) @ self.share_T

    def gradient(self, weights_nD: np.ndarray) -> np.ndarray:
        """Of the prediction by each weight, float64 (n, D)."""
        end = 1 + np.shape(weights_nD)[1]
        with threadpool_limits(1):
            above_nT = self._above(weights_nD) * self.share_T
            slope_nD = above_nT @ self.rate_TF[:, 1:end]
            if self.powers:
                slope_nD -= (above_nT @ self.rate_TF[:, end:]) / (weights_nD + EPSILON)
            return slope_nD

    def _above(self, weights_nD: np.ndarray) -> np.ndarray:
        return np.exp(np.clip(_features(weights_nD, self.powers) @ self.rate_TF.T, -LARGEST, LARGEST))


def objective(loss: np.ndarray, importance_T: np.ndarray | None = None) -> np.ndarray:
    """The loss of each mixture, float64 (n,): ``loss`` itself, or the weighted mean over its T targets."""
    loss = np.asarray(loss, np.float64)
    return loss if loss.ndim == 1 else loss @ _shares(importance_T, loss.shape[1])


def _shares(importance_T: np.ndarray | None, n_targets: int) -> np.ndarray:
    importance_T = np.ones(n_targets) if importance_T is None else np.asarray(importance_T, np.float64)
    return importance_T / importance_T.sum()


def fitted_law(
    weights_nD: np.ndarray,
    loss: np.ndarray,
    importance_T: np.ndarray | None = None,
    powers: bool = True,
    near: LogLinear | None = None,
) -> LogLinear:
    """The law of each target. Huber's loss of log(predicted) − log(measured) is least, found from several starts.

    ``loss``: float64 (n,) or (n, T), above 0. ``powers=False``: without the powers (w_d + ε)^−a_d. ``near``: the law of
    nearly the same mixtures, the only start then. GripError for losses that are not above 0.
    """
    weights_nD, loss = np.asarray(weights_nD, np.float64), np.asarray(loss, np.float64)
    loss_nT = loss.reshape(len(loss), -1)
    if not (np.isfinite(loss_nT).all() and (loss_nT > 0).all()):
        raise GripError("A log-linear law needs losses above 0, and some are not. Leave out trainings that failed.")
    with threadpool_limits(1):
        problem = _Problem.of(weights_nD, powers)
        laws = [problem.solve(loss_n, near.of(j) if near else None) for j, loss_n in enumerate(loss_nT.T)]
    floors, rates = zip(*laws, strict=True)
    return LogLinear(_shares(importance_T, loss_nT.shape[1]), np.array(floors), np.array(rates), powers)


def _features(weights_nD: np.ndarray, powers: bool) -> np.ndarray:
    """1, w and −log(w + ε) side by side, float64 (n, F)."""
    columns = [np.ones((len(weights_nD), 1)), weights_nD]
    return np.hstack([*columns, -np.log(weights_nD + EPSILON)] if powers else columns)


@dataclass(frozen=True)
class _Problem:
    """What the fits of all targets share. Parameters (1 + F,) are logit(c / least loss), b, t and a, where b is of
    centred features."""

    x_nF: np.ndarray
    middle_F: np.ndarray
    penalty_P: np.ndarray
    low_P: np.ndarray

    @staticmethod
    def of(weights_nD: np.ndarray, powers: bool) -> "_Problem":
        features_nF = _features(weights_nD, powers)
        d = weights_nD.shape[1]
        middle_F = features_nF.mean(axis=0)
        middle_F[0] = 0
        n_powers = d if powers else 0
        penalty_P = np.r_[0, 0, np.full(d, PENALTIES[0]), np.full(n_powers, PENALTIES[1])]
        low_P = np.r_[-8, np.full(1 + d, -np.inf), np.zeros(n_powers)]
        return _Problem(features_nF - middle_F, middle_F, penalty_P, low_P)

    def solve(self, loss_n: np.ndarray, near: tuple[float, np.ndarray] | None) -> tuple[float, np.ndarray]:
        """c and the rates (F,) of one target."""
        least = float(loss_n.min())
        starts = [self._linear(loss_n, share) for share in STARTS] if near is None else [self._moved(least, *near)]
        ends = [self._descend(start_P, np.log(loss_n), least) for start_P in starts]
        best_P = min(ends, key=lambda end: end.cost).parameters_P
        rate_F = best_P[1:].copy()
        rate_F[0] -= self.middle_F @ best_P[1:]
        return least * _sigmoid(best_P[0]), rate_F

    def _linear(self, loss_n: np.ndarray, share: float) -> np.ndarray:
        """The ridge regression of log(loss − c), where c is this share of the least loss."""
        gram_FF = self.x_nF.T @ self.x_nF
        gram_FF[np.diag_indices(len(gram_FF))] += 1e-2
        rate_F = np.linalg.solve(gram_FF, self.x_nF.T @ np.log(loss_n - share * loss_n.min()))
        return np.maximum(np.r_[_logit(share), rate_F], self.low_P)

    def _moved(self, least: float, floor: float, rate_F: np.ndarray) -> np.ndarray:
        moved_F = rate_F.copy()
        moved_F[0] += self.middle_F @ rate_F
        return np.r_[_logit(float(np.clip(floor / least, 1e-3, 0.999))), moved_F]

    def _descend(self, start_P: np.ndarray, log_loss_n: np.ndarray, least: float) -> "_Point":
        """Levenberg and Marquardt's method; the weights of the squares follow Huber's loss."""
        point = _Point.at(self, start_P, log_loss_n, least)
        damping, slow = 1e-3, 0
        for _ in range(ITERATIONS):
            slope_P, curve_PP = self._curvature(point, least)
            held_P = (point.parameters_P <= self.low_P) & (slope_P > 0)
            while (new := self._step(point, slope_P, curve_PP, ~held_P, damping, log_loss_n, least)).cost >= point.cost:
                damping *= 10
                if damping > STUCK:
                    return point
            slow = slow + 1 if point.cost - new.cost <= ENOUGH * point.cost else 0
            point, damping = new, max(damping / 5, 1e-9)
            if slow == 2:
                break
        return point

    def _curvature(self, point: "_Point", least: float) -> tuple[np.ndarray, np.ndarray]:
        """The gradient (P,) of the cost, and Gauss and Newton's matrix (P, P)."""
        share = _sigmoid(point.parameters_P[0])
        weight_n = np.minimum(1, DELTA / np.maximum(np.abs(point.off_n), 1e-300)) / len(point.off_n)
        root_n = np.sqrt(weight_n) / point.predicted_n
        jacobian_nP = np.empty((len(self.x_nF), self.x_nF.shape[1] + 1))
        jacobian_nP[:, 0] = root_n * least * share * (1 - share)
        jacobian_nP[:, 1:] = self.x_nF * (root_n * point.above_n)[:, None]
        slope_P = jacobian_nP.T @ (np.sqrt(weight_n) * point.off_n) + 2 * self.penalty_P * point.parameters_P
        curve_PP = jacobian_nP.T @ jacobian_nP
        curve_PP[np.diag_indices(len(curve_PP))] += 2 * self.penalty_P
        return slope_P, curve_PP

    def _step(
        self,
        point: "_Point",
        slope_P: np.ndarray,
        curve_PP: np.ndarray,
        free_P: np.ndarray,
        damping: float,
        log_loss_n: np.ndarray,
        least: float,
    ) -> "_Point":
        from scipy.linalg import cho_factor, cho_solve  # slow to import

        free = np.flatnonzero(free_P)
        damped_PP = curve_PP[np.ix_(free, free)]
        diagonal = np.diag_indices(len(free))
        damped_PP[diagonal] += damping * damped_PP[diagonal] + 1e-15
        next_P = point.parameters_P.copy()
        next_P[free] -= cho_solve(cho_factor(damped_PP), slope_P[free])
        next_P[0] = min(next_P[0], 8)
        return _Point.at(self, np.maximum(next_P, self.low_P), log_loss_n, least)


@dataclass(frozen=True)
class _Point:
    """The fit with these parameters: Huber's loss with the penalties, and what its slope needs."""

    parameters_P: np.ndarray
    cost: float
    above_n: np.ndarray
    predicted_n: np.ndarray
    off_n: np.ndarray

    @staticmethod
    def at(problem: _Problem, parameters_P: np.ndarray, log_loss_n: np.ndarray, least: float) -> "_Point":
        above_n = np.exp(np.clip(problem.x_nF @ parameters_P[1:], -LARGEST, LARGEST))
        predicted_n = least * _sigmoid(parameters_P[0]) + above_n
        off_n = np.log(predicted_n) - log_loss_n
        far_n = np.abs(off_n)
        huber = np.where(far_n <= DELTA, off_n**2 / 2, DELTA * (far_n - DELTA / 2)).mean()
        cost = float(huber + problem.penalty_P @ parameters_P**2)
        return _Point(parameters_P, cost, above_n, predicted_n, off_n)


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
