"""What mixture_check found, for the terminal: each way to set the weights of domains, measured and in words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grip_assets.report.mixing import MIXERS
from grip_assets.report.page.inert import visible
from grip_assets.report.terminal.cells import interval
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import connect


def as_lines(root: Path) -> Iterator[str]:
    """The table ``mixture_verdict`` of the data folder ``root``, the least loss first, and whether predictions held."""
    with connect(root) as connection:
        rows = connection.table("mixture_verdict").order("measured NULLS LAST, mixer").pl().to_dicts()
        seeds = connection.sql("SELECT count(DISTINCT seed) FROM mixture_check").fetchall()[0][0]
        version = connection.sql("SELECT version FROM artifacts WHERE in_force AND asset = 'mixture_check'").fetchall()
    metrics = ArtifactStore(root).manifest("mixture_check", version[0][0])["metrics"] if version else {}
    if not rows:
        yield "mixture_check: not used, since settings/budget.base is not mixture"
        return
    yield (
        f"mixture_check: bits per byte of the objective, less is better; mean of {seeds} seeds. The difference to"
        " natural is paired by seed, with its 95% interval"
    )
    width = max(len(_said(row)) for row in rows)
    yield f"  {'weights':<{width}}  {'bits/byte':>9}  {'to natural':>17}  {'predicted':>9}  verdict"
    yield from (f"  {_said(row):<{width}}  {_line(row)}" for row in rows)
    for name in ("prediction", "grip_left_out"):
        if said := metrics.get(name):
            yield f"  {visible(str(said))}"
    yield "  The report shows this after the next `grip curate`."


def _said(row: dict[str, Any]) -> str:
    return MIXERS.get(row["mixer"], row["mixer"])


def _line(row: dict[str, Any]) -> str:
    natural = row["mixer"] == "natural"
    measured = "-" if row["measured"] is None else f"{row['measured']:.4f}"
    difference = "-" if natural else interval(row["mean"], row["low"], row["high"])
    predicted = "-" if natural or row["predicted"] is None else f"{row['predicted']:+.4f}"
    return f"{measured:>9}  {difference:>17}  {predicted:>9}  {visible(row['words'])}"
