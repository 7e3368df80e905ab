"""Asks the language model that names the clusters about them, for cluster_report. Caps and answers are those of the
names: one run stays within settings/taxonomy.max_calls and max_cost, and no answer is paid for twice."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.errors import Unfinished
from grip_assets.llm.answers import Answers, answers_path
from grip_assets.llm.question import Question
from grip_assets.llm.spending import Caps
from grip_assets.settings import Taxonomy
from grip_assets.stages.curation import cluster_asking


class Asking:
    """``complete``: whether all questions so far have an answer."""

    def __init__(self, work: Work, settings: Taxonomy):
        self.work, self.settings, self.complete = work, settings, True

    def __call__(self, questions: Sequence[Question]) -> dict[str, Any]:
        """The value of each answer by the subject of its question; those so far after a cap."""
        from grip_assets.llm.asker import Asker  # optional: the extra llm

        s, found = self.settings, dict[str, Any]()
        if not questions:
            return found
        cluster_asking.must_be_ready(s)
        answers = Answers(answers_path(self.work.store.root))
        run_id = cluster_asking.run_id(self.work)
        asker = Asker(questions[0].kind, Caps(s.max_calls, s.max_cost, s.cost), answers, run_id, self.work.log)
        try:
            for outcome in asker.ask(questions):
                if outcome.answer:
                    found[outcome.question.subject] = outcome.answer.value
        except Unfinished as error:
            self.work.log(f"{error}: {len(found):,} of {len(questions):,} questions about clusters are answered")
        finally:
            answers.close()
        self.complete &= len(found) == len(questions)
        return found

    def names(self, representatives: pl.DataFrame) -> dict[int, dict[str, str]]:
        """Name and description of each cluster by the model, from these documents (cluster_id, doc_id, in order)."""
        ranked = representatives.with_columns(rank=pl.int_range(1, pl.len() + 1).over("cluster_id"))
        asked = cluster_asking.ask(self.work, ranked, self.work.frame("centroids"))
        self.complete &= asked.whole
        return asked.answers
