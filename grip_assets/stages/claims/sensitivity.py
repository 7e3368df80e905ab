"""sensitivity: do other probes rank the clusters alike? This tests the claim of the paper's Fig. 5.

adaptation_deltas is made again on the same probe set, with one setting changed at a time: reset depth, proxy, seed, and
what the paper leaves open (evaluation [A7], form of the drop [A1], steps [A4]). Runs with the same seed read the same
passages, so they agree more than they should. Compare different seeds to see how stable the ranking really is.

Each variant costs as much as `adaptation_deltas`, but a cluster is never measured twice. Another form of the drop, and
fewer steps, are read from existing curves and cost nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.agreement import rank_correlation
from grip_assets.method.statistics import known, pearson, rank_agreement
from grip_assets.models.files import UNIGRAM, content_hash, locate
from grip_assets.settings import Adaptation, Evaluation
from grip_assets.stages.curation.adaptation_deltas import facts as proxy_facts
from grip_assets.stages.curation.adaptation_deltas import stage as adaptation_deltas
from grip_assets.stages.curation.needed import no_drops
from grip_assets.stages.evaluation.trainings import MODEL, TRAINING, proxy_of_our_own
from grip_assets.store.query import query

IN_FORCE = "in force"
DEPTHS = (0, 1, 2, 4)  # of the paper's Fig. 5
FURTHER_SEEDS = 2
FEWER_STEPS = (1, 3)
MORE_STEPS = 3  # factor on the steps: the other reading of A4, several smaller batches per epoch, has about so many
FORMS = ("relative", "absolute")
READINGS = {"held_out": "loss held out", "train": "loss on what it trains on"}


@dataclass(frozen=True)
class Variant:
    """A measurement: settings of adaptation_deltas, and the step of the curves that is read (None: the last)."""

    name: str
    settings: Adaptation
    step: int | None = None

    @property
    def measured_as(self) -> Adaptation:
        """The settings under which the curves are made. The form of the drop is only another view of the curves."""
        return self.settings.model_copy(update={"delta": "relative"})


def variants(now: Adaptation, blocks: int, other: str) -> Iterator[Variant]:
    """The variants to compare: first the settings in force, then one change at a time.

    ``blocks``: the number of blocks of the proxy in force, which limits the reset depth. ``other``: the other proxy.
    """
    deeper = [depth for depth in DEPTHS if depth != now.reset_depth and depth <= blocks]
    yield Variant(IN_FORCE, now)
    yield from _other_seeds(now, "", now.reset_depth)
    yield from _other_forms(now)
    changes: list[tuple[str, dict[str, Any]]] = [
        *((f"{form} drop", {"delta": form}) for form in FORMS if form != now.delta),
        *((words, {"evaluate": reading}) for reading, words in READINGS.items() if reading != now.evaluate),
        *((f"reset depth {depth}", {"form": "steps", "reset_depth": depth}) for depth in deeper),
    ]
    for name, values in changes:
        yield _changed(now, name, **values)
    if deeper and deeper[-1] > now.reset_depth:
        yield from _other_seeds(now, f"reset depth {deeper[-1]}, ", deeper[-1])
    yield _changed(now, f"proxy {UNIGRAM}", proxy=UNIGRAM, form="closed", reset_depth=0)
    yield _changed(now, f"proxy {Path(other).name}", proxy=other)


def _changed(now: Adaptation, name: str, **values: Any) -> Variant:
    return Variant(name, now.model_copy(update=values))


def _other_seeds(now: Adaptation, name: str, depth: int) -> Iterator[Variant]:
    """Further seeds at one depth. The seeds are far enough apart that no initialisation is used twice."""
    form = "steps" if depth else now.form
    for i in range(1, FURTHER_SEEDS + 1):
        yield _changed(now, f"{name}seed + {i}", form=form, reset_depth=depth, seed=now.seed + i * now.seeds)


def _other_forms(now: Adaptation) -> Iterator[Variant]:
    """Fewer steps, more steps, and the closed form. If the closed form is in force: training steps instead."""
    if now.form == "closed":
        yield Variant("form steps", now.model_copy(update={"form": "steps"}))
        return
    for step in FEWER_STEPS:
        if step < now.epochs:
            yield Variant(f"after {step} step{'s' * (step > 1)}", now, step)
    more = MORE_STEPS * now.epochs
    yield Variant(f"after {more} steps", now.model_copy(update={"epochs": more}))
    yield Variant("form closed", now.model_copy(update={"form": "closed", "reset_depth": 0}))


def other_proxy(work: Work) -> str:
    """The other proxy: settings/evaluation.other_proxy, or one that is trained here."""
    settings = Evaluation.of(work.settings)
    return settings.other_proxy or str(proxy_of_our_own(work))


def compute(work: Work) -> dict[str, Any]:
    from grip_assets.models.proxy import load_proxy  # torch

    work.must_be_in_force()
    now = Adaptation.of(work.settings)
    other = other_proxy(work)
    if now.proxy == UNIGRAM:
        raise GripError(
            f"settings/adaptation.proxy is '{UNIGRAM}', and sensitivity compares language models. Set it to a language"
            " model, and curate again."
        )
    blocks = len(load_proxy(now.proxy, work.store.root, log=work.log).blocks)
    chosen = list(variants(now, blocks, other))
    rows, found = [], {}
    for i, variant in enumerate(chosen):
        work.log(f"{i + 1} of {len(chosen)}: {variant.name}")
        found[variant.name], cost = _measured(work, variant)
        rows.append(_row(variant, found[variant.name], found[IN_FORCE], cost))
        agreement = rows[-1]["spearman"]
        shown = "not defined" if agreement is None else f"{agreement:.3f}"
        work.log(f"{variant.name}: rank correlation with {IN_FORCE}: {shown}")
    work.draft.write("sensitivity", pl.DataFrame(rows, stage.schema("sensitivity")))
    named = [deltas.select(pl.lit(name).alias("variant"), "cluster_id", "delta") for name, deltas in found.items()]
    work.draft.write("sensitivity_deltas", pl.concat(named))
    work.draft.write("sensitivity_pairs", pl.DataFrame(_pairs(found), stage.schema("sensitivity_pairs"), orient="row"))
    quality = pl.DataFrame(_with_quality(found, work.frame("cluster_quality")), stage.schema("quality_correlation"))
    work.draft.write("quality_correlation", quality)
    others = [row["spearman"] for row in rows[1:] if row["spearman"] is not None]
    return {
        "lowest_rank_correlation": min(others, default=None),
        "correlation_of_quality_and_delta": quality["pearson"][0],
    }


def _measured(work: Work, variant: Variant) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Drops of the clusters (cluster_id, delta), and their cost, which is 0 if existing curves are read."""
    settings = {**work.settings, "adaptation": variant.measured_as}
    made = work.make(adaptation_deltas, settings, {"probe_set": work.inputs["probe_set"]})
    parquet = work.store.parquet("adaptation_deltas", made.version, "loss_curves")
    sizes = pl.read_parquet(work.store.parquet("adaptation_deltas", made.version, "adaptation_deltas"))
    curves = pl.read_parquet(parquet).join(sizes.select("cluster_id", "n_tokens", "n_docs"), on="cluster_id")
    if variant.step is not None:
        curves = curves.filter(pl.col("step") <= variant.step)
    drops = query("equations/adaptation_deltas", {"curves": curves})
    form = "relative_delta" if variant.settings.delta == "relative" else "delta"
    free = variant.name != IN_FORCE and made.version == work.inputs["adaptation_deltas"]
    tokens = int(drops["n_tokens"].sum()) * variant.settings.passes
    cost = {"seconds": 0.0 if free else made.manifest["seconds"], "tokens": 0 if free else tokens}
    return drops.select("cluster_id", delta=form), cost


