"""Keeps ladders of other settings beside the one in force, to compare their orders: of other sizes of the models.

    python -m tools.ladders keep 2.6M     # the ladder in force, under a name
    python -m tools.ladders order         # how well the kept ladders agree on the order of the strategies

Kept ladders are a table of the data folder, which tools/evidence.py reads (block ``ladders``).
"""

import sys
from itertools import combinations
from pathlib import Path

import polars as pl

from grip_assets.errors import GripError, UsageMistake
from grip_assets.method.statistics import Estimate, rank_agreement
from grip_assets.store.artifacts import ArtifactStore, data_root
from grip_assets.store.catalog import connect
from grip_assets.store.writing import put
from tools.evidence import MEASURED

COLUMNS = ["set", "strategy", "kind", "seeds", "bits_per_byte", "to_random", "to_random_low", "to_random_high"]


def kept(root: Path) -> pl.DataFrame:
    """All kept ladders, with the column ``run``: their names. Empty if there are none."""
    file = root / MEASURED / "ladders.parquet"
    return pl.read_parquet(file) if file.exists() else pl.DataFrame(schema={"run": pl.String})


def keep(root: Path, name: str) -> pl.DataFrame:
    """Keep the ladder in force under ``name``. One of the same name is replaced."""
    with connect(root) as connection:
        found = connection.table("ladder").pl().select(COLUMNS)
    if found.is_empty():
        raise GripError("There is no ladder in force. Run `grip evaluate` first.")
    rows = pl.concat([kept(root).filter(pl.col("run") != name), found.with_columns(run=pl.lit(name))], how="diagonal")
    with ArtifactStore(root).scratch() as folder:
        rows.write_parquet(folder / "ladders.parquet")
        put(folder / "ladders.parquet", root / MEASURED / "ladders.parquet")
    return rows


def agreement(ladders: pl.DataFrame) -> list[tuple[str, str, str, Estimate]]:
    """(set, one ladder, another, rank correlation of the losses of the strategies that both have)."""
    found = []
    for (of,), rows in ladders.group_by("set", maintain_order=True):
        for one, other in combinations(rows["run"].unique(maintain_order=True).to_list(), 2):
            both = rows.filter(run=one).join(rows.filter(run=other), on="strategy")
            ranks = rank_agreement(both["bits_per_byte"].to_numpy(), both["bits_per_byte_right"].to_numpy())
            found.append((str(of), one, other, ranks))
    return found


def main(*words: str) -> None:
    if words[:1] == ("keep",) and len(words) == 2:
        print(f"{keep(data_root(), words[1])['run'].n_unique()} ladders are kept in {data_root() / MEASURED}")
    elif words == ("order",):
        for of, one, other, ranks in agreement(kept(data_root())):
            print(f"{of}: {one} and {other} rank the strategies alike by {ranks}")
    else:
        raise UsageMistake("Write `python -m tools.ladders keep NAME` or `python -m tools.ladders order`.")


if __name__ == "__main__":
    main(*sys.argv[1:])
