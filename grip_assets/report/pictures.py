"""Small pictures of assets. Each must stay below 90 kB to fit into the metadata of a materialization."""

import io
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import polars as pl

from grip_assets.report import attribution, mixing
from grip_assets.stages.reports.balance import NAMES
from grip_assets.store.cluster_names import NONE, ClusterNames, cut
from grip_assets.store.query import query
from grip_assets.store.tables import parts

matplotlib.use("Agg")

import matplotlib.pyplot as plt

POOL, CHOSEN = "#9aa5b1", "#1f6feb"
TICK = 26  # characters of a line of a cluster's name
WIDE = 30  # more clusters leave room for one line each
MARKS = "os^DPX"  # of the kinds of trials
FAR_OFF = 3  # times the median reach of an interval


def budgets_picture(tables: Mapping[str, Any], names: ClusterNames = NONE) -> bytes:
    """Top: share of the pool and of the budget for each cluster, largest change on the left. Bottom: its r_k."""
    rows = query("questions/budget_by_cluster", {"budgets": tables["budgets"]}).head(60)
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(8, 5.2 if names else 4.2), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    x = range(len(rows))
    top.bar(x, rows["pool_share"], width=0.8, color=POOL, label="share of the pool")
    top.plot(x, rows["budget_share"], "o", ms=4, color=CHOSEN, label="share of the budget")
    top.set(ylabel="share", title="Where the budget moved")
    top.legend(frameon=False)
    bottom.bar(x, rows["replay_multiplier"], width=0.8, color=CHOSEN, alpha=0.6)
    bottom.set(ylabel="$r_k$", xlabel="cluster", ylim=(0.9, None))
    _ticks(bottom, rows["cluster_id"], names)
    return png(figure)


def subset_picture(tables: Mapping[str, Any]) -> bytes:
    """Length of documents in the pool and in the subset, and the share selected by length."""
    rows: pl.DataFrame = query("questions/selected_by_length", {"selection_weights": tables["selection_weights"]})
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    x = rows["from_tokens"].to_numpy()
    left.step(x, rows["n_pool"] / rows["n_pool"].sum(), where="post", color=POOL, label="pool")
    left.step(x, rows["n_selected"] / max(rows["n_selected"].sum(), 1), where="post", color=CHOSEN, label="subset")
    left.set(xscale="log", xlabel="tokens of the document", ylabel="share of documents", title="Lengths")
    left.legend(frameon=False)
    right.step(x, rows["n_selected"] / rows["n_pool"], where="post", color=CHOSEN)
    right.set(xscale="log", xlabel="tokens of the document", ylabel="share selected", title="Selected by length")
    return png(figure)


def quality_scores_picture(tables: Mapping[str, Any], names: ClusterNames = NONE) -> bytes:
    """Q_k with two standard errors on either side, best cluster on the left."""
    rows = query("questions/quality_with_errors", {"cluster_quality": tables["cluster_quality"]}).head(60)
    figure, axes = plt.subplots(figsize=(8, 4.2 if names else 3.2), layout="constrained")
    x = range(len(rows))
    axes.errorbar(
        x,
        rows["quality"],
        yerr=2 * rows["standard_error"].fill_null(0),
        fmt="o",
        ms=4,
        color=CHOSEN,
        ecolor=POOL,
        capsize=2,
    )
    axes.set(ylabel="$Q_k$, ±2 standard errors", xlabel="cluster", title="Quality by cluster")
    _ticks(axes, rows["cluster_id"], names)
    return png(figure)