def _row(variant: Variant, deltas: pl.DataFrame, reference: pl.DataFrame, cost: dict[str, Any]) -> dict[str, Any]:
    now, then = _together(reference, deltas, "delta")
    found = rank_agreement(now, then)
    settings = variant.settings
    return {
        "variant": variant.name,
        "reset_depth": settings.reset_depth,
        "proxy": Path(settings.proxy).name,
        "evaluate": settings.evaluate,
        "form": settings.delta,
        "epochs": (variant.step or settings.epochs) if settings.form == "steps" else 1,
        "seed": settings.seed,
        "n_clusters": found.n,
        **found.columns("spearman"),
        "mean_delta": deltas["delta"].mean(),
        **cost,
    }


def _pairs(found: dict[str, pl.DataFrame]) -> list[tuple]:
    return [
        (one, other, known(rank_correlation(*_together(found[one], found[other], "delta"))))
        for one, other in combinations(found, 2)
    ]


def _with_quality(found: dict[str, pl.DataFrame], quality: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of ``quality_correlation``, Q_k against the drop over clusters. The paper's Fig. 4 has Pearson's at -0.2."""
    rows = []
    for name, deltas in found.items():
        q, delta = _together(quality, deltas, "quality")
        ranks, straight = rank_agreement(q, delta), pearson(q, delta)
        limits = straight.columns("pearson", "pearson_low", "pearson_high")
        rows.append({"variant": name, **ranks.columns("spearman"), **limits, "n": ranks.n})
    return rows


def _together(one: pl.DataFrame, deltas: pl.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """``column`` of ``one`` and the drops in ``deltas``, for the clusters that have both."""
    both = one.select("cluster_id", one=column).join(
        deltas.select("cluster_id", "delta"), on="cluster_id", maintain_order="left"
    )
    both = both.drop_nulls()
    return both["one"].to_numpy(), both["delta"].to_numpy()


def _facts(settings: Settings, root: Path) -> dict[str, Any]:
    evaluation = Evaluation.of(settings)
    other = evaluation.other_proxy
    found = content_hash(locate(other, "settings/evaluation.other_proxy"), root) if other else None
    return {**proxy_facts(settings, root), "other": found}


TABLES = (
    Table(
        "sensitivity",
        (
            Column("variant", pl.String, "The change to the settings in force, in words."),
            Column("reset_depth", pl.Int64, "Number of last blocks that are reset together with the head."),
            Column("proxy", pl.String, "Proxy whose drops these are."),
            Column("evaluate", pl.String, "Documents on which the loss is measured: held_out or train."),
            Column("form", pl.String, "Form of the drop: relative or absolute."),
            Column("epochs", pl.Int64, "Number of full-batch steps after which the drop is taken."),
            Column("seed", pl.Int64, "Seed of passages and folds, and of the first initialisation."),
            Column(
                "n_clusters",
                pl.Int64,
                "Number of clusters that have a drop here and in force.",
                ("adaptation_deltas.cluster_id",),
            ),
            Column(
                "spearman",
                pl.Float64,
                "Rank correlation over clusters between these drops and those in force.",
                ("adaptation_deltas.delta", "adaptation_deltas.relative_delta", "adaptation_documents.text"),
            ),
            Column(
                "low",
                pl.Float64,
                "Lower end of its 95% interval, by resampling clusters.",
                ("adaptation_deltas.delta", "adaptation_deltas.relative_delta", "adaptation_documents.text"),
            ),
            Column(
                "high",
                pl.Float64,
                "Upper end of its 95% interval.",
                ("adaptation_deltas.delta", "adaptation_deltas.relative_delta", "adaptation_documents.text"),
            ),
            Column("mean_delta", pl.Float64, "Mean drop over clusters, in this form.", ("probe_documents.text",)),
            Column(
                "seconds", pl.Float64, "Time of the measurement. 0 if it was read from the curves of another variant."
            ),
            Column(
                "tokens",
                pl.Int64,
                "Tokens that the proxy read, over all steps and seeds. 0 if it read none.",
                ("probe_documents.text",),
            ),
        ),
    ),
    Table(
        "sensitivity_deltas",
        (
            Column("variant", pl.String, "The change to the settings in force, in words."),
            Column("cluster_id", pl.Int32, "Cluster.", ("adaptation_deltas.cluster_id",)),
            Column("delta", pl.Float64, "Drop of the cluster under the variant.", ("probe_documents.text",)),
        ),
    ),
    Table(
        "sensitivity_pairs",
        (
            Column("variant", pl.String, "One variant."),
            Column("other", pl.String, "Another variant."),
            Column("spearman", pl.Float64, "Rank correlation of their drops over clusters.", ("probe_documents.text",)),
        ),
    ),
    Table(
        "quality_correlation",
        (
            Column("variant", pl.String, "The change to the settings in force, in words."),
            Column(
                "spearman",
                pl.Float64,
                "Rank correlation over clusters between Q_k and the drop.",
                ("cluster_quality.quality", "probe_documents.text"),
            ),
            Column(
                "low",
                pl.Float64,
                "Lower end of its 95% interval, by resampling clusters.",
                ("cluster_quality.quality", "probe_documents.text"),
            ),
            Column(
                "high",
                pl.Float64,
                "Upper end of its 95% interval.",
                ("cluster_quality.quality", "probe_documents.text"),
            ),
            Column(
                "pearson",
                pl.Float64,
                "Pearson's correlation over clusters, which the paper reports.",
                ("cluster_quality.quality", "probe_documents.text"),
            ),
            Column(
                "pearson_low",
                pl.Float64,
                "Lower end of its 95% interval, by Fisher's transformation.",
                ("cluster_quality.quality", "probe_documents.text"),
            ),
            Column(
                "pearson_high",
                pl.Float64,
                "Upper end of its 95% interval.",
                ("cluster_quality.quality", "probe_documents.text"),
            ),
            Column("n", pl.Int64, "Number of clusters.", ("cluster_quality.cluster_id",)),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Correlations are from -1 to 1, and every variant has clusters."),
    Check("ranked_alike", False, "Every variant ranks the clusters alike: the rank correlation is at least 0.5."),
)

stage = Stage(
    name="sensitivity",
    code_version="3",
    compute=compute,
    description="Would another probe rank the clusters alike [paper Fig. 5]? The drops ΔL_k of the same probe set are"
    " measured with other reset depths, proxies and seeds, and with other choices where the paper leaves one open"
    " (documents for the loss, form of the drop, number of steps). `sensitivity_deltas` has every drop,"
    " `sensitivity_pairs` the rank correlation of any two variants, `quality_correlation` that of Q_k and ΔL_k [paper"
    " Fig. 4]. Most variants cost as much as `adaptation_deltas`.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=("corpus", "probe_set", "quality_scores", "adaptation_deltas"),
    reads={"adaptation": None, "corpus": ("tokenizer",), "evaluation": ("other_proxy", "seed", *MODEL, *TRAINING)},
    facts=_facts,
    group="evaluation",
    unused=no_drops,
    unused_by=("budget",),
)
