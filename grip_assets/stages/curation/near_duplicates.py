"""near_duplicates: documents that are nearly the same as another, and which document stands for them.

1. Each document gets a MinHash signature of its shingles. Signatures are kept in shards, so a document is signed once:
   new documents are compared with old ones, and neither the threshold nor the bands sign anything again.
2. The bands of all signatures are rows of a table. DuckDB groups them, on the disk if need be.
3. Documents that share a band with another are read once more, for their sets of shingles, which are kept in a file.
4. Documents are taken in the order of the rule in force. Which of them stand: method/near_copies.py.

The table ``distinct_documents`` has the rest of the corpus. Stages that come after this one read it where they ask for
``corpus`` (``Stage.narrows``). Parts of the corpus without near copies are the same files, by hard links.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Result, Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.banding import Bands, choose_bands
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import Progress, worked
from grip_assets.runtime.threads import each
from grip_assets.settings import NearDuplicates, digest
from grip_assets.stages.curation.corpus import TABLES as OF_THE_CORPUS
from grip_assets.stages.curation.partition import column_values
from grip_assets.store.artifacts import parquet_files
from grip_assets.store.query import query_on_disk
from grip_assets.store.shards import Placed, Shards
from grip_assets.store.tables import (
    RowRange,
    TableWriter,
    arrow,
    matrix,
    parts,
    ranges,
    ranges_of,
    read_range,
    utf8,
)

SIGNATURES = "1"  # raise it when a signature changes for the same text and settings
AT_ONCE, BYTES_AT_ONCE = 4096, 4 << 20  # most documents and bytes of a shard of work: about half a second
BLOCK = 65_536  # documents whose bands are made at a time
BANDS = pa.schema([("bucket", pa.uint64()), ("place", pa.uint32())])


def not_asked_for(settings: Settings) -> str:
    """Why no near copies are looked for; "" if they are."""
    if "near_duplicates" not in settings or not NearDuplicates.of(settings).threshold:
        return "settings/near_duplicates.threshold is 0"
    return ""


@dataclass(frozen=True)
class SignDocuments:
    """The job: signatures of a range of rows of the table ``corpus``. Its unit of progress is a document."""

    corpus: str
    unit: str
    size: int
    permutations: int
    seed: int

    def run(self, shard: RowRange) -> pa.Table:
        from grip_assets.method import shingles  # numba: not needed to load the definitions

        rows = read_range(self.corpus, ["doc_id", "text"], shard)
        how = shingles.shingling(self.unit, self.size, self.seed)
        found, end_B = shingles.shingles(*utf8(rows["text"]), how)
        signature_BP = shingles.signatures(found, end_B, self.permutations, self.seed)
        worked(len(rows))
        return pa.table(
            {
                "key": rows["doc_id"],
                "signature": pa.FixedSizeListArray.from_arrays(pa.array(signature_BP.reshape(-1)), self.permutations),
                "n_shingles": pa.array(np.diff(end_B)),
            }
        )


def bands_of(settings: NearDuplicates) -> Bands:
    """The bands in force. GripError if ``bands`` does not divide ``permutations``."""
    if settings.bands is None:
        return choose_bands(settings.permutations, settings.threshold, settings.recall)
    if settings.permutations % settings.bands:
        fit = [str(n) for n in range(1, settings.permutations + 1) if settings.permutations % n == 0]
        raise GripError(
            f"settings/near_duplicates.bands is {settings.bands}, which does not divide permutations,"
            f" {settings.permutations}. Set one of {', '.join(fit)}, or null: then the bands follow from recall."
        )
    return Bands(settings.bands, settings.permutations // settings.bands)


def recall_in_words(settings: NearDuplicates) -> str:
    """What the threshold, the permutations and the bands find, for `grip plan` and for the metadata."""
    bands = bands_of(settings)
    return (
        f"finds {bands.found(settings.threshold):.1%} of the pairs with similarity {settings.threshold:g}, and more of"
        f" those above it ({bands.n} bands of {bands.rows} slots)"
    )


def compute(work: Work) -> Result:
    settings = NearDuplicates.of(work.settings)
    bands = bands_of(settings)
    work.log(recall_in_words(settings))
    corpus = work.files("corpus")
    documents = _documents(corpus, ["doc_id", "n_bytes", "n_tokens"])
    placed = _signed(work, settings, documents["doc_id"])
    order = order_of(work, settings, documents)
    with work.store.scratch() as scratch:
        shared = _shared(placed, bands, order.place_N, scratch)
        found = _standing(work, settings, documents["n_bytes"].to_numpy(), order, shared, scratch)
    n_copies = np.bincount(found.by_N, minlength=len(documents)) - 1
    out_N = found.by_N != np.arange(len(documents))
    named = _write(work, documents["doc_id"], found)
    _write_distinct(work, corpus, ~out_N)
    tokens_N = documents["n_tokens"].to_numpy()
    metrics = {
        "documents_signed_now": placed.new,
        "documents_compared": len(shared.candidates),
        "pairs_compared": found.compared,
        "near_copies": int(out_N.sum()),
        "documents_with_copies": int((n_copies > 0).sum()),
        "most_copies_of_one": int(n_copies.max()),
        "documents": int((~out_N).sum()),
        "tokens": int(tokens_N[~out_N].sum()),
        "tokens_left_out": int(tokens_N[out_N].sum()),
        "bands": bands.n,
        "rows_of_a_band": bands.rows,
        "recall_at_threshold": bands.found(settings.threshold),
        "finds": recall_in_words(settings),
    }
    return Result(metrics, named)


def _documents(corpus: str, columns: list[str]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(part, columns=columns, glob=False) for part in parts(corpus)])


class Signed(NamedTuple):
    """Where the signatures of all documents are, and how many were made now."""

    at: Placed
    new: int


def _signed(work: Work, settings: NearDuplicates, names: pl.Series) -> Signed:
    from grip_assets.method.shingles import MADE_BY  # numba: not needed to load the definitions

    corpus, how = work.files("corpus"), (settings.unit, settings.shingle, settings.permutations, settings.seed)
    new = 0

    def to_sign(missing: pl.Series) -> ToDo:
        nonlocal new
        new = len(missing)
        there = ranges_of(corpus, missing, AT_ONCE, BYTES_AT_ONCE)
        return ToDo(SignDocuments(corpus, *how), there, "signatures", new, "documents", 16 * BYTES_AT_ONCE)

    shards = Shards(work.store, stage.name, digest([SIGNATURES, MADE_BY, *how]))
    return Signed(shards.ready(names, to_sign, work.executor, work.log), new)


class Order(NamedTuple):
    """``place_N``: the place of each document in the order of the rule. ``always_N``: documents that are never left
    out."""

    place_N: np.ndarray
    always_N: np.ndarray


def order_of(work: Work, settings: NearDuplicates, documents: pl.DataFrame) -> Order:
    """The order of the rule. It depends on the documents and on no order of theirs: ties go to the one with more bytes,
    then to the smaller id."""
    always_N = _always(work.files("corpus"), len(documents))
    ranked = documents.select(
        "doc_id", "n_bytes", always=pl.Series(always_N), rule=_rule(work, settings, len(documents))
    )
    by = ranked.with_row_index("row").sort("always", "rule", "n_bytes", "doc_id", descending=[True, False, True, False])
    place_N = np.empty(len(documents), np.int64)
    place_N[by["row"].to_numpy()] = np.arange(len(documents))
    return Order(place_N, always_N)


def _always(corpus: str, n: int) -> np.ndarray:
    """The documents that are in every subset, since the role of their source is keep, as a mask (N,)."""
    if "role" not in pq.read_schema(parts(corpus)[0]).names:
        return np.zeros(n, bool)
    return (_documents(corpus, ["role"])["role"] == "keep").fill_null(False).to_numpy()


def _rule(work: Work, settings: NearDuplicates, n: int) -> pl.Series:
    """A number for each document. Those with the smallest number stand for the others."""
    corpus, rule = work.files("corpus"), settings.representative
    if rule == "oldest_source" and "pool" in pq.read_schema(parts(corpus)[0]).names:
        pools = _documents(corpus, ["pool"])["pool"].fill_null("")
        number = {name: number for number, name in enumerate(pools.unique(maintain_order=True))}
        return pools.replace_strict(number, return_dtype=pl.Float64)
    if rule == "best_score":
        if not settings.score:
            raise GripError(
                "settings/near_duplicates.representative is best_score, and settings/near_duplicates.score names no"
                " column. Name one that has a number for each document, in corpus.keep too."
            )
        values = pl.concat([v.cast(pl.Float64, strict=False) for v in column_values(corpus, settings.score)])
        if not values.is_not_nan().any():
            raise GripError(
                f"settings/near_duplicates.score is '{settings.score}', and no document has a number there. Name a"
                " column of the pool with numbers, and name it in corpus.keep too."
            )
        return -values.fill_nan(None).fill_null(-np.inf)
    return pl.zeros(n, pl.Float64, eager=True)


class Shared(NamedTuple):
    """``candidates``: places of documents that share a bucket with another, rising (C,). Candidate c is in the buckets
    ``bucket_R`` from ``bucket_start_C[c]`` (C + 1)."""

    candidates: np.ndarray
    bucket_R: np.ndarray
    bucket_start_C: np.ndarray


def _shared(signed: Signed, bands: Bands, place_N: np.ndarray, scratch: Path) -> Shared:
    from grip_assets.method.near_copies import buckets  # numba: not needed to load the definitions

    folder = scratch / "bands"
    folder.mkdir()
    with TableWriter(folder / "bands.parquet", BANDS) as writer:
        for start in range(0, len(place_N), BLOCK):
            rows = signed.at.read(start, start + BLOCK, ["signature", "n_shingles"])
            some_B = rows["n_shingles"].to_numpy() > 0  # documents without a word are near copies of nothing
            bucket_Bb = buckets(matrix(rows["signature"])[some_B], bands)
            place_B = place_N[start : start + BLOCK][some_B].astype(np.uint32)
            writer.write(pa.table({"bucket": bucket_Bb.reshape(-1), "place": np.repeat(place_B, bands.n)}))
    found = query_on_disk("stages/near_buckets", {"bands": parquet_files(folder)}, scratch)
    shutil.rmtree(folder)
    candidates, first = np.unique(found["place"].to_numpy(), return_index=True)
    return Shared(candidates.astype(np.int64), found["bucket"].to_numpy(), np.append(first, len(found)))


class Found(NamedTuple):
    """``by_N``: the row of the document that stands for each. ``similarity_N``: with it. ``compared``: pairs."""

    by_N: np.ndarray
    similarity_N: np.ndarray
    compared: int


def _standing(
    work: Work, settings: NearDuplicates, bytes_N: np.ndarray, order: Order, shared: Shared, scratch: Path
) -> Found:
    from grip_assets.method.near_copies import stand  # numba: not needed to load the definitions

    by_N, similarity_N = np.arange(len(bytes_N)), np.ones(len(bytes_N))
    if not len(shared.candidates):
        return Found(by_N, similarity_N, 0)
    row_N = np.empty(len(bytes_N), np.int64)
    row_N[order.place_N] = np.arange(len(bytes_N))
    row_C = row_N[shared.candidates]
    file, start_C = _write_sets(work, settings, bytes_N, row_C, scratch)
    sets = np.memmap(file, np.uint64, "r").view(np.ndarray)
    always_C = order.always_N[row_C]
    found = stand(sets, start_C, shared.bucket_R, shared.bucket_start_C, settings.threshold, always_C)
    del sets  # the file is removed with the scratch folder
    by_N[row_C], similarity_N[row_C] = row_C[found.by_C], found.similarity_C
    return Found(by_N, similarity_N, found.compared)


def _write_sets(
    work: Work, settings: NearDuplicates, bytes_N: np.ndarray, row_C: np.ndarray, scratch: Path
) -> tuple[Path, np.ndarray]:
    """Write the sets of shingles of the candidates into a file, in the order of the corpus, as they are streamed.

    Returns the file, and the (C, 2) places at which the set of each candidate begins and ends.
    """
    from grip_assets.method import shingles  # numba: not needed to load the definitions

    how, corpus = shingles.shingling(settings.unit, settings.shingle, settings.seed), work.files("corpus")

    def sets_of(rows: RowRange) -> list[np.ndarray]:
        found, end_B = shingles.shingles(*utf8(read_range(corpus, ["text"], rows)["text"]), how)
        return [np.unique(found[start:end]) for start, end in pairwise(end_B)]

    chosen_N = np.zeros(len(bytes_N), bool)
    chosen_N[row_C] = True
    sizes: list[np.ndarray] = []
    file = scratch / "sets"
    progress = Progress("shingles of possible copies", len(row_C), "documents", work.log)
    with file.open("wb") as out:
        there = ranges(bytes_N, AT_ONCE, BYTES_AT_ONCE, chosen_N)
        for sets in each(sets_of, there, bytes_each=16 * BYTES_AT_ONCE):
            out.writelines(of.data for of in sets)
            sizes.append(np.array([len(of) for of in sets]))
            progress.advance(len(sets))
    progress.finish()
    end_C = np.cumsum(np.concatenate(sizes))
    in_order = np.argsort(np.argsort(row_C))  # the number of each candidate in the order of the corpus
    return file, np.stack([end_C - np.concatenate(sizes), end_C], axis=1)[in_order]


def _write(work: Work, names: pl.Series, found: Found) -> str:
    """Write the table ``near_duplicates``. Returns a hash of the documents that are left out."""
    hashed = hashlib.sha256()

    def rows() -> Iterator[pa.Table]:
        for start in range(0, len(names), BLOCK):
            by_B = found.by_N[start : start + BLOCK]
            block = pl.DataFrame(
                {
                    "doc_id": names[start : start + BLOCK],
                    "stands_for": names.gather(by_B),
                    "similarity": found.similarity_N[start : start + BLOCK],
                }
            )
            hashed.update(repr(block.filter(pl.col("doc_id") != pl.col("stands_for")).rows()).encode())
            yield arrow(block)

    work.draft.write_blocks(stage.name, rows())
    return hashed.hexdigest()


def _write_distinct(work: Work, corpus: str, kept_N: np.ndarray) -> None:
    """Write the documents that stand for themselves. A part of the corpus that keeps all of its rows is linked."""
    folder, start = work.draft.folder / "distinct_documents", 0
    folder.mkdir()
    for part in parts(corpus):
        reader = pq.ParquetFile(part)
        kept_B = kept_N[start : start + reader.metadata.num_rows]
        start += len(kept_B)
        if kept_B.all():
            _link(part, folder / part.name)
        elif kept_B.any():
            _filter(reader, kept_B, folder / part.name)


def _link(file: Path, target: Path) -> None:
    with suppress(OSError):
        os.link(file, target)
        return
    shutil.copyfile(file, target)


def _filter(reader: pq.ParquetFile, kept_B: np.ndarray, target: Path) -> None:
    at = 0
    with TableWriter(target, reader.schema_arrow) as writer:
        for batch in reader.iter_batches(batch_size=1024):
            writer.write(pa.Table.from_batches([batch.filter(pa.array(kept_B[at : at + len(batch)]))]))
            at += len(batch)


TABLES = (
    Table(
        "near_duplicates",
        (
            Column("doc_id", pl.String, "Document of the corpus.", ("corpus.doc_id",)),
            Column(
                "stands_for",
                pl.String,
                "The document that stands for it: itself, or the one of which it is a near copy. Only documents that"
                " stand for themselves are read by what follows.",
                ("corpus.text",),
            ),
            Column(
                "similarity",
                pl.Float64,
                "Jaccard similarity of their sets of shingles; 1 with itself.",
                ("corpus.text",),
            ),
        ),
    ),
    Table(
        "distinct_documents",
        tuple(
            Column(c.name, c.dtype, c.description, (f"corpus.{c.name}", "near_duplicates.stands_for"), c.added)
            for c in OF_THE_CORPUS[0].columns
        ),
    ),
)
CHECKS = (
    Check("every_document", True, "Every document of the corpus has one row."),
    Check("stand_for_themselves", True, "A document that stands for another one stands for itself."),
    Check("similar_enough", True, "A near copy has at least the threshold's similarity with what stands for it."),
    Check("nothing_lost", True, "Documents of the corpus = documents that go on + near copies."),
    Check("few_left_out", False, "At most half of the documents are near copies. More: the threshold may be too low."),
)

stage = Stage(
    name="near_duplicates",
    code_version="1",
    compute=compute,
    description="Documents that are nearly the same as another: at least settings/near_duplicates.threshold of their"
    " shingles are the same. One document stands for its near copies, and only that one goes on. Candidates are found"
    " by MinHash, and decided by their true similarity.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("corpus",),
    reads={"near_duplicates": None},
    named_by_content=True,
    expensive=True,
    unused=not_asked_for,
    narrows=("corpus", "distinct_documents"),
    otherwise="the pool changed",
)
