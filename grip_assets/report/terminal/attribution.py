"""What the terminal says of an attribution: lines of the summary of a curation, and the table of `grip fidelity`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.report import attribution
from grip_assets.report.attribution import number, target_label
from grip_assets.report.page.inert import visible
from grip_assets.store import attributed
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.attributed import Attributed
from grip_assets.store.catalog import connect

NOT_MEASURED = (
    "Fidelity was not measured: settings/attribution.choose is none. `grip curate --set attribution.choose=bootstrap`"
    " trains small models on some subsets, and measures it."
)
NOTHING = "No document is attributed to a target yet. `grip curate --set selection.rule=greedy` does it."
HEAD = f"{'spearman':>8}  {'95%':>14}  {'ratio':>5}  {'seconds':>9}  {'GFLOP':>9}  {'MB':>8}  in words"


def as_lines(found: Attributed | None, metrics: Mapping[str, Any]) -> Iterator[str]:
    """For the summary of a curation: the score, how well it predicts, how good the selection is. Nothing if no
    document was attributed. ``metrics``: of the asset ``subset``."""
    if found is None:
        return
    yield f"Subsets are scored by {found.label(found.chosen['configuration'])}. {attribution.how_chosen(found)}"
    if found.measured:
        yield f"  predicts {attribution.in_words(found)}"
        yield from (f"  {words}" for words in (attribution.quadratic(found), attribution.best_other(found)) if words)
    if words := attribution.certificate(metrics):
        yield f"  {words}"
    yield ""


def as_data(found: Attributed | None) -> dict[str, Any] | None:
    """The same as data: the chosen configuration, all that were compared, and the rows of fidelity."""
    if found is None:
        return None
    return {
        "chosen": found.chosen,
        "choice": found.choice.to_dicts(),
        "fidelity": [row | {"label": found.label(row["configuration"])} for row in found.fidelity.to_dicts()],
    }


def in_force(root: Path) -> tuple[Attributed | None, str]:
    """The attribution of the data folder ``root``, or None and the reason."""
    store = ArtifactStore(root)
    with connect(root) as connection:
        version = attributed.version_in_force(connection)
    if version is None or not store.has("attribution", version):
        return None, NOTHING
    found = attributed.of_version(store, version)
    why_not = store.manifest("attribution", version).get("unused", "nothing asks for it")
    return found, "" if found else f"attribution: not used: {why_not}"


def fidelity(found: Attributed, target: str | None = None) -> Iterator[str]:
    """The table of `grip fidelity`. ``target``: one target; None: all together."""
    yield f"chosen: {found.label(found.chosen['configuration'])}. {attribution.how_chosen(found)}"
    if not found.measured:
        yield NOT_MEASURED
        return
    rows = found.fidelity.filter(target=target) if target else attribution.overall(found.fidelity)
    yield (
        f"Spearman of predicted and measured utility, {_of(rows)}, on trials that chose nothing; 95% over trials. No"
        " score can do better than the noise ceiling"
    )
    for kind in attribution.kinds(found):
        for size in rows["size"].unique().sort():
            yield from _table(found, rows.filter(kind=kind, size=size), f"{kind}, {size:,} tokens")
    yield from (f"  {words}" for words in (attribution.quadratic(found), attribution.best_other(found)) if words)


def _of(rows: pl.DataFrame) -> str:
    return visible(target_label(rows["target"][0])) if len(rows) else "no target"


def _table(found: Attributed, rows: pl.DataFrame, title: str) -> Iterator[str]:
    """One row for each score, the best first, the chosen one marked."""
    if rows.is_empty():
        return
    rows = rows.sort(pl.col("spearman").fill_nan(None), descending=True, nulls_last=True, maintain_order=True)
    by = {row["configuration"]: row for row in rows.iter_rows(named=True)}
    labels = {name: found.label(name) for name in by}
    width = max(len(label) for label in labels.values())
    top = attribution.ceiling(rows["ceiling"][0])
    yield f"{title}: {rows['n'][0]} trials, {top}"
    yield f"    {'score':<{width}}  {HEAD}"
    for name in by:
        mark = "*" if name == found.chosen["configuration"] else " "
        yield f"  {mark} {labels[name]:<{width}}  {_cells(by[name])}"


def _cells(row: Mapping[str, Any]) -> str:
    interval = f"{number(row['low'])} to {number(row['high'])}" if row["low"] is not None else "-"
    cost = [
        "-" if value is None else f"{value:,.1f}"
        for value in (row["seconds"], _part(row["flops"], 1e9), _part(row["bytes"], 1e6))
    ]
    return (
        f"{number(row['spearman']):>8}  {interval:>14}  {number(row['ratio']):>5}  {cost[0]:>9}  {cost[1]:>9}"
        f"  {cost[2]:>8}  {visible(row['words'] or '')}"
    )


def _part(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit
