"""quality_scores: the paper's four scores of each probe document, and the quality of each cluster [A9 to A11].

The judges are in judges/. The quality of a cluster is computed in sql/equations/cluster_quality.sql.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Log, Result, Settings, Stage, Work
from grip_assets.errors import Capped, GripError, Unfinished
from grip_assets.judges.base import DIMENSIONS, Document, Hinting, Judge, Verdict
from grip_assets.judges.choose import judge_for
from grip_assets.llm.answers import Answers, answers_path
from grip_assets.method.budget.allocation import further_probe
from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Quality, digest, field_names, hashed_values
from grip_assets.stages.curation.headers import after_headers, no_header, skips
from grip_assets.stages.curation.needed import no_quality
from grip_assets.store.query import query
from grip_assets.store.shards import Shards
from grip_assets.store.tables import ranges_of, texts

JUDGED_AT_ONCE, BYTES_AT_ONCE = 16, 256 << 10  # most documents and bytes of a shard, when the whole pool is judged
ROUNDS = 20  # of further documents; each round at most doubles the judged documents of a cluster
SCHEMA = {
    "doc_id": pl.String,
    **dict.fromkeys(DIMENSIONS, pl.Float64),
    "score": pl.Float64,
    "judge": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "parts": pl.String,
}


def rubric_facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The text of the rubric, if the judge is a language model."""
    quality = Quality.of(settings)
    if quality.judge != "llm":
        return {}
    from grip_assets.judges.prompt import RESPONSE, rubric_text

    return {"rubric": hashlib.sha256((rubric_text(quality.rubric) + RESPONSE).encode()).hexdigest()[:16]}


def compute(work: Work) -> Result:
    settings = Quality.of(work.settings)
    allocation = work.frame("probe_allocation")
    with judge_of(work, settings) as judge:
        probe = work.frame("probe_documents")
        scores, capped = judged(judge, settings, probe, work.log)
        if capped:
            done = int(scores["status"].is_not_null().sum())
            raise Unfinished(
                f"{capped}. {done:,} of {len(probe):,} documents are judged, and their scores are kept. Run again to"
                " continue, or raise the cap."
            )
        if not (scores["status"] == "ok").any():
            raise GripError(
                f"The judge scored none of {len(scores)} documents. The first reason: {scores['reason'][0]}."
                + (judge.hint() if isinstance(judge, Hinting) else "")
            )
        scores, reached = scores.with_columns(round=pl.lit(1, pl.Int32)), True
        if settings.target_error is not None:
            scores, reached = _further(judge, settings, scores, allocation, work)
    quality = _quality(scores, allocation, settings)
    work.draft.write("quality_scores", scores)
    work.draft.write("cluster_quality", quality)
    n_failed = int((scores["status"] != "ok").sum())
    if n_text := int(scores["parts"].str.contains('"not_read_as"', literal=True).sum()):
        work.log(f"{n_text:,} documents could not be parsed and were judged as text (reasons: quality_scores.parts)")
    if n_failed:
        work.log(f"{n_failed:,} documents were not judged (reasons: quality_scores.reason); a new run tries again")
    metrics = {
        "mean_quality": quality["quality"].mean(),
        "largest_standard_error": quality["standard_error"].max(),
        "documents_judged": len(scores) - n_failed,
        "documents_failed": n_failed,
    } | spent(work, settings)
    return Result(metrics, _name(scores, settings), complete=reached and not n_failed)


@contextmanager
def judge_of(work: Work, settings: Quality) -> Iterator[Judge]:
    """The judge that ``settings`` choose. A judge that reads a column reads the corpus of ``work``."""
    corpus = work.files("corpus") if settings.judge == "column" else ""
    with judge_for(settings, work.store.root, work.run_id, work.log, corpus, work.executor) as judge:
        yield judge


def judged(
    judge: Judge, settings: Quality, documents: pl.DataFrame, log: Log, **how: Any
) -> tuple[pl.DataFrame, GripError | None]:
    """One row per document, in the order of ``documents``; and the error if a cap ended the judging, otherwise None.

    After a cap, the documents that were not judged have null scores.
    """
    progress = Progress("judging", len(documents), "documents", log)
    rows, capped = [], None
    try:
        for verdict in judge.judge(to_documents(documents), **how):
            rows.append(_row(verdict, settings))
            progress.advance(1)
    except Capped as error:
        capped = error
    progress.finish()
    found = pl.DataFrame(rows, schema=SCHEMA)
    return documents.select("doc_id", "cluster_id").join(found, on="doc_id", how="left", maintain_order="left"), capped


