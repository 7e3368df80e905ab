"""Hashed n-grams of texts: the features of the student (student.py), which labels documents that are not embedded.

A word is a run of letters, or of digits. It also ends where camelCase has a capital, and letters of scripts above
U+07FF (which may have no spaces) are words of their own. Words are compared in lower case (ASCII). Each word and each
pair of neighbouring words is hashed into one of ``2**BITS`` buckets [Weinberger et al. 2009]. A text is read as UTF-8
bytes, by a compiled loop that threads run at the same time. scikit-learn's HashingVectorizer splits texts in Python,
one thread at a time: it took 20 times as long.

Shapes: N documents, J distinct buckets of a document. Rows are in the form of a sparse matrix (CSR).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from grip_assets.method.screening import compiled

BITS = 20
START, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
MIX = np.uint64(0x9E3779B97F4A7C15)


class Grams(NamedTuple):
    """Buckets of N texts. ``bucket_J``: int32, ascending within a text. ``count_J``: how often. ``start_N``: N + 1
    places, at which the texts begin."""

    bucket_J: np.ndarray
    count_J: np.ndarray
    start_N: np.ndarray

    def __len__(self) -> int:
        return len(self.start_N) - 1


def grams(texts: Sequence[str]) -> Grams:
    found = [_counted(_grams(np.frombuffer(text.encode(errors="replace") or b" ", np.uint8))) for text in texts]
    sizes = [len(bucket) for bucket, _ in found]
    nothing = (np.zeros(0, np.int32), np.zeros(0, np.int32))
    buckets, counts = zip(*[*found, nothing], strict=True)
    return Grams(np.concatenate(buckets), np.concatenate(counts), np.cumsum([0, *sizes]))


@compiled
def _grams(text_B):
    """Buckets of all words and pairs of neighbours, in the order of the text, int32."""
    found = np.empty(2 * len(text_B) + 2, np.int32)
    n, state, before, kind_before = 0, START, np.uint64(0), 0
    for i in range(len(text_B) + 1):
        byte = text_B[i] if i < len(text_B) else np.uint8(32)
        kind = _kind(byte)
        ends = kind != kind_before and not (kind_before == UPPER and kind == LOWER) and kind != REST
        if kind_before and (ends or kind == WIDE):
            if before:
                found[n] = _bucket(before * MIX ^ state)
                n += 1
            found[n] = _bucket(state)
            (
                n,
                before,
                state,
            ) = n + 1, state, START
        if kind:
            state = (state ^ np.uint64(byte | 32 if kind == UPPER else byte)) * PRIME
            kind_before = kind_before if kind == REST and kind_before else kind
        else:
            kind_before = 0
    return found[:n]


GAP, LOWER, UPPER, DIGIT, WIDE, REST = 0, 1, 2, 3, 4, 5


@compiled
def _kind(byte):
    """Of a UTF-8 byte: letter, digit, first byte of a wide letter, a byte that continues one, or a gap."""
    if 97 <= byte <= 122 or 0xC2 <= byte < 0xE0:
        return LOWER
    if 65 <= byte <= 90:
        return UPPER
    if 48 <= byte <= 57:
        return DIGIT
    if byte >= 0xE0:
        return WIDE
    return REST if byte >= 0x80 else GAP


@compiled
def _bucket(state):
    mixed = (state ^ (state >> np.uint64(32))) * MIX
    return np.int32(mixed >> np.uint64(64 - BITS))


@compiled
def _counted(found_G):
    """(distinct buckets ascending, how often each comes), int32."""
    ordered = np.sort(found_G)
    bucket_J, count_J = np.empty(len(ordered), np.int32), np.empty(len(ordered), np.int32)
    n = 0
    for i in range(len(ordered)):
        if n and bucket_J[n - 1] == ordered[i]:
            count_J[n - 1] += 1
        else:
            bucket_J[n], count_J[n] = ordered[i], 1
            n += 1
    return bucket_J[:n].copy(), count_J[:n].copy()
