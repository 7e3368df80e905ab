"""The section on the clusters' checks: the document-intruder test, and how well names tell the clusters apart."""

from typing import Any

import plotly.graph_objects as go
import polars as pl

from grip_assets.report.page.context import Context
from grip_assets.report.page.palette import LIGHT
from grip_assets.report.page.parts import Block, Column, Section, Table, figure, say

TITLE = "Do the clusters hold?"
WORDS = "words"
KINDS = {
    "gis": "influence (GIS)",
    "centre": "nearest to the centre",
    "confidence": "most confident",
    "random": "random",
    "in_force": "the names in force",
}
SHOWN = 60  # clusters in the figure; the table has all
FEW = 5  # weak clusters that the text names
INTERVAL = [Column("low", "95%, from", ".0%"), Column("high", "to", ".0%")]


def section(context: Context) -> Section:
    needed = context.lacks("intruders", "intruders_overall", "name_accuracy")
    if needed:
        return Section("coherence", TITLE, needed)
    return Section("coherence", TITLE, [*_intruders(context), *_names(context)])


def _intruders(context: Context) -> list[Block]:
    overall = context.table("intruders_overall", "judged_by").to_dicts()
    if not overall:
        return [say("No cluster was tested for intruders: a test needs two clusters, one of them with five documents.")]
    rows = context.table("intruders", "judged_by, cluster_id")
    said = [
        say(
            "<strong>Intruders</strong>, judged by {judge}: of five documents of a cluster and one of another,"
            " the one that does not belong is found in {accuracy} of the cases ({low} to {high}; by chance {chance})."
            " Clusters are weighted by their documents. {tested} clusters were tested, with {coverage} of the documents."
            " {above} of them are above chance for certain.{weak}",
            judge=_judge(row["judged_by"]),
            **{name: f"{row[name]:.0%}" for name in ("accuracy", "low", "high", "chance", "coverage")},
            tested=row["clusters"],
            above=row["above_chance"],
            weak=_weak(context, rows.filter(judged_by=row["judged_by"]), row["chance"]),
        )
        for row in overall
    ]
    return [
        *said,
        *(_figure(context, rows.filter(judged_by=row["judged_by"]), row, i) for i, row in enumerate(overall)),
    ]


def _judge(judged_by: str) -> str:
    return "the words of the texts (no encoder)" if judged_by == WORDS else judged_by


def _weak(context: Context, rows: pl.DataFrame, chance: float) -> str:
    """The clusters that might as well be random, the worst first."""
    weak = rows.filter(pl.col("low") <= chance).sort("accuracy", "cluster_id")
    if weak.is_empty():
        return ""
    named = ", ".join(context.names.label(k) for k in weak["cluster_id"].head(FEW))
    more = f" and {len(weak) - FEW} more" if len(weak) > FEW else ""
    return f" Not told from chance: {named}{more}."


def _figure(context: Context, rows: pl.DataFrame, overall: dict[str, Any], number: int) -> Block:
    shown = rows.sort("accuracy", "cluster_id", descending=[True, False]).head(SHOWN).reverse()
    drawn = go.Figure(_dots(shown, context.axis(shown["cluster_id"]), shown["trials"], "trials"))
    drawn.add_vline(overall["chance"], line={"color": LIGHT["muted"], "dash": "dash"})
    drawn.update_xaxes(title="share of intruders found, 95%", tickformat=".0%", range=[0, 1.02])
    drawn.update_yaxes(type="category", tickfont={"size": 11})
    caption = (
        f"Judged by {_judge(overall['judged_by'])}. The dashed line is chance, one in six."
        " In a cluster far to the right, this judge too finds that the documents belong together."
    )
    columns = [
        context.cluster_column(),
        Column("n_docs", "Documents", ",d"),
        Column("trials", "Trials", "d"),
        Column("found", "Found", "d"),
        Column("accuracy", "Share", ".0%"),
        *INTERVAL,
    ]
    table = Table("Intruders found", columns, rows.to_dicts(), folded=True)
    height = 120 + max(context.rows(len(shown)), 96)
    return figure(f"intruders-{number}", "Intruders found, by cluster", caption, drawn, height, table=table)


