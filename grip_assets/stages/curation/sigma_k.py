"""sigma_k: the spread of each cluster, which is how far its documents lie from its centre [G2, A20].

The equation is in sql/equations/sigma_k.sql.
"""

from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.settings import Clustering
from grip_assets.store.query import query


def compute(work: Work) -> dict[str, Any]:
    settings = Clustering.of(work.settings)
    spread = query("equations/sigma_k", {"clusters": work.files("clusters")}, center=settings.sigma_center)
    clusters = pl.scan_parquet(work.files("clusters"))
    if "role" in clusters.collect_schema().names():
        spread = without_background(spread, clusters.select("cluster_id", "n_tokens", "role").collect())
    work.draft.write("sigma_k", spread)
    return {
        "mean_sigma": spread["sigma"].mean(),
        "min_sigma": spread["sigma"].min(),
        "max_sigma": spread["sigma"].max(),
    }


def without_background(spread: pl.DataFrame, clusters: pl.DataFrame) -> pl.DataFrame:
    """The table with n_docs and n_tokens of the documents that can be selected. The others are in the subset anyway, so
    no budget counts them; they count in the spread."""
    if "role" not in clusters.columns:
        return spread
    counts = (
        clusters.filter(pl.col("role") != "keep")
        .group_by("cluster_id")
        .agg(n_docs=pl.len().cast(pl.Int64), n_tokens=pl.sum("n_tokens"))
    )
    found = spread.select("cluster_id", "sigma").join(counts, on="cluster_id", how="left", maintain_order="left")
    return found.with_columns(pl.col("n_docs", "n_tokens").fill_null(0)).select(spread.columns)


TABLES = (
    Table(
        "sigma_k",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("n_docs", pl.Int64, "Documents in the cluster that can be selected, N_k.", ("clusters.doc_id",)),
            Column("n_tokens", pl.Int64, "Tokens of its documents.", ("clusters.n_tokens",)),
            Column("sigma", pl.Float64, "Spread σ_k = sqrt(mean ‖e(x) − μ_k‖²).", ("clusters.cosine",)),
        ),
    ),
)
CHECKS = (Check("spread", False, "Every cluster has some spread: σ_k is at least 0.02."),)

stage = Stage(
    name="sigma_k",
    code_version="1",
    compute=compute,
    description="How varied the documents of each cluster are: their spread about its centre,"
    " σ_k = sqrt(mean ‖e(x) − μ_k‖²) [paper eq. 3].",
    tables=TABLES,
    checks=CHECKS,
    inputs=("clusters",),
    reads={"clustering": ("sigma_center",)},
)
