"""The words that set a cluster apart: class-based TF-IDF (Grootendorst 2022), with clusters as classes, times contrast.

    score(t, k) = tf(t, k) log(1 + 1 / sum_j tf(t, j)) (tf(t, k) / (tf(t, k) + max_{j != k} tf(t, j)))^2

tf(t, k) is the mean share of the term t among the terms of a document of cluster k. The shares of a document count its
terms as 1 + log(count), and sum to 1. So a long document counts no more than a short one. The last factor is ours: it
prefers words that no other cluster has as often, since clusters about similar things share their best words.

A term must be in several documents of the cluster, so that no single document decides the name.
"""

import math
from collections.abc import Mapping

import polars as pl

UNIT = 1 << 40  # shares are whole numbers of 1 / UNIT: their sums depend on no order
LEAST_DOCUMENTS = 3
LEAST_SHARE = 0.1  # of the documents of a cluster
KEPT = 40  # best terms of a cluster that are kept

COUNTS = pl.Schema({"cluster_id": pl.Int32(), "term": pl.String(), "share": pl.Int64(), "n_docs": pl.Int64()})
"""Sums over the documents of a cluster that were read. ``share``: in 1 / UNIT."""


def shares(counts: Mapping[str, int]) -> dict[str, int]:
    """The share of each term of a document, in 1 / UNIT."""
    weights = {term: 1 + math.log(n) for term, n in counts.items()}
    total = sum(weights.values())
    return {term: round(weight / total * UNIT) for term, weight in weights.items()}


def summed(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """One row per cluster and term (COUNTS) from several tables of such rows."""
    if not parts:
        return pl.DataFrame(schema=COUNTS)
    rows = pl.concat(parts).group_by("cluster_id", "term").agg(pl.sum("share"), pl.sum("n_docs"))
    return rows.select(COUNTS.names()).cast(COUNTS)


def scored(counts: pl.DataFrame, read: pl.DataFrame, least_share: float = LEAST_SHARE) -> pl.DataFrame:
    """The KEPT best terms of each cluster: cluster_id, term, score; the best first.

    ``counts``: COUNTS. ``read``: cluster_id and ``n_read``, the documents of the cluster that were read. A term must be
    in ``least_share`` of them, and in LEAST_DOCUMENTS if there are so many.
    """
    least = pl.max_horizontal(pl.min_horizontal(pl.col("n_read"), LEAST_DOCUMENTS), pl.col("n_read") * least_share)
    tf = pl.col("share") // pl.col("n_read")  # in 1 / UNIT, so that sums are exact in any order
    rows = counts.join(read, on="cluster_id", how="inner").select("cluster_id", "term", "n_docs", least=least, tf=tf)
    rows = rows.join(_of_all_clusters(rows), on="term").filter(pl.col("n_docs") >= pl.col("least"))
    other = pl.when(pl.col("tf") < pl.col("most")).then("most").otherwise("second")
    contrast = pl.col("tf") / (pl.col("tf") + other)
    score = pl.col("tf") / UNIT * (1 + UNIT / pl.col("all")).log() * contrast**2
    return (
        rows.select("cluster_id", "term", score=score)
        .sort("cluster_id", pl.col("score").round_sig_figs(12), "term", descending=[False, True, False])
        .group_by("cluster_id", maintain_order=True)
        .head(KEPT)
    )


def _of_all_clusters(rows: pl.DataFrame) -> pl.DataFrame:
    """For each term the sum of its tf over all clusters, its largest tf, and the second: term, all, most, second."""
    over = rows.group_by("term").agg(all=pl.sum("tf"), most=pl.max("tf"))
    rows = rows.join(over, on="term").select("term", "tf", "most")
    ties = rows.filter(pl.col("tf") == pl.col("most")).group_by("term").agg(n_most=pl.len())
    less = rows.filter(pl.col("tf") < pl.col("most")).group_by("term").agg(less=pl.max("tf"))
    second = pl.when(pl.col("n_most") > 1).then("most").otherwise(pl.col("less").fill_null(0))
    found = over.join(ties, on="term").join(less, on="term", how="left")
    return found.select("term", "all", "most", second=second)


def together(counts: pl.DataFrame, read: pl.DataFrame, family: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Counts and documents read of families of clusters, as of clusters. ``family``: cluster_id, family."""
    of_family = {"cluster_id": pl.col("family")}

    def joined(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.join(family, on="cluster_id").with_columns(**of_family).drop("family")

    return summed([joined(counts)]), joined(read).group_by("cluster_id").agg(pl.sum("n_read")).sort("cluster_id")
