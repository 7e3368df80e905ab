"""The nearest and the second nearest centroid of each row, exactly, from products in eight bits (screening.py).

What is screened in is decided in float32 within its rounding bound, and in float64 where that does not tell. Ties go to
the lowest id. Shapes: B rows, K centroids, d dimensions.
"""

from typing import NamedTuple

import numpy as np

from grip_assets.method.screening import (
    LANES,
    Codes,
    bound,
    compiled,
    dot32,
    dot64,
    encode,
    products,
    rounding,
    score_row,
    scores_from,
)

BLOCK = 512  # rows of a product
NONE = -2.0  # the cosine of a centroid that is not there


class Two(NamedTuple):
    """``label_B``: int32, the nearest. ``first_B``, ``second_B``: cosines to the two nearest, float64; the second is
    NONE where there is only one centroid."""

    label_B: np.ndarray
    first_B: np.ndarray
    second_B: np.ndarray


def two_nearest(x_BD: np.ndarray, c_KD: np.ndarray, codes: Codes) -> Two:
    """Of unit rows, float32, on one thread. ``codes``: the centroids'."""
    n = len(x_BD)
    found = Two(np.empty(n, np.int32), np.empty(n), np.empty(n))
    for start in range(0, n, BLOCK):
        some = slice(start, start + BLOCK)
        coded = encode(x_BD[some], codes.format)
        _two_nearest(
            products(coded, codes),
            codes.scale_N,
            bound(coded, codes),
            coded.scale_N,
            x_BD[some],
            c_KD,
            *(column[some] for column in found),
        )
    return found


def silhouette(first_B: np.ndarray, second_B: np.ndarray) -> np.ndarray:
    """The simplified silhouette, float32: 1 - a / b, a and b the distances to the nearest and to the second nearest
    centroid. 1 on a centroid and 0 half-way between two; 1 where there is no second."""
    a_B, b_B = (np.sqrt(np.maximum(2 - 2 * cosine_B, 0)) for cosine_B in (first_B, second_B))
    between = 1 - np.divide(a_B, b_B, out=np.ones_like(a_B), where=b_B > 0)
    return np.where(second_B == NONE, 1.0, between).astype(np.float32)


@compiled
def _two_nearest(product_BK, scale_K, slack_B, scale_B, x_BD, c_KD, label_B, first_B, second_B):
    error = rounding(x_BD.shape[1])
    k = product_BK.shape[1]
    score_K, none_K = np.empty((k + LANES - 1) // LANES * LANES, np.float32), np.zeros(k, np.float32)
    top_L, lane_L = np.empty(LANES, np.float32), np.empty(LANES, np.int32)
    found_K, cosine_K = np.empty(k + 1, np.int32), np.empty(k + 1, np.float32)
    for b in range(product_BK.shape[0]):
        x_D = x_BD[b]
        score_row(product_BK[b], scale_K, none_K, np.float32(0), k, score_K, top_L)
        # Two lanes have a column each that scores this much, so the second nearest is not below it by more than this.
        cut = _second_of(top_L, LANES) - 2 * slack_B[b] / scale_B[b]
        n = scores_from(score_K, top_L, k, cut, lane_L, found_K)
        for position in range(n):
            cosine_K[position] = dot32(x_D, c_KD[found_K[position]])
        sure = _second_of(cosine_K, n) - 2 * error
        best, first, second = -1, NONE, NONE
        for position in range(n):
            if cosine_K[position] >= sure:
                j = found_K[position]
                cosine = dot64(x_D, c_KD[j])
                if cosine > first or (cosine == first and j < best):
                    best, first, second = j, cosine, first
                elif cosine > second:
                    second = cosine
        label_B[b], first_B[b], second_B[b] = best, first, second


@compiled
def _second_of(value_N, n):
    """The second largest of the first ``n`` values; far below all where there is only one."""
    first = second = np.float32(-1e30)
    for i in range(n):
        if value_N[i] > first:
            first, second = value_N[i], first
        elif value_N[i] > second:
            second = value_N[i]
    return second
