"""Lloyd's iterations on the sphere. Every label is exact, and most products are never computed.

For each row, as chord distances ||x - c|| = sqrt(2 - 2 x.c):
    upper          at least its distance to its own centroid
    near, bound    the NEAR centroids nearest to it when it was last compared with all, and at most its distance to each
    rest           at most its distance to any other centroid
A centroid that moved by m changes a distance by at most m (triangle inequality). So a row costs in an iteration
    nothing            if upper is still below all of these,
    a few products     with those in ``near`` whose bound is not above it,
    M products more    with the few centroids that moved far (movers), if ``rest`` holds for all others,
    K products         otherwise. The M and the K products are in int8 (screening.py).
The movers are chosen in each iteration, so that the cost is lowest. Labels are those of an exhaustive search in
float64, with ties to the lowest id. So the centroids do not depend on what was skipped, on the format or on the number
of threads. Sums are kept in float64, and only rows that change cluster are moved. Memory beside the rows: d + 88 bytes
per row. On a GPU all products are computed in each iteration, and only rows that they do not decide are compared here.
Shapes: N rows, K centroids, M movers, L near, d dimensions. exhaustive.py is the same algorithm in 20 lines.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from grip_assets.method.screening import (
    LANES,
    Codes,
    Format,
    bound,
    compiled,
    dot32,
    dot64,
    empty_codes,
    encode,
    encode_into,
    fastest,
    products,
    rounding,
    score_row,
    scores_from,
)
from grip_assets.runtime import threads
from grip_assets.runtime.threads import default_workers

NEAR = 8
CHUNK = 4096  # rows of a shard
BLOCK = 512  # rows of a product
TINY = np.float32(1e-6)  # above the rounding of sums of distances


@dataclass
class Rows:
    """The rows to cluster: unit rows, float32, and their codes."""

    x_ND: np.ndarray
    codes: Codes


class State:
    """Label and bounds of each row (see the module's docstring). At first nothing is known."""

    def __init__(self, n: int):
        self.label_N = np.full(n, -1, np.int32)
        self.upper_N, self.rest_N = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self.near_NL, self.bound_NL = np.full((n, NEAR), -1, np.int32), np.zeros((n, NEAR), np.float32)

    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.label_N, self.upper_N, self.rest_N, self.near_NL, self.bound_NL


@dataclass(frozen=True)
class Centroids:
    """Centroids of one iteration. ``moved_K``: how far each moved since the last one. ``movers``: ids of those that are
    compared with every doubtful row. ``still``: an upper bound on the move of the others."""

    c_KD: np.ndarray
    codes: Codes
    moved_K: np.ndarray
    movers: np.ndarray
    still: np.float32


def prepare(x_ND: np.ndarray, format: Format | None = None) -> Rows:
    """Rows to cluster, encoded once for all initialisations. ``x_ND``: unit rows, float32, C-contiguous."""
    format = format or fastest()[0]
    if "/" in format:
        return Rows(x_ND, encode(x_ND, format))
    codes = empty_codes(x_ND, format)
    for _ in threads.each(lambda s: encode_into(x_ND, codes, s, s + CHUNK), range(0, len(x_ND), CHUNK)):
        pass
    return Rows(x_ND, codes)


class Found(NamedTuple):
    """``centroids_KD``: float32. ``label_N``: the nearest of them. ``objectives``: mean cosine of the rows to their
    nearest centroid, at the start and after each iteration."""

    centroids_KD: np.ndarray
    label_N: np.ndarray
    objectives: list[float]


def lloyd(
    rows: Rows,
    c_KD: np.ndarray,
    iterations: int,
    done: Callable[[float], None] = lambda n: None,
    at_rest: float = 0.0,
) -> Found:
    """Run ``iterations`` of Lloyd's algorithm from the centroids ``c_KD``.

    They end early if less than the share ``at_rest`` of the rows changes cluster in one, or if no centroid moves. A
    cluster that lost all its rows takes half of the largest cluster, as in faiss. ``done`` is called after each
    iteration.
    """
    n, d = rows.x_ND.shape
    state = State(n)
    sums_KD, counts_K = np.zeros((len(c_KD), d)), np.zeros(len(c_KD), np.int64)
    moved_K, objectives = np.zeros(len(c_KD), np.float32), []
    for _ in range(iterations):
        before_N = state.label_N.copy()
        assign_rows(rows, state, c_KD, moved_K)
        _move(rows.x_ND, before_N, state.label_N, sums_KD, counts_K)
        objectives.append(float(np.einsum("kd,kd->", sums_KD, c_KD, dtype=np.float64)) / n)
        if counts_K.all() and np.count_nonzero(before_N != state.label_N) < at_rest * n:
            return Found(c_KD, state.label_N, objectives)
        new_KD = split_empty(unit_means(sums_KD, counts_K, c_KD), counts_K.copy())
        moved_K = np.linalg.norm(new_KD.astype(np.float64) - c_KD, axis=1).astype(np.float32)
        c_KD = new_KD
        done(1)
        if not moved_K.any():
            break
    assign_rows(rows, state, c_KD, moved_K)
    cosine_N = np.empty(n)
    cosines(rows.x_ND, c_KD, state.label_N, cosine_N)
    return Found(c_KD, state.label_N, [*objectives, float(cosine_N.mean())])


def assign_rows(rows: Rows, state: State, c_KD: np.ndarray, moved_K: np.ndarray) -> None:
    """Update labels and bounds of all rows for the centroids ``c_KD``. On a device there are no bounds."""
    if rows.codes.on_device:
        _assign_on_device(rows, state, c_KD)
        return
    centroids = _centroids(rows, state, c_KD, moved_K)
    for _ in threads.each(lambda s: _assign_chunk(rows, state, centroids, s), range(0, len(rows.x_ND), CHUNK)):
        pass


def _assign_on_device(rows: Rows, state: State, c_KD: np.ndarray) -> None:
    from grip_assets.method import on_device  # torch

    assert isinstance(rows.codes, on_device.OnDevice)

    def use(some: slice, pairs: on_device.Pairs) -> None:
        _best_of(*pairs, rows.x_ND[some], c_KD, state.label_N[some])

    on_device.nearest(rows.codes, on_device.encode(c_KD, rows.codes.format), use)


@compiled
def _best_of(end_B, column_M, x_BD, c_KD, label_B):
    """Write the nearest of a few centroids of each row, ascending, as in float64. A single one needs no comparison."""
    left = 0
    for b in range(end_B.shape[0]):
        best = column_M[left]
        if end_B[b] > left + 1:
            highest = dot64(x_BD[b], c_KD[best])
            for position in range(left + 1, end_B[b]):
                cosine = dot64(x_BD[b], c_KD[column_M[position]])
                if cosine > highest:
                    best, highest = column_M[position], cosine
        label_B[b] = best
        left = end_B[b]


def _assign_chunk(rows: Rows, state: State, centroids: Centroids, start: int) -> None:
    stop = min(start + CHUNK, len(rows.x_ND))
    same = (rows.codes.scale_N, rows.x_ND, centroids.c_KD, *state.arrays())
    undecided = np.arange(start, stop)
    if state.label_N[start] >= 0:
        beside_movers, undecided = _by_bounds(*same[1:], start, stop, centroids.moved_K, centroids.still)
        movers = centroids.codes[centroids.movers]
        for some in blocks(beside_movers):
            coded = rows.codes[some]
            _with_movers(
                products(coded, movers),
                centroids.movers,
                movers.scale_N,
                bound(coded, movers),
                some,
                *same,
            )
    for some in blocks(undecided):
        coded = rows.codes[some]
        _with_all(
            products(coded, centroids.codes),
            centroids.codes.scale_N,
            bound(coded, centroids.codes),
            some,
            *same,
        )


def blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK)]


