"""Personal data and secrets in a document: each is replaced by a placeholder, or the document is rejected.

Both are found in the same text and masked together. So no excerpt that is kept for a review shows the one beside the
other. What is found is in personal_data.py and secrets.py. No datum leaves this module.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from grip_assets.sources.documents import RawDocument, Reason, Rejected
from grip_assets.sources.steps.base import Outcome, Step

EXCERPT = 60  # characters on each side of a placeholder


class Span(NamedTuple):
    """Characters ``start`` to ``end`` of a text. ``kind``: what they are, for counts. ``placeholder``: what replaces
    them."""

    start: int
    end: int
    kind: str
    placeholder: str


class TooMany(Exception):
    """A text has so many candidates that checking all of them would take too long. ``str``: how many of what."""


class Finder(Protocol):
    """``reason``: why a document is rejected for what this finds."""

    reason: Reason

    def find(self, text: str) -> Iterator[Span]:
        """May raise ``TooMany``."""
        ...


@dataclass(frozen=True)
class Rule:
    """``rejects``: whether a document with a finding is rejected; otherwise the findings are masked."""

    finder: Finder
    rejects: bool


class Masking(Step):
    """A document that changes gets another name. It has the counts by kind, with an excerpt each, in ``found``."""

    def __init__(self, rules: Sequence[Rule]):
        self.rules = rules

    def one(self, document: RawDocument) -> Outcome:
        spans: list[Span] = []
        reason = None
        for rule in self.rules:
            try:
                here = list(rule.finder.find(document.text))
            except TooMany as error:
                return self._rejected(document, rule.finder.reason, f"{error}; not all of them can be checked", None)
            reason = reason or (rule.finder.reason if here and rule.rejects else None)
            spans += here
        if not spans:
            return document
        text, kept, starts = masked(document.text, spans)
        found = review(text, kept, starts)
        if reason:
            return self._rejected(document, reason, _in_words(kept), found)
        return replace(document, text=text, n_bytes=len(text.encode()), found=found)

    def _rejected(self, document: RawDocument, reason: Reason, detail: str, found: str | None) -> Rejected:
        return Rejected(document.source, reason, detail, document.n_bytes, found=found)


def masked(text: str, spans: Iterable[Span]) -> tuple[str, list[Span], list[int]]:
    """The text with placeholders, the spans that were replaced, and where each placeholder begins in the new text.

    Of spans that overlap, the first is replaced, and of those that begin together the longest.
    """
    pieces: list[str] = []
    kept: list[Span] = []
    starts: list[int] = []
    at = length = 0
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.start < at:
            continue
        pieces += [text[at : span.start], span.placeholder]
        starts.append(length + span.start - at)
        length = starts[-1] + len(span.placeholder)
        kept.append(span)
        at = span.end
    return "".join([*pieces, text[at:]]), kept, starts


def review(text: str, spans: Sequence[Span], starts: Sequence[int]) -> str:
    """JSON for a person who reviews the findings: of each kind the number, and the first one's place in the masked
    ``text``."""
    counts = Counter(span.kind for span in spans)
    first: dict[str, str] = {}
    for span, start in zip(spans, starts, strict=True):
        if span.kind not in first:
            end = start + len(span.placeholder)
            first[span.kind] = " ".join(text[max(start - EXCERPT, 0) : end + EXCERPT].split())
    return json.dumps(
        {kind: {"n": counts[kind], "example": first[kind]} for kind in sorted(counts)}, ensure_ascii=False
    )


def _in_words(spans: Sequence[Span]) -> str:
    return ", ".join(f"{n:,} {kind}" for kind, n in sorted(Counter(span.kind for span in spans).items()))
