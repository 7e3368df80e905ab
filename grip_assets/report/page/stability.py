"""What is the same with other seeds, and what is the luck of the draw."""

from typing import Any

import plotly.graph_objects as go
import polars as pl

from grip_assets.report.page.context import Context
from grip_assets.report.page.palette import LIGHT
from grip_assets.report.page.parts import Column, Section, Table, figure, say

KINDS = {"clustering": ("s1", "circle"), "probe": ("s2", "diamond"), "draw": ("s3", "square")}
CORRELATIONS = {"budget_correlation": "budgets", "quality_correlation": "quality", "delta_correlation": "delta"}


def section(context: Context) -> Section:
    needed = context.lacks("stability")
    if needed:
        return Section("stability", "Stability", needed)
    rows = context.table("stability", "varied, seed")
    if rows.is_empty():
        return Section("stability", "Stability", [say("No other seed was tried.")])
    said = [say(_sentence(kind, some)) for (kind,), some in rows.group_by("varied", maintain_order=True)]
    if rows["varied"].unique().to_list() == ["draw"]:
        said.append(
            say(
                "Other seeds of the clustering and of the probe cost a part of the chain each, and were not tried:"
                " <code>grip curate --set reports.stability_seeds=3</code>."
            )
        )
    drawn = go.Figure(
        [
            go.Scatter(
                x=some["overlap"].to_list(),
                y=[str(kind)] * len(some),
                mode="markers",
                name=str(kind),
                marker={
                    "size": 12,
                    "color": LIGHT[KINDS.get(str(kind), ("s4", ""))[0]],
                    "symbol": KINDS.get(str(kind), ("", "x"))[1],
                },
                text=[f"seed {s}" for s in some["seed"]],
                hovertemplate="%{text}: overlap %{x:.1%}<extra></extra>",
            )
            for (kind,), some in rows.group_by("varied", maintain_order=True)
        ]
        + [
            go.Scatter(
                x=rows["overlap_by_chance"].to_list(),
                y=rows["varied"].to_list(),
                mode="markers",
                name="by chance",
                marker={"symbol": "line-ns-open", "size": 20, "color": LIGHT["muted"], "line": {"width": 2}},
                hovertemplate="by chance %{x:.1%}<extra></extra>",
            )
        ]
    )
    drawn.update_xaxes(title="overlap of the subsets", tickformat=".0%", range=[0, 1.03])
    drawn.update_layout(yaxis={"type": "category"})
    columns = [Column("varied", "Varied"), Column("seed", "Seed", "d"), Column("overlap", "Overlap", ".1%")]
    columns += [Column("overlap_by_chance", "By chance", ".1%"), Column("documents_in", "In", ",d")]
    columns += [Column("documents_out", "Out", ",d")]
    columns += [Column(name, f"Rank corr., {said_}", ".3f") for name, said_ in CORRELATIONS.items()]
    says = (
        "Each mark is the subset with one other seed beside the one in force: the tokens in both over the tokens in"
        " either. The upright strokes are what two random draws of the same size would share."
    )
    made = figure(
        "stability-overlap",
        "Overlap across seeds",
        says,
        drawn,
        300,
        table=Table("Stability", columns, rows.to_dicts()),
    )
    return Section("stability", "Stability", [*said, made])


def _sentence(kind: Any, rows: pl.DataFrame) -> str:
    overlap, chance = _mean(rows, "overlap"), _mean(rows, "overlap_by_chance")
    stays = f"<strong>{_plain(kind)}</strong>: with another seed the overlap is {overlap:.0%} ({chance:.0%} by chance)."
    found = {said: _mean(rows, name) for name, said in CORRELATIONS.items()}
    known = {said: value for said, value in found.items() if value is not None}
    ranks = ", ".join(f"{said} {value:.2f}" for said, value in known.items())
    least = min(known.values(), default=None)
    if kind == "draw":
        verdict = "The budgets are the same; which documents fill them is a draw, as it is meant to be."
    elif least is None:
        verdict = "Budgets cannot be compared, since the clusters are others."
    elif least >= 0.9:
        verdict = "What the budgets follow is signal: differences between clusters far apart can be relied on."
    elif least >= 0.5:
        verdict = "The large differences between clusters are signal, the small ones noise."
    else:
        verdict = "Much of it is noise: a larger probe (probe.fraction, probe.min_for_adaptation) would steady it."
    return (
        f"{stays} {f'Rank correlations over documents: {ranks}. ' if ranks else ''}{verdict}".replace("-0.", "−0.")
        .replace("{", "")
        .replace("}", "")
    )


def _plain(kind: Any) -> str:
    return {"clustering": "Clustering", "probe": "Probe", "draw": "Draw"}.get(str(kind), "Other")


def _mean(rows: pl.DataFrame, name: str) -> Any:
    values = rows[name].drop_nulls().drop_nans() if rows[name].dtype.is_float() else rows[name].drop_nulls()
    return values.mean() if len(values) else None
