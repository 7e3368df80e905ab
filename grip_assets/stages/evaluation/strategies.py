"""strategies: the documents that each strategy selects, all to the same number of tokens, and the cost of selecting.

A strategy is a profile: its budget and its selection replace those in force, and so does what is behind them (the
partition, the probe, the mixing behind a learned budget, the attribution behind a greedy selection). The same code
selects for a strategy and for a curation with that profile. There are three kinds:
- Rungs are the rows of the paper's Panel B. One differs: `random` draws from the whole pool. The paper draws in every
  cluster in proportion to its size, which is `proportional` here.
- Ablations are the last rung without one part, or with another one in its place.
- Baselines are all other profiles.
The closed loop, which selects during the training, is in closed_loop.py.

Under one seed, all strategies draw with the same random numbers, so that luck adds little to their differences.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.make import versions_under
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import capacities, resolve_total
from grip_assets.method.selection.registry import SELECTIONS
from grip_assets.models.files import UNIGRAM
from grip_assets.profiles import IN_FORCE, base_of
from grip_assets.runtime.progress import Progress
from grip_assets.settings import (
    Adaptation,
    Attribution,
    Budget,
    Evaluation,
    Mixing,
    Selection,
    default_of,
    trait,
    validate,
)
from grip_assets.settings.changes import read_profile
from grip_assets.stages.attribution import (
    attribution,
    attribution_targets,
    counterfactuals,
    reference_model,
    sketches,
)
from grip_assets.stages.curation import partition, source_weights
from grip_assets.stages.curation.budgets import measured_under
from grip_assets.stages.curation.densities import densities_under
from grip_assets.stages.curation.features import PoolFeatures, feature_facts, must_be_ready
from grip_assets.stages.curation.headers import no_header
from grip_assets.stages.curation.needed import READ_TO_SELECT, no_attribution
from grip_assets.stages.curation.subset import background, subset_under
from grip_assets.stages.mixing import mixture, mixture_domains, mixture_runs

LEARNED = (mixture_domains, mixture_runs, mixture)
ATTRIBUTED = (attribution_targets, reference_model, sketches, counterfactuals, attribution)
MIXING = tuple(module.stage.name for module in LEARNED)
ATTRIBUTION = tuple(module.stage.name for module in ATTRIBUTED)


def _fields(modules: Sequence[Any], group: str) -> tuple[str, ...]:
    """The fields of a group that the stages of these modules read."""
    return tuple({field: None for module in modules for field in module.stage.reads.get(group) or ()})


RUNGS = ("random", "static", "quality_replay", "loss_replay", "diversity", "grip")
CHOSEN = ["strategy", "seed", "doc_id", "repeats", "n_tokens"]
KEPT = ("total", "unit", "overflow", "max_repeats")  # of the budget in force: the same for all
LIMITS = ("max_tokens", "max_share")  # of the selection in force: for each strategy that has no limit of its own
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
        "trained_tokens": WHOLE,
    }
)


@dataclass(frozen=True)
class Strategy:
    """``kind``: rung, ablation, baseline or yours. ``settings``: those in force, with the profile's budget and
    selection. ``needs``: the stages whose tables its selection reads."""

    name: str
    kind: str
    settings: Settings
    needs: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        return SELECTIONS[Selection.of(self.settings).rule].features


@dataclass
class Taken:
    """The selection of one strategy.

    ``draws``: seed to the copies of each document, int64 (N,). ``documents``: their table, in the order of the clusters
    of this strategy. ``seconds``: time of the selection itself, without the stages before it. ``versions``: versions of
    those stages.
    """

    versions: Mapping[str, str]
    documents: pl.DataFrame
    draws: dict[int, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0


def strategy(name: str, now: Settings) -> Strategy:
    """The strategy of that name, under the settings in force."""
    settings = now if name == IN_FORCE else _over(read_profile(name), now)
    return Strategy(name, _kind(name), settings, _needs(Budget.of(settings), Selection.of(settings)))


def _kind(name: str) -> str:
    if name == IN_FORCE:
        return "yours"
    if name in RUNGS:
        return "rung"
    return "ablation" if base_of(name) == RUNGS[-1] else "baseline"


def _over(profile: Mapping[str, Mapping[str, Any]], now: Settings) -> Settings:
    """The settings in force with the groups of a profile. The size of the budget and the limit of length stay.

    All strategies have the limit. So no difference between them is one document that is longer than all others.
    """
    kept = {"budget": {name: getattr(Budget.of(now), name) for name in KEPT}}
    own = profile.get("selection", {})
    kept["selection"] = {n: getattr(Selection.of(now), n) for n in LIMITS if own.get(n) is None}
    return {
        **now,
        **{g: validate(g, now[g].model_dump() | dict(values) | kept.get(g, {})) for g, values in profile.items()},
    }


def _needs(budget: Budget, selection: Selection) -> tuple[str, ...]:
    """The stages whose tables a selection with these settings reads."""
    rule = SELECTIONS[selection.rule]
    greedy = selection.rule == "greedy"
    drawn = selection.rule == "draw" or (greedy and selection.scope == "clusters")
    judged = drawn and budget.reads_quality
    wanted = {
        "embeddings": rule.clustered,
        "partition": rule.clustered,
        "student": rule.clustered,
        "clusters": rule.clustered,
        "sigma_k": judged or (drawn and budget.base == "neyman" and budget.use_sigma),  # the probe set is drawn by it
        "probe_set": judged,
        "quality_scores": judged,
        "adaptation_deltas": drawn and budget.reads_drops,
        **dict.fromkeys(MIXING, drawn and budget.base == "mixture"),
        **dict.fromkeys(ATTRIBUTION, greedy or (drawn and budget.base == "grasp")),
        "densities": selection.rule == "draw" and selection.weight == "density",
    }
    return tuple(name for name, is_wanted in wanted.items() if is_wanted)


def compute(work: Work) -> dict[str, Any]:
    work.must_be_in_force()
    settings = Evaluation.of(work.settings)
    chosen = [strategy(name, work.settings) for name in settings.selecting]
    for s in chosen:
        must_be_ready(s.features, work.settings)
    documents = work.frame("clusters")
    total = budget_of_all(work.settings, int(documents["n_tokens"].to_numpy()[~background(documents)].sum()))
    progress = Progress("selecting", len(chosen), "strategies", work.log)
    costs = []
    with work.draft.writer("strategies", _rows("", 0, documents.head(0), np.zeros(0, np.int64)).schema) as writer:
        for s in chosen:
            taken = take(work, s, settings.seeds_of(s.name))
            for seed, repeats_N in taken.draws.items():
                writer.write(_rows(s.name, seed, taken.documents, repeats_N))
            costs.append(cost(work, s, [c.name for c in chosen], taken))
            progress.advance(1)
    progress.finish()
    work.draft.write("strategy_costs", pl.DataFrame(costs, COSTS))
    return {"budget": total} | {f"mean_tokens_{row['strategy']}": row["mean_tokens"] for row in costs}


def budget_of_all(settings: Settings, available: int) -> int:
    """The number of tokens that every strategy selects. GripError if the budget counts documents."""
    budget = Budget.of(settings)
    if budget.unit != "tokens":
        raise GripError(
            f"settings/budget.unit is '{budget.unit}', and strategies are compared at the same number of tokens."
            " Set it to 'tokens'."
        )
    total = resolve_total(budget.total, available)
    capacities(np.array([available]), total, budget.overflow, budget.max_repeats)  # GripError if the pool is too small
    return total


def take(work: Work, s: Strategy, seeds: range) -> Taken:
    """The selection that a curation with the strategy's settings would make, under each seed of the draw."""
    versions, measured = versions_under(s.settings, work), measured_under(work, s.settings)
    documents = pl.read_parquet(work.store.parquet("clusters", versions["clusters"], "clusters"))
    if "densities" in s.needs:
        documents, versions["densities"] = densities_under(work, s.settings, versions["clusters"])
    documents = source_weights.weighted(documents, s.settings)
    features = PoolFeatures(work, documents, versions)
    taken = Taken(versions, documents)
    for seed in seeds:
        started = time.monotonic()
        selection = Selection.of(s.settings).model_copy(update={"seed": seed})
        try:
            found = subset_under({**s.settings, "selection": selection}, documents, measured, features)
        except GripError as refused:  # with overflow=error: a budget is above its cap
            raise GripError(f"The strategy '{s.name}': {refused}") from None
        taken.draws[seed] = found.repeats_N
        taken.seconds = time.monotonic() - started  # only the last draw counts: its features are in memory already
    taken.seconds += sum(features.seconds.values())
    return taken


