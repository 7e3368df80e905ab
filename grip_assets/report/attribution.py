"""An attribution of subsets in words and figures: which score was chosen, and how well it predicts training.

The page, the terminal and the pictures ask here, so that they say the same. Names of scores come from
store/attributed.py.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from grip_assets.store.attributed import Attributed

KINDS = {
    "uniform": "drawn at random",
    "few_clusters": "few clusters",
    "many_clusters": "many clusters",
    "duplicates": "near copies",
    "length": "by length",
    "language": "by language",
}
GROUPS = {"structured": "structured trials", "uniform": "uniform trials", "all": "all trials"}
NO_BETTER = "predicts no better than additive"


def target_label(target: str) -> str:
    return target.replace("held_out:", "held out: ") if target != "held_out" else "held-out projects"


def group_label(kind: str) -> str:
    return GROUPS.get(kind) or f"trials: {KINDS.get(kind, kind)}"


def how_chosen(found: Attributed) -> str:
    """Why the chosen configuration was chosen, in a sentence or two."""
    row = found.chosen
    if found.settings.get("choose", "none") == "none":
        return "Source and γ are those of the settings (attribution.choose is none), and no training has tested them."
    words = str(row["words"] or "").strip()
    return words if words.endswith((".", "")) else f"{words}."


def quadratic(found: Attributed) -> str:
    """Whether the quadratic term helps to predict, as a sentence; "" if that was not measured."""
    rows = found.choice.filter(pl.col("gamma") > 0).drop_nulls("mean")
    if rows.is_empty():
        return ""
    best = max(rows.iter_rows(named=True), key=lambda row: (row["mean"], row["configuration"]))
    what = f"The best configuration with a quadratic term ({found.label(best['configuration'])})"
    gain = f"{signed(best['mean'])} ({signed(best['lower_bound'])} to {signed(best['upper_bound'])})"
    if best["lower_bound"] > 0:
        return f"{what} predicts better than additive: Spearman {gain}."
    if best["upper_bound"] < 0:
        return f"{what} {NO_BETTER}, but worse: Spearman {gain}."
    return f"{what} {NO_BETTER}: Spearman {gain}, and the interval holds 0."


def summary(found: Attributed) -> pl.DataFrame:
    """One row for each score and kind: means over targets and sizes of Spearman and ceiling, and the cost.

    Columns configuration, kind, spearman, ceiling, targets, seconds, flops, bytes; the best structured score first.
    """
    by = found.fidelity.group_by("configuration", "kind", maintain_order=True).agg(
        pl.mean("spearman"),
        pl.mean("ceiling"),
        targets=pl.col("target").n_unique(),
        **{name: pl.col(name).first() for name in ("seconds", "flops", "bytes")},
    )
    first = pl.col("spearman").filter(pl.col("kind") == first_kind(found)).first().over("configuration")
    return by.sort(first, "configuration", "kind", descending=[True, False, False], nulls_last=True, maintain_order=True)


def kinds(found: Attributed) -> list[str]:
    """The kinds of trials in the table of fidelity, those with structure first."""
    there = found.fidelity["kind"].unique().to_list()
    order = ["structured", *(kind for kind in KINDS if kind != "uniform"), "uniform", "all"]
    return sorted(there, key=lambda kind: (order.index(kind) if kind in order else len(order), kind))


def first_kind(found: Attributed) -> str:
    return kinds(found)[0]


def in_words(found: Attributed, target: str | None = None, size: int | None = None) -> str:
    """How well the chosen score ranks trials that chose nothing, for each kind. ``target``, ``size``: None: all."""
    rows = found.fidelity.filter(configuration=found.chosen["configuration"])
    rows = rows if target is None else rows.filter(target=target)
    rows = rows if size is None else rows.filter(size=size)
    said = [_of_kind(rows.filter(kind=kind), kind) for kind in kinds(found)]
    return "; ".join(filter(None, said))


def _of_kind(rows: pl.DataFrame, kind: str) -> str:
    rows = rows.drop_nulls("spearman")
    if rows.is_empty():
        return ""
    interval = f" ({number(rows['low'][0])} to {number(rows['high'][0])})" if len(rows) == 1 else ""
    mean = f", mean of {len(rows)} targets" if len(rows) > 1 else ""
    ceiling = rows["ceiling"].drop_nulls().mean()
    noise = f", noise ceiling {number(ceiling)}" if ceiling is not None else ", noise ceiling not measured"
    return f"{group_label(kind)}: Spearman {number(rows['spearman'].mean())}{interval}{mean}{noise}"


def best_other(found: Attributed) -> str:
    """The baseline that predicts best, and whether it does so better than the chosen score; "" if there is none."""
    rows = summary(found).filter(kind=first_kind(found)).drop_nulls("spearman")
    names = found.choice["configuration"].implode()
    own = rows.filter(configuration=found.chosen["configuration"])["spearman"]
    others = rows.filter(~pl.col("configuration").is_in(names))
    if others.is_empty() or own.is_empty():
        return ""
    best = others.sort("spearman", "configuration", descending=[True, False]).row(0, named=True)
    what = f"Of the baselines, {found.label(best['configuration'])} predicts best"
    if best["spearman"] > own[0]:
        return f"{what}, and better than the chosen score: {number(best['spearman'])} against {number(own[0])}."
    return f"{what}: {number(best['spearman'])}, and the chosen score {number(own[0])}."


def number(value: Any) -> str:
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")


def signed(value: Any) -> str:
    return "–" if value is None or value != value else f"{value:+.2f}".replace("-", "−")


def flops(value: float | None) -> str:
    """A number of operations with a prefix, as in ``4.0 TFLOP``."""
    if not value:
        return "–" if value is None else "0"
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M")):
        if value >= 10**power:
            return f"{value / 10**power:.1f} {prefix}FLOP"
    return f"{value:.0f} FLOP"


def certificate(metrics: Mapping[str, Any]) -> str:
    """How far a greedy selection is from the best possible one, from the metrics of the asset ``subset``; or ""."""
    gap = metrics.get("relaxed_gap")
    if gap is None:
        return ""
    return (
        f"The selection is within {max(gap, 0):.1%} of the relaxed optimum, which no selection of this size can exceed."
    )
