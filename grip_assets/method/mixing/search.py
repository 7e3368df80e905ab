"""The best mixture by a model, within guards: at most ``most_D`` of each domain, and near the natural shares.

Without guards a search finds the optimism of the model. Shapes: D domains, n mixtures.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import water_fill
from grip_assets.method.budget.base import normalised
from grip_assets.method.mixing.regress import Model

CELLS = 4_000_000  # most weights of candidates in memory at a time
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


def propose(
    model: Model,
    natural_D: np.ndarray,
    most_D: np.ndarray | None = None,
    kl: float | None = None,
    candidates: int = 100_000,
    top: int = 128,
    seed: int = 0,
) -> np.ndarray:
    """The best weights by ``model``, float64 (D,): they sum to 1, w <= most_D and KL(w || natural) <= kl.

    A model with a gradient (the log-linear law, which is convex) is minimised exactly. Others have RegMix's search
    [arXiv 2407.01492]: of ``candidates`` random mixtures around the natural shares, the best ``top`` are averaged. The
    prediction is never worse than that of the allowed mixture nearest to the natural shares. GripError if the guards
    allow no mixture.
    """
    return Search(natural_D, most_D, kl, candidates, top, seed).best(model)


@dataclass
class Search:
    """The guards of ``propose``, for several models: candidates are drawn once."""

    natural_D: np.ndarray
    most_D: np.ndarray | None = None
    kl: float | None = None
    candidates: int = 100_000
    top: int = 128
    seed: int = 0

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

    def best(self, model: Model) -> np.ndarray:
        """The weights that ``propose`` describes, float64 (D,)."""
        with threadpool_limits(1):
            found = [self._descend(model)] if hasattr(model, "gradient") else self._averaged(model)
            tried_nD = np.array([*found, self.nearest_D])
            return tried_nD[np.argmin(model.predict(tried_nD))]

    def _descend(self, model: Model) -> np.ndarray:
        """Mirror descent [Nemirovski and Yudin 1983]: each step minimises slope · w + KL(w || here) / rate within the
        guards. The rate is halved until the step keeps below this bound, so the prediction never rises."""
        here_D, rate = self.nearest_D, 1.0
        cost = float(model.predict(here_D[None])[0])
        slow = 0
        while slow < PATIENCE:
            slope_D = model.gradient(here_D[None])[0]  # type: ignore[attr-defined]
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

    def _averaged(self, model: Model) -> list[np.ndarray]:
        """The mean of the best candidates, and the best one."""
        predicted_n = np.concatenate([model.predict(block_nD) for block_nD in self._blocks])
        best_n = np.argsort(predicted_n, kind="stable")[: self.top]
        best_nD = np.concatenate(self._blocks)[best_n]
        return [best_nD.mean(axis=0), best_nD[0]]

    @cached_property
    def _blocks(self) -> list[np.ndarray]:
        size = max(CELLS // len(self.natural_D), 1)
        return [self._drawn(b, min(size, self.candidates - b)) for b in range(0, self.candidates, size)]

    def _drawn(self, block: int, n: int) -> np.ndarray:
        """Random mixtures within the guards, float64 (n, D): those outside are drawn towards the natural shares."""
        random = np.random.default_rng([self.seed, block])
        drawn_nD = random.dirichlet(np.maximum(self.natural_D, 1e-12), n)
        under_nD = np.minimum(drawn_nD, self.cap_D)
        room_nD = self.cap_D - under_nD
        over_n1 = 1 - under_nD.sum(axis=1, keepdims=True)
        capped_nD = under_nD + np.maximum(over_n1, 0) * room_nD / np.maximum(room_nD.sum(axis=1, keepdims=True), 1e-300)
        return self._near(capped_nD)

    def _near(self, mixture_nD: np.ndarray) -> np.ndarray:
        if self.kl is None:
            return mixture_nD
        step_nD = mixture_nD - self.nearest_D
        low_n = np.zeros(len(step_nD))
        high_n = np.where(divergence(mixture_nD, self.natural_D) <= self.kl, 1.0, np.inf)
        low_n[high_n == 1], high_n[high_n == np.inf] = 1, 1
        for _ in range(20):
            middle_n = (low_n + high_n) / 2
            inside_n = divergence(self.nearest_D + middle_n[:, None] * step_nD, self.natural_D) <= self.kl
            low_n, high_n = np.where(inside_n, middle_n, low_n), np.where(inside_n, high_n, middle_n)
        return self.nearest_D + low_n[:, None] * step_nD
