"""knobs: how the subset would change with other values of τ, T, α and β. Only stored tables are read.

τ, T and α [G4, G6] change the budgets of clusters, β [G9] the weights of documents. Each is halved and doubled, within
its range, while the others stay. The draw keeps its random numbers, so every difference is an effect of the knob.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.agreement import overlap
from grip_assets.runtime.progress import Progress
from grip_assets.settings import GROUPS, Adaptation, Budget, Selection, trait, validate
from grip_assets.stages.curation.budgets import LEFT_OUT, budgets_under, measured
from grip_assets.stages.curation.subset import Subset, drawn_under

KNOBS = ("budget.tau", "budget.temperature", "budget.alpha", "selection.beta")
FACTORS = (0.5, 2.0)


def compute(work: Work) -> dict[str, Any]:
    work.must_be_in_force()
    documents = work.frame("selection_weights")
    tables = measured(work)
    now = Subset(work.frame("budgets"), documents["repeats"].to_numpy())
    progress = Progress("turning knobs", len(KNOBS) * len(FACTORS), "settings", work.log)
    rows, moved = [], []
    for knob, factor, value, settings in one_knob_changed(work.settings):
        try:
            same = settings["budget"] == work.settings["budget"]
            budgets = now.budgets if same else budgets_under(tables, Budget.of(settings), Adaptation.of(settings).delta)
            then = Subset(budgets, drawn_under(budgets, documents, Selection.of(settings)))
        except GripError as refused:  # with overflow=error: a budget is above its cap
            work.log(f"{knob} = {value:g} is not possible: {refused}")
            then = None
        rows.append({**_named(knob, factor, value, work.settings), **_compared(documents, now, then)})
        if then is not None:
            named = (pl.lit(knob).alias("knob"), pl.lit(factor).alias("factor"))
            moved.append(then.budgets.select(*named, "cluster_id", "allocated"))
        progress.advance(1)
    progress.finish()
    work.draft.write("knobs", pl.DataFrame(rows, stage.schema("knobs")))
    work.draft.write("knob_budgets", pl.concat([stage.table("knob_budgets").empty(), *moved]))
    return {
        f"overlap_at_{row['factor']:g}_{row['knob'].partition('.')[2]}": row["overlap"]
        for row in rows
        if "overlap" in row
    }


def unused(settings: Settings) -> str:
    """Why the report is not made; "" for rule=draw. Other rules read neither budgets of clusters nor weights."""
    rule = Selection.of(settings).rule
    return "" if rule == "draw" else f"settings/selection.rule is {rule}"


def one_knob_changed(now: Settings) -> Iterator[tuple[str, float, float, Settings]]:
    """(knob, factor, value, settings with that value). A value above the field's range is cut to its upper end."""
    for knob in KNOBS:
        group, _, name = knob.partition(".")
        for factor in FACTORS:
            value = _within_range(knob, getattr(now[group], name) * factor)
            yield knob, factor, value, {**now, group: validate(group, now[group].model_dump() | {name: value})}


def _within_range(knob: str, value: float) -> float:
    group, _, name = knob.partition(".")
    limits = [m.le for m in GROUPS[group].model_fields[name].metadata if hasattr(m, "le")]
    return min([value, *limits])


def _named(knob: str, factor: float, value: float, now: Settings) -> dict[str, Any]:
    group, _, name = knob.partition(".")
    symbol = trait(GROUPS[group].model_fields[name], "symbol")
    return {"knob": knob, "symbol": symbol, "factor": factor, "value_now": getattr(now[group], name), "value": value}


def _compared(documents: pl.DataFrame, now: Subset, then: Subset | None) -> dict[str, Any]:
    """The columns that compare the subset under another value with the present one.

    ``then`` None: the value was refused, and only the column about the present subset is returned.
    """
    lengths_N = documents["n_tokens"].to_numpy()
    mean_now = {"mean_tokens_now": _mean(lengths_N, now.repeats_N)}
    if then is None:
        return mean_now
    before_N, after_N = now.repeats_N > 0, then.repeats_N > 0
    return mean_now | {
        "documents": int(after_N.sum()),
        "documents_in": int((after_N & ~before_N).sum()),
        "documents_out": int((before_N & ~after_N).sum()),
        "overlap": overlap(lengths_N, now.repeats_N, then.repeats_N),
        "budget_moved": float(abs(_shares(then.budgets) - _shares(now.budgets)).sum() / 2),
        "mean_tokens": _mean(lengths_N, then.repeats_N),
    }


def _mean(lengths_N: np.ndarray, repeats_N: np.ndarray) -> float | None:
    return float((lengths_N * repeats_N).sum() / repeats_N.sum()) if repeats_N.any() else None


def _shares(budgets: pl.DataFrame) -> np.ndarray:
    return budgets["allocated"].to_numpy() / budgets["allocated"].sum()


TABLES = (
    Table(
        "knobs",
        (
            Column("knob", pl.String, "Setting that is changed."),
            Column("symbol", pl.String, "Its symbol in the paper."),
            Column("factor", pl.Float64, "Factor on its value: 0.5 or 2."),
            Column("value_now", pl.Float64, "Its value in force."),
            Column("value", pl.Float64, "Its other value, within its range."),
            Column(
                "documents",
                pl.Int64,
                "Documents in the subset under the other value.",
                ("selection_weights.density", "budgets.allocated"),
            ),
            Column(
                "documents_in",
                pl.Int64,
                "Documents that would enter.",
                ("selection_weights.density", "budgets.allocated"),
            ),
            Column(
                "documents_out",
                pl.Int64,
                "Documents that would leave.",
                ("selection_weights.density", "budgets.allocated"),
            ),
            Column(
                "overlap",
                pl.Float64,
                "Tokens in both subsets as a share of the tokens in either.",
                ("selection_weights.repeats",),
            ),
            Column(
                "budget_moved", pl.Float64, "Share of the budget that moves to other clusters.", ("budgets.allocated",)
            ),
            Column(
                "mean_tokens",
                pl.Float64,
                "Mean tokens of a document in the subset under the other value.",
                ("selection_weights.n_tokens",),
            ),
            Column(
                "mean_tokens_now",
                pl.Float64,
                "Mean tokens of a document in the subset in force.",
                ("selection_weights.n_tokens",),
            ),
        ),
    ),
    Table(
        "knob_budgets",
        (
            Column("knob", pl.String, "Setting that is changed."),
            Column("factor", pl.Float64, "Factor on its value: 0.5 or 2."),
            Column("cluster_id", pl.Int32, "Cluster.", ("budgets.cluster_id",)),
            Column(
                "allocated",
                pl.Int64,
                "Budget of the cluster under the other value, in tokens or documents.",
                ("sigma_k.sigma", "cluster_quality.quality", "adaptation_deltas.delta"),
            ),
        ),
    ),
)
CHECKS = (
    Check("budget_conserved", True, "The budgets of all clusters have the same sum under every value."),
    Check("in_range", True, "Overlaps and moved shares are from 0 to 1."),
)

stage = Stage(
    name="knobs",
    code_version="2",
    compute=compute,
    description="How the subset would change with other settings: τ, T, α and β, each at half and at double its value,"
    " and the overlap of the new subset with the one in force. `knob_budgets` has the new budgets of the clusters.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=(
        "clusters",
        "sigma_k",
        "quality_scores",
        "adaptation_deltas",
        "mixture",
        "attribution",
        "budgets",
        "subset",
    ),
    reads={"budget": None, "adaptation": ("delta",), "selection": None},
    left_out=LEFT_OUT,
    unused=unused,
    group="reports",
)
