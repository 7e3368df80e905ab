"""The names of clusters by a language model: the documents of each question, and what becomes of the answers.

The questions are in naming/asking.py. Answers are kept in the store of the judge, so none is paid for twice. A cluster
without a usable answer keeps its name by words, and the log says how many there are and why.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from grip_assets.engine.stage import Log, Work
from grip_assets.errors import GripError, Unfinished
from grip_assets.llm.answers import Answers, answers_path
from grip_assets.llm.spending import Caps, must_be_set
from grip_assets.naming.compose import apart
from grip_assets.settings import Taxonomy
from grip_assets.stages.curation.cluster_names import Named, nearest
from grip_assets.store.tables import texts

ALIKE = 0.5  # below this share of different names, a model names everything alike
FEW = 3  # fewer answers than this can be alike by chance


@dataclass
class Asked:
    """``answers``: name and description by cluster. ``whole``: whether every question has an answer. ``metrics``: the
    calls, tokens and cost of this run."""

    answers: dict[int, dict[str, str]] = field(default_factory=dict)
    whole: bool = True
    metrics: dict[str, float] = field(default_factory=dict)


def must_be_ready(settings: Taxonomy) -> None:
    """GripError if a setting or a variable of the endpoint is missing. Nothing is sent."""
    from grip_assets.llm.endpoint import endpoint  # optional: the extra llm

    must_be_set(settings)
    endpoint()


def run_id(work: Work) -> str:
    """The run that calls about clusters are counted in: their caps are apart from the judge's."""
    return f"{work.run_id} taxonomy"


def ask(work: Work, influence: pl.DataFrame, centroids: pl.DataFrame) -> Asked:
    """Ask for the name of every cluster. GripError if the endpoint denies the key or the model."""
    from grip_assets.llm.asker import HOPELESS, Asker  # optional: the extra llm
    from grip_assets.naming.asking import KIND, question  # sklearn

    settings = Taxonomy.of(work.settings)
    must_be_ready(settings)
    shown = _shown(work, influence, centroids, settings)
    questions = [question(cluster, *documents, settings) for cluster, documents in shown.items()]
    cluster_of = {q.subject: cluster for q, cluster in zip(questions, shown, strict=True)}
    asked, reasons = Asked(), Counter[str]()
    answers = Answers(answers_path(work.store.root))
    counted_as = run_id(work)
    asker = Asker(KIND, Caps(settings.max_calls, settings.max_cost, settings.cost), answers, counted_as, work.log)
    try:
        for outcome in asker.ask(questions):
            if outcome.answer:
                asked.answers[cluster_of[outcome.question.subject]] = outcome.answer.value
            else:
                reasons[outcome.reason] += 1
    except Unfinished as error:
        work.log(f"warning: {error}")
        asked.whole = False
    except GripError as error:
        if reasons.total() < HOPELESS:
            raise
        work.log(f"warning: {error}")
        asked.whole = False
    else:
        asked.whole = not reasons
    finally:
        asked.metrics = _spent(answers, counted_as, settings)
        answers.close()
    _say(work.log, len(questions), asked, reasons)
    return asked


def _shown(
    work: Work, influence: pl.DataFrame, centroids: pl.DataFrame, settings: Taxonomy
) -> dict[int, tuple[list[str], list[str]]]:
    """The texts of the typical documents of each cluster, and of those of the nearest one."""
    best = influence.filter(pl.col("rank") <= settings.top).sort("cluster_id", "rank")
    docs = {key[0]: rows["doc_id"].to_list() for key, rows in best.group_by("cluster_id", maintain_order=True)}
    text_of = dict(texts(work.files("corpus"), set(best["doc_id"])))
    ids = centroids["cluster_id"].to_list()
    near = dict(zip(ids, np.array(ids)[nearest(np.stack(list(centroids["centroid"])))].tolist(), strict=True))
    return {
        k: (
            [text_of[doc] for doc in docs[k]],
            [text_of[doc] for doc in docs.get(near[k], [])[: settings.contrast]] if near[k] != k else [],
        )
        for k in ids
        if k in docs
    }


def _spent(answers: Answers, run_id: str, settings: Taxonomy) -> dict[str, float]:
    found = answers.spent(run_id)
    cost = settings.cost(found.prompt_tokens, found.completion_tokens)
    tokens = {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens}
    return {"calls": found.calls, **tokens, "cost": cost}


def _say(log: Log, n: int, asked: Asked, reasons: Counter[str]) -> None:
    m = asked.metrics
    log(
        f"names: the model answered for {len(asked.answers):,} of {n:,} clusters; asked {m['calls']:,} times in this"
        f" run: {m['prompt_tokens']:,} prompt and {m['completion_tokens']:,} answer tokens, cost {m['cost']:.4f}"
    )
    if reasons:
        reason, times = reasons.most_common(1)[0]
        log(f"warning: {reasons.total():,} clusters have no usable answer; {times:,} times: {reason}")


def usable(asked: Asked, log: Log) -> dict[int, dict[str, str]]:
    """The answers, or none of them if the model names everything alike."""
    found = [answer["name"].casefold() for answer in asked.answers.values()]
    if len(found) >= FEW and len(set(found)) < ALIKE * len(found):
        log(
            f"warning: the model gave only {len(set(found))} different names for {len(found)} clusters. They are named"
            " by words instead. Name another model in settings/taxonomy.model"
        )
        return {}
    return asked.answers


def of_answers(answers: dict[int, dict[str, str]], ids: list[int], named: Named) -> tuple[list[str], list[str]]:
    """Names and ``named_by``: the model's where it answered, otherwise those by words."""
    names = [answers[i]["name"] if i in answers else name for i, name in zip(ids, named.names, strict=True)]
    return apart(names, named.words), ["llm" if i in answers else "words" for i in ids]
