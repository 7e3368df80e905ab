"""Fig. 4 of the paper: whether quality and the adaptation delta are related."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from grip_assets.method.statistics import Estimate, pearson, spearman
from grip_assets.report.page.context import Context
from grip_assets.report.page.palette import LIGHT, SERIES
from grip_assets.report.page.parts import Block, Column, Section, Table, figure, say

TITLE = "Quality and learnability (Fig. 4 of the paper)"
PAPER = -0.202
DASHES = ("solid", "dash", "dot", "dashdot")


def section(context: Context) -> Section:
    needed = context.lacks("budgets", "cluster_quality", "adaptation_deltas", "quality_scores", "subset")
    needed = needed or context.unused("cluster_quality")
    if needed:
        return Section("scores", TITLE, needed)
    rows = context.ask("report/clusters")
    return Section(
        "scores",
        TITLE,
        [*_scatter(context, rows), *_densities(context.ask("report/score_levels")), *_drops(context, rows)],
    )


def _verdict(r: Estimate) -> str:
    if not r.known or not np.isfinite(r.low):
        return "With so few clusters, nothing can be said about how they are related."
    if not r.signal:
        return (
            "The interval includes 0: these clusters do not show that quality and delta are related. Independent signals"
            " would look like this."
        )
    return (
        f"The interval excludes 0: {'better' if r.value > 0 else 'worse'} clusters have larger deltas here, so the two"
        " signals are partly the same."
    )


def _scatter(context: Context, rows: pl.DataFrame) -> list[Block]:
    measured = rows.filter(pl.col("delta").is_not_null(), pl.col("quality").is_not_null()).sort("cluster_id")
    if measured.is_empty():
        return [say("No cluster has both a quality and a delta.")]
    x, y = measured["quality"].to_numpy(), measured["delta"].to_numpy()
    r, ranks = pearson(x, y), spearman(x, y)
    size = np.sqrt(measured["n_docs"].to_numpy() / measured["n_docs"].max()) * 22 + 7  # type: ignore[operator]
    error = {"color": LIGHT["line"], "thickness": 1.2, "width": 0}
    drawn = go.Figure(
        go.Scatter(
            x=x.tolist(),
            y=y.tolist(),
            mode="markers",
            error_x={"array": measured["standard_error"].fill_null(0).to_list(), **error},
            error_y={"array": measured["delta_spread"].fill_null(0).to_list(), **error},
            text=[
                f"{context.cluster(c)}, {n:,} documents" for c, n in measured.select("cluster_id", "n_docs").iter_rows()
            ],
            hovertemplate="%{text}<br>Q %{x:.3f}, δ %{y:.3f}<extra></extra>",
            marker={
                "size": size.tolist(),
                "color": LIGHT["s1"],
                "opacity": 0.6,
                "line": {"width": 1, "color": LIGHT["card"]},
            },
        )
    )
    drawn.update_xaxes(title="quality Q_k, with one standard error")
    drawn.update_yaxes(title="adaptation delta δ_k")
    prose = say(
        "Quality and delta correlate at {r}; by rank, {ranks}. The paper reports {paper} (Pearson). {verdict}",
        r=r,
        ranks=ranks,
        paper=f"{PAPER:.2f}".replace("-", "−"),
        verdict=_verdict(r),
    )
    columns = [
        context.cluster_column(),
        Column("n_docs", "Documents", ",d"),
        Column("quality", "Q_k", ".3f"),
        Column("standard_error", "± SE", ".3f"),
        Column("delta", "δ_k", ".4f"),
        Column("delta_spread", "± spread", ".3f"),
    ]
    table = Table("Quality and delta", columns, measured.to_dicts(), folded=True)
    says = "Each dot is a cluster; its area follows the number of documents. Upper right: good, and the proxy learns it fast."
    return [prose, figure("fig4-scatter", "Quality against delta", says, drawn, 400, table=table)]


def _densities(levels: pl.DataFrame) -> list[Block]:
    if levels.is_empty():
        return [say("No document was judged.")]
    grid, width = np.linspace(0, 10, 101), 0.5
    traces: list[go.Scatter] = []
    means: list[dict[str, Any]] = []
    for i, ((name,), rows) in enumerate(levels.group_by("dimension", maintain_order=True)):
        at, n = rows["level"].to_numpy(), rows["n"].to_numpy()
        kernel = sum(
            np.exp(-(((grid[:, None] - m) / width) ** 2) / 2) for m in (at, -at, 20 - at)
        )  # mass stays in 0 to 10
        density = kernel @ n / (n.sum() * width * np.sqrt(2 * np.pi))
        said = str(name).replace("_", " ")
        means.append({"dimension": said, "mean": float((at * n).sum() / n.sum()), "n": int(n.sum())})
        means[-1]["spread"] = float(np.sqrt((n * (at - means[-1]["mean"]) ** 2).sum() / n.sum()))
        line = {"color": SERIES[i % len(SERIES)], "width": 2.2, "dash": DASHES[i % len(DASHES)]}
        traces.append(go.Scatter(x=grid.tolist(), y=density.tolist(), mode="lines", name=said, line=line))
    drawn = go.Figure(traces)
    drawn.update_xaxes(title="score", range=[0, 10], dtick=2)
    drawn.update_yaxes(title="density", rangemode="tozero")
    best, worst = max(means, key=lambda m: m["mean"]), min(means, key=lambda m: m["mean"])
    says = (
        f"Scores of the {means[0]['n']:,} judged documents by dimension, smoothed by half a point. Highest on average:"
        f" {best['dimension']} ({best['mean']:.1f}); lowest: {worst['dimension']} ({worst['mean']:.1f})."
    )
    columns = [Column("dimension", "Dimension"), Column("n", "Documents", ",d"), Column("mean", "Mean", ".2f")]
    table = Table("Scores", [*columns, Column("spread", "Standard deviation", ".2f")], means, folded=True)
    return [figure("fig4-scores", "Densities of the scores", says, drawn, 340, table=table)]


def _drops(context: Context, rows: pl.DataFrame) -> list[Block]:
    known = rows.drop_nulls("delta")
    drops = known["delta"].to_numpy()
    if len(drops) < 5 or drops.std() == 0:
        return []
    width = 1.06 * drops.std() * len(drops) ** -0.2
    grid = np.linspace(drops.min() - 2 * width, drops.max() + 2 * width, 101)
    density = np.exp(-(((grid[:, None] - drops) / width) ** 2) / 2).sum(axis=1) / (
        len(drops) * width * np.sqrt(2 * np.pi)
    )
    drawn = go.Figure(
        [
            go.Scatter(
                x=grid.tolist(),
                y=density.tolist(),
                mode="lines",
                line={"color": LIGHT["s1"], "width": 2.2},
                name="density",
            ),
            go.Scatter(
                x=drops.tolist(),
                y=[0.0] * len(drops),
                mode="markers",
                name="clusters",
                text=[context.cluster(c) for c in known["cluster_id"]],
                hovertemplate="%{text}: %{x:.4f}<extra></extra>",
                marker={"symbol": "line-ns-open", "size": 12, "color": LIGHT["s2"]},
            ),
        ]
    )
    drawn.update_xaxes(title="adaptation delta δ_k")
    drawn.update_yaxes(title="density", rangemode="tozero")
    says = (
        f"Density of the delta over {len(drops):,} clusters: mean {drops.mean():.4f}, standard deviation {drops.std():.4f}."
        " Replay favours the left end, where the proxy learns little."
    )
    return [figure("fig4-deltas", "Density of the delta", says, drawn, 300)]
