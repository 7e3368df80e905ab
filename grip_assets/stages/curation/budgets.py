"""budgets: how much of each cluster goes into the subset [G4, G6, G7, A3, A17].

Base budgets are in method/budget/registry.py, the weights of sources that multiply them in source_weights.py. Replay is
in sql/equations/budgets.sql, caps and rounding are in method/budget/allocation.py.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.make import versions_under
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.attribution.objective import Aim
from grip_assets.method.budget.allocation import allocate, capacities, resolve_total
from grip_assets.method.budget.base import Domains, normalised
from grip_assets.method.budget.registry import base_shares
from grip_assets.settings import Adaptation, Budget
from grip_assets.stages.curation import source_weights
from grip_assets.stages.curation.aims import aim_of
from grip_assets.stages.curation.needed import no_grasp_budget, no_mixture
from grip_assets.stages.curation.weights_file import content_of, read_weights
from grip_assets.store.query import query

ATTRIBUTED = ("attribution_clusters", "attribution_aims")
MEASURED = ("sigma_k", "cluster_quality", "adaptation_deltas", "centroids", "mixture", *ATTRIBUTED)
LEFT_OUT = {"mixture": no_mixture, "attribution": no_grasp_budget}  # ``Stage.left_out`` of a stage that makes budgets


def budgets_under(tables: Mapping[str, pl.DataFrame], settings: Budget, delta: str) -> pl.DataFrame:
    """The table ``budgets`` under ``settings``: budgets as real numbers and as whole numbers, one row per cluster.

    ``tables``: those in ``MEASURED``; of learned budgets only those that these settings need; and ``source_weights``,
    if sources have weights. ``delta``: settings/adaptation.delta.
    GripError if the settings need a table that was not measured.
    """
    _must_be_measured(tables, settings)
    tables = {**tables, "sigma_k": tables["sigma_k"].sort("cluster_id")}
    sizes = tables["sigma_k"]["n_tokens" if settings.unit == "tokens" else "n_docs"].to_numpy()
    total = resolve_total(settings.total, int(sizes.sum()))
    parameters = settings.effective().model_dump() | {"total": total, "delta": delta}
    domains = _domains(tables, settings, sizes, total, lambda name: query(name, tables, **parameters))
    share_K = base_shares(settings.base, domains)
    if "source_weights" in tables:
        share_K = normalised(share_K * _weights_of_sources(tables["source_weights"], domains.ids_K))
    shares = pl.DataFrame({"cluster_id": domains.ids_K, "share": share_K})
    real = query("equations/budgets", {**tables, "shares": shares}, **parameters)
    capacity = capacities(sizes, total, settings.overflow, settings.max_repeats)
    allocated = allocate(real["utility"].to_numpy(), capacity, total, settings.overflow)
    return real.with_columns(
        allocated=pl.Series(allocated),
        capacity=pl.Series(capacity),
        total=pl.lit(total, pl.Int64),
        unit=pl.lit(settings.unit),
        base=pl.lit(settings.base),
    )


def _domains(
    tables: Mapping[str, pl.DataFrame],
    settings: Budget,
    sizes: np.ndarray,
    total: int,
    equation: Callable[[str], pl.DataFrame],
) -> Domains:
    spread = tables["sigma_k"]
    return Domains(
        spread["cluster_id"].to_numpy(),
        sizes.astype(np.float64),
        _names(tables),
        _weights(tables, settings),
        equation,
        total,
        _centroids(tables) if settings.base == "chameleon" else None,
        settings.exponent,
        settings.max_epochs,
        settings.ridge,
        settings.leverage_temperature,
        *(_aim(tables) if settings.base == "grasp" else (None, None)),
        _most(settings) * sizes / total,
    )


def _weights_of_sources(found: pl.DataFrame, ids_K: np.ndarray) -> np.ndarray:
    """The mean weight of each cluster; 1 for a cluster that is all background."""
    rows = pl.DataFrame({"cluster_id": ids_K}).join(found, on="cluster_id", how="left", maintain_order="left")
    return rows["weight"].fill_null(1.0).to_numpy()


def _most(settings: Budget) -> int:
    """Most copies of a document in the subset."""
    return settings.max_repeats if settings.overflow == "repeat" else 1


def _aim(tables: Mapping[str, pl.DataFrame]) -> tuple[Aim | None, np.ndarray | None]:
    """The targets that clusters should fit, and the mean sketch of each cluster; nothing if nothing was attributed."""
    if not all(name in tables and len(tables[name]) for name in ATTRIBUTED):
        return None, None
    aims = tables["attribution_aims"]
    found = tables["sigma_k"].join(
        tables["attribution_clusters"].select("cluster_id", "sketch"),
        on="cluster_id",
        maintain_order="left",
        how="left",
    )["sketch"]
    none = np.full(len(aims["sketch"][0]), np.nan)
    rows = [none if sketch is None else np.asarray(sketch, np.float64) for sketch in found]
    return aim_of(aims, tables["attribution_clusters"]), np.stack(rows)


def _centroids(tables: Mapping[str, pl.DataFrame]) -> np.ndarray:
    """The centroid of each cluster, float64 (K, V); NaN for a cluster without one."""
    found = tables["sigma_k"].join(tables["centroids"], on="cluster_id", maintain_order="left")["centroid"]
    width = next((len(vector) for vector in found if vector is not None), 1)
    rows = [np.full(width, np.nan) if vector is None else np.asarray(vector, np.float64) for vector in found]
    return np.stack(rows)


def _weights(tables: Mapping[str, pl.DataFrame], settings: Budget) -> Mapping[str, float]:
    """The weights that the base budget follows: given or learned ones; empty for every other base."""
    if settings.base == "given":
        return read_weights(settings)
    return _learned(tables) if settings.base == "mixture" else {}


def _learned(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """The weights in the table ``mixture``, by cluster id; empty if there is none."""
    rows = tables["mixture"].select("cluster_id", "weight").iter_rows() if "mixture" in tables else ()
    return {str(cluster): weight for cluster, weight in rows}


def _names(tables: Mapping[str, pl.DataFrame]) -> list[str] | None:
    """The value of each cluster if the partition is by a column; otherwise None."""
    centroids = tables["centroids"]
    if "value" not in centroids.columns or centroids["value"].null_count():
        return None
    return tables["sigma_k"].join(centroids, on="cluster_id", maintain_order="left")["value"].to_list()


def _must_be_measured(tables: Mapping[str, pl.DataFrame], settings: Budget) -> None:
    needs = {"cluster_quality": settings.reads_quality, "adaptation_deltas": settings.reads_drops}
    missing = [name for name, needed in needs.items() if needed and tables[name].is_empty()]
    if missing:
        stage = {"cluster_quality": "quality_scores"}.get(missing[0], missing[0])
        raise GripError(
            f"These budget settings need {missing[0]}. The settings in force do not, so {stage} was not made. First"
            " curate with the settings/budget.replay and settings/budget.base that you want to compare."
        )


def measured(work: Work) -> dict[str, pl.DataFrame]:
    """The tables in ``MEASURED`` that the settings in force need, and the weights of sources."""
    found = {table: work.frame(table) for table in MEASURED if work.owners[table] in work.inputs}
    return found | source_weights.of_clusters(work.files("clusters"), work.settings)


def measured_under(work: Work, settings: Settings) -> dict[str, pl.DataFrame]:
    """The tables in ``MEASURED`` under other budget settings. Tables that those settings need are made if missing."""
    versions = versions_under(settings, work)
    owner = {table: work.owners[table] for table in MEASURED if work.owners[table] in versions}
    found = {t: pl.read_parquet(work.store.parquet(name, versions[name], t)) for t, name in owner.items()}
    clusters = work.store.parquet("clusters", versions["clusters"], "clusters")
    return found | source_weights.of_clusters(clusters, settings)


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The content of the file of weights, if the budget uses one, and the weights of sources."""
    budget = Budget.of(settings)
    given = {"weights": content_of(budget)} if budget.base == "given" else {}
    return given | source_weights.facts(settings)


