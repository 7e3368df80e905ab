"""The best mixture by a model, within guards: at most ``most_D`` of each domain, and near the natural shares.

Without guards a search finds the optimism of the model. Shapes: D domains, n mixtures.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import water_fill
from grip_assets.method.budget.base import normalised
from grip_assets.method.mixing.regress import Model

HALVINGS = 50
TOLERANCE = 1e-10  # of the predicted loss
PATIENCE = 5  # steps that gain less than it, one after the other, end the search
FALLEN = -600.0  # smaller exponents would underflow
TINY = 1e-300


def divergence(weights_nD: np.ndarray, natural_D: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence Σ w log(w / natural) of each mixture in nats, float64 (n,).

    Infinite if a domain without a natural share has weight.
    """
    weights_nD, natural_D = np.atleast_2d(weights_nD), np.asarray(natural_D, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        term_nD = weights_nD * np.log(weights_nD / natural_D)
    return np.where(weights_nD > 0, term_nD, 0).sum(axis=1)


class Convex(Model, Protocol):
    """A model whose prediction is convex in the weights: the log-linear law."""

    def gradient(self, weights_nD: np.ndarray) -> np.ndarray:
        """The slope of the prediction by each weight, float64 (n, D)."""


@dataclass
class Search:
    """The guards of a mixture: it sums to 1, w <= most_D, and KL(w || natural) <= kl. GripError if there is none."""

    natural_D: np.ndarray
    most_D: np.ndarray | None = None
    kl: float | None = None

    def __post_init__(self) -> None:
        self.natural_D = normalised(self.natural_D)
        most_D = np.ones(len(self.natural_D)) if self.most_D is None else np.asarray(self.most_D, np.float64)
        self.cap_D = np.minimum(most_D, 1)
        if self.cap_D.sum() < 1 - 1e-9:
            raise GripError(
                f"The domains may have only {self.cap_D.sum():.0%} of a mixture together, so there is no mixture. Raise"
                " settings/mixing.max_epochs, or lower settings/budget.total."
            )
        self.nearest_D = water_fill(self.natural_D, self.cap_D, 1.0)
        away = float(divergence(self.nearest_D, self.natural_D)[0])
        if self.kl is not None and away > self.kl + 1e-12:
            raise GripError(
                f"No mixture within the caps of the domains is nearer than {away:.3f} nats to the natural shares, and"
                f" settings/mixing.kl_to_natural allows {self.kl:g}. Raise it, or raise settings/mixing.max_epochs."
            )

    def best(self, model: Convex) -> np.ndarray:
        """The allowed weights with the least prediction, float64 (D,).

        RegMix [arXiv 2407.01492] averages the best of many random mixtures instead, since its trees are not convex.
        """
        with threadpool_limits(1):
            tried_nD = np.array([self._descend(model), self.nearest_D])
            return tried_nD[np.argmin(model.predict(tried_nD))]

    def _descend(self, model: Convex) -> np.ndarray:
        """Mirror descent [Nemirovski and Yudin 1983]: each step minimises slope · w + KL(w || here) / rate within the
        guards. The rate is halved until the step keeps below this bound, so the prediction never rises."""
        here_D, rate = self.nearest_D, 1.0
        cost = float(model.predict(here_D[None])[0])
        slow = 0
        while slow < PATIENCE:
            slope_D = model.gradient(here_D[None])[0]
            next_D = self._nearer(here_D, rate * slope_D)
            next_cost = float(model.predict(next_D[None])[0])
            bound = cost + slope_D @ (next_D - here_D) + divergence(next_D, np.maximum(here_D, TINY))[0] / rate
            if next_cost > bound + TOLERANCE * cost:
                rate /= 2
                continue
            slow = slow + 1 if cost - next_cost <= TOLERANCE * cost else 0
            here_D, cost, rate = next_D, next_cost, rate * 2
        return here_D

    def _nearer(self, here_D: np.ndarray, slope_D: np.ndarray) -> np.ndarray:
        """The mixture w with the least slope · w + KL(w || here) within the guards, float64 (D,).

        With a share p of the natural logarithms, log w = p log natural + (1 - p)(log here - slope), capped; p is the
        least for which the divergence is allowed.
        """
        with np.errstate(divide="ignore"):
            natural_D, free_D = np.log(self.natural_D), np.log(np.maximum(here_D, TINY)) - slope_D
        next_D = self._capped(free_D)
        if self._allowed(next_D):
            return next_D
        low, high, next_D = 0.0, 1.0, self.nearest_D
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            tried_D = self._capped(middle * natural_D + (1 - middle) * free_D)
            if self._allowed(tried_D):
                next_D, high = tried_D, middle
            else:
                low = middle
        return next_D

    def _allowed(self, weights_D: np.ndarray) -> bool:
        return self.kl is None or bool(divergence(weights_D, self.natural_D)[0] <= self.kl)

    def _capped(self, logarithm_D: np.ndarray) -> np.ndarray:
        height_D = np.where(self.natural_D > 0, logarithm_D - logarithm_D.max(), -np.inf)
        return water_fill(np.exp(np.where(height_D > FALLEN, height_D, -np.inf)), self.cap_D, 1.0)
