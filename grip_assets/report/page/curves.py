"""Fig. 5 of the paper: loss curves by reset depth and proxy, and whether these rank the clusters alike."""

from itertools import combinations
from pathlib import PurePath
from typing import Any

import plotly.graph_objects as go
import polars as pl

from grip_assets.method.statistics import spearman
from grip_assets.models.files import UNIGRAM
from grip_assets.report.page.context import Context
from grip_assets.report.page.palette import LIGHT, SERIES
from grip_assets.report.page.parts import Block, Column, Section, Table, figure, say
from grip_assets.stages.curation.adaptation_deltas import how_sure
from grip_assets.store.query import query

TITLE = "Loss curves (Fig. 5 of the paper)"
MOST = 6
LINES = 60  # clusters drawn one by one
SHOWN = (
    "proxy",
    "form",
    "folds",
    "reset_depth",
    "learning_rate",
    "epochs",
    "seeds",
    "evaluate",
    "tokens_per_cluster",
    "window",
    "seed",
)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def section(context: Context) -> Section:
    needed = context.lacks("adaptation_deltas", "loss_curves") or context.unused("adaptation_deltas")
    if needed:
        return Section("curves", TITLE, needed)
    runs = probes(context)
    return Section(
        "curves", TITLE, [*_sure(context), *_clusters(context), *_runs(context, runs), *_ranks(context, runs)]
    )


def _sure(context: Context) -> list[Block]:
    """How much of the ranking of the clusters is due to chance in the draw of documents."""
    if "probe_agreement" not in context.views:
        return []
    found = context.table("probe_agreement", "n_clusters").row(0, named=True)
    said = how_sure(found["draw_to_draw"], found["with_unigram"])
    read = "The drop is that of AdamW's first step, from a head of zeros. " if _closed(context) else ""
    return [say("How sure is the ranking? {said}. {read}", said=said[0].upper() + said[1:], read=read)]


def _closed(context: Context) -> bool:
    return context.setting("adaptation", "form") == "closed" and context.setting("adaptation", "proxy") != UNIGRAM


def probes(context: Context) -> list[dict[str, Any]]:
    """Manifests of the probe in force and of the latest others over the same documents. Each gets a key ``name``."""
    current = context.ask("report/run").filter(asset="adaptation_deltas")["version"][0]
    first = context.store.manifest("adaptation_deltas", current)
    others = [
        m
        for m in context.store.manifests("adaptation_deltas")
        if m["inputs"] == first["inputs"] and m["version"] != current
    ]
    others.sort(key=lambda m: (-m["computed_at"], m["version"]))
    found = [first, *others[: MOST - 1]]
    values = [m["settings"]["adaptation"] for m in found]
    differ = [n for n in SHOWN if len({repr(v.get(n)) for v in values}) > 1]
    for manifest, value in zip(found, values, strict=True):
        parts = [
            PurePath(str(value[n])).name if n == "proxy" else f"{n.replace('_', ' ')} {value.get(n)}" for n in differ
        ]
        manifest["name"] = ", ".join(parts) or manifest["version"]
    return found


