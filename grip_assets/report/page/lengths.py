"""Fig. 2 of the paper: distance to the neighbours by length, and the lengths before and after selection."""

import numpy as np
import plotly.graph_objects as go
import polars as pl

from grip_assets.method.statistics import Estimate, minus, slope
from grip_assets.report.page.context import Context
from grip_assets.report.page.inert import label
from grip_assets.report.page.palette import LIGHT
from grip_assets.report.page.parts import Block, Column, Figure, Section, Table, figure, say
from grip_assets.stages.claims.neighbour_distances import neighbour_distances

TITLE = "Length (Fig. 2 of the paper)"


def section(context: Context) -> Section:
    needed = context.lacks("clusters", "cluster_embeddings", "selection_weights")
    if needed:
        return Section("lengths", TITLE, needed)
    path = context.ask("report/run").filter(asset="clusters")["version"][0]
    files = context.store.parquet("clusters", path, "clusters")
    documents = pl.read_parquet(files, columns=["doc_id", "cluster_id", "n_tokens", "cosine"])
    documents = documents.drop_nulls("cosine").drop("cosine")  # those with a vector, in the order of the vectors
    k = int(context.setting("selection", "neighbours") or 10)
    found = neighbour_distances(documents, context.store.parquet("clusters", path, "cluster_embeddings"), k)
    chosen = context.ask("report/chosen", ids=found["doc_id"].to_list())
    found = found.join(chosen, on="doc_id", how="left", maintain_order="left").filter(pl.col("distance") > 0)
    return Section("lengths", TITLE, [*_distances(context, found, k), _histogram(context)])


def _distances(context: Context, found: pl.DataFrame, k: int) -> list[Block]:
    if len(found) < 10:
        return [say("Too few documents have {k} neighbours in their cluster to show distances by length.", k=k)]
    found = found.with_columns(relative=pl.col("distance") / found["distance"].mean())
    traces, said = [], []
    for chosen, name, colour, symbol in (
        (False, "left out", "pool", "circle-open"),
        (True, "selected", "s1", "circle"),
    ):
        some = found.filter((pl.col("repeats") > 0) == chosen)
        traces.append(
            go.Scatter(
                x=some["n_tokens"].to_list(),
                y=some["relative"].to_list(),
                mode="markers",
                name=name,
                text=[context.cluster(c) for c in some["cluster_id"]],
                hovertemplate="%{x:,} tokens<br>distance %{y:.3f}<br>%{text}<extra></extra>",
                marker={"size": 5, "color": LIGHT[colour], "symbol": symbol, "opacity": 0.65},
            )
        )
    for some, name, colour in ((found, "all", "s2"), (found.filter(pl.col("repeats") > 0), "selected only", "s1")):
        fit, line = _fit(some, name, colour)
        said.append((name, fit))
        traces += [line] if line else []
    drawn = go.Figure(traces)
    drawn.update_xaxes(type="log", title="tokens of the document", dtick=1)
    drawn.update_yaxes(type="log", title=f"mean distance to {k} neighbours ÷ average", tickvals=[0.1, 0.2, 0.5, 1, 2])
    all_of, selected = said[0][1], said[1][1]
    verdict = (
        "Longer documents lie closer to their neighbours, as in the paper"
        if all_of.high < 0
        else "Longer documents do not lie closer to their neighbours here; the paper found that they do"
        if all_of.low > 0
        else "Whether longer documents lie closer to their neighbours cannot be told from this sample"
    )
    prose = say(
        "{verdict}: the slope of log distance against log length is {all}; among the selected, {selected}."
        " Documents ten times as long have neighbours that are {change}. The exponent β of the length exists to correct a"
        " collapse of long documents.",
        verdict=verdict,
        all=all_of,
        selected=selected,
        change=f"{abs(1 - 10**all_of.value):.1%} {'closer' if all_of.value < 0 else 'farther'}",
    )
    table = Table(
        "Distance by length",
        [
            Column("band", "Tokens from", ",d"),
            Column("n", "Documents", ",d"),
            Column("middle", "Median distance", ".3f"),
        ],
        found.group_by(band=(2 ** pl.col("n_tokens").clip(1).log(2).floor()).cast(pl.Int64))
        .agg(n=pl.len(), middle=pl.col("distance").median())
        .sort("band")
        .to_dicts(),
        folded=True,
    )
    says = (
        f"Each of {len(found):,} dots is a document, drawn by hash. Horizontal: its length. Vertical: its mean distance to"
        f" the {k} nearest documents of its cluster, divided by the average of all dots. Both axes are logarithmic. Slope"
        f" {minus(all_of.value, 3)}."
    )
    return [prose, figure("fig2-distance", "Distance to neighbours against length", says, drawn, 420, table=table)]


def _fit(some: pl.DataFrame, name: str, colour: str) -> tuple[Estimate, go.Scatter | None]:
    x, y = np.log10(some["n_tokens"].clip(1).to_numpy()), np.log10(some["relative"].to_numpy())
    fit, intercept = slope(x, y)
    if not fit.known:
        return fit, None
    ends = np.array([x.min(), x.max()])
    line = {"color": LIGHT[colour], "width": 2.5, "dash": "solid" if name == "all" else "dash"}
    values = (10 ** (intercept + fit.value * ends)).tolist()
    return fit, go.Scatter(x=(10**ends).tolist(), y=values, mode="lines", name=f"fit, {label(name)}", line=line)


def _histogram(context: Context) -> Figure:
    rows = context.ask("report/lengths")
    before, after = rows["n_pool"] / rows["n_pool"].sum(), rows["n_selected"] / max(rows["n_selected"].sum(), 1)
    x = rows["from_tokens"].to_list()
    drawn = go.Figure(
        [
            go.Scatter(
                x=x,
                y=before.to_list(),
                name="corpus",
                line={"shape": "hvh", "color": LIGHT["pool"], "width": 2},
                fill="tozeroy",
                fillcolor=LIGHT["grid"],
            ),
            go.Scatter(
                x=x, y=after.to_list(), name="subset", line={"shape": "hvh", "color": LIGHT["s1"], "width": 2.5}
            ),
        ]
    )
    drawn.update_xaxes(type="log", title="tokens of the document", dtick=1)
    drawn.update_yaxes(title="share of documents", tickformat=".0%", rangemode="tozero")
    q = {row["part"]: row for row in context.ask("report/length_quantiles").iter_rows(named=True)}
    says = (
        f"Share of documents by length, before and after selection, in two bands per doubling. The median document has"
        f" {q['corpus']['q50']:,} tokens in the corpus"
        + (f" and {q['subset']['q50']:,} in the subset." if "subset" in q else ".")
    )
    table = Table(
        "Documents by length",
        [
            Column("from_tokens", "Tokens from", ",.0f"),
            Column("n_pool", "In the corpus", ",d"),
            Column("n_selected", "In the subset", ",d"),
        ],
        rows.to_dicts(),
        folded=True,
    )
    return figure("fig2-lengths", "Lengths before and after selection", says, drawn, 340, table=table)
