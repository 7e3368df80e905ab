"""attribution_targets: what documents should help with, as texts, and the tokenizer of the small models.

A target is a benchmark, the held-out projects (together, by language, or by cluster), or one of the user's target sets.
Each of its items is in one of two halves. The half ``aim`` shapes the sketch of the target. The half ``measure`` is
what utilities are measured on. A text is in the same half wherever it occurs, so nothing is measured on what was aimed
at. Items that have a copy in the pool are not used (``in_pool``).

Sketches of targets are made in sketches.py.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.settings import Attribution, Corpus, field_names
from grip_assets.sources import benchmarks
from grip_assets.sources.documents import name_of
from grip_assets.stages.curation.features import target_set_facts
from grip_assets.stages.curation.needed import no_attribution
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
from grip_assets.stages.mixing.mixture_domains import MISSING, with_rare_ones_joined

HELD_OUT = "held_out"  # the target, or the beginning of held_out:VALUE
FEWEST = 10  # items of a language or cluster that is a target of its own; rarer ones are joined
SETTING = "attribution.target_sets"


def compute(work: Work) -> dict[str, Any]:
    settings = Attribution.of(work.settings)
    items = _with_halves(_items(work, settings), settings.seed)
    weights_of(_targets(items), settings)  # so that a wrong name is found before sketches and trainings
    items = items.with_columns(in_pool=_copied(work, items))
    _must_be_usable(items, settings)
    items = _without_useless_values(work, items)
    weights_of(_targets(items), settings)
    work.draft.write("attribution_items", items.select(stage.schema("attribution_items").names()))
    write_tokenizer(work, "attribution_tokenizer", settings.vocabulary, settings.seed)
    return {
        "targets": items["target"].n_unique(),
        "items": len(items),
        "left_out_as_copies": int((items["in_pool"] > COPIED).sum()),
    }


def _targets(items: pl.DataFrame) -> list[str]:
    return items["target"].unique(maintain_order=True).to_list()


def usable(items: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``attribution_items`` that have no copy in the pool."""
    return items.filter(pl.col("in_pool") <= COPIED)


def _items(work: Work, settings: Attribution) -> pl.DataFrame:
    """item_id, target, prompt, text, n_bytes of all targets: at most ``items`` of each, in the order of the settings.

    GripError if there are none.
    """
    corpus, sets = Corpus.of(work.settings), list[pl.DataFrame]()
    if "benchmarks" in settings.targets:
        sets += map(benchmark_items, corpus.benchmarks)
    if HELD_OUT in settings.targets:
        sets.append(_held_out(work, settings))
    for name, path in settings.paths.items():
        with naming(name, path):
            sets.append(target_items(SETTING, path, corpus, settings.passage, settings.seed, settings.items, name))
    if not sets:
        raise GripError(
            "settings/attribution names no target: no benchmark (targets with corpus.benchmarks), no held-out projects"
            " (targets), and no target_sets. Name one."
        )
    items = pl.concat(sets, how="diagonal_relaxed").rename({"set": "target"}).filter(pl.col("text") != "")
    items = items.with_columns(
        prompt=pl.col("prompt").fill_null("") if "prompt" in items.columns else pl.lit(""),
        n_bytes=pl.col("text").str.len_bytes().cast(pl.Int64),
        u=pl.Series(keyed_uniform(settings.seed, "attribution: items", items["item_id"])),
    )
    drawn = pl.col("u").rank("ordinal").over("target") <= settings.items
    return items.filter(drawn).drop("u")


@contextmanager
def naming(name: str, path: str) -> Iterator[None]:
    """An error in reading a target set says which one it is."""
    try:
        yield
    except GripError as error:
        raise GripError(f"The target set '{name}' (settings/{SETTING}: '{path}') cannot be used. {error}") from None


