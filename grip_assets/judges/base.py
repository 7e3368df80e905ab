"""What a judge is: it gives documents the paper's four rubric scores [appendix A.1]. Light: imports nothing heavy.

All judges share this interface; choose.py makes the one that the settings name. A document that cannot be judged is a
verdict with status 'failed' and a reason, never a zero.
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
    """``scores``: dimension to 0..10 (empty where the status is 'failed'); ``parts``: what each score is made of.
    ``score``: 0..1, of a judge that has one score and no dimensions."""

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
    """A judge that can say what to look at where it judged nothing."""

    def hint(self) -> str: ...
