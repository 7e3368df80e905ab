"""strategies: what each way of selecting takes of the pool, all to the same tokens, and what the selection costs.

Rungs are the rows of the paper's Panel B, by the profiles of their names; ablations are the last rung without one of
its parts; baselines are the rules that a sceptic would name (rules.py). Rungs and ablations are made from stored tables
as the chain would make them, but for `random`, which is drawn from the whole pool; the chain's own random row, drawn
cluster by cluster, is the baseline `proportional`. All draw with the same random numbers under the same seed, so that
two strategies differ by what they do and less by luck.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import capacities, resolve_total
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Adaptation, Budget, Evaluation, Selection, validate
from grip_assets.settings.changes import read_profile
from grip_assets.stages.curation import clusters
from grip_assets.stages.curation.budgets import MEASURED
from grip_assets.stages.curation.densities import densities_under
from grip_assets.stages.curation.subset import chosen_under
from grip_assets.stages.evaluation.rules import NEEDS, RULES, Pool, must_be_ready, rule_facts

RUNGS = ("random", "static", "quality_replay", "loss_replay", "diversity", "grip")
IN_FORCE = "in_force"  # your own settings, drawn anew under each seed of the evaluation
PROFILES = {**{rung: rung for rung in RUNGS}, "proportional": "random"}  # of all others the last rung's
ABLATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "no_sigma": {"budget": {"use_sigma": False}},
    "no_quality": {"budget": {"use_quality": False}},
    "no_replay": {"budget": {"replay": "none"}},
    "no_gate": {"budget": {"gate": 0.0, "gate_quantile": None}},
    "no_density": {"selection": {"weight": "length"}},
    "no_length": {"selection": {"beta": 0.0}},
}
CHOSEN = ["strategy", "seed", "doc_id", "repeats", "n_tokens"]
KEPT = ("total", "unit", "overflow", "max_repeats")  # of the budget in force: the same for all
WHOLE, REAL, TEXT = pl.Int64(), pl.Float64(), pl.String()
COSTS = pl.Schema(
    {
        "strategy": TEXT,
        "kind": TEXT,
        "previous": TEXT,
        "n_docs": REAL,
        "n_tokens": REAL,
        "mean_tokens": REAL,
        "encoder_tokens": WHOLE,
        "proxy_tokens": WHOLE,
        "judged_documents": WHOLE,
        "seconds": REAL,
    }
)


@dataclass(frozen=True)
class Strategy:
    """``needs``: stages that it cannot do without. ``settings``: those of the chain; None for a baseline."""

    name: str
    kind: str
    needs: tuple[str, ...]
    settings: Settings | None = None


def strategy(name: str, now: Settings) -> Strategy:
    """What a name means under the settings in force."""
    kinds = {**dict.fromkeys(RUNGS, "rung"), **dict.fromkeys(ABLATIONS, "ablation"), IN_FORCE: "yours"}
    kind = kinds.get(name, "baseline")
    if name in RULES:
        return Strategy(name, kind, NEEDS.get(name, ()))
    settings = now if name == IN_FORCE else _settings(name, now)
    budget, selection = Budget.of(settings), Selection.of(settings)
    return Strategy(name, kind, _needs(budget, selection), settings)


def _settings(name: str, now: Settings) -> dict[str, Any]:
    """Budget and selection of the profile over the settings in force, with the one change of an ablation."""
    profile = read_profile(PROFILES.get(name, "grip"))
    changes = ABLATIONS.get(name, {})
    kept = {"budget": {field: getattr(Budget.of(now), field) for field in KEPT}}
    turned = {
        group: validate(group, now[group].model_dump() | values | kept.get(group, {}) | changes.get(group, {}))
        for group, values in profile.items()
    }
    return {**now, **turned}


def _needs(budget: Budget, selection: Selection) -> tuple[str, ...]:
    """Stages without which these settings cannot be followed."""
    judged = budget.use_quality or budget.replay != "none"  # its gate is the judge's, whatever is replayed by
    wanted = {
        "embeddings": True,
        "clusters": True,
        "sigma_k": budget.use_sigma or judged,  # the probe set is drawn by it
        "probe_set": judged,
        "quality_scores": judged,
        "adaptation_deltas": budget.replay == "loss",
        "densities": selection.weight == "density",
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def compute(work: Work) -> dict[str, Any]:
    work.must_be_in_force()
    settings = Evaluation.of(work.settings)
    chosen = [strategy(name, work.settings) for name in settings.strategies]
    must_be_ready([s.name for s in chosen], work.settings)
    documents = work.frame("clusters")
    total, max_repeats = budget_of_all(work.settings, int(documents["n_tokens"].sum()))
    measured = {name: work.frame(name) for name in MEASURED}
    with_density = cache(partial(_with_density, work))
    seeds = range(settings.seed, settings.seed + settings.seeds)
    progress = Progress("selecting", len(chosen), "strategies", work.log)
    schema = _rows("", 0, documents, np.zeros(len(documents), np.int64)).schema
    costs = []
    with work.draft.writer("strategies", schema) as writer:
        for s in chosen:
            pool = Pool(work, documents, total, max_repeats)
            dense = "densities" in s.needs
            known, versions = with_density(s.name == IN_FORCE) if dense else (documents, work.inputs)
            started = time.monotonic()
            draw = partial(_drawn, s, known, measured) if s.settings else RULES[s.name](pool)
            prepared = time.monotonic()
            draws = [draw(seed) for seed in seeds]
            drawn = (time.monotonic() - prepared) / len(seeds)
            for seed, repeats_N in zip(seeds, draws, strict=True):
                writer.write(_rows(s.name, seed, documents, repeats_N))
            seconds = prepared - started + drawn + pool.seconds
            costs.append(_cost(work, versions, s, [c.name for c in chosen], pool, draws, seconds))
            progress.advance(1)
    progress.finish()
    work.draft.write("strategy_costs", pl.DataFrame(costs, COSTS))
    return {"budget": total} | {f"mean_tokens_{row['strategy']}": row["mean_tokens"] for row in costs}


def budget_of_all(settings: Settings, available: int) -> tuple[int, int]:
    """(tokens of every strategy, copies of a document at most)."""
    budget = Budget.of(settings)
    if budget.unit != "tokens":
        raise GripError(
            f"settings/budget.unit is '{budget.unit}', and strategies are compared at the same number of tokens."
            " Set it to 'tokens'."
        )
    total = resolve_total(budget.total, available)
    capacities(np.array([available]), total, budget.overflow, budget.max_repeats)  # refuses what the pool has not
    return total, budget.max_repeats if budget.overflow == "repeat" else 1


def _with_density(work: Work, in_force: bool) -> tuple[pl.DataFrame, Mapping[str, str]]:
    """Documents with the densities of the settings in force, or of the last rung's; and the versions of the stages."""
    documents, version = densities_under(work, work.settings if in_force else _settings("grip", work.settings))
    return documents, {**work.inputs, "densities": version}