def static_scores(work: Work) -> pl.DataFrame:
    """Scores of the static judge for every document of the corpus, not only of the probe set.

    The evaluation needs them for selections by quality. Columns: doc_id, ``score`` (0 to 10, the mean over
    settings/quality.dimensions; null if a dimension has no score), ``seconds`` that the judging took. Scores are stored
    by document and language, so no document is judged twice.
    """
    from grip_assets.judges.jobs import JudgeRows
    from grip_assets.judges.static import StaticJudge

    corpus = work.files("corpus")
    key = pl.format("{}:{}", "doc_id", pl.col("language").fill_null("")).alias("key")
    named = pl.read_parquet(corpus, columns=["doc_id", "language"]).select("doc_id", key)

    def to_judge(missing: pl.Series) -> ToDo:
        documents = named.filter(pl.col("key").is_in(missing.implode()))["doc_id"]
        there = ranges_of(corpus, documents, JUDGED_AT_ONCE, BYTES_AT_ONCE)
        return ToDo(JudgeRows(corpus=corpus), there, "judging the pool", len(missing), "documents")

    shards = Shards(work.store, stage.name, f"static-{StaticJudge.version}")
    found = pl.DataFrame(shards.completed(named["key"], to_judge, work.executor, work.log))
    score = pl.mean_horizontal(Quality.of(work.settings).dimensions, ignore_nulls=False)
    return found.select(named["doc_id"], score.alias("score"), "seconds")


def to_documents(rows: pl.DataFrame) -> Iterable[Document]:
    return (Document(*row) for row in rows.select("doc_id", "text", "language").iter_rows())


def _row(verdict: Verdict, settings: Quality) -> dict[str, Any]:
    chosen = [verdict.scores[d] for d in settings.dimensions if verdict.scores]
    return {
        "doc_id": verdict.doc_id,
        **verdict.scores,
        "score": sum(chosen) / len(chosen) / 10 if chosen else verdict.score,
        "judge": verdict.judge,
        "status": verdict.status,
        "reason": verdict.reason,
        "parts": json.dumps(verdict.parts),
    }


def _quality(scores: pl.DataFrame, allocation: pl.DataFrame, settings: Quality) -> pl.DataFrame:
    tables = {"quality_scores": scores, "probe_allocation": allocation}
    return query("equations/cluster_quality", tables, shrinkage=settings.shrinkage, min_judged=settings.min_judged)


def _further(
    judge: Judge, settings: Quality, scores: pl.DataFrame, allocation: pl.DataFrame, work: Work
) -> tuple[pl.DataFrame, bool]:
    """Judge more documents of clusters whose standard error is large: Neyman, with the variance of the scores [A28].

    Stops when the standard error of every cluster is at most the target, when no documents are left, or at a cap. After
    a cap, the next run continues. Returns all scores, and whether it ended without a cap.
    """
    members = work.frame("clusters").select("doc_id", "cluster_id")
    u = pl.Series("u", keyed_uniform(settings.seed, "further_probe", members["doc_id"]))
    order = members.with_columns(u).sort("cluster_id", "u", "doc_id").drop("u")
    for number in range(2, ROUNDS + 2):
        drawn = _draw(order, scores, _quality(scores, allocation, settings), allocation, settings)
        if drawn.is_empty():
            break
        work.log(f"round {number}: {len(drawn):,} more documents in {drawn['cluster_id'].n_unique()} clusters")
        documents = query("stages/probe_documents", {"probe_set": drawn, "corpus": work.files("corpus")})
        text_of = dict(texts(work.files("corpus"), set(documents["doc_id"])))
        text_of = after_headers(text_of, skips(work, text_of))
        documents = documents.with_columns(text=pl.Series([text_of[d] for d in documents["doc_id"]], dtype=pl.String))
        more, capped = judged(judge, settings, documents, work.log)
        more = more.filter(pl.col("status").is_not_null()).with_columns(round=pl.lit(number, pl.Int32))
        scores = pl.concat([scores, more])
        if capped:
            work.log(f"{capped}: some standard errors are still above the target; a new run continues")
            return scores, False
    return scores, True


def _draw(
    order: pl.DataFrame, scores: pl.DataFrame, quality: pl.DataFrame, allocation: pl.DataFrame, settings: Quality
) -> pl.DataFrame:
    """The documents of the next round: for each cluster, the next ones in ``order`` that were not judged yet."""
    assert settings.target_error is not None
    sizes = quality.join(allocation.select("cluster_id", "n_docs"), on="cluster_id", maintain_order="left")
    size, asked, done, variance = (sizes[c].to_numpy() for c in ("n_docs", "n_asked", "n_judged", "score_variance"))
    more = further_probe(size, asked, done, variance, settings.target_error)
    wanted = pl.DataFrame({"cluster_id": sizes["cluster_id"], "more": more})
    return (
        order.join(scores.select("doc_id"), on="doc_id", how="anti", maintain_order="left")
        .with_columns(rank=pl.int_range(pl.len()).over("cluster_id"))
        .join(wanted, on="cluster_id", maintain_order="left")
        .filter(pl.col("rank") < pl.col("more"))
        .drop("more")
    )


