"""The section Corpus map: documents in two dimensions, coloured by the numbers that decide about them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import polars as pl

from grip_assets.report.attribution import target_label
from grip_assets.report.page.context import Context
from grip_assets.report.page.families import treemap
from grip_assets.report.page.inert import label, wrapped
from grip_assets.report.page.palette import CATEGORIES, DIVERGING, LIGHT, SEQUENTIAL
from grip_assets.report.page.parts import Block, Choice, Column, Section, Table, figure, say

HALO = ", ".join(["0 0 2px var(--card)"] * 3)  # keeps letters apart from dots, in both themes
NUMBERED = 60  # clusters
TARGETS = 8  # with a colouring of their own
WRITTEN = 24  # characters of a line of a name
NUMBERS = {"quality": "Quality Q_k", "delta": "Adaptation delta δ_k", "replay_multiplier": "Replay multiplier r_k"}


def section(context: Context) -> Section:
    return Section("map", "Corpus map", [*_map(context), *treemap(context)])


def _map(context: Context) -> list[Block]:
    needed = context.lacks("corpus_map", "corpus", "budgets", "subset")
    if needed:
        return [*needed]
    points = context.ask("report/map")
    heads = context.heads(points["doc_id"], 240)
    hover = [_hover(context, row, heads.get(row["doc_id"], {})) for row in points.iter_rows(named=True)]
    centres = points.group_by("cluster_id").agg(
        pl.col("x", "y").median(), n=pl.len(), chosen=(pl.col("repeats") > 0).mean()
    )
    centres = centres.sort("n", "cluster_id", descending=[True, False])
    drawn = go.Figure(
        [
            go.Scatter(
                x=points["x"].to_list(),
                y=points["y"].to_list(),
                mode="markers",
                text=hover,
                hovertemplate="%{text}<extra></extra>",
                marker={"size": 6, "line": {"width": 0.4, "color": LIGHT["card"]}, **_by_cluster(points)},
            ),
            *_labels(context, centres, points),
        ]
    )
    hidden = {"visible": False, "automargin": False}
    drawn.update_layout(xaxis=hidden, yaxis=hidden, showlegend=False, dragmode="pan", margin={"l": 4, "r": 4, "b": 4})
    table = Table(
        "Documents of the sample by cluster",
        [
            context.cluster_column(),
            Column("n", "Documents shown", ",d"),
            Column("chosen", "Share selected", ".1%"),
            Column("x", "x", ".2f"),
            Column("y", "y", ".2f"),
        ],
        centres.sort("cluster_id").to_dicts(),
        folded=True,
    )
    made = figure(
        "corpus-map",
        "Documents by content",
        "Each dot is a document. Near dots have similar embeddings, as far as two dimensions can show."
        " A number marks the middle of a cluster, with its name where there is room. Point at a dot to see how its document begins.",
        drawn,
        height=560,
        table=table,
        choices=[*_choices(points), *_alignments(context, points)],
        choose="Colour by",
        pan=True,
    )
    chosen = int((points["repeats"] > 0).sum())
    intro = say(
        "{n} documents of the corpus, {chosen} of them selected ({share})."
        " Look for regions that one colouring separates and another does not. Where a cluster is large and pale,"
        " only a few of its documents are selected.",
        n=f"{len(points):,}",
        chosen=f"{chosen:,}",
        share=f"{chosen / max(len(points), 1):.0%}",
    )
    return [intro, made]


def _hover(context: Context, row: dict[str, Any], head: dict[str, Any]) -> str:
    state = f"selected, {row['repeats']} times" if row["repeats"] > 1 else "selected" if row["repeats"] else "left out"
    about = f"{head.get('language') or 'unknown language'}, {head.get('n_tokens', 0):,} tokens, {state}"
    source = label(head.get("source", row["doc_id"])[-90:], 60, 2)
    cluster = context.cluster(row["cluster_id"])
    return f"<b>{source}</b><br>{cluster}<br>{label(about)}<br><br>{label(head.get('head', ''), 60, 5)}"


def _by_cluster(points: pl.DataFrame) -> dict[str, Any]:
    return {
        "color": [CATEGORIES[c % len(CATEGORIES)] for c in points["cluster_id"]],
        "symbol": "circle",
        "opacity": 0.8,
    }


def _labels(context: Context, centres: pl.DataFrame, points: pl.DataFrame) -> list[go.Scatter]:
    """The numbers of clusters, and their names below them, largest cluster first.

    A number or a name that would cover another is left out. A phone shows the numbers only.
    """
    width, height = (max(float(points[a].max() - points[a].min()), 1e-9) for a in ("x", "y"))  # type: ignore[operator, arg-type]
    places = [Place(row["x"] / width, row["y"] / height, row) for row in centres.iter_rows(named=True)]
    numbers = _apart(places, lambda place: 0.06, 0.05)[:NUMBERED]
    named = [p for p in numbers if p.row["cluster_id"] in context.names.names]
    names = {p: wrapped(context.names.about(p.row["cluster_id"]).name, WRITTEN) for p in named}
    written = _apart(named, lambda place: 0.0075 * max(map(len, names[place].split("<br>"))), 0.07)
    circle = {"size": 22, "color": LIGHT["card"], "opacity": 0.75, "line": {"width": 1, "color": LIGHT["line"]}}
    traces = [_texts(numbers, [f"<b>{p.row['cluster_id']}</b>" for p in numbers], "markers+text", marker=circle)]
    if written:
        texts, none = [f"<br>{names[p]}" for p in written], {"narrow": {"visible": False}}
        traces.append(_texts(written, texts, "text", textposition="bottom center", meta=none))
    return traces


class Place(NamedTuple):
    """The middle of a cluster, in widths and heights of the map."""

    x: float
    y: float
    row: dict[str, Any]

    def __hash__(self) -> int:
        return hash(self.row["cluster_id"])


def _apart(places: Sequence[Place], width: Callable[[Place], float], height: float) -> list[Place]:
    """The places whose boxes of this size cover no box of an earlier one."""
    kept: list[Place] = []
    for place in places:
        if not any(2 * abs(k.x - place.x) < width(k) + width(place) and abs(k.y - place.y) < height for k in kept):
            kept.append(place)
    return kept


def _texts(places: Sequence[Place], texts: list[str], mode: str, **more: Any) -> go.Scatter:
    font = {"size": 12 if mode == "markers+text" else 11, "color": LIGHT["ink"], "shadow": HALO}
    x, y = [p.row["x"] for p in places], [p.row["y"] for p in places]
    return go.Scatter(x=x, y=y, mode=mode, text=texts, textfont=font, hoverinfo="skip", **more)


def _alignments(context: Context, points: pl.DataFrame) -> list[Choice]:
    """The alignment of the documents with each target, if they were attributed to targets."""
    if context.lacks("attribution"):
        return []
    found = context.ask("report/map_alignment")
    choices = []
    for target in found["target"].unique(maintain_order=True).to_list()[:TARGETS]:
        of = found.filter(target=target).select("doc_id", "alignment")
        values = points.join(of, on="doc_id", how="left", maintain_order="left")["alignment"]
        far = float(values.abs().quantile(0.98) or 0) or 1e-6
        marks = _scale(values, -far, far, DIVERGING)
        note = "blue: documents that help with this target, one by one; orange: those that do the opposite"
        choices.append(Choice(f"Alignment: {target_label(target)}", [{"marker": marks}], note))
    return choices


def _scale(values: pl.Series, low: float, high: float, colours: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Marks with a colour for each value, and a bar that says which."""
    return {
        "color": [None if v is None else float(f"{v:.4g}") for v in values],
        "colorscale": colours,
        "cmin": low,
        "cmax": high,
        "showscale": True,
        "colorbar": {"thickness": 10, "len": 0.5, "x": 1, "xanchor": "right", "y": 0.98, "yanchor": "top"},
        "symbol": "circle",
        "opacity": 0.9,
    }


def _choices(points: pl.DataFrame) -> list[Choice]:
    colours = "ten colours, repeated after ten clusters; the numbers tell the clusters apart"
    found = [Choice("Cluster", [{"marker": _by_cluster(points)}], colours)]
    chosen = (points["repeats"] > 0).to_list()
    marks = {
        "color": [LIGHT["s1"] if c else LIGHT["pool"] for c in chosen],
        "symbol": ["circle" if c else "circle-open" for c in chosen],
        "opacity": 0.85,
    }
    found.append(Choice("Selected or not", [{"marker": marks}], "filled blue: selected; open grey: left out"))
    for name, said in NUMBERS.items():
        values = points[name].cast(pl.Float64)
        if values.null_count() < len(values):
            low, high = np.nanquantile(values.fill_null(np.nan).to_numpy(), [0.02, 0.98])
            scale = _scale(values, float(low), float(high) if high > low else float(low) + 1e-6, SEQUENTIAL)
            found.append(Choice(said, [{"marker": scale}], "the bar at the right says which colour is which value"))
    return found
