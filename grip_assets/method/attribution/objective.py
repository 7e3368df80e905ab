"""What a selection or a mixture maximises: utilities that are concave in the mean features v of a subset.

    Quadratic       R5: <G, v> - (lam / 2) ||v||², lam = gamma s (surrogate.py). gamma = 0 is the additive score.
    CrossEntropy    Σ_b p_b log((v_b + μ q_b) / ((1 + μ) q_b)): how much better the unigram model of the subset predicts
                    the target than that of the pool does, in nats a token. v are shares of tokens in a subset that
                    fills its budget, q those of the pool, p those of the target. μ is the prior: the subset's counts
                    are smoothed with as many tokens of the pool, as a share of the budget.

GRASP's objective is not public; R5 is a reconstruction, and the cross-entropy is what predicted retraining best on
small models. v is divided by the budget, and not by the tokens taken so far. So the cross-entropy of a single goal is
monotone and submodular: what a document adds can only fall while others are taken.

``Aim`` makes an objective from targets, weights and settings. It is used by greedy.py, by simplex.py over budgets, and
for trials. Shapes: J goals, T targets, F numbers of a feature, K corners or clusters, R documents. In float64.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.attribution import simplex
from grip_assets.method.attribution.surrogate import combined

TEMPERATURE = 0.2  # of a smooth minimum, times the largest utility
TINY = 1e-300


class View(Protocol):
    """An objective at one v, with the goals weighed: what each document would add to it for each token.

    ``direction_F``: a document of features phi adds at most <phi, direction> for each token, less ``own`` times its
    share of the budget times ||phi||².
    """

    @property
    def direction_F(self) -> np.ndarray: ...
    @property
    def own(self) -> float: ...
    def scores(self, x_RF: np.ndarray, divisor_R: np.ndarray, share_R: np.ndarray, square_R: np.ndarray) -> np.ndarray:
        """What documents with the features x / divisor add for each token, float64 (R,). ``share_R``: of the budget.
        ``square_R``: ||phi||². The sum of a row depends on F alone."""
        ...


@dataclass(frozen=True)
class Columns:
    """Columns for people, each (R,) and for each token: see ``selection.base.Steps``."""

    alignment_R: np.ndarray
    covered_R: np.ndarray
    gain_R: np.ndarray


class Objective(Protocol):
    """``goals``: J. ``width``: F. ``positive``: whether no feature and no direction has a number below 0.

    Where C documents are taken in turn, row c of ``v_CF`` and ``filled_C`` is what was there before document c."""

    @property
    def positive(self) -> bool: ...
    @property
    def goals(self) -> int: ...
    @property
    def width(self) -> int: ...

    def values(self, v_F: np.ndarray, filled: float = 1.0) -> np.ndarray:
        """U_j, float64 (J,). ``filled``: the share of the budget that v has."""
        ...

    def standing(self, gained_J: np.ndarray, v_F: np.ndarray, filled: float) -> np.ndarray:
        """How well off each goal is with the documents so far, float64 (J,), by which the worst one is found.
        ``gained_J``: what they added."""
        ...

    def view(self, v_F: np.ndarray, weight_J: np.ndarray) -> View: ...
    def gains(self, phi_CF: np.ndarray, share_C: np.ndarray, v_CF: np.ndarray) -> np.ndarray:
        """What each document adds to each goal in its turn, float64 (C, J)."""
        ...

    def in_turn(
        self, phi_CF: np.ndarray, share_C: np.ndarray, v_CF: np.ndarray, filled_C: np.ndarray, weight_CJ: np.ndarray
    ) -> Columns:
        """Columns of documents in their turn."""
        ...

    def shown(
        self, phi_RF: np.ndarray, share_R: np.ndarray, v_F: np.ndarray, filled: float, weight_J: np.ndarray
    ) -> Columns:
        """Columns of documents, all at the same v."""
        ...

    def weighed(self, weight_J: np.ndarray) -> "Objective":
        """One goal: the mean of all by these weights."""
        ...

    def mixture(self, mean_KF: np.ndarray, cap_K: np.ndarray | None, start_K: np.ndarray | None) -> np.ndarray:
        """The weights of the best mixture of K means, for one goal: see ``simplex.mixture``."""
        ...


def row_sums(x_RF: np.ndarray, direction_F: np.ndarray) -> np.ndarray:
    """<x, direction> of each row, summed in an order that depends on nothing but F. Rows may have directions (R, F) of
    their own."""
    return np.einsum("rf,f->r" if direction_F.ndim == 1 else "rf,rf->r", x_RF, direction_F)


def dots(x_CF: np.ndarray, y_CF: np.ndarray) -> np.ndarray:
    """<x, y> of each row, float64 (C,), to the same bits as ``x @ y`` of two vectors."""
    return np.matmul(x_CF[:, None, :], y_CF[:, :, None])[:, 0, 0]


def products(goal_JF: np.ndarray, x_CF: np.ndarray) -> np.ndarray:
    """<goal, x>, float64 (C, J), to the same bits as ``goal_JF @ x`` of one vector."""
    return np.matmul(goal_JF, x_CF[:, :, None])[:, :, 0]


@dataclass(frozen=True)
class _QuadraticView:
    direction_F: np.ndarray
    own: float

    def scores(self, x_RF: np.ndarray, divisor_R: np.ndarray, share_R: np.ndarray, square_R: np.ndarray) -> np.ndarray:
        return row_sums(x_RF, self.direction_F) / divisor_R - share_R * square_R * self.own


@dataclass(frozen=True)
class _Goals:
    goal_JF: np.ndarray

    @property
    def goals(self) -> int:
        return len(self.goal_JF)

    @property
    def width(self) -> int:
        return self.goal_JF.shape[1]


@dataclass(frozen=True)
class Quadratic(_Goals):
    """``goal_JF``: G. ``curve_J``: lam."""

    curve_J: np.ndarray
    positive: bool = False

    def values(self, v_F: np.ndarray, filled: float = 1.0) -> np.ndarray:
        full_F = v_F / filled if filled else v_F
        return self.goal_JF @ full_F - self.curve_J / 2 * float(full_F @ full_F)

    def standing(self, gained_J: np.ndarray, v_F: np.ndarray, filled: float) -> np.ndarray:
        return gained_J

    def view(self, v_F: np.ndarray, weight_J: np.ndarray) -> View:
        curve = float(weight_J @ self.curve_J)
        return _QuadraticView(weight_J @ self.goal_JF - curve * v_F, curve / 2)

    def gains(self, phi_CF: np.ndarray, share_C: np.ndarray, v_CF: np.ndarray) -> np.ndarray:
        alignment_CJ, covered_CJ = self._parts(phi_CF, v_CF)
        own_CJ = self.curve_J / 2 * share_C[:, None] * dots(phi_CF, phi_CF)[:, None]
        return share_C[:, None] * (alignment_CJ - covered_CJ - own_CJ)

    def _parts(self, phi_CF: np.ndarray, v_CF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Alignment with each goal, and what is covered of it, float64 (C, J)."""
        return products(self.goal_JF, phi_CF), self.curve_J * dots(phi_CF, v_CF)[:, None]

    def in_turn(
        self, phi_CF: np.ndarray, share_C: np.ndarray, v_CF: np.ndarray, filled_C: np.ndarray, weight_CJ: np.ndarray
    ) -> Columns:
        alignment_CJ, covered_CJ = self._parts(phi_CF, v_CF)
        gain_C = dots(weight_CJ, self.gains(phi_CF, share_C, v_CF)) / share_C
        return Columns(dots(weight_CJ, alignment_CJ), dots(weight_CJ, covered_CJ), gain_C)

    def shown(
        self, phi_RF: np.ndarray, share_R: np.ndarray, v_F: np.ndarray, filled: float, weight_J: np.ndarray
    ) -> Columns:
        curve = float(weight_J @ self.curve_J)
        alignment_R = row_sums(phi_RF, weight_J @ self.goal_JF)
        covered_R = curve * row_sums(phi_RF, v_F)
        own_R = curve / 2 * share_R * np.einsum("rf,rf->r", phi_RF, phi_RF)
        return Columns(alignment_R, covered_R, alignment_R - covered_R - own_R)

    def weighed(self, weight_J: np.ndarray) -> "Quadratic":
        return Quadratic((weight_J @ self.goal_JF)[None], np.array([weight_J @ self.curve_J]))

    def mixture(self, mean_KF: np.ndarray, cap_K: np.ndarray | None, start_K: np.ndarray | None) -> np.ndarray:
        return simplex.mixture(mean_KF, self.goal_JF[0], float(self.curve_J[0]), cap_K, start_K)


