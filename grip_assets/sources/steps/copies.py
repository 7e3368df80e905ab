"""Exact copies: if documents have the same text, only the first is kept."""

from array import array

from grip_assets.sources.documents import RawDocument, Reason, Rejected
from grip_assets.sources.steps.base import Outcome, Step

KEY = 16  # bytes of a name
EMPTY = 0


class ExactCopies(Step):
    """Keeps the first copy that is read, held out or not. So a text is never both in the pool and held out.

    Memory: see ``Sources``.
    """

    ordered = True

    def __init__(self) -> None:
        self.seen = Sources()

    def one(self, document: RawDocument) -> Outcome:
        name = document.doc_id
        first = self.seen.first(bytes.fromhex(name), document.source)
        if first is None:
            return document
        detail = f"same text as {first}"
        return Rejected(document.source, Reason.DUPLICATE, detail, document.n_bytes, name, stands_for=name)


class Sources:
    """The source of each name that was seen, in three arrays: no Python object for each document.

    A hash table with open addressing. Names are hashes, so their first bytes are the place. A document takes its source
    and 36 to 72 bytes.
    """

    def __init__(self, slots: int = 1 << 12):
        self.n, self.mask = 0, slots - 1
        self.keys, self.places = bytearray(KEY * slots), array("q", bytes(8 * slots))
        self.texts = bytearray(1)  # places begin at 1, since EMPTY is none

    def first(self, key: bytes, source: str) -> str | None:
        """The source of an earlier document of this name; None if this is the first, which is then remembered."""
        slot, there = self._slot(key)
        if there:
            return self._text(self.places[slot])
        self._put(slot, key, len(self.texts))
        text = source.encode(errors="surrogatepass")
        self.texts += len(text).to_bytes(4) + text
        self.n += 1
        if 3 * self.n > 2 * self.mask:
            self._grow()
        return None

    def _slot(self, key: bytes) -> tuple[int, bool]:
        """(the slot of a name, or an empty one for it, whether the name is there)."""
        slot = int.from_bytes(key[:8]) & self.mask
        while self.places[slot] != EMPTY:
            if self.keys[KEY * slot : KEY * slot + KEY] == key:
                return slot, True
            slot = (slot + 1) & self.mask
        return slot, False

    def _put(self, slot: int, key: bytes, place: int) -> None:
        self.keys[KEY * slot : KEY * slot + KEY] = key
        self.places[slot] = place

    def _text(self, place: int) -> str:
        start = place + 4
        return self.texts[start : start + int.from_bytes(self.texts[place:start])].decode(errors="surrogatepass")

    def _grow(self) -> None:
        keys, places = self.keys, self.places
        slots = 2 * (self.mask + 1)
        self.mask = slots - 1
        self.keys, self.places = bytearray(KEY * slots), array("q", bytes(8 * slots))
        for old, place in enumerate(places):
            if place != EMPTY:
                key = bytes(keys[KEY * old : KEY * old + KEY])
                self._put(self._slot(key)[0], key, place)
