"""Length-rectified selection inside a cluster [G8, G9, A12 to A17, A26].

Shapes: N documents of one cluster, k neighbours. One cluster is one shard: its neighbours (neighbours.py), density,
weights and keys are a pure function of it. Only the token deficit passes from cluster to cluster, in the order of
their ids.
"""

from dataclasses import dataclass

import numpy as np


def bandwidth(distance_NK: np.ndarray, setting: str, scale: float = 1.0) -> float:
    """h [A12]: the median of the positive neighbour distances (copies would make it 0), at least 1e-3; or a number."""
    if setting != "median":
        return float(setting) * scale
    positive = distance_NK[(distance_NK > 0) & np.isfinite(distance_NK)]
    return max(float(np.median(positive)) if len(positive) else 0.0, 1e-3) * scale


def density(distance_NK: np.ndarray, h: float) -> np.ndarray:
    """G8: ρ(x) = sum over the k nearest z of exp(-||e(x) - e(z)||² / 2h²), float64 (N,)."""
    return np.exp(-(distance_NK**2) / (2 * h * h)).sum(1)


def length_weight(lengths_N: np.ndarray, beta: float) -> np.ndarray:
    """(l / l_avg)^β [G9], l_avg the mean of the cluster.

    The ratio l N / sum(l) is reduced in integers, so that lengths in another unit give the same bits (P1).
    """
    lengths_N = np.maximum(lengths_N, 1)  # a tokenizer may drop all that a document has
    total = int(lengths_N.sum())
    common = int(np.gcd.reduce(lengths_N))
    ratio_N = (lengths_N // common) * len(lengths_N) / (total // common)
    return ratio_N**beta


def selection_weight(
    density_N: np.ndarray, length_weight_N: np.ndarray, k: int, rho_floor: float, clip_quantile: float
) -> np.ndarray:
    """P_select up to a constant [G9]: length weight / max(ρ, floor k), clipped at a quantile of the weights [A15]."""
    weight_N = length_weight_N / np.maximum(density_N, max(rho_floor * k, 1e-12))
    return np.minimum(weight_N, np.quantile(weight_N, clip_quantile, method="lower"))


def keys(u_N: np.ndarray, weight_N: np.ndarray) -> np.ndarray:
    """Efraimidis-Spirakis keys log(u)/w; taking the largest first is a weighted draw without replacement [A26]."""
    return np.log(u_N) / weight_N


@dataclass(frozen=True)
class Drawn:
    """``repeats_N``: copies of each document; ``threshold``: key of the last one taken (None: none was);
    ``deficit``: units of the budget left over (negative: overdrawn), carried to the next cluster."""

    repeats_N: np.ndarray
    threshold: float | None
    deficit: int


def draw(key_N: np.ndarray, cost_N: np.ndarray, target: int, max_repeats: int) -> Drawn:
    """Draw documents in the order of their keys until their costs reach ``target``.

    ``cost_N`` is 1 for each document when the budget counts documents, its tokens otherwise. Full passes over the
    cluster come first (replay [A3]), then a draw without replacement. Stop rule 'nearest' [A17]: the last document is
    taken when that brings the total nearer to the target. No document is skipped to fill the rest with shorter ones:
    that would favour short documents in every cluster.
    """
    whole = int(cost_N.sum())
    if target <= 0:  # overdrawn by the clusters before
        return Drawn(np.zeros(len(key_N), np.int64), None, target)
    passes = min(target // whole, max_repeats)
    repeats_N = np.full(len(key_N), passes, np.int64)
    rest = target - passes * whole
    if passes == max_repeats or rest == 0:
        return Drawn(repeats_N, float(key_N.min()) if passes else None, rest)
    sure_N, order = _around(key_N, cost_N, rest)
    repeats_N[sure_N] += 1
    base = int(cost_N[sure_N].sum())
    reached = base + np.cumsum(cost_N[order])
    n = int(np.searchsorted(reached, rest))  # reached[n] is the first total that is at least ``rest``
    before = int(reached[n - 1]) if n else base
    if int(reached[n]) - rest <= rest - before:
        n += 1
    repeats_N[order[:n]] += 1
    taken = int(reached[n - 1]) if n else base
    last = float(key_N[order[n - 1]]) if n else None
    if last is None and (len(sure_N) or passes):
        last = float(key_N[sure_N].min() if len(sure_N) else key_N.min())
    return Drawn(repeats_N, last, rest - taken)


def _around(key_N: np.ndarray, cost_N: np.ndarray, rest: int) -> tuple[np.ndarray, np.ndarray]:
    """(documents that are taken for sure, those after them in the order of their keys until ``rest`` is reached).

    Sorting everything costs more than all the rest of a draw. Two pivots from a sample bracket the key at which
    ``rest`` is reached; only what lies between them is sorted. Ties are in the order of the documents.
    """
    n = len(key_N)
    if n > 100_000:
        some = slice(None, None, n // 20_000)
        order = np.argsort(-key_N[some])
        share = np.cumsum(cost_N[some][order]) * (cost_N.sum() / cost_N[some].sum())
        at = int(np.searchsorted(share, rest))
        low, high = key_N[some][order[min(at + 600, len(order) - 1)]], key_N[some][order[max(at - 600, 0)]]
        sure_N = np.flatnonzero(key_N > high)
        between = np.flatnonzero((key_N <= high) & (key_N >= low))
        before = int(cost_N[sure_N].sum())
        if before < rest <= before + int(cost_N[between].sum()):  # otherwise the sample misled
            return sure_N, between[np.lexsort((between, -key_N[between]))]
    return np.zeros(0, np.int64), np.lexsort((np.arange(n), -key_N))
