"""The result of the evaluation for the terminal: each strategy on each set, with interval, verdict and cost; then each
way to set the weights of domains, if mixture_check was made."""

from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.in_force import Run
from grip_assets.report.terminal.cells import interval
from grip_assets.report.terminal.mixture_check import as_lines
from grip_assets.report.terminal.recommended import sentences, winners
from grip_assets.report.terminal.summary import what_ran
from grip_assets.store.catalog import catalog_path, connect

KINDS = {
    "rung": "Panel B: each rung adds or replaces one part of the rung before it",
    "yours": "Budget and selection of your settings",
    "baseline": "Baselines",
    "ablation": "grip without one part, or with another one in its place",
    "loop": "The model's own checkpoints as the proxy; grip_steady is the same without the loop",
}


def ladder(root: Path, run: Run) -> str:
    lines, recommended = [""], None
    if "evaluation" in run.computed + run.reused:
        with connect(root) as connection:
            rows = connection.sql("SELECT * FROM ladder").pl()
            recommended = connection.sql("SELECT * FROM recommendation").pl()
        for (name,), part in rows.group_by("set", maintain_order=True):
            seeds = int(part["seeds"].max())  # type: ignore[arg-type]
            lines += [f"{name}: bits per byte, less is better; mean of {seeds} seeds, 95% intervals", HEAD]
            for kind, title in KINDS.items():
                some = part.filter(pl.col("kind") == kind)
                lines += [f"  {title}"] * bool(len(some)) + [line(row, seeds) for row in some.iter_rows(named=True)]
            lines.append("")
        lines += [*winners(rows, recommended), ""]
    if "mixture_check" in run.computed + run.reused:
        lines += [*as_lines(root), ""]
    said = ["", *sentences(recommended)] if recommended is not None else []
    return "\n".join(
        [
            *lines,
            *what_ran(run),
            f"tables:   {catalog_path(root)}   ({_tables(run)}: docs/reference.md)",
            *said,
        ]
    )


def _tables(run: Run) -> str:
    made = run.computed + run.reused
    shown = (
        ["ladder, worth, recommendation, evaluation, strategy_costs"]
        if "evaluation" in made or "mixture_check" not in made
        else []
    )
    return ", ".join([*shown, *(["mixture_verdict, mixture_check"] if "mixture_check" in made else [])])


HEAD = (
    f"  {'strategy':<15} {'bits/byte':>17}  {'to random':>17}  {'to previous':>17}  {'cost':>8}  {'worth':>8}  verdict"
)


def line(row: dict[str, Any], most_seeds: int = 0) -> str:
    """One row. A strategy with fewer seeds than ``most_seeds`` is marked."""
    cells = [
        interval(row["bits_per_byte"], row["low"], row["high"], sign=False),
        interval(row["to_random"], row["to_random_low"], row["to_random_high"]),
        interval(row["to_previous"], row["to_previous_low"], row["to_previous_high"]),
    ]
    fewer = f"{row['seeds']} seeds" if row["seeds"] < most_seeds else None
    said = "; ".join(dict.fromkeys(filter(None, [fewer, row["verdict"], row["previous_verdict"]])))
    worth = (row["worth_words"] or "–").partition(" (")[0].replace("more than ", "> ").replace("less than ", "< ")
    return (
        f"  {row['strategy']:<15} "
        + "  ".join(f"{c:>17}" for c in cells)
        + f"  {row['seconds']:>6,.0f} s  {worth:>8}  {said}"
    )