def _rows(name: str, seed: int, documents: pl.DataFrame, repeats_N: np.ndarray) -> pa.Table:
    """Rows of the table ``strategies`` for one draw."""
    copies = pl.Series("repeats", repeats_N, WHOLE)
    rows = documents.with_columns(copies, strategy=pl.lit(name), seed=pl.lit(seed, WHOLE)).filter(copies > 0)
    return rows.select(CHOSEN).to_arrow(compat_level=pl.CompatLevel.oldest())


def cost(work: Work, s: Strategy, names: list[str], taken: Taken) -> dict[str, Any]:
    """One row of ``strategy_costs``. Documents and tokens are means over the seeds.

    ``seconds``: the strategy's own time plus the recorded times of the stages that it needs.
    """
    lengths_N = taken.documents["n_tokens"].to_numpy()
    copies = float(np.mean([repeats_N.sum() for repeats_N in taken.draws.values()]))
    tokens = float(np.mean([(repeats_N * lengths_N).sum() for repeats_N in taken.draws.values()]))
    stages = sum(work.store.manifest(name, taken.versions[name])["seconds"] for name in s.needs)
    return {
        "strategy": s.name,
        "kind": s.kind,
        "previous": _previous(s, names),
        "n_docs": copies,
        "n_tokens": tokens,
        "mean_tokens": tokens / max(copies, 1),
        **_read(work, s, taken),
        "seconds": taken.seconds + stages,
        "trained_tokens": _trained(work, s, taken.versions),
    }


