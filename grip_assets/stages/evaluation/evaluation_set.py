"""evaluation_set: the items that the models of the evaluation must predict, and the tokenizer that they share.

There are three sets: solutions of benchmarks after their prompts, passages of projects that were set aside before
curation (settings/corpus.held_out), and passages of the user's target set. settings/evaluation.targets adds others: one
language, prose, or further test sets. A blocking check makes sure that no predicted document is in the pool.
Near copies may be there: ``in_pool`` says how much of a passage one document of the pool has.
"""

from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.settings import Corpus, Evaluation
from grip_assets.settings.groups import target_name
from grip_assets.sources.languages import is_prose
from grip_assets.stages.curation.features import target_set_facts
from grip_assets.stages.curation.predicted import (
    COPIED,
    benchmark_items,
    by_project,
    in_pool,
    nearest_clusters,
    passage,
    target_items,
    tokenizer_table,
    write_tokenizer,
)

BANDS = ("low", "middle", "high")
WRITTEN = {"text", "markdown", "rst", "latex"}  # kinds of files that are prose
LENGTHS = {"short": 0, "medium": 500, "long": 2000}  # least tokens of each band


def compute(work: Work) -> dict[str, Any]:
    settings, corpus = Evaluation.of(work.settings), Corpus.of(work.settings)
    held_out = _held_out(work, settings)
    items = pl.concat(
        [
            stage.table("evaluation_set").empty(),
            *map(benchmark_items, corpus.benchmarks),
            held_out,
            *_target(settings, corpus),
            *(_further(work, target, settings, corpus) for target in settings.targets),
        ],
        how="diagonal_relaxed",
    ).with_columns(prompt=pl.col("prompt").fill_null(""), n_bytes=pl.col("text").str.len_bytes().cast(pl.Int64))
    items = items.with_columns(in_pool=pl.Series(in_pool(work, items["text"].to_list()), dtype=pl.Float64))
    work.draft.write("evaluation_set", items.match_to_schema(stage.schema("evaluation_set"), missing_columns="insert"))
    write_tokenizer(work, "tokenizer", settings.vocabulary, settings.seed)
    copied = int((items["in_pool"] > COPIED).sum())
    if copied == len(items):
        raise GripError(
            f"Each of the {len(items):,} passages has a copy in the pool, so none can measure anything."
            " Set other projects aside (settings/corpus.held_out, project_depth), or name another target in"
            " settings/evaluation.target."
        )
    sizes = {f"items_of_{name}": n for name, n in items.group_by("set", maintain_order=True).len().iter_rows()}
    return sizes | {"left_out_as_copies": copied}


def _held_out(work: Work, settings: Evaluation) -> pl.DataFrame:
    """Passages of documents that were set aside, in the order of ``by_project``, until there are enough."""
    documents = work.frame("held_out")
    if documents.is_empty():
        raise GripError(
            "No document was set aside for the evaluation. Set settings/corpus.held_out to the share of the projects to"
            " set aside, for example 0.05. If it is set already, raise it or settings/corpus.project_depth."
        )
    chosen = by_project(documents, settings.seed).head(settings.documents)
    described = _described(work, chosen)
    passages = [passage(text, settings.passage, place) for text, place in chosen.select("text", "place").iter_rows()]
    return described.with_columns(
        pl.format("held_out:{}", "doc_id").alias("item_id"),
        pl.lit("held_out").alias("set"),
        pl.Series("text", passages),
        pl.Series("length_band", [_length_band(n) for n in chosen["n_tokens"]]),
    ).select("item_id", "set", "source", "project", "language", "cluster_id", "quality_band", "length_band", "text")


def _length_band(tokens: int) -> str:
    return max((name for name, least in LENGTHS.items() if tokens >= least), key=lambda name: LENGTHS[name])


def _described(work: Work, documents: pl.DataFrame) -> pl.DataFrame:
    """``documents`` with the columns cluster_id and quality_band.

    cluster_id: the nearest cluster. quality_band: the third of the documents, by the quality of their clusters.
    """
    nearest = nearest_clusters(work, documents["text"])
    found = documents.with_columns(nearest).join(
        work.frame("cluster_quality").select("cluster_id", "quality"),
        on="cluster_id",
        how="left",
        maintain_order="left",
    )
    third = ((pl.col("quality").rank("average") - 1) * 3 / pl.len()).floor().clip(0, 2).cast(pl.Int32)
    return found.with_columns(
        third.replace_strict(dict(enumerate(BANDS)), return_dtype=pl.String).alias("quality_band")
    )