def judge_report_picture(tables: Mapping[str, Any]) -> bytes:
    """Scores by dimension, what explains their variance, and their agreement with a second judging and other judges."""
    histogram, report, pairs = (_table(tables, t) for t in ("judge_histogram", "judge_report", "judge_pairs"))
    figure, ((first, second), (third, fourth)) = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
    for i, ((dimension,), rows) in enumerate(histogram.group_by("dimension", maintain_order=True)):
        first.bar(rows["score"] + 0.2 * (i - 1.5), rows["n"], width=0.2, label=str(dimension).replace("_", " "))
    first.set(title="Scores given", xlabel="score", ylabel="documents")
    first.set_ylim(top=1.4 * first.get_ylim()[1])
    if first.get_legend_handles_labels()[0]:  # no dimensions if the judge is a column of the pool
        first.legend(frameon=False, fontsize=7, ncols=2)
    bias = report.filter(measure="epsilon2")
    second.barh(bias["section"], bias["value"].fill_null(0) * 100, color=CHOSEN)
    second.set(
        title="What the score follows",
        xlabel="% of its variance explained (ε²)",
        xlim=(min(0, second.get_xlim()[0]), 100),
    )
    for axes, other, title in ((third, "repeat", "Judged twice"), (fourth, None, "Beside other judges")):
        rows = pairs.filter(pl.col("dimension") == "score", (pl.col("other") == "repeat") == (other == "repeat"))
        for (name,), some in rows.group_by("other", maintain_order=True):
            axes.plot(some["score"], some["other_score"], "o", ms=4, alpha=0.5, label=str(name))
        axes.plot([0, 1], [0, 1], color=POOL, lw=1, zorder=0)
        axes.set(title=title, xlabel="score", ylabel="other score", xlim=(0, 1), ylim=(0, 1))
        if len(rows):
            axes.legend(frameon=False, fontsize=7)
        else:
            axes.text(0.5, 0.5, "not measured", ha="center", va="center", color=POOL)
    return png(figure)


def corpus_map_picture(tables: Mapping[str, Any]) -> bytes:
    """The sampled documents in the plane, in the colours of their clusters. Clusters may share a colour."""
    points = _table(tables, "corpus_map")
    figure, axes = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    axes.scatter(points["x"], points["y"], c=points["cluster_id"] % 20, cmap="tab20", vmin=0, vmax=19, s=2.5, lw=0)
    axes.set(title=f"{len(points):,} documents by cluster", aspect="equal")
    axes.axis("off")
    return png(figure)


def balance_picture(tables: Mapping[str, Any]) -> bytes:
    """Left: masses of the clusters of each fit, the heaviest first. Right: effective clusters and mean cosine."""
    rows, masses = _table(tables, "balance"), _table(tables, "balance_masses").filter(masses="hard")
    rows = rows.filter(masses="hard")
    k = masses["rank"].n_unique()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), width_ratios=(3, 2), layout="constrained")
    for (name,), some in masses.group_by("fit", maintain_order=True):
        strong = {"color": CHOSEN, "lw": 2.2, "zorder": 3} if name == "gem" else {"lw": 1}
        left.plot(some["rank"], some["mass"] * k, label=NAMES.get(str(name), str(name)), **strong)
    left.axhline(1, color=POOL, lw=1, ls="--")
    left.text(k, 1, "all equal ", ha="right", va="bottom", color=POOL, fontsize=7)
    left.set(title="Masses of the clusters", xlabel="cluster, the heaviest first", ylabel="mass × K", ylim=(0, None))
    left.legend(frameon=False, fontsize=7)
    for i, row in enumerate(rows.iter_rows(named=True)):
        color = CHOSEN if row["fit"] == "gem" else POOL
        right.plot(row["effective"], row["mean_cosine"], "o", ms=6, color=color)
        name, y = NAMES.get(row["fit"], row["fit"]), (6 if i % 2 else -10)
        right.annotate(name, (row["effective"], row["mean_cosine"]), (0, y), textcoords="offset points", fontsize=7,
                       ha="center")  # fmt: skip
    right.set(title="Gained and paid", xlabel="effective clusters", ylabel="mean cosine to the centre")
    right.margins(0.4, 0.25)
    return png(figure)