def _centroids(rows: Rows, state: State, c_KD: np.ndarray, moved_K: np.ndarray) -> Centroids:
    """Choose the movers: centroids above a quantile of the moves. The quantile with the lowest cost is taken."""
    movers, still = np.zeros(0, np.int32), moved_K.max()
    if state.label_N[0] >= 0:
        some = slice(None, None, max(len(rows.x_ND) // 20_000, 1))
        margin = np.sort((state.rest_N - state.upper_N - moved_K[state.label_N])[some])
        least = np.inf
        for threshold in np.unique(np.quantile(moved_K, [0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1], method="lower")):
            among = np.flatnonzero(moved_K > threshold)
            undecided, doubtful = np.searchsorted(margin, [threshold, moved_K.max()]) / len(margin)
            cost = (doubtful - undecided) * len(among) / len(moved_K) + undecided
            if cost < least:
                least, movers, still = cost, among.astype(np.int32), threshold
    return Centroids(c_KD, encode(c_KD, rows.codes.format), moved_K + TINY, movers, np.float32(still + TINY))


def unit_means(sums_KD: np.ndarray, counts_K: np.ndarray, old_KD: np.ndarray) -> np.ndarray:
    """Normalised sums, float32 (K, d). A cluster without members, or whose members cancel out, keeps its centroid."""
    norms_K = np.linalg.norm(sums_KD, axis=1)
    good_K = (counts_K > 0) & (norms_K > 1e-6)
    new_KD = old_KD.copy()
    new_KD[good_K] = sums_KD[good_K] / norms_K[good_K, None]
    return new_KD


def split_empty(c_KD: np.ndarray, counts_K: np.ndarray) -> np.ndarray:
    """Split the largest cluster for each cluster without rows: each of the two gets one half."""
    nudge_D = np.where(np.arange(c_KD.shape[1]) % 2, np.float32(1 / 1024), np.float32(-1 / 1024))
    for empty in np.flatnonzero(counts_K == 0):
        largest = int(np.argmax(counts_K))
        for target, row_D in ((empty, c_KD[largest] * (1 + nudge_D)), (largest, c_KD[largest] * (1 - nudge_D))):
            c_KD[target] = row_D / np.linalg.norm(row_D)
        counts_K[empty] = counts_K[largest] // 2
        counts_K[largest] -= counts_K[empty]
    return c_KD


def _move(
    x_ND: np.ndarray, before_N: np.ndarray, after_N: np.ndarray, sums_KD: np.ndarray, counts_K: np.ndarray
) -> None:
    """Move the rows that changed cluster. Each cluster's sum is computed by one thread, in the order of the rows."""
    changed = np.flatnonzero(before_N != after_N)
    parts = default_workers()
    for _ in threads.each(
        lambda p: _move_part(x_ND, changed, before_N, after_N, sums_KD, counts_K, p, parts), range(parts)
    ):
        pass


@compiled
def _move_part(x_ND, changed, before_N, after_N, sums_KD, counts_K, part, parts):
    for i in changed:
        old, new = before_N[i], after_N[i]
        if old >= 0 and old % parts == part:
            counts_K[old] -= 1
            for j in range(x_ND.shape[1]):
                sums_KD[old, j] -= x_ND[i, j]
        if new % parts == part:
            counts_K[new] += 1
            for j in range(x_ND.shape[1]):
                sums_KD[new, j] += x_ND[i, j]


@compiled
def cosines(x_ND, c_KD, label_N, cosine_N):
    """Write the cosine of each row and its centroid, in float64, to ``cosine_N``."""
    for i in range(x_ND.shape[0]):
        cosine_N[i] = dot64(x_ND[i], c_KD[label_N[i]])


@compiled
def chord_above(cosine):
    """An upper bound on the distance of two unit vectors whose cosine is at least ``cosine``."""
    return np.sqrt(max(np.float32(2) - np.float32(2) * cosine, np.float32(0))) + TINY


@compiled
def chord_below(cosine):
    return np.sqrt(max(np.float32(2) - np.float32(2) * cosine, np.float32(0))) - TINY


@compiled
def _by_bounds(x_ND, c_KD, label_N, upper_N, rest_N, near_NL, bound_NL, start, stop, moved_K, still):
    """Decide rows by bounds and near centroids. Returns (rows to compare with movers, rows to compare with all)."""
    error = rounding(x_ND.shape[1])
    top = np.argmax(moved_K)
    beside_movers, undecided = np.empty(stop - start, np.int64), np.empty(stop - start, np.int64)
    n_movers = n_undecided = 0
    for i in range(start, stop):
        x_D, best = x_ND[i], label_N[i]
        upper = upper_N[i] + moved_K[best]
        lower = rest_N[i] - moved_K[top]
        for position in range(near_NL.shape[1]):
            candidate = near_NL[i, position]
            if candidate >= 0:
                bound_NL[i, position] -= moved_K[candidate]
                if candidate != best:
                    lower = min(lower, bound_NL[i, position])
        if upper >= lower:
            best_cosine = dot32(x_D, c_KD[best])
            upper = chord_above(best_cosine - error)
            for position in range(near_NL.shape[1]):
                candidate = near_NL[i, position]
                if candidate >= 0 and candidate != best and bound_NL[i, position] <= upper:
                    cosine = dot32(x_D, c_KD[candidate])
                    bound_NL[i, position] = chord_below(cosine + error)
                    if _nearer(x_D, c_KD, candidate, cosine, best, best_cosine, error):
                        _rebound(near_NL[i], bound_NL[i], best, best_cosine + error)
                        best, best_cosine = candidate, cosine
                        upper = chord_above(best_cosine - error)
        label_N[i], upper_N[i] = best, upper
        if upper < rest_N[i] - moved_K[top]:
            rest_N[i] -= moved_K[top]
        elif upper < rest_N[i] - still:
            rest_N[i] -= still
            beside_movers[n_movers] = i
            n_movers += 1
        else:
            undecided[n_undecided] = i
            n_undecided += 1
    return beside_movers[:n_movers], undecided[:n_undecided]


@compiled
def _with_movers(
    product_BM, mover_M, mover_scale_M, slack_B, row_B, scale_N, x_ND, c_KD, label_N, upper_N, rest_N, near_NL, bound_NL
):
    """Compare rows with the movers; ``rest_N`` holds for all others that are not near."""
    error = rounding(x_ND.shape[1])
    m = mover_M.shape[0]
    score_M, none_M = np.empty((m + LANES - 1) // LANES * LANES, np.float32), np.zeros(m, np.float32)
    top_L = np.empty(LANES, np.float32)
    for b in range(row_B.shape[0]):
        i = row_B[b]
        x_D, scale, slack, best = x_ND[i], scale_N[i], slack_B[b], label_N[i]
        best_cosine = dot32(x_D, c_KD[best])
        outside = np.float32(-1)  # at least the cosine of any mover that is not near
        score_row(product_BM[b], mover_scale_M, none_M, np.float32(0), m, score_M, top_L)
        for lane in range(LANES):
            if top_L[lane] * scale + slack < best_cosine - error:
                outside = max(outside, top_L[lane] * scale + slack)
                continue
            for position in range(lane, m, LANES):
                candidate = mover_M[position]
                if _listed(near_NL[i], candidate):
                    continue
                if score_M[position] * scale + slack < best_cosine - error:
                    outside = max(outside, score_M[position] * scale + slack)
                    continue
                cosine = dot32(x_D, c_KD[candidate])
                if _nearer(x_D, c_KD, candidate, cosine, best, best_cosine, error):
                    _rebound(near_NL[i], bound_NL[i], best, best_cosine + error)
                    rest_N[i] = min(rest_N[i], _enlist(near_NL[i], bound_NL[i], candidate, best))
                    best, best_cosine = candidate, cosine
                else:
                    outside = max(outside, cosine + error)
        label_N[i] = best
        upper_N[i] = chord_above(best_cosine - error)
        rest_N[i] = min(rest_N[i], chord_below(outside))


@compiled
def _listed(near_L, candidate):
    for position in range(near_L.shape[0]):  # noqa: SIM110 -- compiled: any() is slower
        if near_L[position] == candidate:
            return True
    return False


@compiled
def _rebound(near_L, bound_L, centroid, cosine):
    """Note the bound of the centroid that was the row's own until now."""
    for position in range(near_L.shape[0]):
        if near_L[position] == centroid:
            bound_L[position] = chord_below(cosine)


@compiled
def _enlist(near_L, bound_L, candidate, keep):
    """Replace the farthest one except ``keep`` by ``candidate``. Returns the bound of the one replaced, or 4."""
    worst = -1
    for position in range(near_L.shape[0]):
        if near_L[position] < 0:
            near_L[position] = candidate
            return np.float32(4)
        if near_L[position] != keep and (worst < 0 or bound_L[position] > bound_L[worst]):
            worst = position
    near_L[worst] = candidate
    return bound_L[worst]


@compiled
def _nearer(x_D, c_KD, candidate, cosine, best, best_cosine, error):
    """Whether ``candidate`` is nearer than ``best``, exactly. At equal distance the lower id counts as nearer."""
    if abs(cosine - best_cosine) > 2 * error:
        return cosine > best_cosine
    mine, its = dot64(x_D, c_KD[candidate]), dot64(x_D, c_KD[best])
    return mine > its or (mine == its and candidate < best)


@compiled
def _with_all(product_BK, scale_K, slack_B, row_B, scale_N, x_ND, c_KD, label_N, upper_N, rest_N, near_NL, bound_NL):
    """Compare rows with all centroids, and renew the list of near ones: those within a margin of the best.

    The margin adapts from row to row, so that about as many centroids are near as the list holds.
    """
    error = rounding(x_ND.shape[1])
    k, listed = product_BK.shape[1], near_NL.shape[1]
    score_K, none_K = np.empty((k + LANES - 1) // LANES * LANES, np.float32), np.zeros(k, np.float32)
    top_L, lane_L = np.empty(LANES, np.float32), np.empty(LANES, np.int32)
    found_K, bound_K = np.empty(k + 1, np.int32), np.empty(k + 1, np.float32)
    margin = np.float32(0.1)
    for b in range(row_B.shape[0]):
        i = row_B[b]
        x_D, scale, slack = x_ND[i], scale_N[i], slack_B[b]
        score_row(product_BK[b], scale_K, none_K, np.float32(0), k, score_K, top_L)
        top = top_L[0]
        for lane in range(LANES):
            top = max(top, top_L[lane])
        threshold = top - 2 * slack / scale  # a centroid below cannot be the nearest
        cut = min(threshold, top - margin / scale)
        n = scores_from(score_K, top_L, k, cut, lane_L, found_K)
        margin *= np.float32(0.98) if n > listed // 2 else np.float32(1.02)
        best, best_cosine = -1, np.float32(-2)
        for position in range(n):
            j = found_K[position]
            cosine = score_K[j] * scale + slack
            if score_K[j] >= threshold:
                exact = dot32(x_D, c_KD[j])
                cosine = exact + error
                if best < 0 or _nearer(x_D, c_KD, j, exact, best, best_cosine, error):
                    best, best_cosine = j, exact
            bound_K[position] = chord_below(cosine)
        rest = chord_below(cut * scale + slack)
        if n > listed:
            rest = min(rest, _nearest_first(found_K, bound_K, n, best, listed))
        for position in range(listed):
            near_NL[i, position] = found_K[position] if position < n else -1
            bound_NL[i, position] = bound_K[position]
        label_N[i] = best
        upper_N[i] = chord_above(best_cosine - error)
        rest_N[i] = rest


@compiled
def _nearest_first(found_K, bound_K, n, best, listed):
    """Bring ``best`` and the lowest bounds to the front, ``listed`` in all. Returns the lowest bound of the rest."""
    for position in range(n):
        if found_K[position] == best:
            found_K[0], found_K[position] = found_K[position], found_K[0]
            bound_K[0], bound_K[position] = bound_K[position], bound_K[0]
    low = np.float32(4)
    for position in range(1, n):
        j, value = found_K[position], bound_K[position]
        if position >= listed:
            last = bound_K[listed - 1]
            low = min(low, max(value, last))
            if value >= last:
                continue
        place = min(position, listed - 1)
        while place > 1 and bound_K[place - 1] > value:
            found_K[place], bound_K[place] = found_K[place - 1], bound_K[place - 1]
            place -= 1
        found_K[place], bound_K[place] = j, value
    return low
