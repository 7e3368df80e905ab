"""The section Stability: how much of the subset stays the same with another seed, and how much is due to chance."""

from typing import Any

import plotly.graph_objects as go
import polars as pl

from grip_assets.report.page.context import Context
from grip_assets.report.page.palette import LIGHT
from grip_assets.report.page.parts import Column, Figure, Prose, Section, Table, figure, say

WORDS = {"clustering": "Clustering", "probe": "Probe", "draw": "Draw"}
MARKS = {"clustering": ("s1", "circle"), "probe": ("s2", "diamond"), "draw": ("s3", "square")}
OTHER_MARK = ("s4", "x")
CORRELATIONS = {"budget_correlation": "budgets", "quality_correlation": "quality", "delta_correlation": "delta"}


def section(context: Context) -> Section:
    missing = context.lacks("stability")
    if missing:
        return Section("stability", "Stability", missing)
    rows = context.table("stability", "varied, seed")
    if rows.is_empty():
        return Section("stability", "Stability", [say("No other seed was tried.")])
    sentences = [_sentence(str(kind), some) for (kind,), some in rows.group_by("varied", maintain_order=True)]
    if rows["varied"].unique().to_list() == ["draw"]:
        sentences.append(
            say(
                "Other seeds of the clustering and of the probe were not tried. Each costs a part of the chain:"
                " <code>grip curate --set reports.stability_seeds=3</code>."
            )
        )
    return Section("stability", "Stability", [*sentences, _overlaps(rows)])


def _overlaps(rows: pl.DataFrame) -> Figure:
    marks = [_marks(str(kind), some) for (kind,), some in rows.group_by("varied", maintain_order=True)]
    drawn = go.Figure([*marks, _by_chance(rows)])
    drawn.update_xaxes(title="overlap of the subsets", tickformat=".0%", range=[0, 1.03])
    drawn.update_layout(yaxis={"type": "category"})
    caption = (
        "A mark compares the subset in force with the subset of one other seed: the tokens in both, over the tokens"
        " in either. An upright stroke is the overlap of two random draws of the same size."
    )
    table = Table("Stability", _columns(), rows.to_dicts())
    return figure("stability-overlap", "Overlap across seeds", caption, drawn, 300, table=table)


def _marks(kind: str, rows: pl.DataFrame) -> go.Scatter:
    colour, symbol = MARKS.get(kind, OTHER_MARK)
    return go.Scatter(
        x=rows["overlap"].to_list(),
        y=[kind] * len(rows),
        mode="markers",
        name=kind,
        marker={"size": 12, "color": LIGHT[colour], "symbol": symbol},
        text=[f"seed {seed}" for seed in rows["seed"]],
        hovertemplate="%{text}: overlap %{x:.1%}<extra></extra>",
    )


def _by_chance(rows: pl.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=rows["overlap_by_chance"].to_list(),
        y=rows["varied"].to_list(),
        mode="markers",
        name="by chance",
        marker={"symbol": "line-ns-open", "size": 20, "color": LIGHT["muted"], "line": {"width": 2}},
        hovertemplate="by chance %{x:.1%}<extra></extra>",
    )


def _columns() -> list[Column]:
    return [
        Column("varied", "Varied"),
        Column("seed", "Seed", "d"),
        Column("overlap", "Overlap", ".1%"),
        Column("overlap_by_chance", "By chance", ".1%"),
        Column("documents_in", "In", ",d"),
        Column("documents_out", "Out", ",d"),
        *(Column(name, f"Rank corr., {of}", ".3f") for name, of in CORRELATIONS.items()),
    ]


def _sentence(kind: str, rows: pl.DataFrame) -> Prose:
    """Overlap, rank correlations where they are known, and how to read them."""
    means = {of: _mean(rows, name) for name, of in CORRELATIONS.items()}
    known = {of: value for of, value in means.items() if value is not None}
    ranks = ", ".join(f"{of} {value:.2f}" for of, value in known.items()).replace("-0.", "−0.")
    return say(
        "<strong>{kind}</strong>: with another seed the overlap is {overlap} ({chance} by chance). {ranks}{verdict}",
        kind=WORDS.get(kind, "Other"),
        overlap=_percent(_mean(rows, "overlap")),
        chance=_percent(_mean(rows, "overlap_by_chance")),
        ranks=f"Rank correlations over documents: {ranks}. " if ranks else "",
        verdict=_verdict(kind, min(known.values(), default=None)),
    )


def _verdict(kind: str, least: float | None) -> str:
    if kind == "draw":
        return "The budgets are the same. Which documents fill them is a random draw, and is meant to be one."
    if least is None:
        return "The budgets cannot be compared, because the clusters are other ones."
    if least >= 0.9:
        return "Differences between clusters are signal and can be relied on."
    if least >= 0.5:
        return "Large differences between clusters are signal, small ones are noise."
    return "Much of the difference between clusters is noise. Raise probe.fraction and probe.min_for_adaptation."


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def _mean(rows: pl.DataFrame, name: str) -> Any:
    values = rows[name].drop_nulls()
    values = values.drop_nans() if values.dtype.is_float() else values
    return values.mean() if len(values) else None
