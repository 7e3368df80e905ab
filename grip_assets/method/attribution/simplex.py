"""The best mixture of clusters by the surrogate: a quadratic program on the simplex, with caps.

A mixture of K clusters with weights alpha has v = Σ alpha_k M_k, where M_k is the token-weighted mean of the sketches
of cluster k. Its utility is that of a subset: <G, v> - (lam / 2) ||v||² with lam = gamma s (surrogate.py). It is
concave, so the best mixture is found exactly, by projected gradient. ``climb`` does the same for any smooth concave
utility, and ``fairest`` for the least of several. budget/grasp.py makes shares of it.
Shapes: K clusters, F numbers of a sketch. In float64.
"""

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError

ITERATIONS = 20_000
TOLERANCE = 1e-10  # of the gap to the optimum, relative to the size of the terms
GAP = 1e-9  # the same for ``climb``
HALVINGS = 60  # of a step of ``climb``
CUTS, MEETING = 200, 1e-7  # rounds of ``fairest``, and the gap at which it ends, relative to the largest value


@threadpool_limits.wrap(limits=1)
def mixture(
    mean_KF: np.ndarray,
    target_F: np.ndarray,
    curvature: float,
    cap_K: np.ndarray | None = None,
    start_K: np.ndarray | None = None,
) -> np.ndarray:
    """The weights of the best mixture, float64 (K,): none below 0 or above its cap, and their sum is 1.

    ``curvature``: gamma s. ``cap_K``: the largest share of each cluster, None for no caps. ``start_K``: weights to
    begin from, as the natural shares: of several best mixtures (clusters that are alike) the result is one near them.
    GripError if a mean is not finite, or if the caps leave no mixture.
    """
    mean_KF, target_F = np.asarray(mean_KF, np.float64), np.asarray(target_F, np.float64)
    if not (np.isfinite(mean_KF).all() and np.isfinite(target_F).all()):
        raise GripError("The mean sketch of a cluster or of a target is not finite. Compute the sketches again.")
    return maximise(mean_KF @ target_F, curvature * (mean_KF @ mean_KF.T), cap_K, start_K)


@threadpool_limits.wrap(limits=1)
def maximise(
    linear_K: np.ndarray,
    quadratic_KK: np.ndarray,
    cap_K: np.ndarray | None = None,
    start_K: np.ndarray | None = None,
) -> np.ndarray:
    """The point of the capped simplex with the largest b·x - x·Q x / 2, float64 (K,); Q is positive semidefinite.

    Accelerated projected gradient with restarts [Beck and Teboulle 2009; O'Donoghue and Candès 2015]. It ends when the
    gap to an upper bound of the optimum is below 1e-10 of the terms.
    """
    n = len(linear_K)
    cap_K = _caps(n, cap_K)
    largest = float(np.linalg.eigvalsh(quadratic_KK)[-1]) if n else 0.0
    size = float(np.abs(linear_K).max(initial=0)) + largest
    if largest <= 1e-14 * size or n == 1:
        return best_corner(linear_K, cap_K) if size else project(_even(n) if start_K is None else start_K, cap_K)
    here_K = project(_even(n) if start_K is None else np.asarray(start_K, np.float64), cap_K)
    ahead_K, momentum = here_K, 1.0
    for _ in range(ITERATIONS):
        slope_K = linear_K - quadratic_KK @ here_K
        if slope_K @ (best_corner(slope_K, cap_K) - here_K) <= TOLERANCE * size:
            break
        next_K = project(ahead_K + (linear_K - quadratic_KK @ ahead_K) / largest, cap_K)
        if (ahead_K - next_K) @ (next_K - here_K) > 0:  # the momentum points away from the optimum
            momentum, ahead_K = 1.0, here_K
            next_K = project(here_K + slope_K / largest, cap_K)
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead_K = next_K + (momentum - 1) / grown * (next_K - here_K)
        here_K, momentum = next_K, grown
    return here_K


@threadpool_limits.wrap(limits=1)
def climb(
    value: Callable[[np.ndarray], float],
    slope: Callable[[np.ndarray], np.ndarray],
    n: int,
    cap_K: np.ndarray | None = None,
    start_K: np.ndarray | None = None,
) -> np.ndarray:
    """The point of the capped simplex where a smooth concave function is largest, float64 (K,); K is ``n``.

    Projected gradient with the steps of Barzilai and Borwein (1988), halved until they gain enough. It ends when the
    gap to an upper bound of the optimum is below 1e-9 of the slope along the point.
    """
    cap_K = _caps(n, cap_K)
    here_K = project(_even(n) if start_K is None else np.asarray(start_K, np.float64), cap_K)
    slope_K, height = slope(here_K), value(here_K)
    step = 1 / max(float(np.abs(slope_K).max(initial=0)), 1e-300)
    for _ in range(ITERATIONS):
        if slope_K @ (best_corner(slope_K, cap_K) - here_K) <= GAP * abs(float(slope_K @ here_K)):
            break
        next_K, there = here_K, height
        for _ in range(HALVINGS):
            next_K = project(here_K + step * slope_K, cap_K)
            there = value(next_K)
            if there >= height + 1e-4 * float(slope_K @ (next_K - here_K)):
                break
            step /= 2
        moved_K, after_K = next_K - here_K, slope(next_K)
        if not there > height:  # rounding ends the climb
            break
        bend = float(moved_K @ (slope_K - after_K))
        step = float(moved_K @ moved_K) / bend if bend > 0 else 2 * step
        here_K, slope_K, height = next_K, after_K, there
    return here_K


