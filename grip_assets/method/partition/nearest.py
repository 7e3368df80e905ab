"""The nearest and the second nearest centroid of each row, exactly, from products in eight bits (screening.py).

Candidates that pass the screening are compared in float32 and, if they are within its rounding bound, in float64. Ties
go to the lowest id. Shapes: B rows, K centroids, d dimensions.
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
NONE = -2.0  # stands for the cosine of a second centroid if there is only one


class Two(NamedTuple):
    """``label_B``: the nearest centroid, int32. ``first_B``, ``second_B``: cosines to the two nearest, float64; the
    second is NONE if there is only one centroid."""

    label_B: np.ndarray
    first_B: np.ndarray
    second_B: np.ndarray


def two_nearest(x_BD: np.ndarray, c_KD: np.ndarray, codes: Codes) -> Two:
    """The two nearest of the centroids ``c_KD``, for unit rows, float32, on one thread. ``codes``: of the centroids."""
    n = len(x_BD)
    found = Two(np.empty(n, np.int32), np.empty(n), np.empty(n))
    if codes.on_device:
        _on_device(x_BD, c_KD, codes, found)
        return found
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


def _on_device(x_BD: np.ndarray, c_KD: np.ndarray, codes: Codes, found: Two) -> None:
    """Write the two nearest. The device leaves over a few centroids of each row, which are compared here."""
    from grip_assets.method import on_device  # torch

    assert isinstance(codes, on_device.OnDevice)

    def use(some: slice, pairs: on_device.Pairs) -> None:
        _two_of(*pairs, x_BD[some], c_KD, *(column[some] for column in found))

    on_device.two_nearest(on_device.encode(x_BD, codes.format), codes, use)


def silhouette(first_B: np.ndarray, second_B: np.ndarray) -> np.ndarray:
    """The simplified silhouette, float32 (B,): 1 - a / b, where a and b are the distances to the nearest and to the
    second nearest centroid. It is 1 on a centroid, 0 half-way between two, and 1 if there is only one centroid."""
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
        # Two lanes have a column that scores this much, so the second nearest cannot score less than this cut.
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
def _two_of(end_B, column_M, x_BD, c_KD, label_B, first_B, second_B):
    """``_two_nearest`` among a few columns of each row."""
    left = 0
    for b in range(end_B.shape[0]):
        best, first, second = -1, NONE, NONE
        for position in range(left, end_B[b]):
            j = column_M[position]
            cosine = dot64(x_BD[b], c_KD[j])
            if cosine > first or (cosine == first and j < best):
                best, first, second = j, cosine, first
            elif cosine > second:
                second = cosine
        label_B[b], first_B[b], second_B[b] = best, first, second
        left = end_B[b]


@compiled
def _second_of(value_N, n):
    """The second largest of the first ``n`` values; far below all values if there is only one."""
    first = second = np.float32(-1e30)
    for i in range(n):
        if value_N[i] > first:
            first, second = value_N[i], first
        elif value_N[i] > second:
            second = value_N[i]
    return second
