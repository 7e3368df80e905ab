"""The source column: vectors of the user's, for any kind of data, in a Parquet table (settings/attribution.column).

The table has `doc_id` (the id in the table corpus) and one column of lists of numbers, all of one length. Rows of
targets are in the same table, in one of two ways:
- A column `target` names the target of a row, and is null for a document. The `doc_id` of such a row is not read. A
  target is the mean of its rows.
- Without such rows, the `doc_id` of a row may be an item_id of the table attribution_items. The item then shapes its
  target.
"""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from grip_assets.errors import GripError
from grip_assets.runtime import memory
from grip_assets.settings import Attribution
from grip_assets.stages.attribution.sources.base import Asked, Measured, Rows, Target, mean_of, norms, shortening

SETTING = "settings/attribution.column"


def content_of(settings: Attribution) -> str:
    """Digest of the table's content, for the recipe. GripError if it is missing."""
    path = _path(settings)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise _wrong(path, f"it cannot be read ({error.strerror})") from None


def measure(asked: Asked) -> Measured:
    path = _path(asked.settings)
    table = _read(path)
    name, width = _vectors(table, path)
    memory.need(4 * width * table.height, f"The table of {SETTING}", "Use shorter vectors")
    of_targets, n_bytes = _of_targets(asked, table, name, path), table.height * width * 4
    document_NW = _of_documents(asked, table, name, path)
    _must_be_finite(document_NW, asked.documents["doc_id"], path)
    target_TW = np.stack([mean_of(rows_IW, np.ones(len(rows_IW))) for rows_IW in of_targets.values()])
    sketch, how_short = shortening(asked.settings, width, target_TW, "column")
    targets = {
        target: Target(feature_K, len(rows_IW))
        for (target, rows_IW), feature_K in zip(of_targets.items(), sketch.apply(target_TW), strict=True)
    }
    tokens_N = asked.documents["n_tokens"].to_numpy()

    def read(start: int, stop: int) -> Rows:
        feature_BW = document_NW[start:stop]
        return Rows(sketch.apply(feature_BW), tokens_N[start:stop], norms(feature_BW))

    return Measured(width, how_short, read, targets, 0.0, 0.0, n_bytes, 0)


def _path(settings: Attribution) -> Path:
    if settings.column is None:
        raise GripError(
            f"settings/attribution.source asks for 'column', and {SETTING} names no table. Add --set"
            " attribution.column=FILE.parquet, with doc_id and a column of lists of numbers."
        )
    return Path(settings.column)


def _read(path: Path) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _wrong(path, f"it cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    if "doc_id" not in table.columns:
        raise _wrong(path, f"it has no column doc_id, only {', '.join(table.columns)}")
    return table.with_columns(pl.col("doc_id").cast(pl.String))


def _vectors(table: pl.DataFrame, path: Path) -> tuple[str, int]:
    """The column of vectors, and their length. GripError if there is no such column, or several, or of two lengths."""
    lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List | pl.Array)]
    if len(lists) != 1:
        what = f"{len(lists)} columns of lists ({', '.join(lists)})" if lists else "no column of lists of numbers"
        raise _wrong(path, f"it has {what}, and must have one")
    (name,) = lists
    inner = table.schema[name].inner  # type: ignore[attr-defined]
    if not inner.is_numeric():
        raise _wrong(path, f"the lists in '{name}' are of {inner}, and must be of numbers")
    lengths = table.select(_length(table, name).alias("n"), "doc_id").group_by("n", maintain_order=True).first()
    if len(lengths) > 1 or lengths["n"].fill_null(0).eq(0).any():
        shown = ", ".join(f"{n or 0:,} ({doc})" for n, doc in lengths.head(3).iter_rows())
        raise _wrong(path, f"the vectors in '{name}' have different lengths, or none: {shown}")
    return name, int(lengths["n"][0])


def _length(table: pl.DataFrame, name: str) -> pl.Expr:
    if isinstance(kind := table.schema[name], pl.Array):
        return pl.when(pl.col(name).is_not_null()).then(pl.lit(kind.shape[0]))
    return pl.col(name).list.len()


def _of_targets(asked: Asked, table: pl.DataFrame, name: str, path: Path) -> dict[str, np.ndarray]:
    """Target to the vectors that shape it, float32 (I, W)."""
    if "target" in table.columns:
        rows = table.drop_nulls("target").with_columns(pl.col("target").cast(pl.String))
    else:
        items = asked.items.select("target", doc_id="item_id")
        rows = items.join(table, on="doc_id", how="inner", maintain_order="left")
    if rows.is_empty():
        raise _wrong(
            path,
            "it has no vector of a target. Give it a column 'target' with a target's name in some rows, or rows whose"
            " doc_id is an item_id of the table attribution_items",
        )
    found = {str(t): _matrix(part, name) for (t,), part in rows.group_by("target", maintain_order=True)}
    for target, rows_IW in found.items():
        if not np.isfinite(rows_IW).all():
            raise _wrong(path, f"a vector of the target '{target}' is not finite")
    return found


def _of_documents(asked: Asked, table: pl.DataFrame, name: str, path: Path) -> np.ndarray:
    """The vectors in the order of the documents, float32 (N, W)."""
    rows = table.filter(pl.col("target").is_null()) if "target" in table.columns else table
    rows = rows.select("doc_id", name).filter(pl.col("doc_id").is_in(asked.documents["doc_id"].implode()))
    twice = rows.filter(pl.col("doc_id").is_duplicated())
    if len(twice):
        raise _wrong(path, f"document {twice['doc_id'][0]} is there twice")
    missing = asked.documents.join(rows, on="doc_id", how="anti", maintain_order="left")
    if len(missing):
        raise _wrong(
            path,
            f"{len(missing):,} of {len(asked.documents):,} documents have no vector there, for example"
            f" {missing['doc_id'][0]}. Ids are those of the column doc_id of the table corpus",
        )
    return _matrix(asked.documents.select("doc_id").join(rows, on="doc_id", how="left", maintain_order="left"), name)


def _matrix(rows: pl.DataFrame, name: str) -> np.ndarray:
    column = rows[name]
    if isinstance(column.dtype, pl.List):
        column = column.list.to_array(int(column.list.len()[0]))
    return np.ascontiguousarray(column.to_numpy(), np.float32)


def _must_be_finite(feature_NW: np.ndarray, ids: pl.Series, path: Path) -> None:
    good_N = np.isfinite(feature_NW).all(axis=1)
    if not good_N.all():
        raise _wrong(path, f"the vector of document {ids[int(np.argmin(good_N))]} has a number that is not finite")


def _wrong(path: Path, what: str) -> GripError:
    return GripError(f"{SETTING} is '{path}', and {what}. It needs doc_id, and one column of lists of numbers.")
