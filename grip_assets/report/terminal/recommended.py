"""What an evaluation recommends, for the terminal and as JSON: the sentence, and who wins on which texts."""

from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.store.catalog import connect


def as_data(root: Path) -> dict[str, Any]:
    """The tables of the evaluation in force as JSON. ``words``: the sentence of the set that decides."""
    with connect(root) as connection:
        tables = {name: connection.table(name).pl() for name in ("recommendation", "ladder", "worth")}
    decides = tables["recommendation"].filter("decides")
    words = decides["words"][0] if len(decides) else None
    return {"words": words, **{name: table.to_dicts() for name, table in tables.items()}}


def sentences(found: pl.DataFrame) -> list[str]:
    """The sentence of the set that decides; then those of the other sets, each with its name."""
    decides, others = found.filter("decides"), found.filter(~pl.col("decides"))
    return [*decides["words"], *(f"  ({row['set']}: {row['words']})" for row in others.iter_rows(named=True))]


def winners(ladder: pl.DataFrame, found: pl.DataFrame) -> list[str]:
    """Where each recommended strategy wins, and at what price elsewhere: a row a strategy, a column a set."""
    sets = found["set"].to_list()
    names = [name for name in dict.fromkeys(found["strategy"]) if name != "random"]
    if len(sets) < 2 or not names:
        return []
    lines = ["difference to random by texts, negative is better (*: the interval leaves 0 out)"]
    lines.append(f"  {'strategy':<15} " + " ".join(f"{name:>14}" for name in sets))
    for name in names:
        cells = [_cell(ladder.filter(strategy=name, set=of)) for of in sets]
        lines.append(f"  {name:<15} " + " ".join(f"{cell:>14}" for cell in cells))
    return lines


def _cell(rows: pl.DataFrame) -> str:
    if rows.is_empty() or rows["to_random"][0] is None:
        return "–"
    row = rows.row(0, named=True)
    base = row["bits_per_byte"] - row["to_random"]
    low, high = row["to_random_low"], row["to_random_high"]
    sure = low is not None and (low > 0 or high < 0)
    return f"{row['to_random'] / base:+.1%}{'*' if sure else ' '}".replace("-", "−")