def _name(scores: pl.DataFrame, settings: Quality) -> str:
    """The content that names the artifact: every score, and the settings of the judge, of the checks and of Q_k."""
    rows = scores.select("doc_id", *DIMENSIONS, "status").rows()
    how = hashed_values(settings, stage.reads["quality"], applying=True)
    return digest([rows, how])


def spent(work: Work, settings: Quality) -> dict[str, Any]:
    """Calls, tokens and cost of this run, if the judge is a language model; otherwise empty. Also logs them."""
    if settings.judge != "llm":
        return {}
    answers = Answers(answers_path(work.store.root))
    found = answers.spent(work.run_id)
    answers.close()
    cost = settings.cost(found.prompt_tokens, found.completion_tokens)
    tokens = f"{found.prompt_tokens:,} prompt and {found.completion_tokens:,} answer tokens"
    work.log(f"asked {found.calls:,} times in this run: {tokens}, cost {cost:.4f}")
    return {
        "calls": found.calls,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "cost": cost,
    }


TABLES = (
    Table(
        "quality_scores",
        (
            Column("doc_id", pl.String, "Judged document.", ("probe_set.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster.", ("probe_set.cluster_id",)),
            Column("syntax_integrity", pl.Float64, "Rubric score from 0 to 10.", ("probe_documents.text",)),
            Column("architecture", pl.Float64, "Rubric score from 0 to 10.", ("probe_documents.text",)),
            Column("educational_value", pl.Float64, "Rubric score from 0 to 10.", ("probe_documents.text",)),
            Column("technical_depth", pl.Float64, "Rubric score from 0 to 10.", ("probe_documents.text",)),
            Column(
                "score",
                pl.Float64,
                "Score from 0 to 1: the mean of quality.dimensions or, for judge=column, the column's scaled value.",
                ("probe_documents.text", "corpus.kept"),
            ),
            Column("judge", pl.String, "Name of the judge or of its model."),
            Column("status", pl.String, "ok or failed."),
            Column("reason", pl.String, "Why judging failed."),
            Column(
                "parts",
                pl.String,
                "What the score is computed from, or which parts of the text the judge saw, as JSON.",
                ("probe_documents.text",),
            ),
            Column(
                "round", pl.Int32, "1 for the probe set. 2 and up for documents judged to reach quality.target_error."
            ),
        ),
    ),
    Table(
        "cluster_quality",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("probe_allocation.cluster_id",)),
            Column(
                "quality",
                pl.Float64,
                "Quality Q_k from 0 to 1, pulled towards the overall mean by quality.shrinkage.",
                ("quality_scores.score",),
            ),
            Column("standard_error", pl.Float64, "Standard error of the mean score.", ("quality_scores.score",)),
            Column("n_judged", pl.Int64, "Documents with a score.", ("quality_scores.status",)),
            Column("mean_score", pl.Float64, "Mean score without shrinkage.", ("quality_scores.score",)),
            Column("n_asked", pl.Int64, "Documents that were given to the judge.", ("quality_scores.doc_id",)),
            Column(
                "score_variance",
                pl.Float64,
                "Variance of the scores from which the number of further documents is computed.",
                ("quality_scores.score",),
            ),
            Column(
                "status",
                pl.String,
                "ok, or too few judged (fewer than quality.min_judged).",
                ("quality_scores.status",),
            ),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Scores are from 0 to 10, their mean from 0 to 1."),
    Check("few_failed", True, "The share of documents without a score is at most quality.max_failed."),
    Check("judged", False, "Every cluster has at least quality.min_judged judged documents."),
)

stage = Stage(
    name="quality_scores",
    code_version="4",
    compute=compute,
    description="How good the documents of each cluster are: four rubric scores from 0 to 10 for each probe document."
    " `cluster_quality` has their mean over the cluster, Q_k in [0, 1], and its standard error [paper 3.2, appendix"
    " A.1].",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=("corpus", "headers", "clusters", "probe_set"),
    reads={"quality": field_names(Quality, but=["repeats", "gold"])},  # only judge_report reads these two
    facts=rubric_facts,
    named_by_content=True,
    otherwise="the rubric changed, or documents could not be judged the last time",
    unused=no_quality,
    unused_by=("budget", "embedding"),
    left_out={"headers": no_header},
)
