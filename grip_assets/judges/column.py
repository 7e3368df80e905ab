"""Scores from a column of the pool, such as those of a classifier of educational value.

One of two rules turns a value v into a score from 0 to 1. With a range (low, high), the score is (v - low) / (high -
low), clipped to 0 and 1. Without a range, it is v's quantile in the pool, (rank - 1/2) / n. Equal values share their
mean rank. A document without a number gets the status 'failed'.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from grip_assets.errors import GripError
from grip_assets.judges.base import Document, Verdict
from grip_assets.store.tables import blocks


class ColumnJudge:
    """Judges documents by a column that the table ``corpus`` keeps (settings/corpus.keep)."""

    def __init__(self, files: str, column: str | None, limits: Sequence[float]):
        if column is None:
            raise GripError(
                "settings/quality.judge is 'column', and settings/quality.column is not set. Set it to the name of a"
                " column of the pool, and name it in settings/corpus.keep."
            )
        self.name, self.column = f"column {column}", column
        values = pl.concat([_values(block, column) for block in map(pl.DataFrame, blocks(files, ["doc_id", "kept"]))])
        if values["value"].null_count() == len(values):
            raise GripError(
                f"settings/quality.column is '{column}', and no document keeps a number in it. Add '{column}' to"
                " settings/corpus.keep, or check its name."
            )
        score = _between(*limits) if limits else _quantile()
        self.scores = values.select("doc_id", "value", score.alias("score"))

    def judge(self, documents: Iterable[Document]) -> Iterator[Verdict]:
        asked = pl.DataFrame({"doc_id": [d.doc_id for d in documents]}, schema={"doc_id": pl.String})
        for doc, value, score in asked.join(self.scores, on="doc_id", how="left", maintain_order="left").iter_rows():
            if score is None:
                yield Verdict(doc, self.name, status="failed", reason=f"no number in '{self.column}'")
            else:
                yield Verdict(doc, self.name, parts={self.column: value}, score=score)


def _values(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    kept = (json.loads(text) if text else {} for text in rows["kept"])
    values = [_number(row.get(column)) for row in kept]
    return rows.select("doc_id", pl.Series("value", values, pl.Float64))


def _number(value: object) -> float | None:
    """The value as a number, also if it is a number in text. None if it is no finite number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _quantile() -> pl.Expr:
    return (pl.col("value").rank("average") - 0.5) / pl.col("value").count()


def _between(low: float, high: float) -> pl.Expr:
    return ((pl.col("value") - low) / (high - low)).clip(0.0, 1.0)