def _drawn(s: Strategy, documents: pl.DataFrame, measured: dict[str, pl.DataFrame], seed: int) -> np.ndarray:
    assert s.settings is not None
    selection = Selection.of(s.settings).model_copy(update={"seed": seed})
    try:
        return chosen_under({**s.settings, "selection": selection}, documents, measured).repeats_N
    except GripError as refused:  # with overflow: error, budgets above their cluster
        raise GripError(f"The strategy '{s.name}': {refused}") from None


def _rows(name: str, seed: int, documents: pl.DataFrame, repeats_N: np.ndarray) -> pa.Table:
    """What one draw took."""
    copies = pl.Series("repeats", repeats_N, WHOLE)
    rows = documents.with_columns(copies, strategy=pl.lit(name), seed=pl.lit(seed, WHOLE)).filter(copies > 0)
    return rows.select(CHOSEN).to_arrow(compat_level=pl.CompatLevel.oldest())


def _cost(
    work: Work,
    versions: Mapping[str, str],
    s: Strategy,
    names: list[str],
    pool: Pool,
    draws: list[np.ndarray],
    seconds: float,
) -> dict[str, Any]:
    """One row of ``strategy_costs``. Means over the seeds of what was drawn; ``seconds`` of the strategy itself, to
    which those of the stages come that it needs, as they were when these were computed."""
    adaptation = Adaptation.of(work.settings)
    copies = float(np.mean([repeats_N.sum() for repeats_N in draws]))
    tokens = float(np.mean([(repeats_N * pool.lengths_N).sum() for repeats_N in draws]))
    judged = len(work.frame("quality_scores")) if "quality_scores" in s.needs else 0
    before = [rung for rung in RUNGS[: RUNGS.index(s.name)] if rung in names] if s.kind == "rung" else []
    return {
        "strategy": s.name,
        "kind": s.kind,
        "previous": before[-1] if before else None,
        "n_docs": copies,
        "n_tokens": tokens,
        "mean_tokens": tokens / max(copies, 1),
        "encoder_tokens": _sum(work, "embeddings", "n_encoder_tokens") if "embeddings" in s.needs else 0,
        "proxy_tokens": _sum(work, "adaptation_deltas", "n_tokens") * adaptation.passes
        if "adaptation_deltas" in s.needs
        else 0,
        "judged_documents": len(pool.documents) if s.name == "top_quality" else judged,
        "seconds": seconds + sum(work.store.manifest(name, versions[name])["seconds"] for name in s.needs),
    }


