"""mixture_domains: the domains that are mixed, the texts on which mixtures are measured, and the models' tokenizer.

A domain is a cluster, a family of clusters, or a value of a column. Some documents of each domain are held out: no
training reads them, and the models predict a passage of each. The models also predict the benchmarks and the user's
target set. An item that has a copy among the documents that trainings read is not used (``in_pool``).
"""

from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.families import families, number_of_families
from grip_assets.method.sampling import keyed_uniform
from grip_assets.settings import Clustering, Corpus, Mixing, field_names
from grip_assets.sources import benchmarks
from grip_assets.stages.curation.features import target_set_facts
from grip_assets.stages.curation.needed import no_mixture
from grip_assets.stages.curation.partition import choose, column_values
from grip_assets.stages.curation.predicted import (
    COPIED,
    benchmark_items,
    in_pool,
    passage,
    target_items,
    tokenizer_table,
    write_tokenizer,
)
from grip_assets.store.tables import texts

MISSING, OTHER = "(missing)", "(other)"  # as in method/partition/column.py, which is slow to import
MOST = 1_024  # domains by a column
TARGET_ITEMS = 1_000  # most documents of the user's target set
HELD_OUT_SHARE = 0.1  # of the documents of a domain, and of its tokens, at most
DOMAIN, TARGET = "domain:", "target"  # a target is called domain:NAME, or by its benchmark, or target


def compute(work: Work) -> dict[str, Any]:
    settings = Mixing.of(work.settings)
    documents = with_held_out(_documents(work, settings), settings.held_out, settings.seed)
    domains = _domains(documents, settings.domains == "clusters")
    work.draft.write("mixture_domains", domains.select(stage.schema("mixture_domains").names()))
    work.draft.write("mixture_documents", documents.sort("doc_id").select("doc_id", "domain", "held_out"))
    items = _items(work, documents)
    work.draft.write("mixture_items", items.select(stage.schema("mixture_items").names()))
    write_tokenizer(work, "mixture_tokenizer", settings.vocabulary, settings.seed)
    unmeasured = _say_what_is_missing(work, domains, items)
    return {
        "domains": len(domains),
        "held_out_documents": int(documents["held_out"].sum()),
        "items": len(items),
        "left_out_as_copies": int((items["in_pool"] > COPIED).sum()),
        "domains_without_items": len(unmeasured),
    }


def _documents(work: Work, settings: Mixing) -> pl.DataFrame:
    """doc_id, cluster_id, n_tokens, name, domain of every document. Domains are numbered in the order of ``_numbered``;
    clusters keep their numbers."""
    found = work.frame("clusters").select("doc_id", "cluster_id", "n_tokens")
    if settings.domains == "clusters":
        return found.with_columns(pl.col("cluster_id").cast(pl.String).alias("name"), domain="cluster_id")
    if settings.domains == "families":
        named = found.join(_families(work), on="cluster_id", maintain_order="left")
        return named.with_columns(pl.col("domain").cast(pl.String).alias("name"))
    values = pl.read_parquet(work.files("corpus"), columns=["doc_id"]).with_columns(name=_values(work, settings))
    return _numbered(found.join(values, on="doc_id", how="left", maintain_order="left"))


def _families(work: Work) -> pl.DataFrame:
    """cluster_id, domain: the family of each cluster. Family 0 has the most documents."""
    centroids = work.frame("centroids").sort("cluster_id")
    n = number_of_families(len(centroids), None)
    family_K = families(centroids["centroid"].to_numpy(), centroids["n_docs"].to_numpy(), n)
    return centroids.select("cluster_id", domain=pl.Series(family_K, dtype=pl.Int32))


def _values(work: Work, settings: Mixing) -> pl.Series:
    """The value of each document of ``corpus`` in the column. Rare ones are one domain, ``OTHER``."""
    corpus = Corpus.of(work.settings)
    blocks = column_values(work.files("corpus"), settings.column, corpus.keep, setting="mixing.column")
    values = pl.concat(list(blocks))
    if values.null_count() == len(values):
        raise GripError(
            f"settings/mixing.column is '{settings.column}', and no document of the pool has a value there."
            f" {choose(work.files('corpus'), corpus.keep)}"
        )
    least = Clustering.of(work.settings).min_cluster_docs
    return with_rare_ones_joined(values.fill_null(MISSING), least)


