"""The swarm: random mixtures of D domains, on which small models are trained [RegMix, arXiv 2407.01492].

Mixture i depends only on (seed, i) and the mixtures before it, so a larger swarm begins with the smaller one, and more
mixtures later need only the new trainings.
"""

from dataclasses import dataclass

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import largest_remainder, water_fill
from grip_assets.method.budget.base import normalised

STRENGTHS = 15
ATTEMPTS = 24
FINEST = 1_000_000  # weights are multiples of 1/FINEST, if there is no least weight


@dataclass(frozen=True)
class Swarm:
    """``prior``: exponent of the natural shares, whose normalised power is the mean of the mixtures. ``strengths``: the
    least and the largest concentration of the Dirichlet distribution; small ones give mixtures of few domains.
    ``max_ratio``: a weight is at most this many times its natural share. ``min_weight``: smaller weights become 0, and
    all weights are multiples of it."""

    prior: float = 0.5
    strengths: tuple[float, float] = (0.1, 5.0)
    max_ratio: float = 15.0
    min_weight: float = 2e-4
    seed: int = 0


def draw(natural_D: np.ndarray, n: int, swarm: Swarm) -> np.ndarray:
    """``n`` different mixtures, float64 (n, D): each sums to 1, and no weight is above its bound.

    GripError if the bounds leave no room, or if there are not ``n`` different mixtures.
    """
    units, most_D = _grid(np.asarray(natural_D, np.float64), swarm)
    prior_D = normalised(np.asarray(natural_D, np.float64) ** swarm.prior * (most_D > 0))
    found: dict[tuple[int, ...], None] = {}
    for i in range(n):
        found[_mixture(i, found, prior_D, most_D, units, swarm)] = None
    return np.array(list(found), np.float64).reshape(n, len(prior_D)) / units


def _grid(natural_D: np.ndarray, swarm: Swarm) -> tuple[int, np.ndarray]:
    """The number of units that a mixture has, and the most units of each domain, int64 (D,)."""
    units = round(1 / swarm.min_weight) if swarm.min_weight > 0 else FINEST
    most_D = np.floor(np.minimum(swarm.max_ratio * normalised(natural_D), 1) * units + 1e-9).astype(np.int64)
    if most_D.sum() < units:
        raise GripError(
            f"settings/mixing.max_ratio is {swarm.max_ratio:g}: the domains may have only"
            f" {most_D.sum() / units:.0%} of a mixture together. Raise it, or lower settings/mixing.min_weight."
        )
    return units, most_D


def _mixture(
    i: int, found: dict[tuple[int, ...], None], prior_D: np.ndarray, most_D: np.ndarray, units: int, swarm: Swarm
) -> tuple[int, ...]:
    """Mixture ``i`` in units: the first draw within the bounds that is new.

    With many domains nearly every draw is above a bound, so the later half of the attempts shifts the excess.
    """
    for attempt in range(ATTEMPTS):
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([swarm.seed, i, attempt])))
        strength = np.geomspace(*swarm.strengths, STRENGTHS)[random.integers(STRENGTHS)]
        drawn_D = random.dirichlet(np.maximum(prior_D * strength, 1e-12)) * units
        if (drawn_D > most_D).any():
            if attempt < ATTEMPTS // 2:
                continue
            drawn_D = water_fill(drawn_D, most_D, units)
        mixture = tuple(_in_units(drawn_D, most_D, units).tolist())
        if mixture not in found:
            return mixture
    raise GripError(
        f"Mixture {i + 1} cannot be drawn: {ATTEMPTS} draws gave mixtures that are there already. Lower"
        " settings/mixing.mixtures, or raise settings/mixing.max_ratio."
    )


def _in_units(drawn_D: np.ndarray, most_D: np.ndarray, units: int) -> np.ndarray:
    """Whole units near ``drawn_D`` that sum to ``units``, int64 (D,). Less than one unit is none."""
    kept_D = np.where(drawn_D >= 1, drawn_D, 0)
    kept_D = water_fill(kept_D, most_D, units)
    return largest_remainder(kept_D, np.where(kept_D > 0, most_D, 0), units)
