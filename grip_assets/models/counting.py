"""Counts the tokens of many texts, fast.

A byte-level BPE of GPT-2's family cuts a text into words first, and no token crosses the end of a word [Radford et al.
2019]. So the number of tokens of a text is the sum over its words, and few words are new. Each word is given to the
tokenizer once, and its count is kept. Words are compared byte by byte, so a count is always the tokenizer's own.

Words are cut by GPT-2's pattern, over four classes of characters. The tokenizer's own library is asked for the class of
each character, so both use the same edition of Unicode. For every other kind of tokenizer, whole texts are counted.
"""

import itertools
import json
import threading
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

compiled: Any = numba.njit(nogil=True, cache=True)

OTHER, LETTER, NUMBER, SPACE, DISPUTED, UNKNOWN = range(6)
CODEPOINTS = 0x110000
PACKED = 7  # a word of so many bytes is its own key
RECENT = 4096
MOST_WORDS, MOST_BYTES = 2_000_000, 64 << 20  # of kept words, about 150 MB in all. Above this, all are forgotten
PROBE = (
    "it's we'll I'VE don't 're '' 'sx 's 'm 'd 'lle ''s  a   b\t\tc \n\n d\r\n  \u00a0x\u3000 y 12 345a6 ½² Ⅷ x1y"
    " !?... a.b(c) -- _x_ ## é ñandú 漢字かな مرحبا ١٢٣ e\u0301 \U0001f600\U0001f600 a\U0001f600 \u200b\ufeff"
    " \u2028z ' s 1's\n"
)


def _byte_level() -> dict[int, str]:
    """Byte to the character by which GPT-2 writes it: itself if it is printable in Latin-1, otherwise one from 256
    on."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(256 + i) for i, byte in enumerate(others)}


BYTE_LEVEL = _byte_level()


def tokens_counter(inner: Any) -> "WholeTexts | Words":
    """The counter for a tokenizer of the library `tokenizers`. Texts are plain: nothing is read as a special token."""
    inner.encode_special_tokens = True
    inner.no_truncation()
    inner.no_padding()
    by_word = Words.of(inner)
    return by_word or WholeTexts(inner)


class WholeTexts:
    """Counts whole texts, on all cores, without turning ids into Python objects."""

    def __init__(self, inner: Any):
        self.inner = inner

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return [len(e) for e in self.inner.encode_batch_fast(list(texts), add_special_tokens=False)]


class Words:
    """Counts word by word. Only one call runs at a time; others wait."""

    @classmethod
    def of(cls, inner: Any) -> "Words | None":
        """None if the tokenizer is of another kind, or cuts the text ``PROBE`` in another way."""
        digits = _family(json.loads(inner.to_str()))
        if digits is None:
            return None
        words = cls(inner, digits)
        lengths = [len(word) for word, _ in inner.pre_tokenizer.pre_tokenize_str(PROBE)]  # one character per byte
        return words if lengths == list(map(len, words.cut(PROBE))) else None

    def __init__(self, inner: Any, digits: bool):
        from tokenizers import pre_tokenizers

        self.whole, self.digits = WholeTexts(inner), digits
        self.byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.single_digits = pre_tokenizers.Digits(individual_digits=True)
        self.model = inner.model
        self.classes = np.full(CODEPOINTS, UNKNOWN, np.uint8)
        self.disputed: set[str] = set()  # characters that the steps of the tokenizer put in two classes
        self.lock = threading.Lock()
        self.kept = _Kept()
        self._classify(bytes(range(128)))

    def __call__(self, texts: Sequence[str]) -> list[int]:
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([len(e) for e in encoded], dtype=np.int64)
        with self.lock:
            counts = self._count(b"".join(encoded), ends)
        if self.disputed:
            for position in [i for i, text in enumerate(texts) if not self.disputed.isdisjoint(text)]:
                counts[position] = self.whole([texts[position]])[0]
        return counts.tolist()

    def cut(self, text: str) -> list[bytes]:
        """The words of a text."""
        data = text.encode()
        self._classify(data)
        ends = [0]
        while ends[-1] < len(data):
            ends.append(_word_end(np.frombuffer(data, np.uint8), ends[-1], len(data), self.classes, self.digits))
        return [data[start:end] for start, end in itertools.pairwise(ends)]

    def _count(self, data: bytes, ends: np.ndarray) -> np.ndarray:
        """Tokens of each text. New words are listed with their texts, and counted at the end."""
        self._classify(data)
        if self.kept.n_words > MOST_WORDS or self.kept.n_bytes > MOST_BYTES:
            self.kept = _Kept()
        kept, text = self.kept, np.frombuffer(data, np.uint8)
        counts = np.zeros(len(ends), np.int64)
        listed = np.empty((1 << 14, 2), np.int64)
        first_new, done, n_listed = kept.n_words, 0, 0
        while done < len(ends):
            arrays = (kept.slots, kept.bytes, kept.starts, kept.tokens)
            done, kept.n_words, n_listed, full = _scan(
                text, ends, done, self.classes, self.digits, *arrays, kept.n_words, first_new, counts, listed, n_listed
            )
            if done < len(ends):  # the arrays are full
                kept.grow(int(ends[done] - (ends[done - 1] if done else 0)))
                if full:
                    listed = np.concatenate([listed, np.empty_like(listed)])
        self._ask(kept, first_new)
        np.add.at(counts, listed[:n_listed, 0], kept.tokens[listed[:n_listed, 1]])
        return counts

    def _ask(self, kept: "_Kept", first: int) -> None:
        """Let the tokenizer's model count the tokens of the new words."""
        starts = kept.starts[first : kept.n_words + 1]
        new = kept.bytes[starts[0] : starts[-1]].tobytes().decode("latin-1").translate(BYTE_LEVEL)
        ends = (starts - starts[0]).tolist()
        kept.tokens[first : kept.n_words] = [len(self.model.tokenize(new[a:b])) for a, b in itertools.pairwise(ends)]

    def _classify(self, data: bytes) -> None:
        """Find the classes of all characters of a text that are new."""
        at = 0
        text = np.frombuffer(data, np.uint8)
        while (at := _next_unknown(text, at, self.classes)) < len(text):
            character = data[at : at + 4].decode(errors="ignore")[0]
            kind = self.classes[ord(character)] = self._class(character)
            if kind == DISPUTED:
                self.disputed.add(character)

    def _class(self, character: str) -> int:
        """The class that the tokenizer's library gives to a character. Neighbours of one class are in one word."""
        is_digit = len(self.single_digits.pre_tokenize_str("a" + character)) == 2
        likes = ((LETTER, "a"), (NUMBER, "1"), (OTHER, "!"))
        found = next((kind for kind, like in likes if self._joins(like, character)), SPACE)
        return DISPUTED if self.digits and is_digit != (found == NUMBER) else found

    def _joins(self, like: str, character: str) -> bool:
        return len(self.byte_level.pre_tokenize_str(like + character)) == 1


