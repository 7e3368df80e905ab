"""The section Rounds: budgets after each new checkpoint of the model that is trained."""

import plotly.graph_objects as go
import polars as pl

from grip_assets.report.page.context import Context
from grip_assets.report.page.palette import SERIES
from grip_assets.report.page.parts import Column, Section, Table, figure, say

MOST = 12
DASHES = ("solid", "dash", "dot")


def section(context: Context) -> Section:
    needed = context.lacks("rounds") or context.unused("rounds")
    if needed:
        return Section("rounds", "Rounds", needed)
    rows = context.ask("report/rounds", most=MOST)
    if rows["round"].n_unique() < 2:
        proxy = rows["proxy"][0] if len(rows) else "none"
        said = say(
            "One round so far, with the proxy {proxy}. After training on its subset, probe with the new checkpoint"
            " (<code>grip curate --set adaptation.proxy=/checkpoints/step_20000</code>). Then this section shows what moved.",
            proxy=proxy,
        )
        return Section("rounds", "Rounds", [said])
    last = int(rows["round"].max())  # type: ignore[arg-type]
    proxies = rows.select("round", "proxy").unique().sort("round", "proxy")
    top = rows.row(0, named=True)
    drawn = go.Figure(
        [
            go.Scatter(
                x=some["round"].to_list(),
                y=some["budget_share"].to_list(),
                mode="lines+markers",
                name=context.cluster(int(cluster), 26),
                line={"color": SERIES[i % len(SERIES)], "dash": DASHES[i // len(SERIES) % 3], "width": 2},
                marker={"symbol": i, "size": 8},
                hovertemplate="round %{x}: %{y:.2%}<extra>%{fullData.name}</extra>",
            )
            for i, ((cluster,), some) in enumerate(rows.group_by("cluster_id", maintain_order=True))
        ]
    )
    drawn.update_xaxes(title="round", range=[-0.25, last + 0.25], dtick=1)
    drawn.update_yaxes(title="share of the budget", tickformat=".1%")
    prose = say(
        "{n} rounds: {proxies}. The share of cluster <strong>{cluster}</strong> moved most, by {points}. Where the loss falls fast, the"
        " cluster is quickly learned and gets less. Where it falls slowly, the cluster gets more.",
        n=last + 1,
        proxies="; ".join(f"{r} with {p}" for r, p in proxies.iter_rows()),
        cluster=context.names.label(top["cluster_id"]),
        points=f"{top['movement']:.1%}",
    )
    columns = [Column("round", "Round", "d"), Column("proxy", "Proxy"), context.cluster_column()]
    columns += [
        Column("delta", "δ_k", ".4f"),
        Column("replay_multiplier", "r_k", ".2f"),
        Column("budget_share", "Share", ".2%"),
    ]
    says = f"Share of the budget by round, for the {rows['cluster_id'].n_unique()} clusters whose share moved most."
    table = Table("Shares by round", columns, rows.sort(pl.col("cluster_id"), "round").to_dicts(), folded=True)
    return Section(
        "rounds", "Rounds", [prose, figure("rounds-shares", "Budget by round", says, drawn, 420, table=table)]
    )