@dataclass(frozen=True)
class _CrossEntropyView:
    goal_F: np.ndarray
    level_F: np.ndarray
    own: float = 0.0

    @cached_property
    def direction_F(self) -> np.ndarray:
        return self.goal_F / self.level_F

    def scores(self, x_RF: np.ndarray, divisor_R: np.ndarray, share_R: np.ndarray, square_R: np.ndarray) -> np.ndarray:
        share_R = np.where(share_R > 0, share_R, 1)
        return row_sums(np.log1p((share_R / divisor_R)[:, None] * x_RF / self.level_F), self.goal_F) / share_R


@dataclass(frozen=True)
class CrossEntropy(_Goals):
    """``goal_JF``: p, with the sum of a row as its weight. ``pool_F``: q. ``prior``: μ.

    All features have one unit, whatever it is. A token that the pool does not have is left out of the goals, because no
    selection can have it.
    """

    pool_F: np.ndarray
    prior: float
    positive: bool = True

    @cached_property
    def smooth_F(self) -> np.ndarray:
        """μ q; 1 for a token that the pool does not have."""
        return np.where(self.pool_F > 0, self.prior * self.pool_F, 1.0)

    def values(self, v_F: np.ndarray, filled: float = 1.0) -> np.ndarray:
        ratio_F = np.where(self.pool_F > 0, (v_F / self.smooth_F + 1) * (self.prior / (filled + self.prior)), 1.0)
        return self.goal_JF @ np.log(ratio_F)

    def standing(self, gained_J: np.ndarray, v_F: np.ndarray, filled: float) -> np.ndarray:
        """Against the pool: what is gained by tokens of any kind is the same for all goals, and would hide it."""
        return self.values(v_F, filled)

    def view(self, v_F: np.ndarray, weight_J: np.ndarray) -> View:
        return _CrossEntropyView(weight_J @ self.goal_JF, v_F + self.smooth_F)

    def gains(self, phi_CF: np.ndarray, share_C: np.ndarray, v_CF: np.ndarray) -> np.ndarray:
        return products(self.goal_JF, np.log1p(share_C[:, None] * phi_CF / (v_CF + self.smooth_F)))

    def in_turn(
        self, phi_CF: np.ndarray, share_C: np.ndarray, v_CF: np.ndarray, filled_C: np.ndarray, weight_CJ: np.ndarray
    ) -> Columns:
        goal_CF = np.matmul(weight_CJ[:, None, :], self.goal_JF)[:, 0, :]
        return self._columns(phi_CF, share_C, v_CF, filled_C, goal_CF)

    def shown(
        self, phi_RF: np.ndarray, share_R: np.ndarray, v_F: np.ndarray, filled: float, weight_J: np.ndarray
    ) -> Columns:
        return self._columns(phi_RF, share_R, v_F, np.array(filled), weight_J @ self.goal_JF)

    def _columns(
        self, phi_RF: np.ndarray, share_R: np.ndarray, v_F: np.ndarray, filled: np.ndarray, goal_F: np.ndarray
    ) -> Columns:
        """Against an average token of the pool, and by the unigram model of the documents that were taken so far: so
        the first document finds nothing covered, and what is above 0 is better than the average. Rows may have v,
        ``filled`` and goals of their own: (R, F), (R,) and (R, F)."""
        model_F, least = (v_F + self.smooth_F) / (filled + self.prior)[..., None], goal_F.sum(axis=-1)
        alignment_R = row_sums(phi_RF, goal_F / np.where(self.pool_F > 0, self.pool_F, 1.0)) - least
        linear_R = row_sums(phi_RF, goal_F / model_F) - least
        view, ones_R = _CrossEntropyView(goal_F, model_F), np.ones(len(share_R))
        exact_R = view.scores(phi_RF, ones_R, share_R / (filled + self.prior), ones_R)
        return Columns(alignment_R, alignment_R - linear_R, exact_R - least)

    def weighed(self, weight_J: np.ndarray) -> "CrossEntropy":
        return CrossEntropy((weight_J @ self.goal_JF)[None], self.pool_F, self.prior)

    def mixture(self, mean_KF: np.ndarray, cap_K: np.ndarray | None, start_K: np.ndarray | None) -> np.ndarray:
        mean_KF, goal_F = np.asarray(mean_KF, np.float64), self.goal_JF[0]

        def value(x_K: np.ndarray) -> float:
            return float(goal_F @ np.log(x_K @ mean_KF + self.smooth_F))

        def slope(x_K: np.ndarray) -> np.ndarray:
            return mean_KF @ (goal_F / (x_K @ mean_KF + self.smooth_F))

        return simplex.climb(value, slope, len(mean_KF), cap_K, start_K)