def _held_out(work: Work, settings: Attribution) -> pl.DataFrame:
    """Passages of held-out documents: item_id, set, text. GripError if there are none."""
    documents = work.frame("held_out")
    if documents.is_empty():
        raise GripError(
            "settings/attribution.targets has held_out, and no document was held out of the pool. Set"
            " settings/corpus.held_out to the share of the projects to hold out, for example 0.05. If it is set"
            " already, raise it or settings/corpus.project_depth."
        )
    valued = documents.with_columns(set=_values(work, documents, settings.held_out_by))
    chosen = pl.concat(
        by_project(rows, settings.seed).head(settings.items)
        for _, rows in valued.sort("set").group_by("set", maintain_order=True)
    )
    passages = [passage(text, settings.passage, place) for text, place in chosen.select("text", "place").iter_rows()]
    return chosen.select(pl.format("held_out:{}", "doc_id").alias("item_id"), "set", pl.Series("text", passages))


def _values(work: Work, documents: pl.DataFrame, by: str) -> pl.Series:
    """The target of each held-out document: ``held_out``, or ``held_out:VALUE``. Rare values are joined."""
    if by == "none":
        return pl.Series([HELD_OUT] * len(documents))
    values = documents["language"] if by == "language" else nearest_clusters(work, documents["text"])
    joined = with_rare_ones_joined(values.cast(pl.String).fill_null(MISSING).alias("value"), FEWEST)
    return pl.Series([f"{HELD_OUT}:{value}" for value in joined])