def with_rare_ones_joined(values: pl.Series, least: int) -> pl.Series:
    """Values with fewer than ``least`` documents are ``OTHER``.

    If these are fewer than ``least`` documents together, the next rarest value joins them, until they are enough.
    """
    counts = values.alias("value").value_counts().sort(["count", "value"], descending=[True, False])
    counts = counts.filter(pl.col("value") != OTHER)
    kept = counts.head(MOST - 1).filter(pl.col("count") >= least)
    rest = len(values) - kept["count"].sum()
    while rest and rest < least and len(kept):
        rest += kept["count"][-1]
        kept = kept.head(-1)
    return values.set(~values.is_in(kept["value"].implode()), OTHER)


def _numbered(documents: pl.DataFrame) -> pl.DataFrame:
    """Domains by their names, the largest first; ``MISSING`` and ``OTHER`` come last."""
    last = pl.col("name").is_in([MISSING, OTHER])
    sizes = documents.group_by("name").len().sort(last, -pl.col("len").cast(pl.Int64), "name")
    number = sizes.select("name", domain=pl.int_range(pl.len(), dtype=pl.Int32))
    return documents.join(number, on="name", maintain_order="left")


def with_held_out(documents: pl.DataFrame, wanted: int, seed: int) -> pl.DataFrame:
    """The documents with the column held_out: ``wanted`` of each domain, drawn by a hash of their ids.

    At most a tenth of a domain is held out, of its documents and of its tokens. So a domain of fewer than 10 documents
    has none.
    """
    tokens = pl.col("n_tokens")
    most = pl.col("domain_tokens") * HELD_OUT_SHARE
    drawn = (
        documents.with_columns(pl.Series("u", keyed_uniform(seed, "mixing: held out", documents["doc_id"])))
        .with_columns(domain_tokens=tokens.sum().over("domain"), domain_docs=pl.len().over("domain"))
        .filter((tokens > 0) & (tokens <= most))
        .sort("u")
        .with_columns(turn=pl.int_range(1, pl.len() + 1).over("domain"), so_far=tokens.cum_sum().over("domain"))
        .filter(
            (pl.col("turn") <= wanted)
            & (pl.col("turn") <= pl.col("domain_docs") * HELD_OUT_SHARE)
            & (pl.col("so_far") <= most)
        )
    )
    return documents.with_columns(held_out=pl.col("doc_id").is_in(drawn["doc_id"].implode()))


def _domains(documents: pl.DataFrame, of_clusters: bool) -> pl.DataFrame:
    """Rows of the table ``mixture_domains``. GripError if there is one domain, or one without tokens to train on."""
    trained = pl.col("n_tokens").filter(~pl.col("held_out")).sum()
    found = documents.group_by("domain").agg(
        name=pl.col("name").first(),
        cluster_id=pl.col("cluster_id").first() if of_clusters else pl.lit(None, pl.Int32),
        n_docs=pl.len().cast(pl.Int64),
        n_tokens=pl.col("n_tokens").sum(),
        trained=trained,
        n_held_out=pl.col("held_out").sum().cast(pl.Int64),
    )
    found = found.sort("domain").with_columns(natural_share=pl.col("trained") / pl.col("trained").sum())
    if len(found) < 2:
        raise GripError(
            f"settings/mixing.domains gives one domain, '{found['name'][0]}', and one domain has nothing to mix. Use"
            " more clusters (settings/clustering.k), or another settings/mixing.domains or mixing.column."
        )
    if len(empty := found.filter(pl.col("trained") == 0)):
        raise GripError(
            f"The domain '{empty['name'][0]}' has no tokens that could be trained on. Choose another"
            " settings/mixing.domains, or raise settings/clustering.min_cluster_docs."
        )
    return found