class _Kept:
    """Words and their tokens. ``slots``: a hash table of (key, number of the word); word i is
    ``bytes[starts[i]:starts[i + 1]]``, and has ``tokens[i]``."""

    def __init__(self) -> None:
        self.slots = np.zeros((1 << 16, 2), np.uint64)
        self.bytes = np.empty(1 << 20, np.uint8)
        self.starts = np.zeros(1 << 15, np.int64)
        self.tokens = np.zeros(1 << 15, np.int64)
        self.n_words = 0

    @property
    def n_bytes(self) -> int:
        return int(self.starts[self.n_words])

    def grow(self, n_bytes: int) -> None:
        """Enlarge the arrays, if necessary, for one more word and for the bytes of a text of ``n_bytes``."""
        if self.n_words + 1 >= len(self.starts):
            self.starts, self.tokens = (np.concatenate([a, np.zeros_like(a)]) for a in (self.starts, self.tokens))
        if 2 * self.n_words >= len(self.slots):
            self.slots = _doubled(self.slots)
        if len(self.bytes) < self.n_bytes + n_bytes:
            self.bytes = np.concatenate([self.bytes[: self.n_bytes], np.empty(self.n_bytes + n_bytes, np.uint8)])


def _family(described: dict[str, Any]) -> bool | None:
    """Whether each digit is a word of its own, for a tokenizer of GPT-2's family; None for another family."""
    model, cutter = described["model"], described["pre_tokenizer"] or {}
    plain = model["type"] == "BPE" and not model.get("dropout") and not described["normalizer"]
    if not plain or not all(token["special"] for token in described["added_tokens"]):
        return None
    steps = cutter.get("pretokenizers", [cutter])
    last = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    if not steps or last.items() - steps[-1].items():
        return None
    if len(steps) == 1:
        return False
    return True if steps[:-1] == [{"type": "Digits", "individual_digits": True}] else None


@compiled
def _decode(text: Any, at: int) -> Any:
    """The character at a place of well-formed UTF-8, and the place after it."""
    first = np.int64(text[at])
    if first < 0x80:
        return first, at + 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | np.int64(text[at + 1]) & 0x3F, at + 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | np.int64(text[at + 2]) & 0x3F, at + 3
    high = (first & 0x07) << 18 | (np.int64(text[at + 1]) & 0x3F) << 12
    return high | (np.int64(text[at + 2]) & 0x3F) << 6 | np.int64(text[at + 3]) & 0x3F, at + 4


@compiled
def _contraction(text: Any, at: int, end: int) -> int:
    """Bytes of 's, 't, 'm, 'd, 're, 've or 'll at a place; 0 if there is none."""
    if at + 1 < end and text[at] == 39:
        second = text[at + 1]
        if second in (115, 116, 109, 100):
            return 2
        if at + 2 < end:
            third = text[at + 2]
            if (second in (114, 118) and third == 101) or (second == 108 and third == 108):
                return 3
    return 0