def fairest(
    best: Callable[[np.ndarray], np.ndarray], values: Callable[[np.ndarray], np.ndarray], goals: int
) -> np.ndarray:
    """The point whose worst goal is best off: max over x of min over j of U_j(x), float64 (K,).

    ``best``: the point where Σ λ_j U_j is largest, for weights λ (J,) that sum to 1. ``values``: U_j at a point, (J,).
    Each U_j is concave, so by the minimax theorem [Sion 1958] the optimum is the least over λ of that largest sum. Each
    round solves a matrix game between the points so far and the goals [Dantzig and Wolfe 1960]. The best mixture of
    these points is below the optimum and the largest sum above it, and it ends when the two meet.
    """
    weight_J, found_K, top, bottom = np.full(goals, 1 / goals), np.zeros(0), np.inf, -np.inf
    points, value_MJ = list[np.ndarray](), list[np.ndarray]()
    for _ in range(CUTS):
        points.append(best(weight_J))
        value_MJ.append(values(points[-1]))
        top = min(top, float(weight_J @ value_MJ[-1]))
        share_M, weight_J = _game(np.array(value_MJ))
        mean_K = share_M @ np.array(points)
        if (least := float(values(mean_K).min())) > bottom:
            found_K, bottom = mean_K, least
        if top - bottom <= MEETING * float(np.abs(value_MJ).max()):
            break
    return found_K


def _game(value_MJ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the mixture of points (M,) whose least value over the goals is largest, the weights (J,) of goals that prove
    it), of the matrix game with these values."""
    from scipy.optimize import linprog  # slow to import

    m, j = value_MJ.shape
    found = linprog(
        np.append(np.zeros(m), -1.0),
        np.hstack([-value_MJ.T, np.ones((j, 1))]),
        np.zeros(j),
        np.append(np.ones(m), 0.0)[None],
        [1.0],
        [(0, None)] * m + [(None, None)],
        method="highs-ds",
    )
    if found.status != 0:
        raise GripError(f"No mixture was found that is fair to all targets: {found.message}")
    weight_J = np.maximum(-found.ineqlin.marginals, 0)
    return np.maximum(found.x[:m], 0) / np.maximum(found.x[:m], 0).sum(), weight_J / weight_J.sum()


def _caps(n: int, cap_K: np.ndarray | None) -> np.ndarray:
    """GripError if the caps leave no mixture."""
    cap_K = np.ones(n) if cap_K is None else np.minimum(np.asarray(cap_K, np.float64), 1)
    if not cap_K.sum() >= 1 - 1e-9:
        raise GripError(f"The clusters may have only {cap_K.sum():.0%} of a mixture together. Lower the budget.")
    return cap_K


def _even(n: int) -> np.ndarray:
    return np.full(n, 1 / max(n, 1))


def best_corner(slope_K: np.ndarray, cap_K: np.ndarray) -> np.ndarray:
    """The point of the capped simplex that is farthest along ``slope_K``: the best coordinates filled to their caps."""
    order = np.argsort(-slope_K, kind="stable")
    before = np.cumsum(cap_K[order]) - cap_K[order]
    found_K = np.empty(len(cap_K))
    found_K[order] = np.clip(1 - before, 0, cap_K[order])
    return found_K


def project(point_K: np.ndarray, cap_K: np.ndarray) -> np.ndarray:
    """The nearest point of the capped simplex, float64 (K,): clip(point - height, 0, cap) with the sum 1.

    The sum falls with the height, and is straight between the values at which a coordinate reaches 0 or its cap.
    """
    breaks = np.sort(np.concatenate([point_K, point_K - cap_K]))
    low, high = 0, len(breaks) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if np.clip(point_K - breaks[middle], 0, cap_K).sum() >= 1:
            low = middle
        else:
            high = middle
    above, below = (float(np.clip(point_K - breaks[i], 0, cap_K).sum()) for i in (low, high))
    share = (above - 1) / (above - below) if above > below else 0.0
    found_K = np.clip(point_K - (breaks[low] + min(max(share, 0.0), 1.0) * (breaks[high] - breaks[low])), 0, cap_K)
    return found_K / max(found_K.sum(), 1e-300) if found_K.sum() > 1 else found_K
