"""The section Budget: from base budgets to allocated budgets, and the effect of each knob on the subset."""

from typing import Any

import plotly.graph_objects as go
import polars as pl

from grip_assets.report.page.context import Context
from grip_assets.report.page.overview import short
from grip_assets.report.page.palette import DIVERGING, LIGHT
from grip_assets.report.page.parts import Block, Column, Figure, Section, Table, figure, say

MOST = 30  # clusters in a picture


def section(context: Context) -> Section:
    needed = context.lacks("budgets")
    if needed:
        return Section("budget", "Budget", needed)
    w = context.ask("report/waterfall").to_dicts()[0]
    prose = say(
        "Replay moves {replay} of the budget between clusters, and caps move {caps}. The budget of {replayed} of {n}"
        " clusters is raised (r above 1), the quality gate is closed for {gated}, and {capped} are at their cap. The total"
        " is fixed, so a cluster can gain only what others lose.{repeats}",
        replay=f"{w['moved_by_replay']:.1%}",
        caps=f"{w['moved_by_caps'] or 0:.1%}",
        replayed=w["replayed"],
        n=w["clusters"],
        gated=w["gated"],
        capped=w["at_cap"],
        repeats="" if context.setting("budget", "overflow") == "repeat" else " No document is repeated.",
    )
    return Section("budget", "Budget", [prose, _waterfall(w), *_clusters(context), *knobs(context)])


def _waterfall(w: dict[str, Any]) -> Figure:
    steps = [
        ("base budget", "absolute", w["base"]),
        ("replay asks for", "relative", w["replay"]),
        ("scaled to the total", "relative", w["normalised"]),
        ("cut by caps", "relative", w["cut"]),
        ("given to others", "relative", w["given"]),
        ("allocated", "total", w["total"]),
    ]
    drawn = go.Figure(
        go.Waterfall(
            x=[name.replace(" ", "<br>", 1) for name, _, _ in steps],
            measure=[kind for _, kind, _ in steps],
            y=[value for _, _, value in steps],
            text=[_signed(value) if kind == "relative" else short(value) for _, kind, value in steps],
            constraintext="none",
            textposition="outside",
            cliponaxis=False,
            textfont={"size": 11.5, "color": LIGHT["ink"]},
            connector={"line": {"color": LIGHT["line"], "width": 1}},
            increasing={"marker": {"color": LIGHT["s1"]}},
            decreasing={"marker": {"color": LIGHT["s2"]}},
            totals={"marker": {"color": LIGHT["pool"]}},
            hovertemplate="%{x}: %{text}<extra></extra>",
        )
    )
    drawn.update_yaxes(title=w["unit"], rangemode="tozero")
    drawn.update_layout(showlegend=False, margin={"t": 34})
    says = (
        f"All clusters together, in {w['unit']}. Replay multiplies base budgets by r. The sum is scaled back to the total."
        " What exceeds a cluster's cap is given to the others. Blue adds, orange subtracts, grey is a sum."
    )
    table = Table(
        "From base to allocated",
        [Column("step", "Step"), Column("value", w["unit"], ",.0f")],
        [{"step": name, "value": value} for name, _, value in steps],
        folded=True,
    )
    return figure("waterfall", "From base budget to allocation", says, drawn, 400, table=table)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "−") + short(abs(value)) if round(value) else "0"


def _clusters(context: Context) -> list[Block]:
    """Change of each cluster's share of the budget by replay and by caps."""
    rows = context.table("budgets", "cluster_id").with_columns(
        replay=pl.col("budget") / pl.col("budget").sum() - pl.col("base_budget") / pl.col("base_budget").sum(),
        caps=pl.col("allocated") / pl.col("allocated").sum() - pl.col("budget") / pl.col("budget").sum(),
    )
    rows = rows.sort(pl.col("replay").abs() + pl.col("caps").abs(), "cluster_id", descending=[True, False])
    shown = rows.head(MOST).sort("replay", "cluster_id", descending=[True, False])
    drawn = go.Figure(
        [
            go.Bar(
                y=context.axis(shown["cluster_id"]),
                x=shown[name].to_list(),
                orientation="h",
                name=said,
                marker={"color": LIGHT[colour], "pattern": {"shape": shape, "solidity": 0.35}},
                hovertemplate="%{y}: %{x:+.2%}<extra>" + said + "</extra>",
            )
            for name, said, colour, shape in (("replay", "by replay", "s1", ""), ("caps", "by caps", "s2", "/"))
        ]
    )
    drawn.update_layout(barmode="relative", bargap=0.25)
    drawn.update_xaxes(title="change of the share", tickformat="+.1%", nticks=5, tickangle=0)
    drawn.update_yaxes(type="category", autorange="reversed", tickfont={"size": 11})
    columns = [
        context.cluster_column(),
        Column("base_budget", "Base", ",.0f"),
        Column("replay_multiplier", "r_k", ".2f"),
        Column("budget", "After replay", ",.0f"),
        Column("capacity", "Cap", ",d"),
        Column("allocated", "Allocated", ",d"),
    ]
    says = "How replay and caps change each cluster's share of the budget" + (
        f"; the {MOST} of {len(rows):,} clusters that change most." if len(rows) > MOST else "."
    )
    table = Table("Budget by cluster", columns, rows.sort("cluster_id").to_dicts(), folded=True)
    return [
        figure("budget-clusters", "Where the budget moves", says, drawn, 130 + context.rows(len(shown)), table=table)
    ]


