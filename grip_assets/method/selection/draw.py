"""Densities, weights and keys inside clusters, and the draw of a whole subset [G8, G9, A12 to A17b, A26].

Density, weights and keys of a cluster depend only on its own documents. The draw sees all clusters: if one cannot use
its budget, the others share the rest. Neighbours are searched in method/neighbours.py.
Shapes: N documents, K clusters, k neighbours.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from grip_assets.method.budget.allocation import largest_remainder, water_fill


def bandwidth(distance_NK: np.ndarray, setting: str, scale: float = 1.0) -> float:
    """The bandwidth h [A12], times ``scale``. ``setting``: a number, or "median".

    The median is that of the positive neighbour distances (copies have distance 0), and at least 1e-3.
    """
    if setting != "median":
        return float(setting) * scale
    positive = distance_NK[(distance_NK > 0) & np.isfinite(distance_NK)]
    return max(float(np.median(positive)) if len(positive) else 0.0, 1e-3) * scale


def density(distance_NK: np.ndarray, h: float) -> np.ndarray:
    """Density [G8]: ρ(x) = sum over the k nearest z of exp(-||e(x) - e(z)||² / 2h²), float64 (N,)."""
    return np.exp(-(distance_NK**2) / (2 * h * h)).sum(1)


def length_weight(lengths_N: np.ndarray, beta: float) -> np.ndarray:
    """(l / l_avg)^β [G9], float64 (N,), where l_avg is the mean length in the cluster.

    The ratio l N / sum(l) is reduced in integers, so that lengths in another unit give the same bits (P1).
    """
    lengths_N = np.maximum(lengths_N, 1)  # a tokenizer may drop every character of a document
    total = int(lengths_N.sum())
    common = int(np.gcd.reduce(lengths_N))
    ratio_N = (lengths_N // common) * len(lengths_N) / (total // common)
    return ratio_N**beta


def selection_weight(
    density_N: np.ndarray, length_weight_N: np.ndarray, k: int, rho_floor: float, clip_quantile: float
) -> np.ndarray:
    """P_select up to a constant [G9], float64 (N,): length weight / max(ρ, floor k), clipped at a quantile [A15]."""
    weight_N = length_weight_N / np.maximum(density_N, max(rho_floor * k, 1e-12))
    return np.minimum(weight_N, np.quantile(weight_N, clip_quantile, method="lower"))


def keys(u_N: np.ndarray, weight_N: np.ndarray) -> np.ndarray:
    """Efraimidis-Spirakis keys log(u)/w, float64 (N,): the largest are a weighted draw without replacement [A26]."""
    key_N = np.log(u_N)
    key_N /= weight_N
    return key_N


@dataclass(frozen=True)
class Drawn:
    """A drawn subset. Amounts of clusters are in the unit of the costs, (K,).

    ``repeats_N``: copies of each document. ``granted_K``: the budget that the cluster can use, with its part of what
    other clusters cannot use. ``drawn_K``: the cost of the documents drawn. ``passed_over_K``, ``passed_over_cost_K``:
    number and cost of the documents that are longer than the cluster's whole budget. ``exhausted_K``: every document
    that fits is taken, as often as allowed. ``threshold_K``: the smallest key that was taken; NaN if none was.
    """

    repeats_N: np.ndarray
    granted_K: np.ndarray
    drawn_K: np.ndarray
    passed_over_K: np.ndarray
    passed_over_cost_K: np.ndarray
    exhausted_K: np.ndarray
    threshold_K: np.ndarray


def draw(
    key_N: np.ndarray,
    cost_N: np.ndarray,
    size_K: np.ndarray,
    allocated_K: np.ndarray,
    utility_K: np.ndarray,
    max_repeats: int = 1,
) -> Drawn:
    """Draw a whole subset: the documents of each cluster with the largest keys, until its budget is met [A17b].

    Documents are in the order of the clusters, ``size_K`` of each. ``cost_N``: 1 for each document if the budget counts
    documents, otherwise its tokens. ``allocated_K``: budgets in the same unit, each at most ``max_repeats`` times the
    cost of the cluster.

    - A document that is longer than the whole budget of its cluster is passed over. If the cluster then cannot use its
      budget, the rest is shared among all clusters by utility (``grants``).
    - If a budget is above the cost of the cluster, all its documents are taken once or more often (replay [A3]), and
      the rest is drawn without replacement.
    - No document is skipped to fill the rest with shorter ones. That would favour short documents in every cluster.
      The draw of a cluster stops before or after the first document that does not fit whole. It stops after it in the
      clusters where the largest share of that document fits, as long as this brings the total nearer to the budget.
      So the total is within half a document of the budget, and each cluster within one document.

    Clusters are processed in the order of their largest key, so their numbers decide nothing.
    """
    start_K = np.concatenate([[0], np.cumsum(size_K)[:-1]]).astype(np.int64)
    parts = [slice(start, start + n) for start, n in zip(start_K.tolist(), np.asarray(size_K).tolist(), strict=True)]
    order_K = _by_largest_key(key_N, parts)
    uses = [Uses(cost_N[parts[k]], max_repeats) for k in order_K]
    granted_K = np.empty(len(parts), np.int64)
    granted_K[order_K] = grants(uses, np.asarray(allocated_K)[order_K], np.asarray(utility_K)[order_K])
    most_K = max_repeats * np.array([cost_N[part].sum() for part in parts])
    given_K = np.maximum(allocated_K, granted_K) > 0
    repeats_N = np.zeros(len(key_N), np.int64)
    begun = [
        _begin(repeats_N[part], key_N[part], cost_N[part], int(granted_K[k]), given_K[k])
        for k, part in enumerate(parts)
    ]
    for k in _finishing(begun):
        begun[k].take_next()
    return Drawn(
        repeats_N,
        granted_K,
        np.array([b.drawn for b in begun], np.int64),
        np.array([b.passed_over for b in begun], np.int64),
        np.array([b.passed_over_cost for b in begun], np.int64),
        given_K & (np.array([b.all_that_fit for b in begun], bool) | (granted_K < allocated_K) | (granted_K == most_K)),
        np.array([b.threshold for b in begun], np.float64),
    )


def draw_one(key_N: np.ndarray, cost_N: np.ndarray, target: int, max_repeats: int = 1) -> Drawn:
    """The draw of documents that all belong to one cluster."""
    target = min(target, max_repeats * int(cost_N.sum()))
    return draw(key_N, cost_N, np.array([len(key_N)]), np.array([target]), np.ones(1), max_repeats)


def _by_largest_key(key_N: np.ndarray, parts: list[slice]) -> np.ndarray:
    """Numbers of the clusters, the one with the largest key first, int64 (K,)."""
    largest_K = np.array([key_N[part].max(initial=-np.inf) for part in parts])
    return np.argsort(-largest_K, kind="stable")


class Uses:
    """How much of a budget a cluster can use.

    Sort its documents by length. A budget below the length of a document can use no more than the sum of all shorter
    ones. If that sum is less than the length of the document, no budget between the two is of any use. As a function
    of the budget, the usable amount is a staircase with a flat step from that sum to that length.
    """

    def __init__(self, cost_n: np.ndarray, max_repeats: int):
        self.cost_n, self.max_repeats = cost_n, max_repeats
        self.whole = int(cost_n.sum())
        self.longest = int(cost_n.max(initial=0))

    @cached_property
    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """(begin of each flat step, its end), int64; the ends rise."""
        ends = np.sort(self.cost_n)
        begins = np.cumsum(ends) - ends
        flat = begins < ends
        return begins[flat], ends[flat]

    def step_after(self, claim: int) -> tuple[int, float]:
        """(begin, end) of the first flat step that ends above ``claim``, a budget."""
        passes, rest = divmod(claim, self.whole) if self.whole else (self.max_repeats, 0)
        if passes >= self.max_repeats:
            return self.max_repeats * self.whole, np.inf
        if rest < self.longest:
            begins, ends = self.steps
            i = int(np.searchsorted(ends, rest, side="right"))
            if i < len(ends):
                return passes * self.whole + int(begins[i]), passes * self.whole + int(ends[i])
        full = (passes + 1) * self.whole
        more = passes + 1 < self.max_repeats
        return full, full + int(self.steps[1][0]) if more else np.inf


def grants(uses: list[Uses], allocated_K: np.ndarray, utility_K: np.ndarray) -> np.ndarray:
    """Budgets that the clusters can use, int64 (K,). Each cluster gets at least the usable part of its own budget.

    Unusable parts are shared among all clusters by utility, in rounds of water-filling. The result has the same sum as
    ``allocated_K``, or a smaller one if no document fits any more. Clusters without utility share what the others
    leave, by their sizes.
    """
    allocated_K, utility_K = np.asarray(allocated_K, np.int64), np.asarray(utility_K, np.float64)
    steps = [use.step_after(int(claim)) for use, claim in zip(uses, allocated_K, strict=True)]
    if all(begin >= claim for (begin, _), claim in zip(steps, allocated_K, strict=True)):
        return allocated_K.copy()
    total = int(allocated_K.sum())
    granted_K = np.minimum([begin for begin, _ in steps], allocated_K)
    whole_K = np.array([use.whole for use in uses], np.float64)
    for wanted_K in (utility_K, np.where(utility_K > 0, 0, whole_K)):
        some = np.flatnonzero(wanted_K > 0)
        if len(some):
            left = total - int(np.delete(granted_K, some).sum())
            granted_K[some] = _fill([uses[k] for k in some], allocated_K[some], granted_K[some], wanted_K[some], left)
    return granted_K


def _fill(
    uses: list[Uses], allocated_k: np.ndarray, floor_k: np.ndarray, utility_k: np.ndarray, total: int
) -> np.ndarray:
    """``grants`` for clusters with utility. The water rises in all of them to the same level, budget / utility.

    In a cluster it stops where a flat step begins, until the level reaches the end of the step, where the next longer
    document fits. If too little is left for that document, the cluster gets no more.
    """
    utility_k = np.maximum(utility_k / utility_k.max(), 1e-200)  # a positive utility must not underflow to 0
    steps = [use.step_after(int(claim)) for use, claim in zip(uses, allocated_k, strict=True)]
    cap_k, end_k = (np.array(values, np.float64) for values in zip(*steps, strict=True))
    floor_k = floor_k.copy()
    while True:
        filled_k = water_fill(utility_k, cap_k, total)
        open_k = filled_k < cap_k
        level = (filled_k[open_k] / utility_k[open_k]).max() if open_k.any() else np.inf
        at_k = end_k / utility_k
        k = int(np.argmin(at_k))
        if not np.isfinite(at_k[k]) or at_k[k] > level:
            whole = min(total, int(cap_k.sum()))
            return largest_remainder(filled_k, cap_k.astype(np.int64), whole, floor_k)
        others_k = np.maximum(floor_k, np.minimum(at_k[k] * utility_k, cap_k))
        if others_k.sum() - others_k[k] + end_k[k] > total:
            end_k[k] = np.inf
            continue
        floor_k[k] = int(end_k[k])
        cap_k[k], end_k[k] = uses[k].step_after(int(end_k[k]))


@dataclass
class _Begun:
    """The draw of one cluster, up to the first document that does not fit whole.

    ``repeats_n``: copies of its documents, a part of those of the pool. ``next``: that document; -1 if there is none.
    ``room``: the budget that is left for it.
    """

    repeats_n: np.ndarray
    granted: int
    whole: int
    drawn: int
    threshold: float
    all_that_fit: bool = False
    passed_over: int = 0
    passed_over_cost: int = 0
    next: int = -1
    next_cost: int = 0
    next_key: float = -np.inf
    room: int = 0

    def take_next(self) -> None:
        self.repeats_n[self.next] += 1
        self.drawn += self.next_cost
        self.threshold = self.next_key


def _begin(repeats_n: np.ndarray, key_n: np.ndarray, cost_n: np.ndarray, granted: int, given: bool) -> _Begun:
    """Take the documents that fit whole. Documents longer than the budget of the last pass are passed over.

    ``repeats_n``: zeros, which are filled.
    """
    whole = int(cost_n.sum())
    passes, rest = divmod(granted, whole) if whole else (0, 0)
    repeats_n += passes
    begun = _Begun(repeats_n, granted, whole, passes * whole, float(key_n.min()) if passes else np.nan)
    if not given or (passes and not rest):
        return begun
    if cost_n.max(initial=0) <= rest < whole:  # no document is too long: no arrays need to be copied
        _take(begun, key_n, cost_n, None, rest)
        return begun
    fits = np.flatnonzero(cost_n <= rest)
    fitting = int(cost_n[fits].sum())
    if not passes:
        begun.passed_over, begun.passed_over_cost = len(key_n) - len(fits), whole - fitting
    if fitting > rest:
        _take(begun, key_n, cost_n, fits, rest)
        return begun
    repeats_n[fits] += 1
    begun.drawn, begun.all_that_fit = begun.drawn + fitting, True
    begun.threshold = float(key_n[fits].min()) if len(fits) else begun.threshold
    return begun


def _take(begun: _Begun, key_n: np.ndarray, cost_n: np.ndarray, fits: np.ndarray | None, rest: int) -> None:
    """Take documents of ``fits`` (None: all), the largest key first, while they fit into ``rest``."""
    if fits is None:
        sure, order = _around(key_n, cost_n, rest)
    else:
        sure, order = (fits[rows] for rows in _around(key_n[fits], cost_n[fits], rest))
    base = int(cost_n[sure].sum())
    reached = base + np.cumsum(cost_n[order])
    n = int(np.searchsorted(reached, rest, side="right"))
    taken = int(reached[n - 1]) if n else base
    begun.repeats_n[sure] += 1
    begun.repeats_n[order[:n]] += 1
    begun.drawn += taken
    if n or len(sure):
        begun.threshold = float(key_n[order[n - 1]] if n else key_n[sure].min())
    if taken < rest:
        begun.next, begun.room = int(order[n]), rest - taken
        begun.next_cost, begun.next_key = int(cost_n[order[n]]), float(key_n[order[n]])


def _finishing(begun: list[_Begun]) -> list[int]:
    """The clusters that take one document more, as long as this brings the total nearer to the budget.

    Clusters where the largest share of that document fits come first; of equal ones, that with the largest key.
    """
    some = [k for k, b in enumerate(begun) if b.next >= 0]
    some.sort(key=lambda k: (-begun[k].room / begun[k].next_cost, -begun[k].next_key))
    left, chosen = sum(begun[k].room for k in some), []
    for k in some:
        if 2 * left >= begun[k].next_cost:
            chosen.append(k)
            left -= begun[k].next_cost
    return chosen


def _around(key_N: np.ndarray, cost_N: np.ndarray, rest: int) -> tuple[np.ndarray, np.ndarray]:
    """Split documents at ``rest``: (documents that are taken for sure, the next ones in the order of their keys).

    Sorting everything would cost more than the rest of the draw. Two pivots from a sample bracket the key at which
    ``rest`` is reached, and only documents between them are sorted. Ties are in the order of the documents.
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
        if before < rest <= before + int(cost_N[between].sum()):  # otherwise the sample was misleading: sort all
            return sure_N, between[np.lexsort((between, -key_N[between]))]
    return np.zeros(0, np.int64), np.lexsort((np.arange(n), -key_N))