def drawn_sweep(rows: pl.DataFrame, k: int) -> bytes:
    """What `grip balance` writes: effective clusters, mean cosine and recall of small groups over lambda."""
    hard = rows.filter(masses="hard").sort("balance")
    figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, layout="constrained")
    names = [f"{value:g}" for value in hard["balance"]]
    for (masses,), some in rows.sort("balance").group_by("masses", maintain_order=True):
        panels[0].plot(names, some["effective"], "o-", ms=4, label=f"{masses} masses")
    panels[0].axhline(k, color=POOL, lw=1, ls="--")
    panels[0].set(title=f"Effective clusters of {k}")
    panels[0].legend(frameon=False, fontsize=7)
    panels[1].plot(names, hard["mean_cosine"], "o-", ms=4, color=CHOSEN)
    panels[1].set(title="Mean cosine to the centre")
    for name in ("language", "project"):
        for what, label, style in (("nmi", "NMI with", "s--"), ("small_recall", "recall of small groups by", "o-")):
            values = hard[f"{what}_{name}"].cast(pl.Float64)
            if values.null_count() < len(values):
                panels[2].plot(names, values, style, ms=4, label=f"{label} {name}")
    panels[2].set(title="Known groups", ylim=(0, 1.02))
    if panels[2].get_legend_handles_labels()[0]:
        panels[2].legend(frameon=False, fontsize=7)
    for axes in panels:
        axes.set_xlabel("λ")
    return png(figure)


def knobs_picture(tables: Mapping[str, Any]) -> bytes:
    """For each knob at half and at double its value: share of the subset replaced, budget moved, mean length."""
    rows = _table(tables, "knobs")
    names = [f"{r['symbol']} {r['value_now']:g} → {r['value']:g}" for r in rows.iter_rows(named=True)]
    figure, panels = plt.subplots(1, 3, figsize=(8, 3.2), sharey=True, layout="constrained")
    for axes, values, title in (
        (panels[0], 100 * (1 - rows["overlap"].fill_null(1)), "% of the subset replaced"),
        (panels[1], 100 * rows["budget_moved"].fill_null(0), "% of the budget moved"),
        (panels[2], rows["mean_tokens"].fill_null(0), "mean tokens of a document"),
    ):
        axes.barh(range(len(rows)), values, color=[POOL, CHOSEN] * (len(rows) // 2))
        axes.set_title(title, fontsize=9)
    panels[0].set_xlim(0, 100)
    panels[0].set_yticks(range(len(rows)), names)
    if (now := rows["mean_tokens_now"][0]) is not None:
        panels[2].axvline(now, color="black", lw=1)
    panels[0].invert_yaxis()
    return png(figure)


def rounds_picture(tables: Mapping[str, Any], names: ClusterNames = NONE) -> bytes:
    """Share of the budget by round, one line for each of the clusters that moved most."""
    rows = _table(tables, "rounds")
    proxies = rows.unique("round", maintain_order=True)["proxy"].to_list()
    spread = rows.group_by("cluster_id").agg(moved=pl.max("budget_share") - pl.min("budget_share"))
    most = spread.sort("moved", "cluster_id", descending=[True, False]).head(12)["cluster_id"].to_list()
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for cluster in most:
        line = rows.filter(cluster_id=cluster)
        axes.plot(line["round"], line["budget_share"], "o-", ms=4, label=_called(cluster, names))
    axes.set(ylabel="share of the budget", xlabel="round t and its proxy", title="The budget follows the model")
    axes.set_xticks(range(len(proxies)), [f"{t}\n{name[:24]}" for t, name in enumerate(proxies)], fontsize=7)
    axes.legend(title="cluster", frameon=False, fontsize=7, ncols=2, loc="center left", bbox_to_anchor=(1, 0.5))
    return png(figure)


def stability_picture(tables: Mapping[str, Any]) -> bytes:
    """Left: overlap with the subsets of other seeds, and of uniform draws. Right: rank correlations of the clusters."""
    rows = _table(tables, "stability")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    left.plot(rows["varied"], rows["overlap_by_chance"], "_", ms=40, color=POOL, label="by chance")
    left.plot(rows["varied"], rows["overlap"], "o", ms=5, color=CHOSEN, label="overlap")
    left.set(title="Overlap of the subsets", xlabel="seed of the", ylabel="Jaccard, in tokens", ylim=(0, 1.02))
    left.margins(x=0.25)
    left.legend(frameon=False, fontsize=7)
    for column, marker in (("budget_correlation", "o"), ("quality_correlation", "s"), ("delta_correlation", "^")):
        label = column.partition("_")[0]
        right.plot(rows["varied"], rows[column].cast(pl.Float64), marker, ms=5, alpha=0.7, label=label)
    right.set(title="Rank correlation over documents", xlabel="seed of the", ylim=(min(0, right.get_ylim()[0]), 1.02))
    right.margins(x=0.25)
    right.legend(frameon=False, fontsize=7)
    return png(figure)


def sensitivity_picture(tables: Mapping[str, Any]) -> bytes:
    """Left: rank correlation of each variant with the drops in force. Right: the drops in force against quality."""
    rows = _table(tables, "sensitivity").slice(1)
    both = _table(tables, "adaptation_deltas").join(_table(tables, "cluster_quality"), on="cluster_id")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), width_ratios=(3, 2), layout="constrained")
    _whiskers(left, rows["spearman"], rows["low"], rows["high"], rows["variant"].to_list())
    left.axvline(1, color=POOL, lw=1, zorder=0)
    left.set(title="Are clusters ranked alike?", xlabel="Spearman's with the drops in force, 95%", xlim=(-1.05, 1.05))
    right.plot(both["quality"], both["relative_delta"], "o", ms=4, alpha=0.6, color=CHOSEN)
    right.set(title="Quality and drop", xlabel="$Q_k$", ylabel="$\\delta_k$")
    return png(figure)


