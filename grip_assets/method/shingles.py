"""Shingles of texts, their MinHash signatures, and the Jaccard similarity of two sets of shingles [Broder 1997].

A shingle is ``size`` words (or characters) in a row, as a 64-bit hash. A text with fewer has one shingle, all of it. A
text without words has none. White space, punctuation and the case of ASCII letters make no difference between words.
A character above U+2E7F is a word of its own, since Chinese and Japanese have no spaces between words. With characters,
a run of white space counts as one space.

A signature has P slots. Two texts have the same value in a slot with a probability that is the Jaccard similarity of
their sets of shingles.

Texts are UTF-8 bytes, read by compiled loops that threads run at the same time. Which of these texts are near copies is
decided in near_copies.py. Signatures are made by rensa, of which docs/decisions.md says why.

Shapes: B texts, S shingles of a text, P permutations.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import rensa

from grip_assets.method.screening import compiled

MADE_BY = f"rensa {rensa.RMinHash.ALGORITHM_VERSION}"
"""Names the algorithm. Signatures of another one are not comparable."""

SEPARATOR, WORD, WIDE, WHITE = range(4)
WIDE_FROM = 0x2E80  # CJK, kana and Hangul begin here
START, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
FIRST, SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # MurmurHash3's 64-bit finaliser


class Shingling(NamedTuple):
    """How a text is cut. ``characters``: whether into characters; otherwise into words. ``key``: of the hash."""

    characters: bool
    size: int
    key: np.uint64


def shingling(unit: str, size: int, seed: int) -> Shingling:
    """``unit``: words or characters."""
    return Shingling(unit == "characters", size, np.random.default_rng([seed, 0]).integers(0, 1 << 64, dtype=np.uint64))


def shingles(data: np.ndarray, start_B: np.ndarray, how: Shingling) -> tuple[np.ndarray, np.ndarray]:
    """The shingles of each text in order, with repetitions: (all of them, uint64; B + 1 places, int64).

    ``data``: the bytes of all texts. ``start_B``: B + 1 places, at which the texts begin and end.
    """
    end_B = np.zeros(len(start_B), np.int64)
    return _all(data, start_B, kinds(), *how, end_B), end_B


def signatures(shingles: np.ndarray, end_B: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """uint32 (B, P), from what ``shingles`` returned. Repetitions and order of shingles make no difference."""
    made = rensa.RMinHash.digest_matrix_from_flat_token_hashes(shingles, end_B.astype(np.uint64), permutations, seed)
    return np.array(made.to_rows(), np.uint32).reshape(len(end_B) - 1, permutations)


def jaccard(one_S: np.ndarray, other_S: np.ndarray) -> float:
    """|A ∩ B| / |A ∪ B| of two ascending sets. 0 if one of them is empty."""
    return float(similarity(one_S, other_S))


@cache
def kinds() -> np.ndarray:
    """The kind of each character: SEPARATOR, WORD (what ``\\w`` matches), WIDE or WHITE."""
    found = np.zeros(0x110000, np.uint8)
    for code in range(0x110000):
        character = chr(code)
        if character.isalnum() or code == 95:
            found[code] = WIDE if code >= WIDE_FROM else WORD
        elif character.isspace():
            found[code] = WHITE
    return found


@compiled
def similarity(one_S, other_S):  # type: ignore[no-untyped-def]
    """``jaccard``, compiled."""
    i, j, common = 0, 0, 0
    n, m = len(one_S), len(other_S)
    while i < n and j < m:
        a, b = one_S[i], other_S[j]
        common += a == b
        i += a <= b
        j += b <= a
    return common / (n + m - common) if common else 0.0


@compiled
def _mixed(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> np.uint64(33))) * FIRST
    value = (value ^ (value >> np.uint64(33))) * SECOND
    return value ^ (value >> np.uint64(33))


@compiled
def _pieces(text, kind, characters, key, found):  # type: ignore[no-untyped-def]
    """Hashes of the words or characters of a text, in order, into ``found``. Returns their number."""
    n, at, end = 0, 0, len(text)
    state, inside, white = START ^ key, False, True
    while at <= end:
        width, code, what = 1, np.int64(32), SEPARATOR
        if at < end:
            first = np.int64(text[at])
            width = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            code = first if width == 1 else first & (0x7F >> width)
            for i in range(at + 1, min(at + width, end)):
                code = code << 6 | np.int64(text[i]) & 0x3F
            if 65 <= code <= 90:
                code += 32
            what = kind[code]
        at += width
        if characters:
            if at <= end:
                if not (what == WHITE and white):
                    found[n] = _mixed(START ^ key ^ np.uint64(32 if what == WHITE else code))
                    n += 1
                white = what == WHITE
        elif what == WORD:
            state = (state ^ np.uint64(code)) * PRIME
            inside = True
        else:
            if inside:
                found[n] = _mixed(state)
                n, state, inside = n + 1, START ^ key, False
            if what == WIDE:
                found[n] = _mixed((START ^ key ^ np.uint64(code)) * PRIME)
                n += 1
    if characters and white and n:
        n -= 1  # white space at the end
    return n


@compiled
def _shingles(text, kind, characters, size, key, found):  # type: ignore[no-untyped-def]
    """Hashes of all shingles of a text, in order, into ``found``. Returns their number."""
    n = _pieces(text, kind, characters, key, found)
    if n == 0:
        return 0
    length = min(size, n)
    for i in range(n - length + 1):  # the hashes of pieces are read before they are overwritten
        state = key
        for j in range(i, i + length):
            state = (state ^ found[j]) * PRIME
            state ^= state >> np.uint64(29)
        found[i] = _mixed(state)
    return n - length + 1


@compiled
def _all(data, start_B, kind, characters, size, key, end_B):  # type: ignore[no-untyped-def]
    """Shingles of all texts, one text after the other; fills ``end_B``."""
    found = np.empty(len(data) + len(start_B), np.uint64)
    total = 0
    for b in range(len(start_B) - 1):
        text = data[start_B[b] : start_B[b + 1]]
        total += _shingles(text, kind, characters, size, key, found[total:])
        end_B[b + 1] = total
    return found[:total]
