"""An attribution of subsets in words and figures: which score was chosen, and how well it predicts training.

The page, the terminal and the pictures ask here, so that they say the same. Names of scores come from
store/attributed.py.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from grip_assets.store.attributed import MEAN, Attributed
from grip_assets.store.cluster_names import cut

KINDS = {
    "uniform": "drawn at random",
    "few_clusters": "few clusters",
    "many_clusters": "many clusters",
    "duplicates": "near copies",
    "length": "by length",
    "language": "by language",
}
GROUPS = {"structured": "structured trials", "random": "random trials"}
"""Families of kinds, which the table of fidelity keeps apart."""
NO_BETTER = "predicts no better than additive"


def target_label(target: str) -> str:
    """A target in words. The value of a held-out target comes from documents, so invisible characters are left out."""
    if target in (MEAN, "held_out"):
        return {MEAN: "all targets, mean", "held_out": "held-out projects"}[target]
    return cut(target.replace("held_out:", "held out: "))


def group_label(kind: str) -> str:
    return GROUPS.get(kind, f"{kind} trials")


def how_chosen(found: Attributed) -> str:
    """Why the chosen configuration was chosen, in a sentence."""
    if found.settings.get("choose", "none") == "none":
        return "Source and γ are as set (attribution.choose is none), and no training has tested them."
    words = str(found.chosen["words"] or "").strip().removeprefix("chosen: ").rstrip(".")
    return f"It was chosen by the calibration trials: {words}." if words else ""


def quadratic(found: Attributed) -> str:
    """Whether the quadratic term predicts trials that chose nothing, in sentences; "" if that was not measured."""
    if not found.measured:
        return ""
    if not found.chosen["gamma"]:
        return f"The score is additive: in this pool, a quadratic term {NO_BETTER}."
    return " ".join(_over_additive(row) for row in _own(found).drop_nulls("over_additive").iter_rows(named=True))


def _over_additive(row: Mapping[str, Any]) -> str:
    where = f"On {group_label(row['kind'])} it"
    gain = f"{signed(row['over_additive'])} ({signed(row['over_additive_low'])} to {signed(row['over_additive_high'])})"
    if (row["over_additive_low"] or 0) > 0:
        return f"{where} predicts better than additive: Spearman {gain}."
    worse = ", but worse" if (row["over_additive_high"] or 0) < 0 else ""
    return f"{where} {NO_BETTER}{worse}: Spearman {gain}."


def overall(fidelity: pl.DataFrame) -> pl.DataFrame:
    """The rows for all targets together, or all rows if there is one target."""
    together = fidelity.filter(target=MEAN)
    return together if len(together) else fidelity


def _own(found: Attributed) -> pl.DataFrame:
    rows = overall(found.fidelity).filter(configuration=found.chosen["configuration"])
    return rows.sort(pl.col("kind").replace_strict(kinds(found), range(len(kinds(found)))), "size")


def summary(found: Attributed) -> pl.DataFrame:
    """One row for each score, kind and size: the columns of ``attribution_fidelity``, for all targets together. The
    score that is best on the first kind comes first."""
    rows = overall(found.fidelity)
    if rows.is_empty():
        return rows
    first = pl.col("spearman").fill_nan(None).filter(pl.col("kind") == kinds(found)[0]).mean().over("configuration")
    order = rows.with_columns(first=first).sort("first", "configuration", descending=[True, False], nulls_last=True)
    names = order["configuration"].unique(maintain_order=True).to_list()
    place = pl.col("configuration").replace_strict(names, range(len(names)), return_dtype=pl.Int64)
    return rows.with_columns(place=place).sort("place", "kind", "size", descending=[False, True, False]).drop("place")


def kinds(found: Attributed) -> list[str]:
    """The kinds of trials in the table of fidelity, those with structure first."""
    return sorted(found.fidelity["kind"].unique().to_list(), reverse=True)


def in_words(found: Attributed) -> str:
    """How well the chosen score ranks trials that chose nothing, of each kind and size, without a full stop."""
    sizes = found.fidelity["size"].n_unique() > 1
    return "; ".join(_predicts(row, sizes) for row in _own(found).iter_rows(named=True))


def _predicts(row: Mapping[str, Any], sizes: bool) -> str:
    of = f"{group_label(row['kind'])}" + (f" of {row['size']:,} tokens" if sizes else "")
    if row["spearman"] is None or row["spearman"] != row["spearman"]:
        return f"{of}: too few to say"
    interval = f" ({number(row['low'])} to {number(row['high'])})"
    return f"{of}: Spearman {number(row['spearman'])}{interval}, {ceiling(row['ceiling'])}"


def ceiling(value: float | None) -> str:
    return "noise ceiling not measured" if value is None else f"noise ceiling {number(value)}"


def best_other(found: Attributed) -> str:
    """The baseline that predicts best, and whether it does so better than the chosen score; "" if there is none."""
    if not found.measured:
        return ""
    rows = summary(found).filter(kind=kinds(found)[0]).drop_nulls("spearman")
    own, others = rows.filter(configuration=found.chosen["configuration"]), rows.filter(what="baseline")
    if others.is_empty() or own.is_empty():
        return ""
    best, mine = others.sort("spearman", descending=True).row(0, named=True), own["spearman"].max()
    what = f"Of the baselines, {found.label(best['configuration'])} predicts {group_label(best['kind'])} best"
    if best["spearman"] > mine:
        return f"{what}, and better than the chosen score: {number(best['spearman'])} against {number(mine)}."
    return f"{what}: {number(best['spearman'])}, and the chosen score {number(mine)}."


def number(value: Any) -> str:
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")


def signed(value: Any) -> str:
    return "–" if value is None or value != value else f"{value:+.2f}".replace("-", "−")


def certificate(metrics: Mapping[str, Any]) -> str:
    """How near a greedy selection is to the best possible one, from the metrics of the asset ``subset``; or ""."""
    words = str(metrics.get("certificate") or "").rstrip(".")
    if not words:
        return ""
    if words.startswith("within"):
        return f"The selection is {words}: no selection of the same size has a larger score than that."
    return f"{words[0].upper()}{words[1:]}."