def _items(work: Work, documents: pl.DataFrame) -> pl.DataFrame:
    """Rows of the table ``mixture_items``. GripError if each item of a set has a copy in the pool."""
    settings, corpus = Mixing.of(work.settings), Corpus.of(work.settings)
    held_out = documents.filter("held_out")
    sets = [_of_domains(work, settings, held_out), *map(benchmark_items, corpus.benchmarks)]
    if settings.target_set is not None:
        longest, seed = settings.passage, settings.seed
        sets.append(target_items("mixing.target_set", settings.target_set, corpus, longest, seed, TARGET_ITEMS))
    items = pl.concat(sets, how="diagonal_relaxed").rename({"set": "target"})
    items = items.filter(pl.col("text") != "").with_columns(
        prompt=pl.col("prompt").fill_null("") if "prompt" in items.columns else pl.lit(""),
        n_bytes=pl.col("text").str.len_bytes().cast(pl.Int64),
        in_pool=pl.lit(0.0),
    )
    items = items.with_columns(_copied(work, items, set(held_out["doc_id"])))
    _must_be_new(items, settings)
    return items


def _of_domains(work: Work, settings: Mixing, held_out: pl.DataFrame) -> pl.DataFrame:
    """A passage of each held-out document, in the order of the domains."""
    u = pl.Series("place", keyed_uniform(settings.seed, "mixing: passage", held_out["doc_id"]))
    chosen = held_out.with_columns(u).sort("domain", "doc_id")
    text_of = dict(texts(work.files("corpus"), set(chosen["doc_id"])))
    passages = [
        passage(text_of[doc], settings.passage, place) for doc, place in chosen.select("doc_id", "place").rows()
    ]
    return chosen.select(
        pl.format("domain:{}", "doc_id").alias("item_id"),
        pl.format(DOMAIN + "{}", "name").alias("set"),
        pl.Series("text", passages, pl.String),
    )


def _copied(work: Work, items: pl.DataFrame, held_out: set[str]) -> pl.Series:
    """in_pool of each item. Held-out documents do not count for passages of domains, since no training reads them; a
    document of the target set that is in the pool as a whole is a copy, however short it is."""
    passages = items["text"].to_list()
    found = pl.Series("in_pool", in_pool(work, passages, held_out), pl.Float64)
    documents = pl.read_parquet(work.files("corpus"), columns=["doc_id"])["doc_id"]
    whole = items["item_id"].str.strip_prefix(f"{TARGET}:").is_in(documents.implode())
    return found.set(whole & (items["target"] == TARGET), 1.0)


def _must_be_new(items: pl.DataFrame, settings: Mixing) -> None:
    """GripError if all items of a benchmark or of the target set have a copy in the pool, or those of all domains, or
    if there are no items."""
    if items.is_empty():
        raise GripError(
            "There is nothing to measure mixtures on: each domain is too small to hold out a document (it needs 10),"
            " and no benchmark or target set is named. Set settings/mixing.target_set, or use fewer and larger domains."
        )
    of_domain = pl.col("target").str.starts_with(DOMAIN)
    sets = items.group_by(pl.when(of_domain).then(pl.lit(DOMAIN)).otherwise("target").alias("set"), maintain_order=True)
    copied = [name for (name,), rows in sets if (rows["in_pool"] > COPIED).all()]
    where = {
        TARGET: f"The target set (settings/mixing.target_set: '{settings.target_set}') is in the pool",
        DOMAIN: "The held-out documents have copies in the pool",
    }
    for name in copied:
        said = where.get(str(name), f"The benchmark '{name}' is in the pool")
        raise GripError(
            f"{said}: each of its items is more than {COPIED:.0%} of a document there, so it would measure what the"
            " models remember. Take these documents out of the pool, or choose another target."
        )