def length_slopes_picture(tables: Mapping[str, Any]) -> bytes:
    """Distance to the neighbours by length, divided by its mean for each encoder and way of reading."""
    points = _table(tables, "length_points").join(
        _table(tables, "length_slopes")
        .filter(from_tokens=0)
        .select("encoder", "reading", "neighbourhood", mean="mean_distance"),
        on=["encoder", "reading", "neighbourhood"],
        maintain_order="left",
    )
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
    for axes, chosen, title in (
        (panels[0], ("cluster", "pool"), "Neighbours in the cluster"),
        (panels[1], ("sample",), "Neighbours anywhere"),
    ):
        some = points.filter(pl.col("neighbourhood").is_in(chosen), pl.col("n") > 3)
        for names, line in some.group_by("encoder", "reading", "neighbourhood", maintain_order=True):
            label = f"{names[0]}, {names[1]}" + (", whole pool" if names[2] == "pool" else "")
            y, low, high = (line[c] / line["mean"] for c in ("mean_distance", "low", "high"))
            axes.fill_between(line["length_band"], low, high, alpha=0.15, lw=0)
            axes.plot(line["length_band"], y, "o-", ms=3, lw=1.2, label=label)
        axes.set(xscale="log", xlabel="tokens of the document", title=title)
        axes.legend(frameon=False, fontsize=7)
    panels[0].set_ylabel("distance ÷ its mean")
    return png(figure)


def length_by_beta_picture(tables: Mapping[str, Any]) -> bytes:
    """Mean length and share of the longest fifth at each β, with those of a random subset and the pool."""
    rows = _table(tables, "length_by_beta")
    random, drawn = rows.filter(pl.col("beta").is_null()), rows.filter(pl.col("beta").is_not_null())
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for axes, name, title in (
        (panels[0], "mean_log2_tokens", "Mean of log₂ tokens"),
        (panels[1], "long_share", "Share of the pool's longest fifth"),
    ):
        axes.fill_between(drawn["beta"], drawn[f"{name}_low"], drawn[f"{name}_high"], color=CHOSEN, alpha=0.2, lw=0)
        axes.plot(drawn["beta"], drawn[name], "o-", ms=3, color=CHOSEN, label="selected")
        axes.axhline(random[name][0], color="black", lw=1, label="random, same budgets")
        axes.axhline(random[f"{name}_pool"][0], color=POOL, lw=1, ls="--", label="pool")
        axes.set(title=title, xlabel="β")
    panels[0].legend(frameon=False, fontsize=7)
    return png(figure)


