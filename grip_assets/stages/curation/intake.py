"""The documents of one source, read once: kept in the data folder under a name that says what they depend on.

So a new source reads only itself, and what compares documents of several sources (exact copies, the cap of a source
that is kept) reads this file. The name is a hash of the source's listing, its settings, the tokenizer and the
benchmarks. `grip clean` removes it with the last corpus that needs it. The disk then holds the texts of sources twice.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.engine.stage import Work
from grip_assets.method.sampling import keyed_uniform
from grip_assets.models.opening import TokenizerFiles
from grip_assets.settings import Corpus, digest, hashed_values
from grip_assets.sources.documents import RawDocument, Reason, Rejected
from grip_assets.sources.jobs import IN_MEMORY, READ, CountTokens, as_row, batches, outcome, read_pool
from grip_assets.sources.pools import Part, Pools
from grip_assets.sources.steps import in_pool_order, steps_of
from grip_assets.sources.steps.base import Outcome
from grip_assets.store.tables import TableWriter

VERSION = "1"  # raise it when a reader or a step gives another result for the same files
FILE = "intake.parquet"
SCHEMA = READ.append(pa.field("n_tokens", pa.int64())).append(pa.field("held_out", pa.bool_()))
TO_COUNT = pa.schema([("text", pa.large_string()), ("project", pa.string())])
BATCH = 256  # rows that are Python values at a time


@dataclass(frozen=True)
class Counted:
    """A document with its tokens, or a rejection, and the source that it comes from."""

    outcome: Outcome
    n_tokens: int
    held_out: bool
    part: Part


def documents_of_sources(
    work: Work, pools: Pools, settings: Corpus, tokenizer: TokenizerFiles, facts: Any
) -> Iterator[Counted]:
    """The documents of all sources, in their order, after all steps and caps. ``facts``: of the tokenizer and the
    benchmarks."""
    steps = [step for step in steps_of(settings) if step.ordered]
    seen: set[str] = set()
    for part in pools.parts:
        file = _read(work, part, tokenizer, facts)
        chosen = _under_the_cap(file, part, settings.seed, seen)
        for row in _stored(file):
            found = outcome(row)
            over = chosen is not None and found.doc_id not in chosen and found.doc_id not in seen
            if isinstance(found, RawDocument) and over:
                detail = f"the cap of the source '{part.source.name}' is {part.source.cap:,} tokens"
                found = Rejected(found.source, Reason.OVER_CAP, detail, found.n_bytes, found.doc_id)
            (found,) = in_pool_order(steps, [found])
            yield Counted(found, row["n_tokens"] or 0, bool(row["held_out"]), part)
        if part.source.role == "keep":
            names = pl.read_parquet(file, columns=["doc_id", "reason"]).filter(pl.col("reason").is_null())
            seen.update(names["doc_id"] if chosen is None else chosen)


def _read(work: Work, part: Part, tokenizer: TokenizerFiles, facts: Any) -> Path:
    """The file with the documents of a source. They are read unless it is there."""
    values = hashed_values(part.settings)
    how = f"intake-{digest([VERSION, part.pool.fingerprint(), values, part.pool.reader.vector_column, facts])}"
    work.store.shards_used.add(how)
    file = work.store.root / work.stage.name / ".shards" / how / FILE
    work.store.bring(file.parent)
    if _is_whole(file):
        work.log(f"source {part.source.name}: as it was read before")
        return file
    work.log(f"source {part.source.name}: reading {part.settings.path}")
    with work.store.scratch() as scratch:
        with TableWriter(scratch / FILE, SCHEMA) as writer:
            for rows in _counted(work, part, tokenizer):
                writer.write(rows)
        work.store.put(scratch / FILE, file)
    return file


def _is_whole(file: Path) -> bool:
    with suppress(OSError, pa.ArrowException):
        pq.ParquetFile(file)
        return True
    return False


def _counted(work: Work, part: Part, tokenizer: TokenizerFiles) -> Iterator[pa.Table]:
    waiting: deque[list[Outcome]] = deque()

    def to_count() -> Iterator[pa.Table]:
        for batch in batches(read_pool(part.pool, part.settings, work.executor)):
            waiting.append(batch)
            documents = [d for d in batch if isinstance(d, RawDocument)]
            columns = {"text": [d.text for d in documents], "project": [d.project for d in documents]}
            yield pa.table(columns, schema=TO_COUNT)

    job = CountTokens(tokenizer, part.settings.held_out, part.settings.seed)
    for table in work.executor.map(job, to_count(), IN_MEMORY):
        yield pa.Table.from_pylist(list(_rows(waiting.popleft(), table)), schema=SCHEMA)


def _rows(batch: list[Outcome], table: pa.Table) -> Iterator[dict[str, Any]]:
    of_documents = zip(table["n_tokens"].to_pylist(), table["held_out"].to_pylist(), strict=True)
    for found in batch:
        n, held = next(of_documents) if isinstance(found, RawDocument) else (None, None)
        name = {"doc_id": found.doc_id} if found.doc_id else {}
        yield as_row(found) | name | {"n_tokens": n, "held_out": held}


def _stored(file: Path) -> Iterator[dict[str, Any]]:
    batches = pq.ParquetFile(file).iter_batches(batch_size=BATCH)
    return itertools.chain.from_iterable(batch.to_pylist() for batch in batches)


def _under_the_cap(file: Path, part: Part, seed: int, seen: set[str]) -> set[str] | None:
    """The documents of a source that its cap leaves, drawn by a hash of their names. None if it has no cap.

    ``seen``: documents that an earlier source has; they count towards no second cap.
    """
    if part.source.cap is None:
        return None
    rows = pl.read_parquet(file, columns=["doc_id", "reason", "n_tokens"]).filter(pl.col("reason").is_null())
    rows = rows.unique("doc_id", keep="first", maintain_order=True).filter(~pl.col("doc_id").is_in(list(seen)))
    rows = rows.with_columns(u=pl.Series(keyed_uniform(seed, "background", rows["doc_id"]))).sort("u", "doc_id")
    chosen, left = set(), part.source.cap
    for doc_id, n in rows.select("doc_id", "n_tokens").iter_rows():
        if n <= left:  # one that is too long for what is left is passed over
            chosen.add(doc_id)
            left -= n
    return chosen
