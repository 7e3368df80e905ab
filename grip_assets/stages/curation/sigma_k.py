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
    work.draft.write("sigma_k", spread)
    return {
        "mean_sigma": spread["sigma"].mean(),
        "min_sigma": spread["sigma"].min(),
        "max_sigma": spread["sigma"].max(),
    }


TABLES = (
    Table(
        "sigma_k",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("n_docs", pl.Int64, "Documents in the cluster, N_k.", ("clusters.doc_id",)),
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