def probe_variance_picture(tables: Mapping[str, Any]) -> bytes:
    """Variance of the estimated mean, divided by that of the proportional probe."""
    rows = _table(tables, "probe_variance").filter(pl.col("allocation") != "proportional")
    quantities = rows["quantity"].unique(maintain_order=True).to_list()
    figure, panels = plt.subplots(
        1, len(quantities), figsize=(8, 3.2), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, quantity in zip(panels[0], quantities, strict=True):
        some = rows.filter(quantity=quantity)
        names = [f"{r['allocation']}, at least {r['floor']}" for r in some.iter_rows(named=True)]
        _whiskers(axes, some["ratio_to_proportional"], some["low"], some["high"], names)
        axes.plot(some["expected_ratio"].cast(pl.Float64), range(len(some)), "|", ms=12, color="black")
        axes.axvline(1, color=POOL, lw=1, zorder=0)
        axes.set(title=f"Mean {quantity}", xlabel="variance ÷ proportional", xlim=(0, None))
    return png(figure)


def _whiskers(axes: Any, value: pl.Series, low: pl.Series, high: pl.Series, names: list[str]) -> None:
    """One row per name, the first at the top: a dot, and its interval if it has one."""
    axes.hlines(range(len(names)), low.cast(pl.Float64), high.cast(pl.Float64), color=POOL, lw=2)
    axes.plot(value.cast(pl.Float64), range(len(names)), "o", ms=5, color=CHOSEN)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)


def evaluation_picture(tables: Mapping[str, Any]) -> bytes:
    """Paired difference of each strategy to a random subset, on each set, with its interval.

    Left of the line is better. A value too far off to be drawn with the others is a number at the edge.
    """
    rows = _table(tables, "ladder")
    sets = rows["set"].unique(maintain_order=True).to_list()
    rows = rows.filter(pl.col("strategy") != "random")
    names = rows["strategy"].unique(maintain_order=True).to_list()
    colors = {"rung": CHOSEN, "yours": CHOSEN, "baseline": POOL, "ablation": "#b08800", "loop": "#7a4fd0"}
    figure, panels = plt.subplots(
        1,
        len(sets),
        figsize=(4.2 * len(sets), 0.6 + 0.24 * len(names)),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axes, name in zip(panels[0], sets, strict=True):
        some = rows.filter(set=name)
        reach = np.abs(some.select("to_random", "to_random_low", "to_random_high").fill_null(0).to_numpy()).max(axis=1)
        edge = 1.05 * reach[reach <= FAR_OFF * np.median(reach)].max(initial=0) or 1
        for row in some.iter_rows(named=True):
            y, color, value = names.index(row["strategy"]), colors[row["kind"]], row["to_random"]
            axes.plot([row["to_random_low"], row["to_random_high"]], [y, y], color=color, lw=2)
            axes.plot(value, y, "o", ms=5, color=color)
            if abs(value) > edge:
                side = "right" if value > 0 else "left"
                at = 0.97 * math.copysign(edge, value)
                axes.text(at, y, f"{value:+.2f}", color=color, ha=side, va="bottom", fontsize=7)
        axes.set_xlim(-edge, edge)
        axes.axvline(0, color="black", lw=1)
        axes.set_title(f"{name}: bits per byte, minus random", fontsize=9)
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].invert_yaxis()
    return png(figure)