def _dots(rows: pl.DataFrame, labels: list[str], counts: pl.Series, counted: str) -> go.Scatter:
    return go.Scatter(
        x=rows["accuracy"].to_list(),
        y=labels,
        mode="markers",
        marker={"size": 9, "color": LIGHT["s1"]},
        error_x={
            "array": (rows["high"] - rows["accuracy"]).to_list(),
            "arrayminus": (rows["accuracy"] - rows["low"]).to_list(),
            "color": LIGHT["pool"],
            "thickness": 2,
            "width": 0,
        },
        text=[f"{n:,} {counted}" for n in counts],
        hovertemplate="%{y}: %{x:.0%}, %{text}<extra></extra>",
    )


def _names(context: Context) -> list[Block]:
    rows = context.table("name_accuracy", "asked, accuracy DESC, representatives")
    if rows.is_empty():
        return [say("The names were not tested: settings/taxonomy.held_out_docs is 0, or there is one cluster only.")]
    return [block for (asked,), some in rows.group_by("asked", maintain_order=True) for block in _asked(asked, some)]


def _asked(asked: Any, rows: pl.DataFrame) -> list[Block]:
    by_kind = {row["representatives"]: row for row in rows.to_dicts()}
    gis = by_kind.get("gis", rows.row(0, named=True))
    who = "the nearest words" if asked == WORDS else "the language model"
    said = say(
        "<strong>Names</strong>: given only the {given}, {who} put {n} held-out documents, equally many of each"
        " cluster where there are as many, into the right cluster in {accuracy} of the cases ({low} to {high}; by chance"
        " {chance}). Each cluster counts the same. {verdict}",
        given="words of the clusters" if asked == WORDS else "names and descriptions of the clusters",
        who=who,
        n=f"{gis['n']:,}",
        **{name: f"{gis[name]:.1%}" for name in ("accuracy", "low", "high", "chance")},
        verdict=_verdict(gis),
    )
    drawn = go.Figure(
        _dots(
            rows.reverse(),
            [KINDS.get(k, k) for k in rows["representatives"].reverse()],
            rows["n"].reverse(),
            "documents",
        )
    )
    drawn.add_vline(gis["chance"], line={"color": LIGHT["muted"], "dash": "dash"})
    drawn.update_xaxes(
        title="documents put into the right cluster, with its 95% interval", tickformat=".0%", rangemode="tozero"
    )
    drawn.update_yaxes(type="category")
    caption = (
        "The documents from which the names were made, in four ways; the same held-out documents are asked about."
        " The dashed line is chance. The paper reports 84.2% for influence, 81.7% for the centre, 80.8% for confidence"
        " and 80.4% for random documents, with names and answers of a language model."
    )
    columns = [
        Column("representatives", "Names made from"),
        Column("n", "Documents", ",d"),
        Column("accuracy", "Right", ".1%"),
        *INTERVAL,
        Column("to_random", "Minus random", "+.1%"),
        Column("to_random_low", "95%, from", "+.1%"),
        Column("to_random_high", "to", "+.1%"),
    ]
    table = Table("Accuracy of names", columns, [r | {"representatives": KINDS.get(k, k)} for k, r in by_kind.items()])
    return [said, figure(f"names-{asked}", "Accuracy of names", caption, drawn, 240, table=table)]


def _verdict(gis: dict[str, Any]) -> str:
    low, high = gis["to_random_low"], gis["to_random_high"]
    if low is None or high is None:
        return "With so few clusters, influence and random documents cannot be compared."
    by = f"{100 * gis['to_random']:+.1f} points, {100 * low:+.1f} to {100 * high:+.1f}".replace("-", "−")
    if low > 0:
        return f"Names from the documents of most influence are better than names from random ones ({by})."
    if high < 0:
        return f"Names from the documents of most influence are worse than names from random ones ({by})."
    return f"Documents of most influence make no measurably better names than random ones ({by})."
