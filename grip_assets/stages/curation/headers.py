"""headers: which characters at the start of each document say nothing of it, since many other documents have them too.

A licence at the head of thousands of files makes them look alike to the encoder, and easy to the proxy. How the head
of a document is cut into blocks is in sources/headers.py. With settings/embedding.skip_header the encoder, the proxy
and the judge read what comes after the shared blocks. The corpus, the counts of tokens and every export keep the whole
text.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import Embedding
from grip_assets.sources.headers import head_of, skipped
from grip_assets.store.tables import RowRange, arrow, parts, ranges, read_range

AT_ONCE, BYTES_AT_ONCE = 2_048, 8 << 20  # documents and bytes of text of a shard of work
EXAMPLE = 400  # characters of a block that the table shows
BLOCKS = pa.list_(pa.struct([("end", pa.int32()), ("name", pa.uint64())]))


def no_header(settings: Settings) -> str:
    """Why the heads of documents are not compared; "" if shared ones are skipped."""
    skips = "embedding" in settings and Embedding.of(settings).skip_header is not None
    return "" if skips else "settings/embedding.skip_header is null"


@dataclass(frozen=True)
class ReadHeads:
    """The job: the blocks at the start of the documents in a range of rows of ``corpus``."""

    corpus: str

    def run(self, shard: RowRange) -> pa.Table:
        rows = read_range(self.corpus, ["text", "language"], shard)
        found = zip(rows["text"], rows["language"].to_pylist(), strict=True)
        heads = [head_of(text.as_py(), language) for text, language in found]
        worked(len(heads))
        return pa.table({"blocks": pa.array([[block._asdict() for block in head] for head in heads], BLOCKS)})


@dataclass(frozen=True)
class SkipHeads:
    """The job: how many characters of each document in a range of rows are skipped. ``shared``: names of blocks."""

    corpus: str
    shared: frozenset[int]

    def run(self, shard: RowRange) -> pa.Table:
        rows = read_range(self.corpus, ["doc_id", "text", "language"], shard)
        found: list[tuple[int, int]] = []
        for text, language in zip(rows["text"], rows["language"].to_pylist(), strict=True):
            whole = text.as_py()
            n_chars = skipped(whole, head_of(whole, language), self.shared)
            found.append((n_chars, len(whole[:n_chars].encode())))
        worked(len(found))
        n_chars_N, n_bytes_N = (pa.array(column, pa.int64()) for column in zip(*found, strict=True))
        return pa.table({"doc_id": rows["doc_id"], "n_chars": n_chars_N, "n_bytes": n_bytes_N})


def compute(work: Work) -> dict[str, Any]:
    least = Embedding.of(work.settings).skip_header
    assert least is not None  # otherwise the stage is unused
    corpus = work.files("corpus")
    sizes = pl.concat([pl.read_parquet(part, columns=["n_bytes"], glob=False) for part in parts(corpus)])["n_bytes"]
    there = ranges(sizes.to_numpy(), AT_ONCE, BYTES_AT_ONCE)
    found = ToDo(ReadHeads(corpus), there, "reading heads of", len(sizes), "documents").tables(work.executor, work.log)
    counts, where = _counted(found)
    shared = counts.filter(pl.col("n_docs") > least).sort("n_docs", "name", descending=[True, False])
    work.draft.write_blocks("shared_headers", [_described(shared, where, corpus)])
    job = SkipHeads(corpus, frozenset(shared["name"]))
    todo = ToDo(job, there, "skipping heads of", len(sizes), "documents").tables(work.executor, work.log)
    rows = pl.concat([pl.DataFrame(table) for table in todo])
    work.draft.write("headers", rows)
    n, share = int((rows["n_chars"] > 0).sum()), int(rows["n_bytes"].sum()) / max(int(sizes.sum()), 1)
    work.log(f"{n:,} documents begin with one of {len(shared):,} shared blocks: {share:.1%} of the pool's bytes")
    return {"documents_with_a_shared_header": n, "share_of_bytes_in_headers": share, "shared_blocks": len(shared)}


def _counted(tables: Iterable[pa.Table]) -> tuple[pl.DataFrame, dict[int, tuple[int, int, int]]]:
    """(name, n_docs) of each block, and where a document has it for the first time: its row, start and end.

    A block counts once for a document. Memory: about 200 bytes for each different block. Most are in one document.
    """
    n_docs: dict[int, int] = {}
    where: dict[int, tuple[int, int, int]] = {}
    row = 0
    for table in tables:
        for head in table["blocks"].to_pylist():
            start = 0
            for name, end in _first_of_each(head):
                where.setdefault(name, (row, start, end))
                n_docs[name] = n_docs.get(name, 0) + 1
                start = end
            row += 1
    columns = {"name": list(n_docs), "n_docs": list(n_docs.values())}
    return pl.DataFrame(columns, {"name": pl.UInt64, "n_docs": pl.Int64}), where


def _first_of_each(head: list[dict[str, int]]) -> Iterator[tuple[int, int]]:
    seen = set()
    for block in head:
        if block["name"] and block["name"] not in seen:
            seen.add(block["name"])
            yield block["name"], block["end"]


def _described(shared: pl.DataFrame, where: dict[int, tuple[int, int, int]], corpus: str) -> pa.Table:
    """The rows of ``shared_headers``: each block with its beginning in the first document that has it."""
    examples = []
    for name in shared["name"]:
        row, start, end = where[name]
        text = read_range(corpus, ["text"], RowRange(row, row + 1))["text"][0].as_py()
        examples.append(text[start:end].strip()[:EXAMPLE])
    named = pl.Series([f"{name:016x}" for name in shared["name"]], dtype=pl.String)
    frame = pl.DataFrame({"block": named, "n_docs": shared["n_docs"], "example": pl.Series(examples, dtype=pl.String)})
    return arrow(frame)


def skips(work: Work, documents: Iterable[str]) -> dict[str, int] | None:
    """How many characters of each of some documents are skipped; None if the settings skip none of any document."""
    if "headers" not in work.inputs:
        return None
    rows = pl.scan_parquet(work.files("headers")).filter(pl.col("doc_id").is_in(list(documents)))
    return dict(rows.select("doc_id", "n_chars").collect().iter_rows())


def after_headers(text_of: dict[str, str], skip: dict[str, int] | None) -> dict[str, str]:
    """The texts of some documents without what is skipped."""
    return {doc: text[skip[doc] :] for doc, text in text_of.items()} if skip else text_of


TABLES = (
    Table(
        "headers",
        (
            Column("doc_id", pl.String, "Document, in the order of the corpus.", ("corpus.doc_id",)),
            Column(
                "n_chars",
                pl.Int64,
                "Characters at its start that the encoder, the proxy and the judge skip. 0: none.",
                ("corpus.text",),
            ),
            Column("n_bytes", pl.Int64, "Bytes of these characters in UTF-8.", ("corpus.text",)),
        ),
    ),
    Table(
        "shared_headers",
        (
            Column("block", pl.String, "Hash of the words of a block, without names and years.", ("corpus.text",)),
            Column("n_docs", pl.Int64, "Documents whose head has it.", ("corpus.text",)),
            Column("example", pl.String, "Its beginning, in the first document that has it.", ("corpus.text",)),
        ),
    ),
)
CHECKS = (Check("every_document", True, "Each document of the corpus has one row, and keeps some of its text."),)

stage = Stage(
    name="headers",
    code_version="1",
    compute=compute,
    description="How much of each document's start many other documents have too: a licence, or a block of imports."
    " With settings/embedding.skip_header the encoder, the proxy and the judge read what comes after it. The documents"
    " themselves stay whole.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus",),
    reads={"embedding": ("skip_header",)},
    unused=no_header,
)