@dataclass(frozen=True)
class Aim:
    """What is maximised: Σ ω_t U_t (``sum``), or the least U_t / ω_t (``maxmin``).

    ``target_TF``, ``scale_T``, ``gamma``: as in surrogate.py. ``weight_T``: ω, None for 1; a target of weight 0 is left
    out. Targets should have norm 1 (surrogate.unit) if none is to lead only by the size of its features; for ``maxmin``
    that is needed to compare them.

    ``pool_F``: the mean features of the pool, for the cross-entropy; None for R5. Its additive form, with ``gamma`` 0,
    is its slope at the pool. ``prior``: the tokens with which counts are smoothed, as a share of the pool's.
    ``temperature``: of the smooth minimum of ``maxmin``.
    """

    target_TF: np.ndarray
    scale_T: np.ndarray
    gamma: float
    weight_T: np.ndarray | None = None
    combine: str = "sum"
    pool_F: np.ndarray | None = None
    prior: float = 0.0
    temperature: float = TEMPERATURE

    def objective(self, share: float = 1.0) -> Objective:
        """That of a selection of a ``share`` of the pool. GripError for targets without a weight, and for features that
        are not finite."""
        if self.pool_F is None or not self.gamma:
            return Quadratic(*self.goals)
        return CrossEntropy(self.goals[0], np.asarray(self.pool_F, np.float64), self.prior / max(share, TINY))

    @property
    def goals(self) -> tuple[np.ndarray, np.ndarray]:
        """(G_j, lam_j): float64 (J, F) and (J,), of one goal for a sum."""
        target_TF, scale_T = self._targets(), np.asarray(self.scale_T, np.float64)
        weight_T = np.ones(len(target_TF)) if self.weight_T is None else np.asarray(self.weight_T, np.float64)
        if not (np.isfinite(target_TF).all() and np.isfinite(scale_T).all()):
            raise GripError("The features of a target are not finite. Check the reference model and the target.")
        goal_F, scale = combined(target_TF, scale_T, weight_T)
        if self.combine == "sum":
            return goal_F[None], np.array([self.gamma * scale])
        some = weight_T > 0
        return target_TF[some] / weight_T[some, None], self.gamma * scale_T[some] / weight_T[some]

    def _targets(self) -> np.ndarray:
        """The targets, float64 (T, F): for the cross-entropy shares that sum to 1, and for its additive form its slope
        at the pool, Σ p v / q."""
        target_TF = np.atleast_2d(np.asarray(self.target_TF, np.float64))
        if self.pool_F is None:
            return target_TF
        pool_F = np.asarray(self.pool_F, np.float64)
        share_TF = target_TF / np.maximum(target_TF.sum(axis=1, keepdims=True), TINY)
        here_TF = np.where(pool_F > 0, share_TF, 0.0)
        return here_TF if self.gamma else here_TF / np.where(pool_F > 0, pool_F, 1.0)

    def mixture(
        self, mean_KF: np.ndarray, share: float, cap_K: np.ndarray | None = None, start_K: np.ndarray | None = None
    ) -> np.ndarray:
        """The weights of the best mixture of means, float64 (K,): see ``simplex.mixture``. ``share``: of the pool, of
        what is mixed."""
        goals = self.objective(share)
        if goals.goals == 1:
            return goals.mixture(mean_KF, cap_K, start_K)
        return simplex.fairest(
            lambda weight_J: goals.weighed(weight_J).mixture(mean_KF, cap_K, start_K),
            lambda x_K: goals.values(x_K @ mean_KF),
            goals.goals,
        )