def _sum(work: Work, table: str, column: str) -> int:
    return int(pl.read_parquet(work.files(table), columns=[column])[column].sum())


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The profiles, which are files, and what the rules depend on."""
    return {"profiles": {name: read_profile(name) for name in RUNGS}, **rule_facts(settings, root)}


TABLES = (
    Table(
        "strategies",
        (
            Column("strategy", pl.String, "Way of selecting."),
            Column("seed", pl.Int64, "Seed of its draw."),
            Column("doc_id", pl.String, "Document that it takes.", ("clusters.doc_id",)),
            Column(
                "repeats",
                pl.Int64,
                "How often.",
                (
                    "clusters.cluster_id",
                    "sigma_k.sigma",
                    "cluster_quality.quality",
                    "adaptation_deltas.delta",
                    "cluster_embeddings.embedding",
                    "corpus.text",
                    "corpus.language",
                ),
            ),
            Column("n_tokens", pl.Int64, "Tokens of the document, once.", ("clusters.n_tokens",)),
        ),
    ),
    Table(
        "strategy_costs",
        (
            Column("strategy", pl.String, "Way of selecting."),
            Column(
                "kind",
                pl.String,
                "Rung of Panel B, yours (your settings in force), baseline, or ablation (the last rung without one"
                " part).",
            ),
            Column(
                "previous",
                pl.String,
                "The rung before, among those compared; null for the first, and for what is no rung.",
            ),
            Column(
                "n_docs", pl.Float64, "Documents taken, copies counted, the mean over seeds.", ("strategies.repeats",)
            ),
            Column(
                "n_tokens",
                pl.Float64,
                "Their tokens, the mean over seeds.",
                ("strategies.repeats", "strategies.n_tokens"),
            ),
            Column(
                "mean_tokens", pl.Float64, "Tokens of a document taken.", ("strategies.repeats", "strategies.n_tokens")
            ),
            Column(
                "encoder_tokens", pl.Int64, "Tokens that the encoder read for it.", ("embeddings.n_encoder_tokens",)
            ),
            Column(
                "proxy_tokens",
                pl.Int64,
                "Tokens that the proxy was trained on for it, over all steps and seeds.",
                ("adaptation_deltas.n_tokens",),
            ),
            Column(
                "judged_documents",
                pl.Int64,
                "Documents that were judged for it.",
                ("quality_scores.doc_id", "corpus.doc_id"),
            ),
            Column(
                "seconds",
                pl.Float64,
                "Time of the stages that it needs, as they were when computed, and of its own rule.",
            ),
        ),
    ),
)
CHECKS = (
    Check("same_budget", True, "Every strategy takes the same tokens, within a document."),
    Check("of_the_pool", True, "Every strategy takes documents of the corpus, each in one row."),
)

stage = Stage(
    name="strategies",
    code_version="5",
    compute=compute,
    description="What each strategy of settings/evaluation selects, under each seed, all to the same tokens: the steps"
    " from random to GRIP that the paper's Panel B compares, baselines, GRIP without one part. `strategy_costs`: what"
    " each needs of encoder, proxy, judge and time.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=(
        "corpus",
        "embeddings",
        "clusters",
        "sigma_k",
        "probe_set",
        "quality_scores",
        "adaptation_deltas",
    ),
    reads={
        "corpus": ("benchmarks",),
        "clustering": clusters.stage.reads["clustering"],
        "quality": ("dimensions",),
        "adaptation": ("delta", "form", "epochs", "seeds"),
        "budget": None,  # of the strategy in force
        "selection": None,
        "evaluation": ("strategies", "seeds", "seed", "target"),
    },
    facts=facts,
    group="evaluation",
    otherwise="code, a profile, the target or the package of DSIR changed",
)