def _say_what_is_missing(work: Work, domains: pl.DataFrame, items: pl.DataFrame) -> list[str]:
    """Names of the domains on which no loss is measured. The log says why."""
    used = items.filter(pl.col("in_pool") <= COPIED)["target"].unique().implode()
    without = domains.filter(~pl.format(DOMAIN + "{}", "name").is_in(used))
    for name, n_held_out in without.select("name", "n_held_out").iter_rows():
        why = (
            "its held-out documents have copies in the pool" if n_held_out else "it is too small to hold out a document"
        )
        work.log(f"no loss is measured on the domain '{name}': {why}")
    return without["name"].to_list()


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    corpus = Corpus.of(settings)
    named = [benchmarks.content_hash(name) for name in corpus.benchmarks]
    return {"benchmarks": named, **target_set_facts(Mixing.of(settings).target_set, corpus)}


TABLES = (
    Table(
        "mixture_domains",
        (
            Column("domain", pl.Int32, "Domain, from 0. A cluster keeps its number.", ("clusters.cluster_id",)),
            Column(
                "name",
                pl.String,
                "Name of the domain: number of the cluster or of the family, or value in the column.",
                ("clusters.cluster_id", "corpus.language", "corpus.source", "corpus.kept"),
            ),
            Column("cluster_id", pl.Int32, "Its cluster. Null unless domains are clusters.", ("clusters.cluster_id",)),
            Column("n_docs", pl.Int64, "Documents of the domain.", ("clusters.doc_id",)),
            Column("n_tokens", pl.Int64, "Tokens of its documents.", ("clusters.n_tokens",)),
            Column(
                "natural_share",
                pl.Float64,
                "Its share of the pool's tokens, held-out documents excluded.",
                ("clusters.n_tokens", "mixture_documents.held_out"),
            ),
            Column("n_held_out", pl.Int64, "Documents that no training reads.", ("mixture_documents.held_out",)),
        ),
    ),
    Table(
        "mixture_documents",
        (
            Column("doc_id", pl.String, "Document.", ("clusters.doc_id",)),
            Column("domain", pl.Int32, "Its domain.", ("clusters.cluster_id", "centroids.centroid", "corpus.kept")),
            Column(
                "held_out",
                pl.Boolean,
                "Whether no training reads it.",
                ("clusters.n_tokens", "mixture_documents.domain"),
            ),
        ),
    ),
    Table(
        "mixture_items",
        (
            Column("item_id", pl.String, "Name of the item: its set, then the problem or document."),
            Column(
                "target",
                pl.String,
                "What it measures: domain:NAME, a benchmark, or target (your target set).",
                ("mixture_domains.name",),
            ),
            Column("prompt", pl.String, "Text that the models read before they predict."),
            Column("text", pl.String, "Text that the models predict.", ("corpus.text", "mixture_documents.held_out")),
            Column("n_bytes", pl.Int64, "Bytes of the text.", ("corpus.text",)),
            Column(
                "in_pool",
                pl.Float64,
                "Largest share of the text's runs of 13 words that one document of the pool has, held-out documents"
                " excluded. Items above 0.3 are not used.",
                ("corpus.text",),
            ),
        ),
    ),
    tokenizer_table("mixture_tokenizer"),
)
CHECKS = (
    Check("shares_sum_to_one", True, "Natural shares are above 0, and their sum is 1."),
    Check("every_document_once", True, "Each document of the pool is in one domain, and no domain is held out whole."),
    Check("something_to_predict", True, "Every item has a text, and no item is there twice."),
    Check("every_domain_is_measured", False, "Each domain has an item that has no copy in the pool."),
)


stage = Stage(
    name="mixture_domains",
    code_version="1",
    compute=compute,
    description="The domains that settings/mixing mixes: clusters, families of clusters, or values of a column."
    " `mixture_documents` says which documents no training reads, `mixture_items` what the models predict: passages of"
    " these, the benchmarks, and your target set. `mixture_tokenizer` is the tokenizer of the models. Not used unless"
    " settings/budget.base is mixture.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "clusters"),
    reads={
        "corpus": ("benchmarks",),
        "clustering": ("min_cluster_docs",),
        "mixing": (*field_names(Mixing, "domains"), "vocabulary", "seed"),
    },
    facts=facts,
    group="mixing",
    unused=no_mixture,
    unused_by=("budget",),
    otherwise="code, a benchmark or the target set changed",
)