@compiled
def _word_end(text: Any, start: int, end: int, classes: Any, digits: bool) -> int:
    """Where the word that begins at ``start`` ends, by GPT-2's pattern:
    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+
    With ``digits`` each digit is a word, and what is before it is cut as if the text ended there.
    """
    short = _contraction(text, start, end)
    if short:
        return start + short
    code, after = _decode(text, start)
    kind = classes[code]
    if code == 32 and after < end:
        code, second = _decode(text, after)
        next_kind = classes[code]
        if next_kind != SPACE and not (digits and next_kind == NUMBER):
            kind, after = next_kind, second
    if digits and kind == NUMBER:
        return after
    last, at = start, after  # last: where the last character of the run begins
    while at < end:
        if text[at] < 0x80:
            code, further = np.int64(text[at]), at + 1
        else:
            code, further = _decode(text, at)
        if classes[code] != kind:
            break
        last, at = at, further
    if kind == SPACE and at < end and last > start and not (digits and classes[code] == NUMBER):
        return last  # the last white space belongs to the word that follows, or stands alone
    return at


@compiled
def _key(text: Any, start: int, end: int) -> np.uint64:
    """The key of a word, never 0. For up to seven bytes: the bytes and their number, so equal keys are equal words.
    Otherwise a hash with the highest bit set."""
    if end - start <= PACKED:
        key = np.uint64(end - start) << np.uint64(56)
        for i in range(end - start):
            key |= np.uint64(text[start + i]) << np.uint64(8 * i)
        return key
    key = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        key = (key ^ np.uint64(text[i])) * np.uint64(0x100000001B3)
    return key | np.uint64(1) << np.uint64(63)


@compiled
def _slot(slots, kept, starts, key, text, start, end):  # type: ignore[no-untyped-def]
    """The slot of a word, or the empty slot for it."""
    mask = np.uint64(len(slots) - 1)
    at = _first_slot(key) & mask
    while slots[at, 0] != 0:
        if slots[at, 0] == key and (end - start <= PACKED or _same(kept, starts, slots[at, 1], text, start, end)):
            break
        at = (at + np.uint64(1)) & mask
    return at


@compiled
def _first_slot(key: np.uint64) -> np.uint64:
    return ((key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(24)


@compiled
def _same(kept, starts, word, text, start, end):  # type: ignore[no-untyped-def]
    """Whether the bytes of a kept word are those of the text."""
    offset = starts[word]
    if starts[word + np.uint64(1)] - offset != end - start:
        return False
    for i in range(end - start):  # noqa: SIM110 (numba has no generators)
        if kept[offset + i] != text[start + i]:
            return False
    return True


@compiled
def _next_unknown(text: Any, at: int, classes: Any) -> int:
    """The place of the first character, from ``at`` on, whose class is not known; the end if there is none."""
    while at < len(text):
        if text[at] < 0x80:
            if classes[text[at]] == UNKNOWN:
                return at
            at += 1
        else:
            code, after = _decode(text, at)
            if classes[code] == UNKNOWN:
                return at
            at = after
    return at


@compiled
def _scan(  # type: ignore[no-untyped-def]
    text, ends, first, classes, digits, slots, kept, starts, tokens, n_words, first_new, counts, listed, n_listed
):
    """Count texts from ``first`` on. New words are kept, and each place of one is listed as (text, word).

    Returns how many texts are done, the number of kept words and of listed ones, and whether the list was full. Fewer
    than all are done where there is no room left: the text where that is seen is done again.
    """
    recent = np.zeros((RECENT, 2), np.uint64)  # short words and their tokens: a table that stays in the nearest cache
    for number in range(first, len(ends)):
        at = ends[number - 1] if number else 0
        end = ends[number]
        total, listed_before = np.int64(0), n_listed
        while at < end:
            stop = _word_end(text, at, end, classes, digits)
            key = _key(text, at, stop)
            place = np.int64(_first_slot(key) & np.uint64(RECENT - 1))
            if recent[place, 0] == key:
                total += np.int64(recent[place, 1])
                at = stop
                continue
            slot = _slot(slots, kept, starts, key, text, at, stop)
            if slots[slot, 0] == 0:
                used = starts[n_words]
                if n_words + 1 >= len(starts) or 2 * n_words >= len(slots) or used + stop - at > len(kept):
                    return number, n_words, listed_before, False
                slots[slot, 0], slots[slot, 1] = key, n_words
                kept[used : used + stop - at] = text[at:stop]
                n_words += 1
                starts[n_words] = used + stop - at
            word = np.int64(slots[slot, 1])
            if word < first_new:
                total += tokens[word]
                if stop - at <= PACKED:
                    recent[place, 0], recent[place, 1] = key, tokens[word]
            elif n_listed == len(listed):
                return number, n_words, listed_before, True
            else:
                listed[n_listed, 0], listed[n_listed, 1] = number, word
                n_listed += 1
            at = stop
        counts[number] = total
    return len(ends), n_words, n_listed, False


@compiled
def _doubled(slots: Any) -> np.ndarray:
    """The same words in twice the room. All words are different, so an empty slot is what to look for."""
    more = np.zeros((2 * len(slots), 2), np.uint64)
    mask = np.uint64(len(more) - 1)
    for i in range(len(slots)):
        if slots[i, 0] != 0:
            at = _first_slot(slots[i, 0]) & mask
            while more[at, 0] != 0:
                at = (at + np.uint64(1)) & mask
            more[at] = slots[i]
    return more
