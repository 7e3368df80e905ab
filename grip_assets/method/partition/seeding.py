"""Where a fit begins: greedy spherical k-means++ on a sample of the rows [Arthur and Vassilvitskii 2007].

The first start is a row drawn at random. For each next one, TRIALS rows are drawn, with probability proportional to
1 - cos to the nearest start so far, which is half the squared distance. The row that leaves the lowest sum is kept.

The draws come in blocks, so that most of the work is one product for each block. A row is proposed by the distances d
at the beginning of its block, and accepted with probability d' / d, where d' is its distance now. d' is at most d, so
this is rejection sampling: accepted rows have exactly the distribution of d'.

The result does not depend on the number of threads, nor on the format of the products. Cosines are those of int8 codes
(screening.py), whose products are sums of whole numbers. Distances are multiples of 1 / UNIT, so their sums are exact.
Memory beside the rows: the codes of the sample, and at most MOST products. Shapes: N rows, S rows of the sample, B rows
of a block, K starts, d dimensions.
"""

from typing import Any

import numba
import numpy as np

from grip_assets.method.sampling import keyed_order, keyed_uniform
from grip_assets.method.screening import Codes, encode, fastest, products
from grip_assets.runtime import threads

TRIALS = 4
PER_START, LEAST = 16, 4096  # rows of the sample for each start, and at least
CHUNK = 1024  # rows of a shard
NARROW, WIDE, MOST = 32, 256, 4_194_304  # rows of a block at least and at most, and its products
UNIT = 1 << 20  # coarser than the rounding of a cosine in float32, so that two copies have distance 0
EXACT = 1024  # dimensions whose products of codes are exact in float32: 127 * 127 * 1,024 < 2^24


def kmeanspp(x_ND: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Places of ``k`` different rows of ``x_ND`` to start from, int64 (k,), in the order in which they were drawn.

    ``x_ND``: unit rows, float32, at least ``k`` of them. If the sample has fewer than ``k`` different rows, copies come
    last.
    """
    place_S = keyed_order(seed, "seeding", len(x_ND))[: max(PER_START * k, LEAST)]
    codes = encode(x_ND[place_S], "int8")
    code_SD = _for_products(codes)
    inverse_S = _inverse_norms(codes.codes_ND)
    distance_S = np.full(len(place_S), UNIT, np.int32)
    room_BS = np.empty((int(np.clip(MOST // len(place_S), NARROW, WIDE)), len(place_S)), np.int32)
    chosen_K, have, drawn = np.zeros(k, np.int64), 0, 0
    while have < k and distance_S.any():
        draws = range(drawn, drawn + int(np.clip(have, NARROW, len(room_BS))))
        proposed_B, limit_B = _proposed(distance_S, seed, draws)
        _products(codes, code_SD, proposed_B, room_BS)
        have = _take(room_BS, inverse_S, proposed_B, limit_B, distance_S, chosen_K, have)
        drawn = draws.stop
    if have < k:
        chosen_K[have:] = np.setdiff1d(np.arange(len(place_S)), chosen_K[:have])[: k - have]
    return place_S[chosen_K]


def _proposed(distance_S: np.ndarray, seed: int, draws: range) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the sample drawn in proportion to their distances, and the distance above which each is accepted."""
    ids = [str(draw) for draw in draws]
    total_S = np.cumsum(distance_S, dtype=np.int64)
    at_B = (keyed_uniform(seed, "seeding: proposed", ids) * total_S[-1]).astype(np.int64)
    proposed_B = np.searchsorted(total_S, at_B, side="right")
    return proposed_B, keyed_uniform(seed, "seeding: accepted", ids) * distance_S[proposed_B]


def _for_products(codes: Codes) -> Any:
    """The codes in the type whose products are fastest here: on a GPU a tensor. All types give the same products."""
    format = fastest()[0]
    if format == "int8":
        return codes.codes_ND
    if "/" in format and codes.codes_ND.shape[1] <= EXACT:
        import torch  # heavy

        return torch.from_numpy(codes.codes_ND).to(format.partition("/")[0], torch.float32)
    return codes.codes_ND.astype(np.float32 if codes.codes_ND.shape[1] <= EXACT else np.float64)


def _products(codes: Codes, code_SD: Any, rows_B: np.ndarray, product_BS: np.ndarray) -> None:
    """Write the products of the codes of some rows with those of all rows to the first rows of ``product_BS``."""
    if not isinstance(code_SD, np.ndarray):
        from grip_assets.method import on_device  # torch

        product_BS[: len(rows_B)] = on_device.whole_products(code_SD[rows_B], code_SD)
        return
    some, some_BD, n = codes[rows_B], code_SD[rows_B], len(rows_B)

    def part(start: int) -> None:
        shard = slice(start, start + CHUNK)
        if code_SD.dtype == np.int8:
            product_BS[:n, shard] = products(some, codes[shard])
        else:
            product_BS[:n, shard] = some_BD @ code_SD[shard].T

    for _ in threads.each(part, range(0, len(code_SD), CHUNK)):
        pass


def _inverse_norms(code_SD: np.ndarray) -> np.ndarray:
    squares_S = np.einsum("sd,sd->s", code_SD, code_SD, dtype=np.int32, casting="unsafe")
    return (1 / np.sqrt(squares_S)).astype(np.float32)


@numba.njit(nogil=True, cache=True)  # without fastmath: every machine rounds alike
def _take(product_BS, inverse_S, proposed_B, limit_B, distance_S, chosen_K, have):
    """Go through a block of proposed rows, and write the starts to ``chosen_K`` and the distances to ``distance_S``.

    Returns the number of starts. The last start of a block may have had fewer trials than the others.
    """
    s, last = len(distance_S), len(proposed_B) - 1
    left_S, best_S = np.empty(s, np.int32), np.empty(s, np.int32)
    lowest, tried, best = np.int64(0), 0, 0
    for b in range(len(proposed_B)):
        row = proposed_B[b]
        if distance_S[row] > limit_B[b]:
            total = _left(product_BS[b], inverse_S, inverse_S[row], distance_S, left_S)
            if tried == 0 or total < lowest:
                lowest, best = total, row
                left_S, best_S = best_S, left_S
            tried += 1
        if tried == TRIALS or (tried and (have == 0 or b == last)):
            distance_S[:] = best_S
            chosen_K[have] = best
            have, tried = have + 1, 0
            if have == len(chosen_K) or have == 1:
                break
    return have


@numba.njit(nogil=True, cache=True)
def _left(product_S, inverse_S, inverse, distance_S, left_S):
    """Write the distances that are left when a row is a start too; returns their sum."""
    total, unit, half = np.int64(0), np.float32(UNIT), np.float32(0.5)
    for i in range(len(product_S)):
        cosine = np.float32(product_S[i]) * inverse_S[i] * inverse
        distance = np.int32(max((np.float32(1) - cosine) * unit, np.float32(0)) + half)
        left_S[i] = min(distance_S[i], distance)
        total += left_S[i]
    return total
