"""Near copies: which texts may be near copies of each other, which really are, and which one stands for which.

Two texts are compared if they agree in all slots of at least one band of their signatures (banding.py says how likely
that is). What is compared is then decided by the true similarity of the sets of shingles, so a pair can be missed, and
none is wrong.

Similarity is not transitive: of three texts, the first may be like the second, the second like the third, and the first
not like the third. So texts are taken one by one, in an order that a rule gives. A text is left out if a text before
it, which itself stands, is similar enough; otherwise it stands. Hence each text that is left out is similar to the text
that stands for it, and the answer depends on the order of the rule alone. Families by connected components have neither
property: docs/decisions.md.

Signatures and shingles are made in shingles.py.

Shapes: B texts of a block, P slots of a signature, b bands of r slots, C candidates in the rule's order, R pairs of a
candidate and a bucket that it shares with another.
"""

from typing import NamedTuple

import numpy as np

from grip_assets.method.banding import Bands
from grip_assets.method.screening import compiled
from grip_assets.method.shingles import PRIME, similarity

MOST = 200
"""A text is compared with the first so many that stand in a bucket. Only a bucket of thousands of texts that agree in a
band, and are no near copies, has more. All pairs of such a bucket would take hours."""


def buckets(signature_BP: np.ndarray, bands: Bands) -> np.ndarray:
    """uint64 (B, b): a hash of each band and its number. Texts are in the same bucket if it is the same."""
    cut_Bbr = signature_BP.reshape(len(signature_BP), bands.n, bands.rows).astype(np.uint64)
    state_Bb = np.broadcast_to(np.arange(1, bands.n + 1, dtype=np.uint64) * PRIME, cut_Bbr.shape[:2]).copy()
    for slot in range(bands.rows):
        state_Bb = (state_Bb ^ cut_Bbr[:, :, slot]) * PRIME
        state_Bb ^= state_Bb >> np.uint64(29)
    return state_Bb


class Standing(NamedTuple):
    """``by_C``: the candidate that stands for each candidate, often itself. ``similarity_C``: with it. ``like_C``: for
    those that stand always, the held-out one of which they are near copies all the same; otherwise -1. ``compared``:
    pairs."""

    by_C: np.ndarray
    similarity_C: np.ndarray
    like_C: np.ndarray
    compared: int


def stand(
    shingles: np.ndarray,
    start_C: np.ndarray,
    bucket_R: np.ndarray,
    bucket_start_C: np.ndarray,
    threshold: float,
    always_C: np.ndarray,
    most: int = MOST,
    held_out_C: np.ndarray | None = None,
    strict: bool = False,
) -> Standing:
    """Which candidates stand for themselves, and which text stands for each of the others: the most similar of those
    that come before it and stand, or the first of several.

    ``shingles``: the sets of all candidates, ascending, uint64; candidate c has those from ``start_C[c]``, which is
    (C, 2), to its second. ``bucket_R``: numbers of buckets from 0; candidate c has those from ``bucket_start_C[c]``.
    ``always_C``: texts that are never left out. ``held_out_C``: those of them that are held out; default: none. The
    others are compared with these alone, and with ``strict`` they are left out if they are near copies of one.
    """
    if held_out_C is None:
        held_out_C = np.zeros(len(start_C), bool)
    by_C, similarity_C, like_C = np.arange(len(start_C)), np.ones(len(start_C)), np.full(len(start_C), -1)
    n_buckets = int(bucket_R.max()) + 1 if len(bucket_R) else 0
    rows = (shingles, start_C, bucket_R, bucket_start_C, n_buckets, threshold, always_C, most, held_out_C)
    compared = _stand(*rows, bool(held_out_C.any()), strict, by_C, similarity_C, like_C)
    return Standing(by_C, similarity_C, like_C, compared)


@compiled
def _stand(  # type: ignore[no-untyped-def]
    shingles, start_C, bucket_R, bucket_start_C, n_buckets, threshold, always_C, most, held_out_C, is_any_held_out,
    strict, by_C, similarity_C, like_C,
):  # fmt: skip
    last, count, before_R = np.full(n_buckets, -1), np.zeros(n_buckets, np.int64), np.full(len(bucket_R), -1)
    standing_R, seen_C, compared = np.empty(len(bucket_R), np.int64), np.full(len(by_C), -1), 0
    for c in range(len(by_C)):
        mine = shingles[start_C[c, 0] : start_C[c, 1]]
        best, best_similarity = -1, 0.0
        for row in range(bucket_start_C[c], bucket_start_C[c + 1]):
            if held_out_C[c] or (always_C[c] and not is_any_held_out):
                break
            at = last[bucket_R[row]]
            while at >= 0:
                other = standing_R[at]
                at = before_R[at]
                if seen_C[other] == c or (always_C[c] and not held_out_C[other]):
                    continue
                seen_C[other] = c
                theirs = shingles[start_C[other, 0] : start_C[other, 1]]
                smaller, larger = min(len(mine), len(theirs)), max(len(mine), len(theirs))
                if smaller < threshold * larger * (1 - 1e-9):
                    continue
                compared += 1
                found = similarity(mine, theirs)
                if found >= threshold and (found > best_similarity or (found == best_similarity and other < best)):
                    best, best_similarity = other, found
        if best >= 0 and always_C[c] and not strict:
            like_C[c] = best
        elif best >= 0:
            by_C[c], similarity_C[c] = best, best_similarity
            continue
        for row in range(bucket_start_C[c], bucket_start_C[c + 1]):
            bucket = bucket_R[row]
            if count[bucket] < most:
                standing_R[row], before_R[row], last[bucket] = c, last[bucket], row
                count[bucket] += 1
    return compared
