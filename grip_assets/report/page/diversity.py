"""The section Diversity: Rao's quadratic entropy of corpus, subset and a random subset [G0]; languages; lengths."""

import plotly.graph_objects as go
import polars as pl

from grip_assets.report.page.context import Context
from grip_assets.report.page.inert import label
from grip_assets.report.page.palette import LIGHT
from grip_assets.report.page.parts import Block, Column, Section, Table, figure, say

LANGUAGES = 12


def section(context: Context) -> Section:
    blocks: list[Block] = _entropy(context)
    blocks += context.lacks("corpus", "subset", "selection_weights") or [*_languages(context), *_lengths(context)]
    return Section("diversity", "Diversity", blocks)


def _entropy(context: Context) -> list[Block]:
    needed = context.lacks("diversity")
    if needed:
        return [*needed]
    rows = context.table("diversity", "cluster_id NULLS FIRST")
    whole, clusters = rows.filter(pl.col("cluster_id").is_null()), rows.filter(pl.col("cluster_id").is_not_null())
    known = clusters.filter(pl.col("subset").is_not_null(), pl.col("n_selected") > 1)
    less = known.filter(pl.col("subset") < pl.col("corpus"))
    against = known.filter(pl.col("random").is_not_null())
    beaten = against.filter(pl.col("subset") < pl.col("random"))
    total = whole.row(0, named=True) if len(whole) else {}
    prose = say(
        "Rao's entropy is the mean squared distance between two documents drawn with replacement: 0 if all documents are"
        " the same, 2 if they are unrelated. Overall it is {corpus} in the corpus, {subset} in the subset and {random} in"
        " a random subset of the same size. The subset is less diverse than the corpus in {less} of {n} clusters, and"
        " less diverse than the random subset in {beaten} of {m}. The random subset is the fair comparison, since a small"
        " sample has a lower entropy because of its size alone.",
        corpus=_number(total.get("corpus")),
        subset=_number(total.get("subset")),
        random=_number(total.get("random")),
        less=len(less),
        n=len(known),
        beaten=len(beaten),
        m=len(against),
    )
    drawn = go.Figure(
        [
            go.Scatter(
                x=against["random"].to_list(),
                y=against["subset"].to_list(),
                mode="markers",
                name="cluster",
                text=[
                    f"{context.cluster(c)}, {s:,} of {n:,} selected"
                    for c, n, s in against.select("cluster_id", "n_docs", "n_selected").iter_rows()
                ],
                hovertemplate="%{text}<br>random %{x:.3f}, subset %{y:.3f}<extra></extra>",
                marker={"size": 9, "color": LIGHT["s1"], "opacity": 0.75},
            )
        ]
    )
    if len(against):
        both = pl.concat([against["random"], against["subset"]]).to_numpy()
        ends = [float(both.min()), float(both.max())]
        line = {"color": LIGHT["muted"], "dash": "dash", "width": 1.5}
        drawn.add_trace(go.Scatter(x=ends, y=ends, mode="lines", name="equal", line=line, hoverinfo="skip"))
    drawn.update_xaxes(title="entropy of a random subset of the cluster")
    drawn.update_yaxes(title="entropy of the subset")
    columns = [
        context.cluster_column(),
        Column("n_docs", "Documents", ",d"),
        Column("n_selected", "Selected", ",d"),
    ]
    columns += [Column(name, name.capitalize(), ".3f") for name in ("corpus", "subset", "random")]
    says = (
        "Each dot is a cluster. Above the dashed line the selected documents are more diverse than as many random ones."
    )
    table = Table("Rao's entropy (the first row is the whole)", columns, rows.to_dicts(), folded=True)
    return [prose, figure("diversity-clusters", "Diversity of each cluster", says, drawn, 380, table=table)]


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def _languages(context: Context) -> list[Block]:
    rows = context.ask("report/languages", most=LANGUAGES).with_columns(
        before=pl.col("tokens_pool") / pl.col("tokens_pool").sum(),
        after=pl.col("tokens_selected") / pl.col("tokens_selected").sum(),
    )
    names = [label(str(name)) for name in rows["language"]]
    drawn = go.Figure(
        [
            go.Bar(
                y=names,
                x=rows[name].to_list(),
                orientation="h",
                name=said,
                marker={"color": LIGHT[colour]},
                hovertemplate="%{y}: %{x:.1%}<extra>" + said + "</extra>",
            )
            for name, said, colour in (("before", "corpus", "pool"), ("after", "subset", "s1"))
        ]
    )
    drawn.update_xaxes(title="share of the tokens", tickformat=".0%", rangemode="tozero")
    drawn.update_layout(barmode="group", bargap=0.3, yaxis={"autorange": "reversed", "type": "category"})
    columns = [
        Column("language", "Language"),
        Column("n_docs", "Documents", ",d"),
        Column("n_selected", "Selected", ",d"),
    ]
    columns += [Column("before", "Tokens, corpus", ".1%"), Column("after", "Tokens, subset", ".1%")]
    says = (
        "Share of the tokens by language, in the corpus and in the subset. A random subset would have the corpus's"
        " shares, apart from noise."
    )
    table = Table("Languages", columns, rows.to_dicts(), folded=True)
    return [figure("languages", "Languages before and after", says, drawn, 120 + 30 * len(rows), table=table)]


def _lengths(context: Context) -> list[Block]:
    columns = [
        Column("part", "Documents of"),
        Column("documents", "Documents", ",d"),
        Column("tokens", "Tokens", ",d"),
        Column("mean", "Mean length", ",.0f"),
    ]
    columns += [Column(f"q{q}", f"{q}% are shorter", ",d") for q in (10, 50, 90, 99)]
    return [
        Table(
            "Lengths in tokens; a random subset would have those of the corpus",
            columns,
            context.ask("report/length_quantiles").to_dicts(),
        )
    ]