def compute(work: Work) -> dict[str, Any]:
    settings, adaptation = Budget.of(work.settings), Adaptation.of(work.settings)
    budgets = budgets_under(measured(work), settings, adaptation.delta)
    work.draft.write("budgets", budgets)
    if settings.replay == "loss" and not (budgets["tau_norm"][0] or 0) >= 1e-8:
        work.log("the mean drop is not above 0, so no budget is raised (all r_k = 1)")
    return {
        "budget": budgets["total"][0],
        "utility_Z": budgets["utility"].sum(),
        "mean_delta": budgets["delta"].mean(),
        "mean_replay_multiplier": budgets["replay_multiplier"].mean(),
        "clusters_at_their_cap": int((budgets["allocated"] == budgets["capacity"]).sum()),
    }


TABLES = (
    Table(
        "budgets",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("sigma_k.cluster_id",)),
            Column("n_docs", pl.Int64, "Documents in the cluster, N_k.", ("sigma_k.n_docs",)),
            Column("n_tokens", pl.Int64, "Tokens of its documents.", ("sigma_k.n_tokens",)),
            Column("sigma", pl.Float64, "Spread σ_k.", ("sigma_k.sigma",)),
            Column("quality", pl.Float64, "Quality Q_k.", ("cluster_quality.quality",)),
            Column(
                "quality_used",
                pl.Float64,
                "Q_k, or its lower confidence bound if budget.quality_bound is above 0.",
                ("cluster_quality.quality", "cluster_quality.standard_error"),
            ),
            Column(
                "delta",
                pl.Float64,
                "Drop that replay follows, absolute or relative.",
                ("adaptation_deltas.delta", "adaptation_deltas.relative_delta"),
            ),
            Column(
                "base_budget",
                pl.Float64,
                "Base budget. For base=neyman it is n_base ∝ (N_k σ_k)^τ exp(Q_k/T). Times the mean weight of its"
                " sources, if sources have weights.",
                (
                    *("sigma_k.n_tokens", "sigma_k.n_docs", "sigma_k.sigma", "cluster_quality.quality"),
                    *("mixture.weight", "attribution_clusters.sketch", "attribution_aims.sketch"),
                ),
            ),
            Column("gate_open", pl.Boolean, "Whether Q_k is above the gate τ_th.", ("cluster_quality.quality",)),
            Column(
                "tau_norm",
                pl.Float64,
                "Mean over the clusters of the drop or, for replay=quality, of the distance to the best quality.",
                ("adaptation_deltas.delta", "adaptation_deltas.relative_delta"),
            ),
            Column(
                "replay_multiplier",
                pl.Float64,
                "r_k = 1 + α exp(−ΔL_k/τ_norm) if the gate is open, otherwise 1.",
                ("adaptation_deltas.delta", "adaptation_deltas.relative_delta", "cluster_quality.quality"),
            ),
            Column(
                "utility",
                pl.Float64,
                "Base budget times replay multiplier, n_base r_k.",
                ("sigma_k.sigma", "cluster_quality.quality", "adaptation_deltas.delta"),
            ),
            Column(
                "budget",
                pl.Float64,
                "The budget n_k as a real number, before caps.",
                ("sigma_k.sigma", "cluster_quality.quality", "adaptation_deltas.delta"),
            ),
            Column(
                "allocated",
                pl.Int64,
                "The budget after caps and rounding: tokens or documents, see unit.",
                ("sigma_k.sigma", "cluster_quality.quality", "adaptation_deltas.delta"),
            ),
            Column("capacity", pl.Int64, "The most that the cluster can give.", ("sigma_k.n_tokens", "sigma_k.n_docs")),
            Column("total", pl.Int64, "B_total, the budget of all clusters.", ("sigma_k.n_tokens", "sigma_k.n_docs")),
            Column("unit", pl.String, "Unit of the budgets: tokens or documents."),
            Column("base", pl.String, "The settings/budget.base with which base_budget was made."),
        ),
    ),
)
CHECKS = (
    Check("sum_exact", True, "Allocated budgets sum to the total, or to all that the clusters can give."),
    Check("within_caps", True, "No budget is above what the cluster has, times max_repeats."),
    Check("multiplier_in_range", True, "1 <= r_k <= 1 + alpha."),
    Check("mean_drop_positive", False, "The mean drop τ_norm is above 0. Otherwise no budget is raised."),
)

stage = Stage(
    name="budgets",
    code_version="3",
    compute=compute,
    description="How many tokens (or documents) of each cluster the subset should have: more if the cluster is large,"
    " varied, good and hard to learn. n_base ∝ (N_k σ_k)^τ exp(Q_k/T), r_k = 1 + α exp(−ΔL_k/τ_norm) 1[Q_k > τ_th],"
    " n_k ∝ n_base r_k [paper eq. 5, 7, 8]. Then come caps, by water-filling, and exact rounding. With"
    " settings/budget.base, n_base follows sizes, your weights, a learned mixture or targets instead.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("clusters", "sigma_k", "quality_scores", "adaptation_deltas", "mixture", "attribution"),
    reads={"budget": None, "adaptation": ("delta",)},
    left_out=LEFT_OUT,
    facts=facts,
    otherwise="code, a file of weights, or the weight of a source changed",
)
