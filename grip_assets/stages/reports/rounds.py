"""rounds: curation in a loop with a model in training [paper 3.3].

Each checkpoint that was the proxy is a round. It has its drops, and the budget shares that follow from them under the
budget settings in force.
"""

from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Result, Settings, Stage, Work
from grip_assets.settings import Adaptation, Budget, digest
from grip_assets.stages.curation.budgets import LEFT_OUT, budgets_under, measured
from grip_assets.stages.curation.needed import no_drops
from grip_assets.store.artifacts import ArtifactStore


def compute(work: Work) -> Result:
    budget, adaptation = Budget.of(work.settings), Adaptation.of(work.settings)
    tables = measured(work)
    rounds = []
    for t, manifest in enumerate(_rounds(work)):
        version = manifest["version"]
        deltas = pl.read_parquet(work.store.parquet("adaptation_deltas", version, "adaptation_deltas"))
        budgets = budgets_under(tables | {"adaptation_deltas": deltas}, budget, adaptation.delta)
        rounds.append(
            budgets.select(
                pl.lit(t).alias("round"),
                pl.lit(Path(manifest["settings"]["adaptation"]["proxy"]).name).alias("proxy"),
                pl.lit(version).alias("deltas_version"),
                "cluster_id",
                "n_docs",
                "n_tokens",
                "delta",
                "replay_multiplier",
                budget_share=pl.col("allocated") / pl.col("allocated").sum(),
            )
        )
    table = pl.concat(rounds)
    work.draft.write("rounds", table)
    last, before = rounds[-1], rounds[max(len(rounds) - 2, 0)]
    moved = (last["budget_share"] - before["budget_share"]).abs().sum() / 2
    return Result({"rounds": len(rounds), "budget_moved_in_the_last_round": moved}, digest(table.rows()))


def _rounds(work: Work) -> list[dict[str, Any]]:
    """Manifests of ``adaptation_deltas`` that differ from the one in force only in the proxy, by time.

    Artifacts that a report made for a comparison are not rounds.
    """
    now = work.store.manifest("adaptation_deltas", work.inputs["adaptation_deltas"])
    alike = [
        m
        for m in measurements(work.store)
        if _but_for_the_proxy(m) == _but_for_the_proxy(now)
        and (not m.get("made_for") or m["version"] == now["version"])
    ]
    return sorted(alike, key=lambda m: (m["computed_at"], m["version"]))


def _but_for_the_proxy(manifest: dict[str, Any]) -> list[Any]:
    settings = {name: v for name, v in manifest["settings"]["adaptation"].items() if name != "proxy"}
    return [manifest["inputs"], manifest["code_version"], settings]


def _measured(settings: Settings, root: Path) -> dict[str, Any]:
    return {"measured": [m["version"] for m in measurements(ArtifactStore(root)) if not m.get("made_for")]}


def measurements(store: ArtifactStore) -> list[dict[str, Any]]:
    """Manifests of the probe; an artifact of settings that did not need it measured nothing."""
    return [m for m in store.manifests("adaptation_deltas") if "unused" not in m]


TABLES = (
    Table(
        "rounds",
        (
            Column("round", pl.Int32, "Round t, from 0."),
            Column("proxy", pl.String, "Checkpoint that was the proxy."),
            Column("deltas_version", pl.String, "Version of the adaptation_deltas that were made with it."),
            Column("cluster_id", pl.Int32, "Cluster.", ("sigma_k.cluster_id",)),
            Column("n_docs", pl.Int64, "Documents in the cluster, N_k.", ("sigma_k.n_docs",)),
            Column("n_tokens", pl.Int64, "Tokens of its documents.", ("sigma_k.n_tokens",)),
            Column("delta", pl.Float64, "Drop that replay follows, with this proxy.", ("adaptation_deltas.delta",)),
            Column(
                "replay_multiplier",
                pl.Float64,
                "Replay multiplier r_k with this proxy.",
                ("adaptation_deltas.delta", "cluster_quality.quality"),
            ),
            Column(
                "budget_share",
                pl.Float64,
                "Share of the allocated budget, with the budget settings in force.",
                ("adaptation_deltas.delta", "sigma_k.sigma", "cluster_quality.quality"),
            ),
        ),
    ),
)
CHECKS = (Check("shares_sum_to_one", True, "In every round the budget shares of the clusters sum to 1."),)

stage = Stage(
    name="rounds",
    code_version="1",
    compute=compute,
    description="How the budget moves from checkpoint to checkpoint of the model in training. For each checkpoint that"
    " was the proxy it has the drops ΔL_k on the same probe, and the budget shares that follow from them.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    # budgets is an input so that an error of its settings is reported once, by its own stage
    inputs=("clusters", "sigma_k", "quality_scores", "adaptation_deltas", "mixture", "attribution", "budgets"),
    reads={"budget": None, "adaptation": ("delta",)},
    left_out=LEFT_OUT,
    facts=_measured,
    group="reports",
    named_by_content=True,
    otherwise="the proxy was another one, or measured again",
    unused=no_drops,
    unused_by=("budget",),
)
