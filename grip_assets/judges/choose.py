"""Makes the judge that the settings name. Only this file knows all judges; no judge knows another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from grip_assets.judges.base import Judge
from grip_assets.llm.answers import Answers, answers_path
from grip_assets.runtime.executors import Executor
from grip_assets.settings import Quality


@contextmanager
def judge_for(
    settings: Quality,
    root: Path,
    run_id: str,
    log: Callable[[str], None],
    corpus: str = "",
    executor: Executor | None = None,
) -> Iterator[Judge]:
    """The judge that ``settings/quality.judge`` names. ``root``: the data folder, which keeps paid answers.
    ``corpus``: files of the table ``corpus``, for the judge that reads a column. ``executor``: runs the jobs of the
    static judge; None: on this machine."""
    if settings.judge == "column":
        from grip_assets.judges.column import ColumnJudge  # heavy: reads the whole column

        yield ColumnJudge(corpus, settings.column, settings.column_range)
    elif settings.judge == "static":
        from grip_assets.judges.static import StaticJudge  # heavy: loads the grammars

        yield StaticJudge(executor)
    else:
        from grip_assets.judges.llm import LlmJudge  # heavy: loads the HTTP client

        judge = LlmJudge(settings, Answers(answers_path(root)), run_id, log)
        try:
            yield judge
        finally:
            judge.close()
