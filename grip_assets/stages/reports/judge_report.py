"""judge_report: how far the judge can be trusted. It is compared with itself, with the static judge, and with your own
scores."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Result, Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.judges.base import DIMENSIONS
from grip_assets.judges.choose import judge_for
from grip_assets.method.agreement import rank_correlation, weighted_kappa
from grip_assets.method.sampling import keyed_uniform
from grip_assets.settings import Quality, digest
from grip_assets.stages.curation.needed import no_quality
from grip_assets.stages.curation.quality_scores import judge_of, judged, rubric_facts, spent
from grip_assets.store.query import query

THIS_RUN = "this run"
REPEATS = "judge_repeats"
STATIC_SAMPLE = 1_000  # documents that the static judge scores too, at most
READERS: dict[str, Callable[[BinaryIO], pl.DataFrame]] = {  # of open files: a path would be read as a glob
    ".csv": pl.read_csv,
    ".jsonl": pl.read_ndjson,
    ".parquet": pl.read_parquet,
}


def compute(work: Work) -> Result:
    settings = Quality.of(work.settings)
    scores = work.frame("quality_scores").filter(pl.col("status") == "ok")
    described = query("stages/judged_documents", {"quality_scores": scores, "corpus": work.files("corpus")})
    others, whole = [], True
    if settings.judge == "llm":  # the static judge is deterministic, and is the one that an LLM is compared with
        judged_ids = scores.select("doc_id")
        probe = work.frame("probe_documents").join(judged_ids, on="doc_id", how="semi", maintain_order="left")
        repeated, whole = _repeated(work, settings, scores, probe)
        others = [repeated, _static(work, settings, scores, probe)]
    labelled, all_labelled = _gold(work, settings)
    pairs = pl.concat([*others, labelled])
    rows = [
        *_agreement(pairs),
        *_bias(described),
        *_cost(work, settings, scores),
    ]
    work.draft.write("judge_report", pl.DataFrame(rows, schema=stage.schema("judge_report"), orient="row"))
    work.draft.write("judge_histogram", query("stages/judge_histogram", {"quality_scores": scores}))
    work.draft.write("judge_pairs", pairs)
    found = [row for row in rows if row[1] != THIS_RUN]
    metrics = {f"{section}_{measure}": value for section, dimension, measure, value, _ in rows if dimension == "score"}
    return Result(metrics, digest([found, pairs.rows()]), complete=whole and all_labelled)


def _repeated(work: Work, settings: Quality, scores: pl.DataFrame, probe: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
    """Pairs for a sample of the probe that is judged a second time; and whether all of it was judged."""
    if not settings.repeats:
        return stage.table("judge_pairs").empty(), True
    documents = sample(probe, settings.seed, settings.repeats, REPEATS)
    with judge_for(settings, work.store.root, work.run_id, work.log) as judge:
        again, capped = judged(judge, settings, documents, work.log, repeat=1)
    whole = not capped and bool((again["status"] == "ok").all())
    if not whole:
        work.log(f"{capped or 'some documents failed'}: fewer documents were judged twice; a new run continues")
    return _pairs("repeat", scores, again), whole


def _static(work: Work, settings: Quality, scores: pl.DataFrame, probe: pl.DataFrame) -> pl.DataFrame:
    documents = sample(probe, settings.seed, STATIC_SAMPLE, "judge_static")
    static = settings.model_copy(update={"judge": "static"})
    with judge_for(static, work.store.root, work.run_id, work.log, executor=work.executor) as judge:
        found, _ = judged(judge, static, documents, work.log)
    return _pairs("static", scores, found)


def sample(documents: pl.DataFrame, seed: int, size: int, name: str) -> pl.DataFrame:
    """At most ``size`` documents, drawn by a keyed hash of their ids."""
    u = pl.Series("u", keyed_uniform(seed, name, documents["doc_id"]))
    return documents.with_columns(u).sort("u", "doc_id").head(size).drop("u")


def _gold(work: Work, settings: Quality) -> tuple[pl.DataFrame, bool]:
    """Pairs of the judge's scores and the user's; and whether all were judged (False after a spending cap).

    Labelled documents outside of the probe are judged here.
    """
    if settings.gold is None:
        return stage.table("judge_pairs").empty(), True
    labels = read_gold(settings.gold)
    name = "doc_id" if "doc_id" in labels.columns else "source"
    documents = query(
        "stages/gold_documents", {"gold": labels.select(pl.col(name).alias("name")), "corpus": work.files("corpus")}
    )
    if documents.is_empty():
        raise GripError(
            f"settings/quality.gold: no {name} of {settings.gold} is in the corpus. See `grip sql` for names."
        )
    with judge_of(work, settings) as judge:
        found, capped = judged(judge, settings, documents, work.log)
    labelled = documents.select("doc_id", "source").join(labels, on=name, maintain_order="left")
    return _pairs("gold", found.filter(pl.col("status") == "ok"), labelled), not capped


def read_gold(path: str) -> pl.DataFrame:
    """The user's labels: ``doc_id`` or ``source``, and any of the four dimensions (0 to 10) or ``score`` (0 to 1).

    GripError for a file that is missing, cannot be read, or lacks these columns.
    """
    file = Path(path).expanduser()
    if not file.is_file() or file.suffix not in READERS:
        raise GripError(f"settings/quality.gold is '{path}': name a file that ends in {', '.join(READERS)}.")
    try:
        with file.open("rb") as opened:
            labels = READERS[file.suffix](opened)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise GripError(f"settings/quality.gold: {file} cannot be read ({type(error).__name__}).") from None
    given = [c for c in (*DIMENSIONS, "score") if c in labels.columns]
    if not given or not {"doc_id", "source"} & set(labels.columns):
        wanted = f"doc_id or source, and at least one of {', '.join((*DIMENSIONS, 'score'))}"
        raise GripError(f"settings/quality.gold: {file} has the columns {labels.columns}; it needs {wanted}.")
    try:
        return labels.with_columns(pl.col(given).cast(pl.Float64))
    except pl.exceptions.PolarsError:
        raise GripError(f"settings/quality.gold: {file} has labels that are not numbers.") from None


def _pairs(other: str, scores: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """The table ``judge_pairs``: for each document that has both scores, one row per dimension."""
    columns = [c for c in (*DIMENSIONS, "score") if c in others.columns]
    long = [
        scores.select("doc_id", score=c)
        .join(others.select("doc_id", other_score=c), on="doc_id", maintain_order="left")
        .drop_nulls()
        .select("doc_id", other=pl.lit(other), dimension=pl.lit(c), score="score", other_score="other_score")
        for c in columns
    ]
    return pl.concat(long) if long else stage.table("judge_pairs").empty()


def _agreement(pairs: pl.DataFrame) -> list[tuple]:
    rows = []
    for (other, dimension), group in pairs.group_by("other", "dimension", maintain_order=True):
        a, b = group["score"].to_numpy(), group["other_score"].to_numpy()
        scale = 10 if dimension == "score" else 1  # a score is from 0 to 1, kappa counts levels from 0 to 10
        measures = {
            "weighted_kappa": weighted_kappa(scale * a, scale * b),
            "rank_correlation": rank_correlation(a, b),
            "mean_difference": float((b - a).mean()),
            "mean_absolute_difference": float(abs(b - a).mean()),
            "same": float((a == b).mean()),
        }
        rows += [(other, dimension, name, _number(value), len(group)) for name, value in measures.items()]
    return rows


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value


def _bias(described: pl.DataFrame) -> list[tuple]:
    found = query("stages/judge_bias", {"judged": described}).to_dicts()
    return [
        (f"bias by {row['follows']}", "score", measure, _number(row[measure]), row["n"])
        for row in found
        for measure in ("eta2", "epsilon2")
    ]


def _cost(work: Work, settings: Quality, scores: pl.DataFrame) -> list[tuple]:
    """The cost of the answers behind these scores, and the cost of this run; empty if no language model judges."""
    if settings.judge != "llm":
        return []
    said = [json.loads(parts) for parts in scores["parts"]]
    tokens = [sum(s.get(name, 0) for s in said) for name in ("prompt_tokens", "completion_tokens")]
    answers = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "cost": settings.cost(*tokens)}
    run = spent(work, settings)
    rows = [("cost", "answers", name, float(value), len(said)) for name, value in answers.items()]
    return rows + [("cost", THIS_RUN, name, float(value), run["calls"]) for name, value in run.items()]


def _facts(settings: Settings, root: Path) -> dict[str, Any]:
    quality = Quality.of(settings)
    gold = Path(quality.gold).expanduser() if quality.gold else None
    labels = hashlib.sha256(gold.read_bytes()).hexdigest()[:16] if gold and gold.is_file() else None
    return rubric_facts(settings, root) | {"gold": labels}


TABLES = (
    Table(
        "judge_report",
        (
            Column(
                "section",
                pl.String,
                "repeat, static or gold: the scores with which the judge's are compared. bias by ...: a property that"
                " its scores may follow. cost.",
            ),
            Column(
                "dimension",
                pl.String,
                "Rubric dimension, or score (their mean). For cost: answers, or this run.",
                ("quality_scores.score",),
            ),
            Column("measure", pl.String, "Name of the measure."),
            Column("value", pl.Float64, "Value of the measure.", ("quality_scores.score",)),
            Column(
                "n",
                pl.Int64,
                "Number of documents behind the value. For cost: of answers or calls.",
                ("quality_scores.doc_id",),
            ),
        ),
    ),
    Table(
        "judge_histogram",
        (
            Column("dimension", pl.String, "Rubric dimension."),
            Column("score", pl.Int32, "Score from 0 to 10."),
            Column(
                "n",
                pl.Int64,
                "Documents with that score.",
                (
                    "quality_scores.syntax_integrity",
                    "quality_scores.architecture",
                    "quality_scores.educational_value",
                    "quality_scores.technical_depth",
                ),
            ),
        ),
    ),
    Table(
        "judge_pairs",
        (
            Column("doc_id", pl.String, "Document.", ("quality_scores.doc_id",)),
            Column("other", pl.String, "Source of the other score: repeat, static or gold."),
            Column("dimension", pl.String, "Rubric dimension, or score (their mean)."),
            Column("score", pl.Float64, "Score of the judge.", ("quality_scores.score",)),
            Column("other_score", pl.Float64, "The other score.", ("probe_documents.text",)),
        ),
    ),
)
CHECKS = (
    Check("repeats_itself", False, "The weighted kappa of documents judged twice is at least 0.6."),
    Check("not_by_length", False, "Length explains at most half of the variance of the scores."),
)

stage = Stage(
    name="judge_report",
    code_version="2",
    compute=compute,
    description="How far the judge can be trusted. Its scores are compared (weighted κ, rank correlation) with its own"
    " second scores, with the static judge's and with yours. It also has how much of the score follows length, language"
    " and source, and the cost.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("corpus", "probe_set", "quality_scores"),
    reads={"quality": None},
    facts=_facts,
    group="reports",
    named_by_content=True,
    otherwise="the rubric or the labels changed, or not all could be judged the last time",
    unused=no_quality,
    unused_by=("budget",),
)