def cluster_report_picture(tables: Mapping[str, Any], names: ClusterNames = NONE) -> bytes:
    """Left: share of intruders found, by cluster. Right: accuracy of the names. A dashed line is chance."""
    found, accuracy = _table(tables, "intruders"), _table(tables, "name_accuracy")
    rows = found.filter(pl.col("judged_by") == pl.col("judged_by").first()).sort(
        "accuracy", "cluster_id", descending=[True, False]
    )
    rows = rows.head(40)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 1.6 + 0.12 * max(len(rows), 16)), layout="constrained")
    labels = [_called(k, names, 1) for k in rows["cluster_id"]]
    _whiskers(left, rows["accuracy"], rows["low"], rows["high"], labels)
    left.set(title="Intruders found, by cluster", xlabel="share of the trials, 95%", xlim=(0, 1.03))
    kinds = [f"{r['representatives']}, by {r['asked']}" for r in accuracy.iter_rows(named=True)]
    _whiskers(right, accuracy["accuracy"], accuracy["low"], accuracy["high"], kinds)
    right.set(title="Cluster found from its name", xlabel="share of held-out documents, 95%", xlim=(0, 1.03))
    for axes, table in ((left, _table(tables, "intruders_overall")), (right, accuracy)):
        for chance in table["chance"].unique():
            axes.axvline(chance, color=POOL, lw=1, ls="--", zorder=0)
    return png(figure)


def mixture_runs_picture(tables: Mapping[str, Any], names: ClusterNames = NONE) -> bytes:
    """The weights over the steps of DoReMi; for the other methods, the loss of each mixture over its distance to the
    natural shares, and its spread over the domains."""
    domains, steps = _table(tables, "mixture_domains"), _table(tables, "mixture_steps")
    if len(steps):
        return _of_steps(steps, mixing.labels_of(domains, names))
    mixtures, losses = _table(tables, "mixtures"), _table(tables, "mixture_losses")
    value = _mean_loss(losses, domains)
    rows = mixing.swarm(mixtures, losses, value, domains).drop_nulls("value")
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for (kind,), some in rows.group_by("kind", maintain_order=True):
        one = kind not in ("swarm", "upsampled")
        look: dict[str, Any] = {"color": "black", "ms": 7} if one else {"color": CHOSEN, "ms": 4, "alpha": 0.6}
        axes.plot(100 * some["distance"], some["value"], "s" if one else "o", label=str(kind), **look)
    axes.set(title=f"{len(rows):,} trained mixtures", xlabel="distance to the natural shares, points")
    axes.set_ylabel("bits per byte")
    if len(rows):
        axes.legend(frameon=False, fontsize=7)
    return png(figure)


def _mean_loss(losses: pl.DataFrame, domains: pl.DataFrame) -> pl.DataFrame:
    """The mean over domains by natural share, as with mixing.objective=held_out; over all targets if no domain was
    measured. Columns mixture_id, seed, value."""
    if losses["target"].str.starts_with("domain:").any():
        return mixing.objectives(losses, "held_out", domains, "mixture_id")
    return losses.group_by("mixture_id", "seed").agg(value=pl.mean("loss")).drop_nulls()


