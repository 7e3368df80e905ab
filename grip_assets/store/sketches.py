"""Reading the table ``sketches`` in blocks. Its rows are sorted by source, and then as the table ``clusters`` is.

Sketches are made in stages/attribution/sketches.py.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.store.tables import matrix, parts, rows_between


def rows_of_source(files: str, source: str, documents: pl.Series) -> tuple[int, int]:
    """(first row, row after the last) of a source. ``documents``: the ids that these rows must have, in their order.

    GripError if the source has no sketches, or sketches of other documents.
    """
    table = pl.scan_parquet(parts(files), glob=False)
    here = table.select(pl.col("source") == source).collect()["source"].arg_true()
    if here.is_empty():
        raise GripError(
            f"The table sketches has none of the source {source}. Materialize sketches again, or run `grip curate`."
        )
    start, stop = int(here[0]), int(here[-1]) + 1
    found = table.select("doc_id").slice(start, stop - start).collect()["doc_id"]
    if stop - start != len(here) or not found.equals(documents, check_names=False):
        raise GripError(
            f"The sketches of the source {source} are not of the documents in the table clusters, or in another order."
            " Materialize sketches again."
        )
    return start, stop


def sketch_blocks(files: str, rows: tuple[int, int]) -> Iterator[np.ndarray]:
    """The sketches of these rows in order, float16 (B, F), block by block."""
    for block in rows_between(files, ["sketch"], *rows):
        yield matrix(block["sketch"])
