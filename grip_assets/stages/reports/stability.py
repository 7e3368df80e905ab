"""stability: how much of the subset is luck. The subset is made again with other seeds, and compared.

Other seeds of the draw use stored densities, so they are cheap. Other seeds of clustering and probe run these parts of
the chain again, if ``reports.stability_seeds`` is above 0. Their artifacts are kept as usual, so a run that was killed
continues. Nothing is put in force.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine import checks
from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.make import versions_under
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.agreement import overlap, overlap_by_chance, rank_correlation
from grip_assets.settings import Clustering, Reports, Selection
from grip_assets.stages.curation.features import PoolFeatures
from grip_assets.stages.curation.headers import no_header
from grip_assets.stages.curation.needed import READ_TO_SELECT, no_attribution, no_mixture
from grip_assets.stages.curation.quality_scores import stage as quality_scores
from grip_assets.stages.curation.subset import drawn_under
from grip_assets.store.query import query

VARIED = {"clustering": "clustering", "probe": "probe", "draw": "selection"}  # value of `varied` to its settings group
MIXING = ("mixture_domains", "mixture_runs", "mixture")  # another clustering or budget learns another mixture
ATTRIBUTION = ("attribution_targets", "reference_model", "sketches", "counterfactuals", "attribution")
DRAWS = 3  # other seeds of the draw


def compute(work: Work) -> dict[str, Any]:
    work.must_be_in_force()
    now = _described(work, dict(work.inputs))
    rows = []
    for varied, seed, settings in other_seeds(work.settings):
        then = _drawn(work, settings, now) if varied == "draw" else _chained(work, settings, f"{varied} seed {seed}")
        rows.append({"varied": varied, "seed": seed, **_compared(now, then)})
    table = pl.DataFrame(rows, stage.schema("stability"))
    work.draft.write("stability", table)
    means = table.group_by("varied", maintain_order=True).agg(pl.mean("overlap"))
    return {f"overlap_{varied}": value for varied, value in means.iter_rows()}


def other_seeds(now: Settings) -> Iterator[tuple[str, int, Settings]]:
    """(value of the column ``varied``, seed, settings that differ only in that seed)."""
    reports = Reports.of(now)
    for varied, group in VARIED.items():
        values: Any = now[group]
        step = values.seeds if isinstance(values, Clustering) else 1  # so that no start of k-means is used twice
        for i in range(1, 1 + (DRAWS if varied == "draw" else reports.stability_seeds)):
            seed = values.seed + i * step
            other = values.model_copy(update={"seed": seed})
            if other.effective() != values.effective():  # the seed of a kept partition changes nothing
                yield varied, seed, {**now, group: other}


def _drawn(work: Work, settings: Settings, now: pl.DataFrame) -> pl.DataFrame:
    """Another draw from the same densities and budgets."""
    documents = work.frame("selection_weights")
    features = PoolFeatures(work, documents)
    repeats = pl.Series("repeats", drawn_under(work.frame("budgets"), documents, Selection.of(settings), features))
    return now.drop("repeats").join(documents.select("doc_id", repeats), on="doc_id", maintain_order="left")


def _chained(work: Work, settings: Settings, what: str) -> pl.DataFrame:
    """The chain, made with other settings."""
    work.log(f"the chain again with {what}")
    versions = versions_under(settings, work)
    _must_have_passed(work, versions)
    return _described(work, versions)


def _must_have_passed(work: Work, versions: dict[str, str]) -> None:
    """GripError if a blocking check fails with the other settings, as it would in a curation."""
    for name, version in versions.items():
        manifest = work.store.manifest(name, version)
        if failed := checks.stopping(work.stages[name], manifest["checks"]):
            raise GripError(f"{name} fails the check {failed[0]} with other seeds. Curate with these seeds to see why.")


def _described(work: Work, versions: dict[str, str]) -> pl.DataFrame:
    """One row per document, in the order of their ids: its copies, and budget, quality and drop of its cluster."""
    tables = {
        "selection_weights": work.store.parquet("subset", versions["subset"], "selection_weights"),
        "budgets": work.store.parquet("budgets", versions["budgets"], "budgets"),
    }
    return query("stages/stability", tables)


def _compared(now: pl.DataFrame, then: pl.DataFrame) -> dict[str, Any]:
    lengths_N = now["n_tokens"].to_numpy()
    one_N, other_N = now["repeats"].to_numpy(), then["repeats"].to_numpy()
    shares = [float((lengths_N * repeats_N).sum() / lengths_N.sum()) for repeats_N in (one_N, other_N)]
    return {
        "overlap": overlap(lengths_N, one_N, other_N),
        "overlap_by_chance": overlap_by_chance(*shares),
        "budget_correlation": _correlation(now["budget_share"], then["budget_share"]),
        "quality_correlation": _correlation(now["quality"], then["quality"]),
        "delta_correlation": _correlation(now["delta"], then["delta"]),
        "documents_in": int(((other_N > 0) & (one_N == 0)).sum()),
        "documents_out": int(((one_N > 0) & (other_N == 0)).sum()),
    }


def _correlation(one: pl.Series, other: pl.Series) -> float | None:
    """Spearman's rank correlation over the documents that have both values; None if one of the two is constant."""
    known = (one.is_not_null() & other.is_not_null()).to_numpy()
    found = rank_correlation(one.to_numpy()[known], other.to_numpy()[known])
    return None if np.isnan(found) else found


