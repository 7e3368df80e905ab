"""Exact nearest neighbours inside a cluster, screened in a cheap format (screening.py).

Rows are coded relative to the cluster's mean. That changes no distance, but shrinks the rows, and the error of the
codes, by a half or more. With r = x - mean and s = y - mean, ||x - y||^2 = ||r||^2 - 2 (r.s - ||s||^2 / 2): the larger
the score in brackets, the nearer. The scores of a row with a block of columns are scanned once. Columns that may be
among the k nearest, by the error bound of the format, are compared in float32; those that still may be, in float64.
Memory: one block of rows times columns per thread, whatever the size of the cluster. Cost: N^2 d operations in the
cheap format. On a GPU a row is compared with all columns at once (on_device.py), and the comparison is the same.
Shapes: N documents, B rows of a block, J columns of a block, k neighbours, d dimensions.
"""

from dataclasses import dataclass

import numpy as np

from grip_assets.method.partition import lloyd
from grip_assets.method.sampling import keyed_order
from grip_assets.method.screening import (
    LANES,
    Codes,
    Format,
    bound,
    compiled,
    encode_around,
    products,
    rounding,
    score_row,
    scores_from,
)
from grip_assets.runtime.memory import in_blocks

ROWS, COLUMNS = 256, 2048
SPLIT_ITERATIONS = 5


@dataclass(frozen=True)
class Cluster:
    """The rows of a cluster, float32, and their codes relative to the mean."""

    x_ND: np.ndarray
    codes: Codes

    @classmethod
    def of(cls, x_ND: np.ndarray, format: Format) -> "Cluster":
        return cls(x_ND, encode_around(x_ND.mean(0, dtype=np.float64).astype(np.float32), x_ND, format))


def nearest(cluster: Cluster, start: int, stop: int, k: int, columns: int = COLUMNS) -> np.ndarray:
    """Distances of rows ``start`` to ``stop`` to their k nearest other rows, float64 (stop - start, k), ascending.

    k is at most N - 1. A document is not its own neighbour, but a copy of it is. Distances are computed from
    differences in float64, since 2 - 2cos would cancel for near-duplicates.
    """
    x_ND, codes = cluster.x_ND, cluster.codes
    if codes.on_device:
        return _nearest_on_device(cluster, start, stop, k)
    distance_Bk = np.empty((stop - start, k))

    def search(first: int, last: int) -> None:
        rows = codes[start + first : start + last]
        square_Bk = np.full((len(rows), k), np.inf)
        for left in range(0, len(x_ND), columns):
            some = codes[left : left + columns]
            slack_B = bound(rows, some) + rounding(x_ND.shape[1]) * (rows.norm_N**2 + some.norm_N.max() ** 2)
            _scan(
                products(rows, some),
                some.scale_N,
                some.norm_N,
                rows.scale_N,
                rows.norm_N,
                slack_B,
                start + first,
                left,
                x_ND,
                square_Bk,
            )
        distance_Bk[first:last] = np.sqrt(square_Bk)

    in_blocks(stop - start if k else 0, ROWS, search, "search of neighbours")
    return distance_Bk


def _nearest_on_device(cluster: Cluster, start: int, stop: int, k: int) -> np.ndarray:
    from grip_assets.method import on_device  # torch

    assert isinstance(cluster.codes, on_device.OnDevice)
    square_Bk = np.full((stop - start, k), np.inf)

    def use(some: slice, pairs: on_device.Pairs) -> None:
        square_Bk[some] = np.inf
        _compare(*pairs, start + some.start, cluster.x_ND, square_Bk[some])

    if k:
        on_device.neighbours(cluster.codes[start:stop], cluster.codes, start, k, use)
    return np.sqrt(square_Bk)