def _clusters(context: Context) -> list[Block]:
    rows = context.ask("report/curves_by_cluster")
    curves = {c: r for (c,), r in rows.group_by("cluster_id", maintain_order=True)}
    ends = sorted(curves, key=lambda c: (curves[c]["loss"][0] - curves[c]["loss"][-1], c))
    shown = ends if len(ends) <= LINES else [ends[i * (len(ends) - 1) // (LINES - 1)] for i in range(LINES)]
    marked = {ends[0]: ("s2", "dash", "falls least"), ends[-1]: ("s1", "solid", "falls most")}
    traces = []
    for cluster in sorted(shown, key=lambda c: c in marked):
        colour, dash, said = marked.get(cluster, ("pool", "solid", ""))
        curve = curves[cluster]
        traces.append(
            go.Scatter(
                x=curve["step"].to_list(),
                y=curve["loss"].to_list(),
                mode="lines",
                name=context.cluster(cluster, 26) + (f", {said}" if said else ""),
                showlegend=bool(said),
                opacity=1 if said else 0.45,
                line={"color": LIGHT[colour], "width": 3 if said else 1.1, "dash": dash},
                hovertemplate="step %{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
            )
        )
    drawn = go.Figure(traces)
    drawn.update_xaxes(title="step", dtick=2)
    drawn.update_yaxes(title="loss per token, nats")
    first, last = curves[ends[0]]["loss"], curves[ends[-1]]["loss"]
    says = (
        f"Each line is a cluster of the probe in force. The loss of cluster {context.names.label(ends[-1])} falls most, from {last[0]:.3f}"
        f" to {last[-1]:.3f}; that of cluster {context.names.label(ends[0])} least, from {first[0]:.3f} to {first[-1]:.3f}."
    )
    table = Table(
        "First and last loss",
        [
            context.cluster_column(),
            Column("first", "First", ".3f"),
            Column("last", "Last", ".3f"),
            Column("drop", "Drop", ".3f"),
        ],
        [
            {"cluster_id": c, "first": r["loss"][0], "last": r["loss"][-1], "drop": r["loss"][0] - r["loss"][-1]}
            for c, r in sorted(curves.items())
        ],
        folded=True,
    )
    return [figure("fig5-clusters", "Loss of each cluster", says, drawn, 400, table=table)]


def _runs(context: Context, runs: list[dict[str, Any]]) -> list[Block]:
    if len(runs) < 2:
        return [
            say(
                "Only one probe was run over these documents. To see whether another reset depth or proxy ranks the"
                " clusters alike, curate once with <code>--set adaptation.form=steps --set adaptation.reset_depth=1</code>"
                " or another <code>adaptation.proxy</code>, and go back. Both are then compared here."
            )
        ]
    traces = []
    for i, run in enumerate(runs):
        files = context.store.parquet("adaptation_deltas", run["version"], "loss_curves")
        rows = query("report/curves", {"loss_curves": files})
        spread = {"type": "data", "symmetric": False, "thickness": 1.2, "width": 3}
        traces.append(
            go.Scatter(
                x=[step + 0.06 * (i - len(runs) / 2) for step in rows["step"]],
                y=rows["middle"].to_list(),
                error_y={
                    "array": (rows["high"] - rows["middle"]).to_list(),
                    "arrayminus": (rows["middle"] - rows["low"]).to_list(),
                    **spread,
                },
                name=run["name"],
                mode="lines+markers",
                line={"color": SERIES[i % len(SERIES)], "dash": DASHES[i % len(DASHES)], "width": 2.2},
                marker={"size": 5, "symbol": i},
                hovertemplate="%{y:.3f}<extra>%{fullData.name}</extra>",
            )
        )
    drawn = go.Figure(traces)
    drawn.update_xaxes(title="step", dtick=2)
    drawn.update_yaxes(title="loss per token, nats")
    drawn.update_layout(legend={"orientation": "v", "x": 1, "xanchor": "right", "y": 1, "yanchor": "top"})
    says = (
        f"The median cluster of each of {len(runs)} probes over the same documents. Bars span the middle 80% of the"
        " clusters."
    )
    return [figure("fig5-runs", "Loss by reset depth and proxy", says, drawn, 400)]


def _ranks(context: Context, runs: list[dict[str, Any]]) -> list[Block]:
    """Rank correlations of the relative drops. Relative drops can be compared between proxies with other vocabularies."""
    if len(runs) < 2:
        return []
    drops = [
        pl.read_parquet(context.store.parquet("adaptation_deltas", run["version"], "adaptation_deltas")).select(
            "cluster_id", "relative_delta"
        )
        for run in runs
    ]
    rows = []
    for (i, one), (j, other) in combinations(enumerate(drops), 2):
        both = one.join(other, on="cluster_id", suffix="_other", maintain_order="left")
        r = spearman(both["relative_delta"].to_numpy(), both["relative_delta_other"].to_numpy())
        rows.append(
            {"one": runs[i]["name"], "other": runs[j]["name"], "r": r.value, "low": r.low, "high": r.high, "n": r.n}
        )
    least = min(rows, key=lambda row: row["r"])
    columns = [Column("one", "Probe"), Column("other", "Other probe"), Column("r", "Spearman", ".3f")]
    columns += [Column("low", "95% from", ".3f"), Column("high", "to", ".3f"), Column("n", "Clusters", "d")]
    prose = say(
        "Do the probes rank the clusters alike? The lowest rank correlation of the drops is {least}; the paper calls the"
        " ranking highly consistent. Above 0.9 the choice of probe hardly matters to the budget. Below 0.5 the choice"
        " decides the budget.",
        least=f"{least['r']:.2f}".replace("-", "−"),
    )
    return [prose, Table("Rank correlation of the drops between probes", columns, rows)]
