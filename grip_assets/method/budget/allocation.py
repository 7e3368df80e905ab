"""From budgets as real numbers to whole numbers: floors, caps, exact sums [A3, A17, A27, spec 1.4].

The real budgets come from sql/equations. Shapes: K clusters. All in float64; O(K log K).
"""

import numpy as np

from grip_assets.errors import GripError


def water_fill(utility_K: np.ndarray, cap_K: np.ndarray, total: float) -> np.ndarray:
    """Shares of ``total`` in proportion to utility, none above its cap; float64 (K,).

    A cluster that is at its cap leaves the rest to the others. The sum is min(total, sum of caps). A cluster without
    utility gets nothing unless all others are full; then the rest is spread in proportion to the caps. The code uses
    suffix sums: with running subtraction, cancellation could break caps.
    """
    utility_K, cap_K = np.asarray(utility_K, np.float64), np.asarray(cap_K, np.float64)
    if cap_K.sum() <= total:
        return cap_K.copy()
    live = np.flatnonzero((utility_K > 0) & (cap_K > 0))
    filled_K = np.zeros(len(cap_K))
    if len(live) and cap_K[live].sum() > total:
        u = np.maximum(utility_K[live] / utility_K[live].max(), 1e-300)  # a positive utility must not underflow to 0
        order = np.argsort(np.log(cap_K[live]) - np.log(u), kind="stable")
        u, cap = u[order], cap_K[live][order]
        left = np.maximum(total - np.concatenate([[0.0], np.cumsum(cap)[:-1]]), 0)
        suffix = np.cumsum(u[::-1])[::-1]
        # The first cluster whose cap is above its share: c/u > left/suffix. Multiplied out, since quotients overflow.
        above = cap * suffix > left * u
        first = int(np.argmax(above)) if above.any() else len(cap) - 1
        amount = cap.copy()
        amount[first:] = np.minimum(left[first] * (u[first:] / suffix[first]), cap[first:])
        filled_K[live[order]] = amount
        return filled_K
    filled_K[live] = cap_K[live]
    rest = np.setdiff1d(np.arange(len(cap_K)), live)
    left = total - filled_K.sum()
    filled_K[rest] = left * cap_K[rest] / cap_K[rest].sum()
    return filled_K


def largest_remainder(
    real_K: np.ndarray, cap_K: np.ndarray, total: int, floor_K: np.ndarray | None = None
) -> np.ndarray:
    """Whole numbers near ``real_K`` that sum to ``total``, int64 (K,): rounded down, then +1 to the largest fractions.

    No number is above its cap or below its floor. Ties go to the lower id. If the numbers rounded down sum to more than
    the total, because of rounding in ``real_K``, the smallest fractions lose 1.
    """
    cap_K = np.asarray(cap_K, np.int64)
    floor_K = np.zeros_like(cap_K) if floor_K is None else np.asarray(floor_K, np.int64)
    whole_K = np.clip(np.floor(real_K), floor_K, cap_K).astype(np.int64)
    fraction_K = real_K - np.floor(real_K)
    ids = np.arange(len(whole_K))
    while (missing := total - int(whole_K.sum())) != 0:
        step = 1 if missing > 0 else -1
        room = whole_K < cap_K if step > 0 else whole_K > floor_K
        order = np.lexsort((ids, -step * fraction_K))
        chosen = order[room[order]][: abs(missing)]
        if not len(chosen):
            break
        whole_K[chosen] += step
    return whole_K


def neyman_probe(target_K: np.ndarray, size_K: np.ndarray, minimum: int, total: int) -> np.ndarray:
    """Probe documents of each cluster [G3, A27], int64 (K,): at least ``minimum`` (or all documents), at most N_k.

    They sum to ``total``, raised to the sum of the minima or lowered to the size of the corpus if necessary. They are
    proportional to ``target_K``, except for clusters at their minimum or at N_k: clusters whose share is below their
    minimum get the minimum, and the others share the rest, until no cluster is below.
    """
    size_K = np.asarray(size_K, np.int64)
    floor_K = np.minimum(minimum, size_K)
    total = int(np.clip(total, floor_K.sum(), size_K.sum()))
    at_floor_K = np.zeros(len(size_K), bool)
    while True:
        free = ~at_floor_K
        share_K = floor_K.astype(np.float64)
        share_K[free] = water_fill(np.asarray(target_K)[free], size_K[free], total - floor_K[at_floor_K].sum())
        low = free & (share_K < floor_K)
        if not low.any():
            return largest_remainder(share_K, size_K, total, floor_K)
        at_floor_K |= low


def further_probe(
    size_K: np.ndarray, asked_K: np.ndarray, judged_K: np.ndarray, variance_K: np.ndarray, target: float
) -> np.ndarray:
    """How many more documents of each cluster to judge so that its standard error s/sqrt(n) is at most ``target``.

    int64 (K,). Never more than a cluster has left. Never more than it has judged already (but at least two), because
    the variance of few scores is uncertain: the number is estimated again after each doubling.
    """
    needed_K = np.ceil(np.nan_to_num(np.asarray(variance_K, np.float64)) / target**2)
    more_K = np.minimum(needed_K - judged_K, np.maximum(judged_K, 2))
    return np.clip(more_K, 0, np.asarray(size_K) - asked_K).astype(np.int64)


def resolve_total(total: float, available: int) -> int:
    """``settings/budget.total`` in units. Up to 1.0 it is a share of ``available``, otherwise a count.

    GripError if it rounds to nothing.
    """
    wanted = round(total * available) if total <= 1 else round(total)
    if wanted < 1:
        raise GripError(f"settings/budget.total is {total:g}, which is less than one of {available:,}. Raise it.")
    return wanted


def capacities(size_K: np.ndarray, total: int, overflow: str, max_repeats: int) -> np.ndarray:
    """The cap of each cluster, int64 (K,) [A3]: its size, times ``max_repeats`` if ``overflow`` is repeat.

    GripError if ``total`` is above the sum of the caps.
    """
    repeats = max_repeats if overflow == "repeat" else 1
    cap_K = np.asarray(size_K, np.int64) * repeats
    if total > cap_K.sum():
        raise GripError(
            f"settings/budget.total asks for {total:,}, and the pool has {int(np.sum(size_K)):,}"
            f" ({repeats} cop{'y' if repeats == 1 else 'ies'} each at most). Lower it, or set overflow to 'repeat'"
            f" and raise settings/budget.max_repeats."
        )
    return cap_K


def allocate(utility_K: np.ndarray, cap_K: np.ndarray, total: int, overflow: str) -> np.ndarray:
    """Budgets in whole units, int64 (K,). They sum to ``total`` exactly, and none is above its cap [A3, A17].

    GripError if ``overflow`` is error and a share is above its cap.
    """
    wanted_K = np.asarray(utility_K) / np.sum(utility_K) * total
    over = np.flatnonzero(wanted_K > np.asarray(cap_K) + 0.5)
    if overflow == "error" and len(over):
        raise GripError(
            f"Cluster {over[0]} would get {wanted_K[over[0]]:,.0f} of the {cap_K[over[0]]:,} it has, and so would"
            f" {len(over) - 1} others. Lower settings/budget.total, or set settings/budget.overflow to 'waterfill'."
        )
    return largest_remainder(water_fill(utility_K, cap_K, total), cap_K, total)