def _target(settings: Evaluation, corpus: Corpus) -> list[pl.DataFrame]:
    if settings.target is None:
        return []
    named, most = "evaluation.target", settings.documents
    return [target_items(named, settings.target, corpus, settings.passage, settings.seed, most)]


def _further(work: Work, target: str, settings: Evaluation, corpus: Corpus) -> pl.DataFrame:
    """The items of one of settings/evaluation.targets. GripError if there is none."""
    name, path = target_name(target), target.partition("=")[2]
    if path:
        return target_items(
            "evaluation.targets", path, corpus, settings.passage, settings.seed, settings.documents, name
        )
    documents = work.frame("held_out")
    languages = documents["language"].fill_null("").to_list()
    wanted = [
        language in WRITTEN or is_prose(language) if target == "prose" else language == name for language in languages
    ]
    found = by_project(documents.filter(pl.Series(wanted, dtype=pl.Boolean)), settings.seed).head(settings.documents)
    if found.is_empty():
        there = ", ".join(sorted({language for language in languages if language}))
        raise GripError(
            f"settings/evaluation.targets has '{target}', and no document that was set aside is of that kind."
            f" There are: {there or 'none with a language'}. Name one of these, or raise settings/corpus.held_out."
        )
    passages = [passage(text, settings.passage, place) for text, place in found.select("text", "place").iter_rows()]
    return found.select(
        pl.format("{}:{}", pl.lit(name), "doc_id").alias("item_id"),
        pl.lit(name).alias("set"),
        "source",
        "project",
        "language",
        pl.Series("text", passages),
    )


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    evaluation, corpus = Evaluation.of(settings), Corpus.of(settings)
    paths = {target_name(target): target.partition("=")[2] for target in evaluation.targets if "=" in target}
    further = {name: target_set_facts(path, corpus) for name, path in paths.items()}
    return target_set_facts(evaluation.target, corpus) | ({"targets": further} if further else {})


TABLES = (
    Table(
        "evaluation_set",
        (
            Column("item_id", pl.String, "Name of the item: its set, then the problem or document."),
            Column(
                "set", pl.String, "Set of items: humaneval, held_out, target, or one of settings/evaluation.targets."
            ),
            Column("source", pl.String, "Name of the problem, or path of the document."),
            Column("project", pl.String, "Project of a held-out document.", ("held_out.project",)),
            Column("language", pl.String, "Language.", ("held_out.language",)),
            Column(
                "cluster_id",
                pl.Int32,
                "Nearest cluster of a held-out document.",
                ("clusters.cluster_id", "held_out.text"),
            ),
            Column(
                "quality_band",
                pl.String,
                "Third of the held-out documents by the quality of their cluster: low, middle or high.",
                ("cluster_quality.quality",),
            ),
            Column(
                "length_band",
                pl.String,
                "Length of the document: short, medium (from 500 tokens) or long (from 2,000).",
                ("held_out.n_tokens",),
            ),
            Column("prompt", pl.String, "Text that the models read before they predict."),
            Column("text", pl.String, "Text that the models predict.", ("held_out.text",)),
            Column("n_bytes", pl.Int64, "Bytes of the text.", ("held_out.text",)),
            Column(
                "in_pool",
                pl.Float64,
                "Largest share of the text's runs of 13 words that one document of the pool has. Items above 0.3 are"
                " not used.",
                ("corpus.text",),
            ),
        ),
    ),
    tokenizer_table("tokenizer"),
)
CHECKS = (
    Check("apart", True, "No predicted held-out document is in the pool."),
    Check("something_to_predict", True, "Every item has a text, and no item is there twice."),
)

stage = Stage(
    name="evaluation_set",
    code_version="3",
    compute=compute,
    description="The texts that the models of the evaluation must predict: solutions of the benchmarks, passages of"
    " held-out projects, and passages of your target set. `tokenizer` is the tokenizer that all models share, learned"
    " on the pool.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "embeddings", "clusters", "quality_scores"),
    reads={
        "corpus": ("benchmarks",),
        "embedding": None,
        "evaluation": ("documents", "passage", "target", "targets", "vocabulary", "seed"),
    },
    facts=facts,
    group="evaluation",
)