def _with_halves(items: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The items with ``half``, which a hash of the text decides."""
    u_N = keyed_uniform(seed, "attribution: half", [name_of(text) for text in items["text"]])
    return items.with_columns(half=pl.when(pl.Series(u_N) < 0.5).then(pl.lit("aim")).otherwise(pl.lit("measure")))


def _copied(work: Work, items: pl.DataFrame) -> pl.Series:
    """in_pool of each item. A document of a target set that is in the pool as a whole is a copy, even a short one."""
    found = pl.Series("in_pool", in_pool(work, items["text"].to_list()), pl.Float64)
    documents = pl.read_parquet(work.files("corpus"), columns=["doc_id"])["doc_id"]
    return found.set(items["item_id"].str.split(":").list.last().is_in(documents.implode()), 1.0)


def _must_be_usable(items: pl.DataFrame, settings: Attribution) -> None:
    """GripError if a benchmark or a target set, or the held-out projects together, have too few usable items."""
    of_held_out = pl.col("target").str.starts_with(HELD_OUT)
    sets = items.group_by(pl.when(of_held_out).then(pl.lit(HELD_OUT)).otherwise("target"), maintain_order=True)
    for (name,), rows in sets:
        left = usable(rows)
        if left["half"].n_unique() == 2:
            continue
        where = f"The target '{name}'"
        if str(name) in settings.paths:
            where += f" (settings/{SETTING}: '{settings.paths[str(name)]}')"
        if left.is_empty():
            raise GripError(
                f"{where} is in the pool: each of its items is more than {COPIED:.0%} of a document there, so it would"
                " measure what the models remember. Take these documents out of the pool, or choose another target."
            )
        raise GripError(
            f"{where} has {len(left):,} items without a copy in the pool, which is too few: half of them shape the"
            f" target, and half measure it. Give it at least {FEWEST}."
        )


def _without_useless_values(work: Work, items: pl.DataFrame) -> pl.DataFrame:
    """Items without the targets held_out:VALUE that have no usable item in one of the halves. The log names these."""
    halves = dict(usable(items).group_by("target").agg(pl.col("half").n_unique()).iter_rows())
    useless = [name for name in _targets(items) if halves.get(name, 0) < 2]
    for name in useless:
        work.log(f"'{name}' is no target: too few of its items have no copy in the pool")
    return items.filter(~pl.col("target").is_in(useless))


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    attribution, corpus = Attribution.of(settings), Corpus.of(settings)
    named = corpus.benchmarks if "benchmarks" in attribution.targets else []
    _must_weigh_targets(attribution, named)
    return {"benchmarks": [benchmarks.content_hash(name) for name in named], "sets": _contents(attribution, corpus)}


def _must_weigh_targets(attribution: Attribution, named: Sequence[str]) -> None:
    """GripError if a weight is that of a benchmark which corpus.benchmarks does not name, or if all weights are 0."""
    known = [*named, *attribution.paths]
    others = [name for name in attribution.weights if name not in known and not name.startswith(HELD_OUT)]
    if others:
        raise GripError(
            f"settings/attribution.target_weights names '{others[0]}', which settings/corpus.benchmarks does not name."
            f" Add it there, or take the weight away."
        )
    if HELD_OUT not in attribution.targets and known:
        weights_of(known, attribution)


def _contents(attribution: Attribution, corpus: Corpus) -> dict[str, Any]:
    found = {}
    for name, path in attribution.paths.items():
        with naming(name, path):
            found[name] = target_set_facts(path, corpus)
    return found


def not_by_cluster(settings: Settings) -> str:
    """Why no held-out document needs its cluster; "" if held-out projects are targets by cluster."""
    by = Attribution.of(settings).held_out_by
    return "" if by == "cluster" else f"settings/attribution.held_out_by is {by}"


def weights_of(targets: Sequence[str], settings: Attribution) -> list[float]:
    """The weight of each target. GripError if settings/attribution.target_weights names no target, or if all are 0."""
    if unknown := [name for name in settings.weights if name not in targets]:
        raise GripError(
            f"settings/attribution.target_weights names '{unknown[0]}', and there is no such target. There are:"
            f" {', '.join(targets)}."
        )
    weights = [settings.weights.get(name, 1.0) for name in targets]
    if not any(weights):
        raise GripError(
            "settings/attribution.target_weights gives every target the weight 0. Give one a weight above 0."
        )
    return weights


TABLES = (
    Table(
        "attribution_items",
        (
            Column("item_id", pl.String, "Name of the item: its target, then the problem or document."),
            Column(
                "target",
                pl.String,
                "What it is an item of: a benchmark, held_out, held_out:VALUE (language or cluster), or a target set.",
                ("held_out.language", "centroids.centroid"),
            ),
            Column(
                "half",
                pl.String,
                "aim: it shapes the sketch of the target. measure: utilities are measured on it.",
                ("attribution_items.text",),
            ),
            Column("prompt", pl.String, "Text that a model reads before it predicts."),
            Column("text", pl.String, "Text that a model predicts.", ("held_out.text",)),
            Column("n_bytes", pl.Int64, "Bytes of the text.", ("attribution_items.text",)),
            Column(
                "in_pool",
                pl.Float64,
                "Largest share of the text's runs of 13 words that one document of the pool has. Items above 0.3 are"
                " not used.",
                ("corpus.text", "attribution_items.text"),
            ),
        ),
    ),
    tokenizer_table("attribution_tokenizer"),
)
CHECKS = (
    Check("halves_apart", True, "No text both shapes a target and measures one, and no item is there twice."),
    Check("both_halves", True, "Each target has items without a copy in the pool in both halves."),
    Check("many_items", False, "Each target is measured on at least 20 items without a copy in the pool."),
)


stage = Stage(
    name="attribution_targets",
    code_version="1",
    compute=compute,
    description="What documents should help with: the items of each target of settings/attribution, in two halves, of"
    " which one shapes the target and the other measures it. `attribution_tokenizer` is the tokenizer of the small"
    " models. Not used unless settings/selection.rule is greedy or settings/budget.base is grasp.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "clusters"),
    reads={
        "corpus": ("benchmarks",),
        "embedding": None,
        "attribution": (*field_names(Attribution, "targets"), "vocabulary", "seed"),
    },
    left_out=dict.fromkeys(("clusters", "embedding"), not_by_cluster),
    facts=facts,
    group="attribution",
    unused=no_attribution,
    unused_by=("budget", "selection"),
    otherwise="code, a benchmark or a target set changed",
)
