"""The section Balance: how even the clusters of GEM are, what that cost and what it gained, beside fits without it."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
import polars as pl

from grip_assets.report.page.context import Context
from grip_assets.report.page.palette import LIGHT
from grip_assets.report.page.parts import Column, Figure, Prose, Section, Table, figure, say
from grip_assets.stages.reports.balance import COLUMNS, NAMES

TITLE = "Balance"
COLOURS = dict(zip(NAMES, ("pool", "s2", "s3", "s4", "s1"), strict=True))
DASHES = dict(zip(NAMES, ("dot", "dash", "dashdot", "longdash", "solid"), strict=True))
SAME = 0.005  # differences of shares and cosines below this are not worth a word

Row = Mapping[str, Any]


def section(context: Context) -> Section:
    missing = context.lacks("balance", "balance_masses")
    if missing:
        return Section("balance", TITLE, missing)
    rows = context.table("balance", "fit, masses")
    if rows.is_empty():
        return Section("balance", TITLE, context.unused("balance") or [say("No fit was compared.")])
    masses = context.table("balance_masses", "fit, rank").filter(masses="hard")
    order = {name: place for place, name in enumerate(NAMES)}
    rows = rows.sort(pl.col("fit").replace_strict(order), "masses")
    hard = {row["fit"]: row for row in rows.filter(masses="hard").iter_rows(named=True)}
    k = len(masses.filter(fit="gem"))
    return Section("balance", TITLE, [*_sentences(hard, k), _masses(masses, k), _all(rows)])


def _sentences(hard: Mapping[str, Row], k: int) -> list[Prose]:
    """What the balance gained and cost, against the same mixture without it and against spherical k-means."""
    gem, plain, spherical = hard["gem"], hard["vmf_uniform"], hard["spherical_kmeans"]
    gained = say(
        "<strong>Gained</strong>: with λ = {balance}, the documents are spread as evenly as over {effective} equal"
        " clusters, of {k}. Without the balance the same mixture has {plain}, spherical k-means {spherical}. The"
        " heaviest cluster has {largest} of the documents ({before} without the balance), and {light} of the clusters"
        " are light, with less than a tenth of an even share ({light_before} without).",
        balance=f"{gem['balance']:g}",
        effective=f"{gem['effective']:.1f}",
        k=k,
        plain=f"{plain['effective']:.1f}",
        spherical=f"{spherical['effective']:.1f}",
        largest=f"{gem['largest']:.1%}",
        before=f"{plain['largest']:.1%}",
        light=f"{gem['light']:.0%}",
        light_before=f"{plain['light']:.0%}",
    )
    paid = say(
        "<strong>Paid</strong>: cohesion, the mean cosine of a document to the centre of its cluster, {cohesion}"
        " without the balance ({now} now, {before} before; spherical k-means {spherical}). {recall}",
        cohesion=_change(gem["mean_cosine"], plain["mean_cosine"]),
        now=f"{gem['mean_cosine']:.3f}",
        before=f"{plain['mean_cosine']:.3f}",
        spherical=f"{spherical['mean_cosine']:.3f}",
        recall=" ".join(_recall(name, gem, plain) for name in COLUMNS),
    )
    return [gained, paid]


def _change(now: float, before: float) -> str:
    if abs(now - before) < SAME:
        return "is about the same as"
    return f"is {'higher' if now > before else 'lower'} by {abs(now - before):.3f} than"


def _recall(name: str, gem: Row, plain: Row) -> str:
    """One sentence on the groups of a column that are smaller than an even share of the documents."""
    now, before = gem[f"small_recall_{name}"], plain[f"small_recall_{name}"]
    if now is None or before is None:
        return f"No {name} of at least five documents is smaller than an even cluster."
    change = "the same" if abs(now - before) < SAME else "fewer" if now < before else "more"
    return (
        f"Of the documents of small {name}s, {now:.0%} are in a cluster where their {name} is the commonest, and"
        f" {before:.0%} without the balance: {change}."
    )


def _masses(masses: pl.DataFrame, k: int) -> Figure:
    drawn = go.Figure()
    for name, said in NAMES.items():
        some = masses.filter(fit=name)
        line = {"color": LIGHT[COLOURS[name]], "dash": DASHES[name], "width": 3 if name == "gem" else 1.8}
        drawn.add_trace(
            go.Scatter(
                x=some["rank"].to_list(),
                y=(some["mass"] * k).to_list(),
                mode="lines",
                name=said,
                line=line,
                hovertemplate=said + ", place %{x}: %{y:.2f} times an even share<extra></extra>",
            )
        )
    drawn.update_xaxes(title="cluster, the heaviest first")
    drawn.update_yaxes(title="documents, even share = 1", rangemode="tozero")
    says = (
        "Each line is one way to cluster the same documents into as many clusters. A flat line at 1 would be a perfectly"
        " even partition. A line that begins high and ends near 0 has a few heavy clusters and many that are almost empty."
    )
    return figure("balance-masses", "Masses of the clusters", says, drawn, 340)


def _all(rows: pl.DataFrame) -> Table:
    named = rows.with_columns(name=pl.col("fit").replace_strict(NAMES))
    columns = [
        Column("name", "Fit"),
        Column("masses", "Masses", "", "hard: documents of each cluster; soft: mean memberships"),
        Column("balance", "λ", "g"),
        Column("effective", "Effective clusters", ".1f", "e to the power of the entropy of the masses"),
        Column("entropy", "Entropy ÷ log K", ".3f"),
        Column("largest", "Largest", ".1%"),
        Column("smallest", "Smallest × K", ".2f"),
        Column("gini", "Gini", ".3f"),
        Column("light", "Below 0.1 / K", ".0%"),
        Column("mean_cosine", "Mean cosine", ".4f"),
    ]
    for name in COLUMNS:
        columns += [
            Column(f"nmi_{name}", f"NMI, {name}", ".3f", f"normalised mutual information with the {name}"),
            Column(f"small_recall_{name}", f"Small {name}s", ".0%", "share in a cluster where theirs is the commonest"),
        ]
    return Table("Balance and its price", columns, named.to_dicts())