def _of_steps(steps: pl.DataFrame, labels: Mapping[int, str]) -> bytes:
    mean = steps.group_by("domain", "step").agg(pl.mean("weight")).sort("domain", "step")
    order = mean.group_by("domain").agg(pl.mean("weight")).sort("weight", "domain", descending=[True, False])["domain"]
    figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for place, domain in enumerate(order):
        line = mean.filter(domain=domain)
        look: dict[str, Any] = {"label": _short(labels[domain])} if place < 8 else {"color": POOL, "lw": 0.7}
        axes.plot(line["step"], 100 * line["weight"], **look)
    axes.set(title="Weights over the steps of DoReMi", xlabel="step", ylabel="% of the weight", ylim=(0, None))
    axes.legend(title="the heaviest", frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return png(figure)


def mixture_picture(tables: Mapping[str, Any], names: ClusterNames = NONE) -> bytes:
    """Left: natural share and learned weight of each domain. Right: how well each regressor ranks new mixtures."""
    rows, fit = _table(tables, "mixture_weights"), _table(tables, "mixture_fit")
    labels = mixing.labels_of(_table(tables, "mixture_domains"), names)
    change = (pl.col("weight") - pl.col("natural_share")).alias("change")
    rows = rows.with_columns(change).sort(pl.col("change").abs(), "domain", descending=[True, False]).head(WIDE)
    rows = rows.sort("change", "domain", descending=[True, False])
    height = 1.6 + 0.2 * max(len(rows), 6)
    figure, panels = plt.subplots(
        1, 2 if len(fit) else 1, figsize=(8, height), width_ratios=(3, 2)[: 2 if len(fit) else 1], squeeze=False,
        layout="constrained",
    )  # fmt: skip
    left = panels[0][0]
    low, high = (100 * rows[name].fill_null(rows["weight"]) for name in ("low", "high"))
    _whiskers(left, 100 * rows["weight"], low, high, [_short(labels[d]) for d in rows["domain"]])
    left.plot(100 * rows["natural_share"], range(len(rows)), "|", ms=10, color="black", label="before")
    left.set(title="Weights: before (|) and after (dot)", xlabel="% of the tokens", xlim=(0, None))
    if len(fit):
        found = mixing.predictability(fit)
        regressors = [mixing.REGRESSORS.get(name, name) for name in found["regressor"]]
        for i, (of, label, mark) in enumerate((("", "all", "o"), ("_best", "best quarter", "D"))):
            y = [j + 0.16 * (2 * i - 1) for j in range(len(found))]
            low, middle, high = (found[f"spearman{of}_{q}"].fill_nan(None) for q in ("low", "median", "high"))
            panels[0][1].hlines(y, low.cast(pl.Float64), high.cast(pl.Float64), color=POOL, lw=2)
            panels[0][1].plot(middle.cast(pl.Float64), y, mark, ms=5, label=label)
        panels[0][1].set_yticks(range(len(found)), regressors, fontsize=7)
        panels[0][1].set(title="Can a mixture be predicted?", xlabel="Spearman, median and quartiles")
        panels[0][1].set_ylim(len(found) - 0.5, -1.1)  # with room for the legend
        panels[0][1].legend(frameon=False, fontsize=7, ncols=2, loc="upper left")
    return png(figure)


def mixture_check_picture(tables: Mapping[str, Any]) -> bytes:
    """The measured objective of each mixer minus that of the natural shares, with its interval; and as predicted."""
    rows = _table(tables, "mixture_verdict").sort("mean", "mixer")
    labels = [mixing.MIXERS.get(mixer, mixer) for mixer in rows["mixer"]]
    figure, axes = plt.subplots(figsize=(6, 1.2 + 0.3 * len(rows)), layout="constrained")
    _whiskers(axes, rows["mean"], rows["low"], rows["high"], labels)
    axes.axvline(0, color="black", lw=1)
    axes.set(title="Bits per byte, minus natural shares", xlabel="less is better; 95% over seeds")
    return png(figure)


def attribution_picture(tables: Mapping[str, Any]) -> bytes:
    """Predicted and measured utility of the trials for up to four targets; filled: they had no part in the choice.
    Without trials: how aligned the documents are with each target."""
    chosen = _table(tables, "attribution_choice").filter("chosen")
    points = query("questions/fidelity_points", {"attribution_predictions": tables["attribution_predictions"]})
    points = points.filter(pl.col("configuration").is_in(chosen["configuration"].implode()))
    if points.is_empty():
        return _alignments(query("questions/alignment_histogram", {"attribution": tables["attribution"]}))
    views = points.select("target", "size").unique(maintain_order=True).rows()[:4]
    rows = math.ceil(len(views) / 2)
    figure, panels = plt.subplots(
        rows, min(len(views), 2), figsize=(8 if len(views) > 1 else 4.6, 0.7 + 2.9 * rows), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, (target, size) in zip(panels.flat, views, strict=False):
        here = points.filter(target=target, size=size)
        for i, (kind, said) in enumerate(attribution.KINDS.items()):
            for role, fill in (("check", "full"), ("calibration", "none")):
                part = here.filter(role=role, kind=kind)
                look: dict[str, Any] = {"color": f"C{i}", "fillstyle": fill, "label": said if role == "check" else None}
                if len(part):
                    axes.plot(part["predicted"], part["utility"], MARKS[i], ms=5, **look)
        axes.set_title(_short(f"{attribution.target_label(target)}, {size:,} tokens"), fontsize=9)
        axes.set(xlabel="predicted", ylabel="measured, bits per byte")
    for axes in list(panels.flat)[len(views) :]:
        axes.axis("off")
    panels[0][0].legend(frameon=False, fontsize=6)
    return png(figure)


def _alignments(rows: pl.DataFrame) -> bytes:
    """``rows``: sql/questions/alignment_histogram.sql."""
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for (target,), some in rows.group_by("target", maintain_order=True):
        axes.step(some["from_alignment"], some["n"], where="post", label=_short(attribution.target_label(str(target))))
    axes.set(title="Alignment of the documents, one by one", xlabel="alignment", ylabel="documents")
    if len(rows):
        axes.legend(frameon=False, fontsize=7)
    return png(figure)


def redundancy_picture(tables: Mapping[str, Any]) -> bytes:
    """Left: what each document added, in the order in which they were taken. Right: how near the documents that were
    left out are to what was taken."""
    gains = query("questions/greedy_gains", {"subset": tables["subset"]})
    nearest = _table(tables, "redundancy").filter(number=1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    left.plot(gains["rank"], gains["alignment"].cast(pl.Float64), color=POOL, lw=1, label="alignment: by itself")
    left.plot(gains["rank"], gains["gain"].cast(pl.Float64), color=CHOSEN, lw=1.5, label="gain: when its turn came")
    left.set(title="What each document added", xlabel="rank", ylabel="score for each token")
    left.legend(frameon=False, fontsize=7)
    right.plot(nearest["place"], nearest["similarity"].cast(pl.Float64), "o", ms=4, alpha=0.6, color=CHOSEN)
    right.set(title="Left out: nearest that was taken", xlabel="place by alignment alone", ylabel="cosine")
    return png(figure)


WITH_NAMES = (
    budgets_picture,
    quality_scores_picture,
    rounds_picture,
    cluster_report_picture,
    mixture_runs_picture,
    mixture_picture,
)


def _short(label: str) -> str:
    """A label on one short line. A dollar sign does not begin a formula of matplotlib."""
    return cut(label, TICK).replace("$", r"\$")


def _called(cluster: int, names: ClusterNames, lines: int = 2) -> str:
    """The label of a cluster on short lines. A dollar sign does not begin a formula of matplotlib."""
    found = textwrap.wrap(names.label(cluster), TICK, max_lines=lines, placeholder="…")
    return "\n".join(found).replace("$", r"\$")


def _ticks(axes: Any, clusters: pl.Series, names: ClusterNames) -> None:
    """The labels of clusters below a picture."""
    labels = [_called(c, names, 2 if len(clusters) <= WIDE else 1) for c in clusters]
    axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=90)


def _table(tables: Mapping[str, Any], name: str) -> pl.DataFrame:
    return pl.read_parquet(parts(tables[name]), glob=False)


def png(figure: plt.Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def of_stage(stage: str, tables: Mapping[str, Any], names: ClusterNames = NONE) -> bytes:
    """The picture of a stage as PNG, drawn by the function ``<stage>_picture`` of this module.

    ``names``: of the clusters. A function that labels clusters takes them as its second argument.
    """
    draw = globals()[f"{stage}_picture"]
    drawn: bytes = draw(tables, names) if draw in WITH_NAMES else draw(tables)
    return drawn
