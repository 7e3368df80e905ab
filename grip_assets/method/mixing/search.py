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
HALVINGS = 60
STEPS = 200
TOLERANCE = 1e-9  # of the predicted loss
FALLEN = -600.0  # smaller exponents would underflow to 0


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

    Within ``kl``, a model with a gradient (the log-linear law, which is convex) is minimised exactly. Any other search
    is RegMix's [arXiv 2407.01492]: of ``candidates`` random mixtures around the natural shares, the best ``top`` are
    averaged. The prediction is never worse than that of the allowed mixture nearest to the natural shares. GripError if
    the guards allow no mixture.
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
            exact = self.kl is not None and hasattr(model, "gradient")
            found = [self._descend(model)] if exact else self._averaged(model)
            tried_nD = np.array([*found, self.nearest_D])
            return tried_nD[np.argmin(model.predict(tried_nD))]

    def _descend(self, model: Model) -> np.ndarray:
        """Frank and Wolfe's method: each step goes towards the mixture that is best by the gradient. All steps stay
        within the guards, because these are convex."""
        weights_D = self.nearest_D
        for _ in range(STEPS):
            slope_D = model.gradient(weights_D[None])[0]  # type: ignore[attr-defined]
            step_D = self.lowest(slope_D) - weights_D
            if -(slope_D @ step_D) <= TOLERANCE:
                break
            weights_D = weights_D + _length(model, weights_D, step_D) * step_D
        return weights_D

    def lowest(self, slope_D: np.ndarray) -> np.ndarray:
        """The mixture with the least ``slope_D @ w`` within the guards, float64 (D,).

        It is natural · exp(−slope / τ), capped, with the least τ for which the divergence is allowed.
        """
        height_D = slope_D - slope_D.min()
        scale = float(height_D.max())
        if not scale > 0:
            return self.nearest_D
        low, high = np.log(scale) - 20, np.log(scale) + 20
        found_D = self.nearest_D
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            tilted_D = self._tilted(height_D / np.exp(middle))
            if self.kl is None or divergence(tilted_D, self.natural_D)[0] <= self.kl:
                found_D, high = tilted_D, middle
            else:
                low = middle
        return found_D

    def _tilted(self, height_D: np.ndarray) -> np.ndarray:
        return water_fill(self.natural_D * np.exp(np.maximum(-height_D, FALLEN)), self.cap_D, 1.0)

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
        for _ in range(HALVINGS // 3):
            middle_n = (low_n + high_n) / 2
            inside_n = divergence(self.nearest_D + middle_n[:, None] * step_nD, self.natural_D) <= self.kl
            low_n, high_n = np.where(inside_n, middle_n, low_n), np.where(inside_n, high_n, middle_n)
        return self.nearest_D + low_n[:, None] * step_nD


def _length(model: Model, weights_D: np.ndarray, step_D: np.ndarray) -> float:
    """How far to go along ``step_D``, from 0 to 1: where the slope is 0."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS // 2):
        middle = (low + high) / 2
        slope = model.gradient((weights_D + middle * step_D)[None])[0] @ step_D  # type: ignore[attr-defined]
        low, high = (middle, high) if slope < 0 else (low, middle)
    return high if high == 1 else low
