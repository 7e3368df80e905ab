"""probe_set: a small sample of each cluster, sized by Neyman's allocation [G3, A27]."""

from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.budget.allocation import neyman_probe
from grip_assets.method.sampling import keyed_uniform
from grip_assets.settings import Probe
from grip_assets.stages.curation.headers import after_headers, no_header, skips
from grip_assets.stages.curation.needed import no_quality
from grip_assets.store.query import query
from grip_assets.store.tables import arrow, runs, texts

BLOCK = 1024  # rows of texts that are written at a time


def compute(work: Work) -> dict[str, Any]:
    settings = Probe.of(work.settings)
    spread = work.frame("sigma_k")
    total = round(settings.fraction * int(spread["n_docs"].sum()))
    target = query("equations/probe_allocation", {"sigma_k": spread}, total=total)
    n_probe = neyman_probe(target["target"].to_numpy(), target["n_docs"].to_numpy(), settings.min_per_cluster, total)
    allocation = target.with_columns(
        n_probe=pl.Series(n_probe), floor_binds=pl.Series(n_probe) > target["target"].ceil()
    )
    # The judge and the proxy take documents in the same order, so both measure the same documents of a cluster.
    read = _first(work.files("clusters"), allocation, settings)
    drawn = read.filter(pl.col("rank") < pl.col("n_probe")).select("doc_id", "cluster_id", "rank")
    work.draft.write("probe_allocation", allocation)
    work.draft.write("probe_set", drawn)
    _write_texts(work, read, drawn)
    bound = int(allocation["floor_binds"].sum())
    work.log(
        f"probe set: {len(drawn):,} documents; {bound} clusters were raised to the minimum of"
        f" {settings.min_per_cluster}; the proxy reads {len(read):,} documents"
    )
    return {"probe_documents": len(drawn), "clusters_at_the_floor": bound, "adaptation_documents": len(read)}


def _first(clusters: str, allocation: pl.DataFrame, settings: Probe) -> pl.DataFrame:
    """The documents that the judge or the proxy reads, by (cluster_id, rank), with the cluster's ``n_probe``.

    Each cluster's come first in the order of (u, doc_id). ``clusters`` is read cluster by cluster.
    """
    ids = pl.scan_parquet(clusters).select(pl.col("cluster_id").rle().struct.unnest()).collect()
    most = allocation.select("cluster_id", "n_probe")
    found = []
    for here in runs(clusters, ["doc_id", "cluster_id", "n_tokens"], ids["len"]):
        of = here.with_columns(pl.Series("u", keyed_uniform(settings.seed, "probe_set", here["doc_id"])))
        of = of.sort("u", "doc_id").with_columns(rank=pl.int_range(pl.len())).join(most, on="cluster_id")
        found.append(of.filter(pl.col("rank") < pl.max_horizontal("n_probe", pl.lit(settings.min_for_adaptation))))
    return pl.concat(found).sort("cluster_id", "rank")


def _write_texts(work: Work, read: pl.DataFrame, drawn: pl.DataFrame) -> None:
    """Write the tables ``adaptation_documents`` and ``probe_documents``.

    The corpus is streamed. Only the chosen texts and one block of the tables are in memory.
    """
    files = work.files("corpus")
    chosen = query("stages/probe_documents", {"probe_set": read, "corpus": files})
    text_of = dict(texts(files, set(chosen["doc_id"])))
    skip = skips(work, text_of)
    text_of = after_headers(text_of, skip)
    for name, rows in (
        ("adaptation_documents", chosen),
        ("probe_documents", chosen.join(drawn, on="doc_id", how="semi", maintain_order="left")),
    ):
        work.draft.write_blocks(name, (arrow(_with_texts(part, text_of, skip)) for part in rows.iter_slices(BLOCK)))


def _with_texts(rows: pl.DataFrame, text_of: dict[str, str], skip: dict[str, int] | None) -> pl.DataFrame:
    texts = rows.with_columns(text=pl.Series([text_of[doc] for doc in rows["doc_id"]], dtype=pl.String))
    if skip is None:
        return texts
    return texts.with_columns(n_skipped=pl.Series([skip[doc] for doc in rows["doc_id"]], dtype=pl.Int64))


OF_A_DOCUMENT = (
    Column("language", pl.String, "Language.", ("corpus.language",)),
    Column("source", pl.String, "Path, address or row in the pool.", ("corpus.source",)),
    Column("n_tokens", pl.Int64, "Tokens ℓ(x).", ("corpus.n_tokens",)),
    Column("text", pl.String, "The document, without a skipped header.", ("corpus.text", "headers.n_chars")),
    Column(
        "n_skipped",
        pl.Int64,
        "Characters of its header that are skipped. Only with settings/embedding.skip_header.",
        ("headers.n_chars",),
        added=True,
    ),
)
TABLES = (
    Table(
        "probe_set",
        (
            Column("doc_id", pl.String, "Document.", ("clusters.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("rank", pl.Int64, "Place in the draw of its cluster, from 0.", ("clusters.doc_id",)),
        ),
    ),
    Table(
        "probe_allocation",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("sigma_k.cluster_id",)),
            Column("n_docs", pl.Int64, "Documents in the cluster, N_k.", ("sigma_k.n_docs",)),
            Column("sigma", pl.Float64, "Spread σ_k.", ("sigma_k.sigma",)),
            Column(
                "target",
                pl.Float64,
                "Neyman's share, ∝ N_k σ_k, before minimum and rounding.",
                ("sigma_k.n_docs", "sigma_k.sigma"),
            ),
            Column("n_probe", pl.Int64, "Probe documents.", ("sigma_k.n_docs", "sigma_k.sigma")),
            Column(
                "floor_binds",
                pl.Boolean,
                "Whether settings/probe.min_per_cluster raised the number above its share.",
                ("sigma_k.n_docs", "sigma_k.sigma"),
            ),
        ),
    ),
    Table(
        "probe_documents",
        (
            Column("doc_id", pl.String, "Document.", ("corpus.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("rank", pl.Int64, "Place in the draw of its cluster, from 0.", ("clusters.doc_id",)),
            *OF_A_DOCUMENT,
        ),
    ),
    Table(
        "adaptation_documents",
        (
            Column("doc_id", pl.String, "Document.", ("corpus.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column(
                "rank",
                pl.Int64,
                "Place in the draw of its cluster, from 0. Documents of the probe set come first.",
                ("clusters.doc_id",),
            ),
            *OF_A_DOCUMENT,
        ),
    ),
)
CHECKS = (
    Check("within_clusters", True, "min(m, N_k) <= n_k <= N_k, where m is probe.min_per_cluster."),
    Check("sums_to_budget", True, "The probe set has as many documents as were allocated."),
)

stage = Stage(
    name="probe_set",
    code_version="3",
    compute=compute,
    description="A small sample of every cluster. The judge scores it and the proxy is tried on it. Large and varied"
    " clusters get more documents: n_k ∝ N_k σ_k (Neyman's allocation), but at least 8 [paper eq. 4]."
    " `probe_documents` has the texts that are judged, `adaptation_documents` those that the proxy reads: at least 40"
    " per cluster.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("corpus", "headers", "clusters", "sigma_k"),
    reads={"probe": None},
    unused=no_quality,
    unused_by=("budget", "embedding"),
    left_out={"headers": no_header},
)