TABLES = (
    Table(
        "stability",
        (
            Column("varied", pl.String, "Part that had another seed: clustering, probe or draw."),
            Column("seed", pl.Int64, "The other seed."),
            Column(
                "overlap",
                pl.Float64,
                "Tokens in both subsets as a share of the tokens in either.",
                ("selection_weights.repeats",),
            ),
            Column(
                "overlap_by_chance",
                pl.Float64,
                "Overlap to expect between two uniform draws of these sizes.",
                ("selection_weights.repeats",),
            ),
            Column(
                "budget_correlation",
                pl.Float64,
                "Rank correlation, over documents, of the budget share of their cluster: budget by size.",
                ("budgets.allocated",),
            ),
            Column(
                "quality_correlation",
                pl.Float64,
                "Rank correlation, over documents, of the quality Q_k of their cluster.",
                ("budgets.quality",),
            ),
            Column(
                "delta_correlation",
                pl.Float64,
                "Rank correlation, over documents, of the drop of their cluster.",
                ("budgets.delta",),
            ),
            Column("documents_in", pl.Int64, "Documents that would enter.", ("selection_weights.repeats",)),
            Column("documents_out", pl.Int64, "Documents that would leave.", ("selection_weights.repeats",)),
        ),
    ),
)
CHECKS = (
    Check("in_range", True, "Overlaps are from 0 to 1, correlations from -1 to 1."),
    Check("above_chance", False, "With other clusters or another probe, the overlap is above chance."),
)

stage = Stage(
    name="stability",
    code_version="2",
    compute=compute,
    description="How much of the subset is luck: its overlap with subsets made with other seeds of the clustering, of"
    " the probe and of the draw, compared with the overlap of uniform draws. Also how well budgets, quality and drops"
    " agree. It runs parts of the chain again, so it is made only when you ask for it.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=(
        *READ_TO_SELECT,
        *MIXING,
        *ATTRIBUTION,
        "budgets",
        "densities",
        "subset",
    ),
    reads={
        "clustering": None,
        "probe": None,
        "quality": quality_scores.reads["quality"],
        "adaptation": None,
        "budget": None,
        "selection": None,
        "reports": ("stability_seeds",),
    },
    unused_by=("embedding",),
    left_out={"headers": no_header} | dict.fromkeys(MIXING, no_mixture) | dict.fromkeys(ATTRIBUTION, no_attribution),
    group="reports",
)
