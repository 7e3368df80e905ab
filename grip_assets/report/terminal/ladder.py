"""The result of the evaluation for the terminal: each strategy on each set, with interval, verdict and cost; then each
way to set the weights of domains, if mixture_check was made."""

from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.in_force import Run
from grip_assets.report.terminal.cells import interval
from grip_assets.report.terminal.mixture_check import as_lines
from grip_assets.report.terminal.summary import what_ran
from grip_assets.store.catalog import catalog_path, connect

KINDS = {
    "rung": "Panel B: each rung adds or replaces one part of the rung before it",
    "yours": "Budget and selection of your settings",
    "baseline": "Baselines",
    "ablation": "grip without one part",
}


def ladder(root: Path, run: Run) -> str:
    lines = [""]
    if "evaluation" in run.computed + run.reused:
        with connect(root) as connection:
            rows = connection.sql("SELECT * FROM ladder").pl()
        for (name,), part in rows.group_by("set", maintain_order=True):
            lines += [f"{name}: bits per byte, less is better; mean of {part['seeds'][0]} seeds, 95% intervals", HEAD]
            for kind, title in KINDS.items():
                some = part.filter(pl.col("kind") == kind)
                lines += [f"  {title}"] * bool(len(some)) + [line(row) for row in some.iter_rows(named=True)]
            lines.append("")
    if "mixture_check" in run.computed + run.reused:
        lines += [*as_lines(root), ""]
    return "\n".join(
        [
            *lines,
            *what_ran(run),
            f"tables:   {catalog_path(root)}   ({_tables(run)}: docs/reference.md)",
        ]
    )


def _tables(run: Run) -> str:
    made = run.computed + run.reused
    shown = ["ladder, evaluation, strategy_costs"] if "evaluation" in made or "mixture_check" not in made else []
    return ", ".join([*shown, *(["mixture_verdict, mixture_check"] if "mixture_check" in made else [])])


HEAD = f"  {'strategy':<15} {'bits/byte':>17}  {'to random':>17}  {'to previous':>17}  {'cost':>8}  verdict"


def line(row: dict[str, Any]) -> str:
    cells = [
        interval(row["bits_per_byte"], row["low"], row["high"], sign=False),
        interval(row["to_random"], row["to_random_low"], row["to_random_high"]),
        interval(row["to_previous"], row["to_previous_low"], row["to_previous_high"]),
    ]
    said = "; ".join(dict.fromkeys(filter(None, [row["verdict"], row["previous_verdict"]])))
    return f"  {row['strategy']:<15} " + "  ".join(f"{c:>17}" for c in cells) + f"  {row['seconds']:>6,.0f} s  {said}"