def knobs(context: Context) -> list[Block]:
    needed = context.lacks("knobs")
    if needed:
        return [say("<strong>What each knob does.</strong>"), *needed]
    rows = context.table("knobs", "knob, factor").with_columns(
        changed=1 - pl.col("overlap"), length=pl.col("mean_tokens") / pl.col("mean_tokens_now") - 1
    )
    rows = rows.drop_nulls("overlap")  # null: budget.overflow refuses the value
    if rows.is_empty():
        return [say("<strong>What each knob does.</strong> No other value is possible with these settings.")]
    most = rows.sort("changed", "knob", descending=[True, False]).row(0, named=True)
    prose = say(
        "Each knob was tried at half and at double its value. {symbol} ({knob}) changes the subset most: at {value}"
        " instead of {now}, {n} documents come in and {m} go. A knob that changes little need not be tuned.",
        symbol=most["symbol"],
        knob=most["knob"],
        value=f"{most['value']:g}",
        now=f"{most['value_now']:g}",
        n=f"{most['documents_in']:,}",
        m=f"{most['documents_out']:,}",
    )
    names = [f"{s} ({k})" for s, k in rows.select("symbol", "knob").unique(maintain_order=True).iter_rows()]
    drawn = go.Figure(
        [
            go.Bar(
                y=names,
                x=some["changed"].to_list(),
                orientation="h",
                name=said,
                marker={"color": LIGHT[colour], "pattern": {"shape": shape, "solidity": 0.35}},
                text=[f"{v:.1%}" for v in some["changed"]],
                textposition="outside",
                cliponaxis=False,
                hovertemplate="%{y}: %{x:.1%}<extra>" + said + "</extra>",
            )
            for some, said, colour, shape in (
                (rows.filter(pl.col("factor") == 0.5), "half", "s2", "/"),
                (rows.filter(pl.col("factor") == 2.0), "double", "s1", ""),
            )
        ]
    )
    drawn.update_xaxes(title="share that changes", tickformat=".0%", range=[0, 1.25 * max(most["changed"], 0.01)])
    drawn.update_yaxes(autorange="reversed")
    columns = [
        Column("symbol", "Symbol"),
        Column("knob", "Knob"),
        Column("value_now", "Now", "g"),
        Column("value", "Tried", "g"),
        Column("documents_in", "In", ",d"),
        Column("documents_out", "Out", ",d"),
        Column("overlap", "Overlap", ".1%"),
    ]
    columns += [Column("budget_moved", "Budget moved", ".1%"), Column("mean_tokens", "Mean tokens", ",.0f")]
    columns += [Column("length", "Length change", "+.1%")]
    says = (
        "How much of the subset changes when only one knob is set to half or to double its value."
        " Overlap is the tokens in both subsets over the tokens in either. The share that changes is 1 minus the overlap."
    )
    table = Table("What each knob does", columns, rows.to_dicts())
    made = figure("knobs", "What each knob does", says, drawn, 330, table=table)
    return [prose, made, *_knob_budgets(context)]


def _knob_budgets(context: Context) -> list[Block]:
    if context.lacks("knob_budgets", "budgets"):
        return []
    now = context.table("budgets", "cluster_id").select("cluster_id", now="allocated")
    rows = context.table("knob_budgets", "knob, factor, cluster_id").join(now, on="cluster_id", maintain_order="left")
    total = max(int(now["now"].sum()), 1)
    rows = rows.with_columns(change=(pl.col("allocated") - pl.col("now")) / total)
    order = (
        rows.group_by("cluster_id")
        .agg(m=pl.col("change").abs().max())
        .sort("m", "cluster_id", descending=[True, False])
    )
    shown = sorted(order["cluster_id"].head(MOST).to_list())
    cells = {(k, f, c): v for k, f, c, v in rows.select("knob", "factor", "cluster_id", "change").iter_rows()}
    kinds = list(dict.fromkeys((k, f) for k, f in rows.select("knob", "factor").iter_rows()))
    z = [[cells.get((k, f, c)) for k, f in kinds] for c in shown]
    limit = max((abs(v) for row in z for v in row if v is not None), default=0) or 1e-6
    drawn = go.Figure(
        go.Heatmap(
            z=z,
            x=[f"{k.split('.')[-1]} × {f:g}" for k, f in kinds],
            y=context.axis(shown),
            zmin=-limit,
            zmax=limit,
            colorscale=DIVERGING,
            xgap=1,
            ygap=1,
            colorbar={"thickness": 10, "tickformat": "+.1%", "outlinewidth": 0},
            hovertemplate="%{x}, %{y}: %{z:+.2%} of the budget<extra></extra>",
        )
    )
    drawn.update_xaxes(tickangle=-60, showgrid=False)
    drawn.update_yaxes(type="category", autorange="reversed", showgrid=False, tickfont={"size": 11})
    says = "Change of each cluster's allocation, as a share of the whole budget: blue gains, orange loses."
    return [figure("knob-budgets", "Where each knob moves the budget", says, drawn, 170 + context.rows(len(shown)))]
