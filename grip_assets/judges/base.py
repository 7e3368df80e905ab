"""What a judge is: it gives documents the paper's four rubric scores [appendix A.1]. Light: imports nothing heavy.

The static judge and the LLM judge share this interface. A document that cannot be judged is a verdict with status
'failed' and a reason, never a zero.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from grip_assets.settings import Quality

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
    """Verdicts in any order; an implementation may work on many documents at once. One that stops before the end
    (a cap) raises after the last verdict that it has."""

    name: str

    def judge(self, documents: Iterable[Document]) -> Iterator[Verdict]: ...


@runtime_checkable
class Hinting(Protocol):
    """A judge that can say what to look at where it judged nothing."""

    def hint(self) -> str: ...


@contextmanager
def judge_for(settings: Quality, root: Path, run_id: str, log: Callable[[str], None]) -> Iterator[Judge]:
    """The judge that ``settings/quality.judge`` names. ``root``: the data folder, where answers are kept."""
    if settings.judge == "static":
        from grip_assets.judges.static import StaticJudge

        yield StaticJudge()
        return
    from grip_assets.judges.llm import LlmJudge
    from grip_assets.judges.llm_batch import BatchJudge
    from grip_assets.llm.answers import Answers, answers_path

    kind = BatchJudge if settings.mode == "batch" else LlmJudge
    judge = kind(settings, Answers(answers_path(root)), run_id, log)
    try:
        yield judge
    finally:
        judge.answers.close()
