"""quality_scores: the paper's four scores of each probe document, and the quality of each cluster [A9 to A11]."""

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
from grip_assets.stages.curation.needed import no_quality
from grip_assets.store.query import query
from grip_assets.store.shards import Shards
from grip_assets.store.tables import ranges_of, texts

JUDGED_AT_ONCE, BYTES_AT_ONCE = 16, 256 << 10  # documents of a shard of work, where the whole pool is judged
ROUNDS = 20  # of further documents; each at most doubles what a cluster has
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
    """The text of the rubric, where a judge reads one."""
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
                f"{capped}. {done:,} of {len(probe):,} documents are judged, and their scores are kept: run again to"
                " go on, or raise the cap."
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
        work.log(f"judged as plain text: {n_text:,} that could not be parsed (quality_scores.parts says why)")
    if n_failed:
        work.log(f"not judged: {n_failed:,} (quality_scores.reason says why); a new run asks again")
    metrics = {
        "mean_quality": quality["quality"].mean(),
        "largest_standard_error": quality["standard_error"].max(),
        "documents_judged": len(scores) - n_failed,
        "documents_failed": n_failed,
    } | spent(work, settings)
    return Result(metrics, _name(scores, settings), complete=reached and not n_failed)


@contextmanager
def judge_of(work: Work, settings: Quality) -> Iterator[Judge]:
    """The judge in force; one that reads a column reads it in the work's corpus."""
    corpus = work.files("corpus") if settings.judge == "column" else ""
    with judge_for(settings, work.store.root, work.run_id, work.log, corpus, work.executor) as judge:
        yield judge


def judged(
    judge: Judge, settings: Quality, documents: pl.DataFrame, log: Log, **how: Any
) -> tuple[pl.DataFrame, GripError | None]:
    """One row a document, in the order of ``documents``; and the cap that ended it, which leaves the rest null."""
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
    """What the static judge says of every document of the corpus, not of the probe alone: what the evaluation compares
    with. doc_id, ``score`` (0 to 10, the mean over settings/quality.dimensions; null where it has none), and the
    ``seconds`` that it took when it was judged: kept by document and the language it is read as, what was judged once
    is not judged again."""
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
    """Neyman again, now with the spread of the scores: judge more documents where the standard error is large [A28].

    Ends when every cluster's is at most the target, when there is nothing left to draw, or at a cap: what was
    judged by then stands, and the next run goes on. Returns all scores, and whether no cap ended it.
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
        documents = documents.with_columns(text=pl.Series([text_of[d] for d in documents["doc_id"]], dtype=pl.String))
        more, capped = judged(judge, settings, documents, work.log)
        more = more.filter(pl.col("status").is_not_null()).with_columns(round=pl.lit(number, pl.Int32))
        scores = pl.concat([scores, more])
        if capped:
            work.log(f"{capped}: errors stay above the target; a new run goes on")
            return scores, False
    return scores, True


def _draw(
    order: pl.DataFrame, scores: pl.DataFrame, quality: pl.DataFrame, allocation: pl.DataFrame, settings: Quality
) -> pl.DataFrame:
    """The documents of the next round: of each cluster the next ones in ``order`` that were not asked about."""
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
    """What the artifact is named by: every score, and the settings that the judge, its checks or Q_k follow."""
    rows = scores.select("doc_id", *DIMENSIONS, "status").rows()
    how = hashed_values(settings, stage.reads["quality"], applying=True)
    return digest([rows, how])


def spent(work: Work, settings: Quality) -> dict[str, Any]:
    """What the run asked and used, where a judge is paid."""
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
                "Mean of the dimensions in settings/quality, from 0 to 1; of a column, its value on that scale.",
                ("probe_documents.text", "corpus.kept"),
            ),
            Column("judge", pl.String, "Who judged."),
            Column("status", pl.String, "ok or failed."),
            Column("reason", pl.String, "Why it failed."),
            Column(
                "parts",
                pl.String,
                "What the score is made of, or what the judge was shown, as JSON.",
                ("probe_documents.text",),
            ),
            Column("round", pl.Int32, "0 for the probe; 1 and up for documents judged to reach quality.target_error."),
        ),
    ),
    Table(
        "cluster_quality",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("probe_allocation.cluster_id",)),
            Column(
                "quality",
                pl.Float64,
                "Q_k from 0 to 1, drawn towards the overall mean by the shrinkage.",
                ("quality_scores.score",),
            ),
            Column("standard_error", pl.Float64, "Of the cluster's mean score.", ("quality_scores.score",)),
            Column("n_judged", pl.Int64, "Documents with a score.", ("quality_scores.status",)),
            Column("mean_score", pl.Float64, "Mean score without shrinkage.", ("quality_scores.score",)),
            Column("n_asked", pl.Int64, "Documents that were to be judged.", ("quality_scores.doc_id",)),
            Column(
                "score_variance",
                pl.Float64,
                "Variance that further documents are planned with.",
                ("quality_scores.score",),
            ),
            Column("status", pl.String, "ok, or too few judged.", ("quality_scores.status",)),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Scores from 0 to 10, their mean from 0 to 1."),
    Check("few_failed", True, "At most the share of documents in quality.max_failed has no score."),
    Check("judged", False, "Every cluster has as many judged documents as quality.min_judged says."),
)

stage = Stage(
    name="quality_scores",
    code_version="4",
    compute=compute,
    description="How good the documents of each cluster are: four rubric scores from 0 to 10 for each probe document,"
    " and their mean over the cluster's probe, Q_k in [0, 1], with its standard error [paper 3.2 and appendix A.1].",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=("corpus", "clusters", "probe_set"),
    reads={"quality": field_names(Quality, but=["repeats", "gold"])},  # those are judge_report's
    facts=rubric_facts,
    named_by_content=True,
    otherwise="the rubric changed, or documents could not be judged the last time",
    unused=no_quality,
    unused_by=("budget",),
)
