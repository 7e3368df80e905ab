"""The interface of judges, which score documents by the paper's four dimensions [appendix A.1]. Imports nothing heavy.

choose.py makes the judge that the settings name. A document that cannot be judged gets a verdict with the status
'failed' and a reason, never a score of zero.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

DIMENSIONS = ("syntax_integrity", "architecture", "educational_value", "technical_depth")


@dataclass(frozen=True)
class Document:
    doc_id: str
    text: str
    language: str | None


@dataclass(frozen=True)
class Verdict:
    """``scores``: by dimension, 0 to 10; empty if the status is 'failed'. ``parts``: how the judge came to its scores.
    ``score``: 0 to 1, from a judge that has a single score and no dimensions."""

    doc_id: str
    judge: str
    scores: dict[str, float] = field(default_factory=dict)
    status: str = "ok"
    reason: str = ""
    parts: dict[str, Any] = field(default_factory=dict)
    score: float | None = None


class Judge(Protocol):
    """Yields one verdict per document, in any order. If a spending cap is reached, all finished verdicts are yielded
    first, then ``Capped`` is raised."""

    name: str

    def judge(self, documents: Iterable[Document]) -> Iterator[Verdict]: ...


@runtime_checkable
class Hinting(Protocol):
    """A judge that can tell the user what to check if it could judge nothing."""

    def hint(self) -> str: ...