def _previous(s: Strategy, names: list[str]) -> str | None:
    """The rung before, among the strategies compared."""
    before = [rung for rung in RUNGS[: RUNGS.index(s.name)] if rung in names] if s.kind == "rung" else []
    return before[-1] if before else None


def _read(work: Work, s: Strategy, taken: Taken) -> dict[str, int]:
    """Tokens that encoder and proxy read for a strategy, and documents that were judged for it."""

    def table(name: str, column: str) -> pl.Series:
        owner = work.owners[name]
        return pl.read_parquet(work.store.parquet(owner, taken.versions[owner], name), columns=[column])[column]

    adaptation = Adaptation.of(s.settings)
    probed = "adaptation_deltas" in s.needs and adaptation.proxy != UNIGRAM
    judged = len(table("quality_scores", "doc_id")) if "quality_scores" in s.needs else 0
    return {
        "encoder_tokens": int(table("embeddings", "n_encoder_tokens").sum()) if "embeddings" in s.needs else 0,
        "proxy_tokens": int(table("adaptation_deltas", "n_tokens").sum()) * adaptation.passes if probed else 0,
        "judged_documents": len(taken.documents) if "quality" in s.features else judged,
    }


def _trained(work: Work, s: Strategy, versions: Mapping[str, str]) -> int:
    """Tokens on which small models were trained for a strategy: for its mixture, for its attribution."""
    found = 0
    if MIXING[0] in s.needs:
        found += work.store.manifest("mixture_runs", versions["mixture_runs"])["metrics"]["trainings"] * (
            Mixing.of(s.settings).tokens
        )
    if ATTRIBUTION[0] in s.needs:
        attribution = Attribution.of(s.settings)
        used = {m.stage.name for m in (reference_model, counterfactuals) if not m.stage.why_unused(s.settings)}
        found += attribution.tokens if "reference_model" in used and attribution.reference is None else 0
        found += counterfactuals.tokens_to_train(attribution) if "counterfactuals" in used else 0
    return found


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The content of the profiles that are compared, and the facts behind the features of their selections."""
    chosen = [strategy(name, settings) for name in Evaluation.of(settings).selecting]
    learned: dict[str, Any] = {} if no_learned_budget(settings) else {"mixing": mixture_domains.facts(settings, root)}
    learned |= {"attribution": _attribution_facts(chosen, root)} if not no_attributed_strategy(settings) else {}
    features = tuple(dict.fromkeys(name for s in chosen for name in s.features))
    profiles = {s.name: counted(s.name) for s in chosen if s.name != IN_FORCE}
    return {"profiles": profiles, **feature_facts(features, settings), **learned, **source_weights.facts(settings)}


def _attribution_facts(chosen: Sequence[Strategy], root: Path) -> list[dict[str, Any]]:
    """What the attribution of each strategy that needs one depends on outside of tables and settings."""
    some = [s.settings for s in chosen if _attributes(s.settings)]
    return [{m.stage.name: m.stage.facts(settings, root) for m in ATTRIBUTED} for settings in some]


@cache
def counted(name: str) -> dict[str, dict[str, Any]]:
    """A profile without fields that were added later and do not apply in it, or are null as by default, so that a new
    field renames nothing."""
    settings = _of_profile(name)

    def counts(group: str, field: str, value: Any) -> bool:
        known = type(settings[group]).model_fields[field]
        not_set = value is None and default_of(known) is None
        return not trait(known, "added") or (settings[group].applies(field) and not not_set)

    return {
        group: {field: value for field, value in values.items() if counts(group, field, value)}
        for group, values in read_profile(name).items()
    }


def no_learned_budget(settings: Settings) -> str:
    """Why no strategy needs a mixture; "" if one does."""
    groups = (settings if name == IN_FORCE else _of_profile(name) for name in Evaluation.of(settings).selecting)
    bases = {Budget.of(of_strategy).base for of_strategy in groups}
    return "" if "mixture" in bases else "settings/evaluation.strategies has no strategy with a learned budget"


def no_attributed_strategy(settings: Settings) -> str:
    """Why no strategy needs attribution; "" if one does."""
    for name in Evaluation.of(settings).selecting:
        if _attributes(settings) if name == IN_FORCE else _profile_attributes(name):
            return ""
    return "settings/evaluation.strategies has no strategy that attributes documents to targets"


def _attributes(settings: Settings) -> bool:
    return not no_attribution(settings)


@cache
def _profile_attributes(name: str) -> bool:
    return _attributes(_of_profile(name))


@cache
def _of_profile(name: str) -> Settings:
    """The groups that a profile sets, with defaults for the fields that it does not set."""
    return {group: validate(group, values) for group, values in read_profile(name).items()}


TABLES = (
    Table(
        "strategies",
        (
            Column("strategy", pl.String, "Strategy."),
            Column("seed", pl.Int64, "Seed of its draw."),
            Column("doc_id", pl.String, "Document that it selects.", ("clusters.doc_id",)),
            Column(
                "repeats",
                pl.Int64,
                "Copies of the document.",
                (
                    "clusters.cluster_id",
                    "sigma_k.sigma",
                    "cluster_quality.quality",
                    "adaptation_deltas.delta",
                    "cluster_embeddings.embedding",
                    "corpus.text",
                    "corpus.language",
                    "sketches.sketch",
                ),
            ),
            Column("n_tokens", pl.Int64, "Tokens of one copy of the document.", ("clusters.n_tokens",)),
        ),
    ),
    Table(
        "strategy_costs",
        (
            Column("strategy", pl.String, "Strategy."),
            Column(
                "kind",
                pl.String,
                "Kind: rung (of Panel B), yours (your settings in force), baseline, or ablation (the last rung without"
                " one part).",
            ),
            Column(
                "previous",
                pl.String,
                "The rung before, among the strategies that are compared. Null for the first rung, and for strategies"
                " of another kind.",
            ),
            Column("n_docs", pl.Float64, "Documents selected, mean over seeds. Copies count.", ("strategies.repeats",)),
            Column(
                "n_tokens",
                pl.Float64,
                "Tokens selected, mean over seeds.",
                ("strategies.repeats", "strategies.n_tokens"),
            ),
            Column(
                "mean_tokens",
                pl.Float64,
                "Mean tokens of a selected document.",
                ("strategies.repeats", "strategies.n_tokens"),
            ),
            Column(
                "encoder_tokens", pl.Int64, "Tokens that the encoder read for it.", ("embeddings.n_encoder_tokens",)
            ),
            Column(
                "proxy_tokens",
                pl.Int64,
                "Tokens that the proxy read for it, over all steps and seeds.",
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
                "Time of the selection, plus the recorded times of the stages that it needs.",
            ),
            Column(
                "trained_tokens",
                pl.Int64,
                "Tokens on which small models were trained for it: for a mixture, or for attribution (at most).",
                ("mixture_losses.loss", "utilities.tokens"),
                added=True,
            ),
        ),
    ),
)
CHECKS = (
    Check("same_budget", True, "Every strategy selects the same number of tokens, up to the length of a document."),
    Check("of_the_pool", True, "Every strategy selects documents of the corpus, each in one row."),
)

stage = Stage(
    name="strategies",
    code_version="6",
    compute=compute,
    description="The documents that each strategy of settings/evaluation selects, under each seed, all to the same"
    " number of tokens. Strategies are the steps from random to GRIP in the paper's Panel B, baselines, and GRIP"
    " without one part. `strategy_costs` has how much encoder, proxy, judge and time each needs.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=(
        *READ_TO_SELECT,
        *MIXING,
        *ATTRIBUTION,
    ),
    unused_by=("embedding",),
    left_out={"headers": no_header}
    | dict.fromkeys((*MIXING, "mixing"), no_learned_budget)
    | dict.fromkeys(ATTRIBUTION, no_attributed_strategy),
    reads={
        "corpus": ("benchmarks",),
        "clustering": partition.stage.reads["clustering"],
        "quality": ("dimensions",),
        "adaptation": ("delta", "form", "epochs", "seeds"),
        "mixing": _fields(LEARNED, "mixing"),
        "attribution": _fields(ATTRIBUTED, "attribution"),
        "budget": None,  # of the strategy in force
        "selection": None,
        "evaluation": ("strategies", "seeds", "main", "main_seeds", "seed", "target"),
    },
    facts=facts,
    group="evaluation",
    otherwise="code, a profile, the target or the package of DSIR changed",
)
