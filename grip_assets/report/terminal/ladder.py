"""The result of the evaluation for the terminal: each strategy on each set, with interval, verdict and cost."""

from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.in_force import Run
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
    return "\n".join(
        [
            *lines,
            *what_ran(run),
            f"tables:   {catalog_path(root)}   (ladder, evaluation, strategy_costs: docs/reference.md)",
        ]
    )


HEAD = f"  {'strategy':<15} {'bits/byte':>17}  {'to random':>17}  {'to previous':>17}  {'cost':>8}  verdict"


def line(row: dict[str, Any]) -> str:
    cells = [
        interval(row["bits_per_byte"], row["low"], row["high"], sign=False),
        interval(row["to_random"], row["to_random_low"], row["to_random_high"]),
        interval(row["to_previous"], row["to_previous_low"], row["to_previous_high"]),
    ]
    said = "; ".join(dict.fromkeys(filter(None, [row["verdict"], row["previous_verdict"]])))
    return f"  {row['strategy']:<15} " + "  ".join(f"{c:>17}" for c in cells) + f"  {row['seconds']:>6,.0f} s  {said}"


def interval(mean: float | None, low: float | None, high: float | None, sign: bool = True) -> str:
    if mean is None or low is None or high is None:
        return "-"
    return f"{mean:+.4f} ± {(high - low) / 2:.4f}" if sign else f"{mean:.4f} ± {(high - low) / 2:.4f}"