def split(x_ND: np.ndarray, most: int, seed: int) -> list[np.ndarray]:
    """Row numbers of the parts of a cluster; a single part if it has at most ``most`` rows.

    Neighbours are searched inside each part, which bounds the cost N^2. The parts come from k-means, so most neighbours
    are in the same part. This is the only place where neighbours are not exact (docs/performance.md measures it).
    """
    if len(x_ND) <= most:
        return [np.arange(len(x_ND))]
    k = -(-len(x_ND) // (most // 2))
    rows = lloyd.prepare(x_ND)
    start_KD = x_ND[np.sort(keyed_order(seed, "split", len(x_ND))[:k])]
    _, label_N, _ = lloyd.lloyd(rows, start_KD, SPLIT_ITERATIONS)
    return [part for i in range(k) if len(part := np.flatnonzero(label_N == i))]


@compiled
def _scan(product_BJ, scale_J, norm_J, scale_B, norm_B, slack_B, first, left, x_ND, square_Bk):
    """Update the k smallest squared distances of each row with a block of columns."""
    n, k = product_BJ.shape[1], square_Bk.shape[1]
    error = rounding(x_ND.shape[1])
    score_J, half_J = np.empty((n + LANES - 1) // LANES * LANES, np.float32), norm_J * norm_J / 2
    top_L, lane_L = np.empty(LANES, np.float32), np.empty(LANES, np.int32)
    negated_k, near_J = np.empty(k, np.float32), np.empty(n + 1, np.int32)
    for b in range(product_BJ.shape[0]):
        i, own = first + b, first + b - left
        x_D, square_k, scale, slack, square = x_ND[i], square_Bk[b], scale_B[b], slack_B[b], norm_B[b] * norm_B[b]
        score_row(product_BJ[b], scale_J, half_J, np.float32(1) / scale, n, score_J, top_L)
        # at least k lanes have a score of at least ``likely``, not counting the lane of the row itself
        negated_k[:] = np.float32(1e30)
        if k < LANES:
            for lane in range(LANES):
                if not (0 <= own < n and own % LANES == lane):
                    _insert(negated_k, -top_L[lane])
        likely = -negated_k[k - 1]
        reach = (np.float32(0.5 * (square - square_k[k - 1])) - slack) / scale
        cut = max(likely - 2 * slack / scale, reach)
        m = scores_from(score_J, top_L, n, cut, lane_L, near_J)
        for likely_ones in (True, False):  # likely neighbours first: their distances exclude most of the others
            for position in range(m):
                j = near_J[position]
                if j == own or (score_J[j] >= likely) != likely_ones:
                    continue
                if square - 2 * (score_J[j] * scale + slack) > square_k[k - 1]:
                    continue
                if _square32(x_D, x_ND[left + j]) * (1 - error) <= square_k[k - 1]:
                    _insert(square_k, _square(x_D, x_ND[left + j]))


@compiled
def _compare(end_B, column_M, first, x_ND, square_Bk):
    """The k smallest squared distances of each row to a few columns."""
    left, k, error = 0, square_Bk.shape[1], rounding(x_ND.shape[1])
    for b in range(end_B.shape[0]):
        x_D, square_k = x_ND[first + b], square_Bk[b]
        for position in range(left, end_B[b]):
            j = column_M[position]
            if j != first + b and _square32(x_D, x_ND[j]) * (1 - error) <= square_k[k - 1]:
                _insert(square_k, _square(x_D, x_ND[j]))
        left = end_B[b]


@compiled
def _square32(x_D, y_D):
    total = np.float32(0)
    for j in range(x_D.shape[0]):
        total += (x_D[j] - y_D[j]) * (x_D[j] - y_D[j])
    return total


@compiled
def _square(x_D, y_D):
    total = 0.0
    for j in range(x_D.shape[0]):
        difference = np.float64(x_D[j]) - np.float64(y_D[j])
        total += difference * difference
    return total


@compiled
def _insert(low_k, value):
    """Insert ``value`` into ascending values and drop the highest."""
    position = low_k.shape[0] - 1
    if value >= low_k[position]:
        return
    while position > 0 and low_k[position - 1] > value:
        low_k[position] = low_k[position - 1]
        position -= 1
    low_k[position] = value
