"""The two jobs that read a pool. Each needs only one batch of documents, so any process can run it.

Between the two jobs, stages/curation/corpus.py takes the steps that compare a document with earlier ones, in the order
of the pool. The files of a folder are read by the job. The rows of a table are read by the process that streams its
file, since the file may be larger than memory.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from grip_assets.method.sampling import keyed_uniform
from grip_assets.models.opening import TokenizerFiles
from grip_assets.runtime import opened
from grip_assets.runtime.executors import Executor
from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument, Reason, Rejected
from grip_assets.sources.listing import Entry
from grip_assets.sources.pool import DocumentPool
from grip_assets.sources.readers import Reader
from grip_assets.sources.steps import in_any_order, steps_of
from grip_assets.sources.steps.base import Outcome
from grip_assets.sources.steps.contamination import Finding

Item = TypeVar("Item", Entry | Outcome, Outcome)
BATCH, BATCH_BYTES = 1024, 2 << 20  # documents and bytes of text per batch
IN_MEMORY = 6 * BATCH_BYTES  # bytes of a batch with its results
OF_DOCUMENTS = tuple(field.name for field in fields(RawDocument))
OF_REJECTED = tuple(field.name for field in fields(Rejected))
TYPES = {"text": pa.large_string(), "n_bytes": pa.int64(), "vector": pa.binary(), "language_confidence": pa.float64()}
READ = pa.schema([(name, TYPES.get(name, pa.string())) for name in dict.fromkeys((*OF_DOCUMENTS, *OF_REJECTED))])


@dataclass(frozen=True)
class ReadDocuments:
    """The job: turns pieces of a pool into documents with names, or into rejections, which have a ``reason``.

    A piece is a file, or a document or rejection from a row of a table. If a document or rejection comes through
    unchanged, its row of the result holds only its ``doc_id``.
    """

    reader: Reader
    settings: Corpus

    def run(self, shard: tuple[Entry | Outcome, ...]) -> pa.Table:
        steps = opened.get(("steps", self.settings.model_dump_json()), partial(steps_of, self.settings))
        read = [document for piece in shard for document in self._read(piece)]
        given = {id(piece) for piece in shard}
        rows = [_row(found, id(found) in given) for found in in_any_order(steps, read)]
        return pa.table({name: [row.get(name) for row in rows] for name in READ.names}, schema=READ)

    def _read(self, piece: Entry | Outcome) -> Iterable[Outcome]:
        return self.reader.read(piece) if isinstance(piece, Entry) else (piece,)


def _row(outcome: Outcome, as_given: bool) -> dict[str, Any]:
    return {"doc_id": outcome.doc_id} if as_given else as_row(outcome)


def as_row(outcome: Outcome) -> dict[str, Any]:
    """A document or rejection as a row of the schema READ. The inverse is ``outcome``."""
    if isinstance(outcome, RawDocument):
        return vars(outcome)
    return vars(outcome) | {"finding": json.dumps(outcome.finding) if outcome.finding else None}


def read_pool(source: DocumentPool, settings: Corpus, executor: Executor) -> Iterator[Outcome]:
    """The documents of a pool in its order, after the steps that look at each document alone."""
    waiting: deque[tuple[Entry | Outcome, ...]] = deque()

    def pieces() -> Iterator[tuple[Entry | Outcome, ...]]:
        stream: Iterable[Entry | Outcome] = source.read()
        if source.reader.file_is_document:
            stream = [*source.rejected, *source.entries]
        for batch in map(tuple, batches(stream)):
            waiting.append(batch)
            yield batch

    for table in executor.map(ReadDocuments(source.reader, settings), pieces(), IN_MEMORY):
        yield from outcomes(table, waiting.popleft())


def outcomes(table: pa.Table, pieces: tuple[Entry | Outcome, ...]) -> Iterator[Outcome]:
    """The documents and rejections that ``ReadDocuments`` made of ``pieces``, from its result."""
    given = (piece for piece in pieces if not isinstance(piece, Entry))  # documents and rejections come before files
    whole = iter(table.filter(pc.is_valid(table["source"])).to_pylist())
    for source, name in zip(table["source"].to_pylist(), table["doc_id"].to_pylist(), strict=True):
        piece = next(given, None)
        if source is not None:
            yield outcome(next(whole))
        elif piece is not None:
            if isinstance(piece, RawDocument):
                vars(piece)["doc_id"] = name  # computed by the job: a cached property
            yield piece


def outcome(row: dict[str, Any]) -> Outcome:
    """The document or rejection of a row."""
    if row["reason"] is None:
        columns: dict[str, Any] = {name: row.get(name) for name in OF_DOCUMENTS}  # older files lack newer columns
        document = RawDocument(**columns)
        vars(document)["doc_id"] = row["doc_id"]
        return document
    values = {name: row[name] for name in OF_REJECTED} | {"reason": Reason(row["reason"])}
    finding = Finding(*json.loads(row["finding"])) if row["finding"] else None
    return Rejected(**(values | {"finding": finding}))


def batches(stream: Iterable[Item]) -> Iterator[list[Item]]:
    """Files, documents and rejections in lists of at most BATCH items and about BATCH_BYTES of text."""
    batch: list[Item] = []
    n_bytes = 0
    for item in stream:
        batch.append(item)
        n_bytes += item.size if isinstance(item, Entry) else item.n_bytes if isinstance(item, RawDocument) else 0
        if len(batch) == BATCH or n_bytes >= BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


@dataclass(frozen=True)
class CountTokens:
    """The job: counts the tokens of texts, and finds the texts whose project is held out.

    A shard has the columns ``text`` and ``project``. Each project is drawn by itself, so another project in the pool
    changes nothing. ``tokenizer``: None if no tokens are counted.
    """

    tokenizer: TokenizerFiles | None
    held_out: float
    seed: int

    def run(self, shard: pa.Table) -> pa.Table:
        counts = self.tokenizer.counter()(shard["text"].to_pylist()) if self.tokenizer else [0] * len(shard)
        return pa.table({"n_tokens": pa.array(counts, pa.int64()), "held_out": self._set_aside(shard["project"])})

    def _set_aside(self, projects: pa.ChunkedArray) -> pa.Array:
        if not self.held_out:
            return pa.array([False] * len(projects), pa.bool_())
        return pa.array(keyed_uniform(self.seed, "held_out", projects.to_pylist()) < self.held_out)
