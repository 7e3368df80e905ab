"""A first look at which texts may hold a run of N words of a benchmark.

It misses no such text, and takes as long as a hash of the text. contamination.py then checks the suspected texts word
by word. Texts are in lower case. Words are maximal runs of the characters that ``\\w`` matches. A word is recognised
by a hash of its bytes, and a run by a hash of its words' numbers. If two words share a hash, the only harm is a text
that is suspected without need.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np

compiled: Any = numba.njit(nogil=True, cache=True)
OFFSET, PRIME = 0xCBF29CE484222325, 0x100000001B3  # FNV-1a


class Screen:
    """``number``: that of each known word, from 1. ``run_hashes``: the sorted hashes of runs, by ``multiplier_N``."""

    def __init__(self, number: Mapping[str, int], run_hashes: np.ndarray, multiplier_N: np.ndarray):
        self.run_hashes, self.multiplier_N = run_hashes, multiplier_N
        data, ends = _joined(list(number))
        word_hashes = _word_hashes(data, ends)
        order = np.argsort(word_hashes)
        self.hashes = word_hashes[order]
        self.numbers = np.fromiter(number.values(), np.uint64, len(number))[order]
        self.slots = _slots(self.hashes)
        self.tells = len(np.unique(word_hashes)) == len(number)  # else a known word could be taken for another

    def suspects(self, texts: Sequence[str]) -> np.ndarray:
        """For each text (in lower case), whether it must be checked word by word."""
        if not self.tells:
            return np.ones(len(texts), bool)
        data, ends = _joined(texts)
        found = np.zeros(len(texts), bool)
        vocabulary = (self.slots, self.hashes, self.numbers)
        _screen(data, ends, word_characters(), *vocabulary, self.run_hashes, self.multiplier_N, found)
        return found


@cache
def word_characters() -> np.ndarray:
    """For each character, whether ``\\w`` matches it."""
    return np.array([chr(code).isalnum() or code == 95 for code in range(0x110000)])


def _joined(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([len(e) for e in encoded], dtype=np.int64)


def _slots(hashes: np.ndarray) -> np.ndarray:
    """A hash table of positions in ``hashes``, plus 1; 0 is an empty slot."""
    slots = np.zeros(1 << max(4 * len(hashes), 16).bit_length(), np.int64)
    mask = len(slots) - 1
    for position, value in enumerate(hashes.tolist(), 1):
        at = value & mask
        while slots[at]:
            at = (at + 1) & mask
        slots[at] = position
    return slots


@compiled
def _word_hashes(text: Any, ends: Any) -> np.ndarray:
    hashes = np.empty(len(ends), np.uint64)
    start = 0
    for i in range(len(ends)):
        value = np.uint64(OFFSET)
        for at in range(start, ends[i]):
            value = (value ^ np.uint64(text[at])) * np.uint64(PRIME)
        hashes[i], start = value, ends[i]
    return hashes


@compiled
def _number(value: np.uint64, slots: Any, hashes: Any, numbers: Any) -> np.uint64:
    """The number of the word with this hash. 0 if the word is not known."""
    mask = np.uint64(len(slots) - 1)
    at = value & mask
    while slots[at] != 0:
        if hashes[slots[at] - 1] == value:
            return numbers[slots[at] - 1]
        at = (at + np.uint64(1)) & mask
    return np.uint64(0)


@compiled
def _width(text: Any, at: int) -> int:
    """The number of bytes of the character at a position of well-formed UTF-8."""
    first = text[at]
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


@compiled
def _code(text: Any, at: int, width: int) -> Any:
    code = np.int64(text[at]) if width == 1 else np.int64(text[at]) & (0x7F >> width)
    for i in range(1, width):
        code = code << 6 | np.int64(text[at + i]) & 0x3F
    return code


@compiled
def _screen(text, ends, is_word, slots, hashes, numbers, run_hashes, multiplier_N, found):  # type: ignore[no-untyped-def]
    """Fills ``found``: for each text, whether a run of N known words has a hash of ``run_hashes``."""
    n = len(multiplier_N)
    last_N = np.zeros(n, np.uint64)  # numbers of the last words, a ring
    start = 0
    for i in range(len(ends)):
        known, value, inside, at = 0, np.uint64(OFFSET), False, start
        while at <= ends[i]:
            width = _width(text, at) if at < ends[i] else 1
            if at < ends[i] and is_word[_code(text, at, width)]:
                for b in range(at, at + width):
                    value = (value ^ np.uint64(text[b])) * np.uint64(PRIME)
                inside = True
            elif inside:
                number = _number(value, slots, hashes, numbers)
                last_N[known % n] = number
                known = known + 1 if number else 0
                if known >= n and _is_run(last_N, known, run_hashes, multiplier_N):
                    found[i] = True
                    break
                value, inside = np.uint64(OFFSET), False
            at += width
        start = ends[i]


@compiled
def _is_run(last_N: Any, known: int, run_hashes: Any, multiplier_N: Any) -> Any:
    """Whether the last N words have a hash of ``run_hashes``. The first of them is at ``known`` % N."""
    n = len(multiplier_N)
    total = np.uint64(0)
    for j in range(n):
        total += last_N[(known + j) % n] * multiplier_N[j]
    at = np.searchsorted(run_hashes, total)
    return at < len(run_hashes) and run_hashes[at] == total
