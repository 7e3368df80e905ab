"""near_duplicates: documents that are nearly the same as another, and which document stands for them.

1. Each document gets a MinHash signature of its shingles. Signatures are kept in shards, so a document is signed once:
   new documents are compared with old ones, and neither the threshold nor the bands sign anything again.
2. The bands of all signatures are rows of a table. DuckDB groups them, on the disk if need be.
3. Documents that share a band with another are read once more, for their sets of shingles, which are kept in a file.
4. Documents are taken in the order of the rule in force. Which of them stand: method/near_copies.py.

Held-out documents take part in the search, and stand before all others. So a document of the pool that is a near copy
of one is left out, and no model is trained on what it is evaluated on. A document whose source is kept is left out only
if settings/near_duplicates.drop_background says so. Otherwise it stays, and a check counts such documents.

The table ``distinct_documents`` has the rest of the corpus. Stages that come after this one read it where they ask for
``corpus`` (``Stage.narrows``). Parts of the corpus without near copies are the same files, by hard links.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

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
from grip_assets.settings import Corpus, NearDuplicates, digest
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


class Searched(NamedTuple):
    """A table of documents that takes part in the search. ``documents``: doc_id, n_bytes and n_tokens of its rows."""

    files: str
    documents: pl.DataFrame


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
    corpus, *held_out = searched = _searched(work)
    documents, n = corpus.documents, len(corpus.documents)
    signed = [_signed(work, settings, table) for table in searched]
    order = order_of(work, settings, documents)
    for table in held_out:
        order = _after(table.documents["doc_id"], order)
    with work.store.scratch() as scratch:
        shared = _shared(signed, bands, order.place_N, scratch)
        found = _standing(work, settings, searched, order, shared, scratch)
    by_N = found.by_N[:n]
    out_N, like_held_out_N = by_N != np.arange(n), by_N >= n
    if out_N.all():
        raise GripError(
            "Every document of the pool is a near copy of a held-out one, so nothing is left to select from. Check the"
            " pool for copies, or set settings/near_duplicates.threshold to 0."
        )
    n_copies = np.bincount(by_N, minlength=n)[:n] - 1
    names = pl.concat([table.documents["doc_id"] for table in searched])
    like_N = found.like_N[:n]
    named = _write(work, names, by_N, found.similarity_N, like_N)
    _write_distinct(work, corpus.files, ~out_N)
    tokens_N = documents["n_tokens"].to_numpy()
    if like_held_out_N.any():
        work.log(f"{like_held_out_N.sum():,} documents are near copies of held-out ones, and are left out")
    if (like_N >= 0).any():
        work.log(
            f"warning: {(like_N >= 0).sum():,} documents of sources that are kept are near copies of held-out ones, and"
            f" stay. settings/near_duplicates.drop_background=true leaves them out"
        )
    metrics = {
        "documents_signed_now": sum(of.new for of in signed),
        "documents_compared": len(shared.candidates),
        "pairs_compared": found.compared,
        "near_copies": int(out_N.sum()),
        **({"near_copies_of_held_out": int(like_held_out_N.sum())} if held_out else {}),
        **({"background_like_held_out": int((like_N >= 0).sum())} if held_out and order.always_N[:n].any() else {}),
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


def holds_out(settings: Settings) -> bool:
    """Whether there may be held-out documents to compare with."""
    return "corpus" in settings and Corpus.of(settings).held_out > 0


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """What is compared with held-out documents: the others, and those whose source is kept. Where there are none, the
    recipe is what it was before they were."""
    if not holds_out(settings):
        return {}
    kept = any(source.role == "keep" for source in Corpus.of(settings).sources)
    return {"held_out": "compared"} | ({"background": "compared"} if kept else {})


def _searched(work: Work) -> list[Searched]:
    """The corpus, and the held-out documents if there are any."""
    tables = ["corpus", "held_out"] if holds_out(work.settings) else ["corpus"]
    found = [Searched(work.files(t), _documents(work.files(t), ["doc_id", "n_bytes", "n_tokens"])) for t in tables]
    return [table for table in found if len(table.documents)]


def _documents(corpus: str, columns: list[str]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(part, columns=columns, glob=False) for part in parts(corpus)])


class Signed(NamedTuple):
    """Where the signatures of all documents are, and how many were made now."""

    at: Placed
    new: int


def _signed(work: Work, settings: NearDuplicates, table: Searched) -> Signed:
    from grip_assets.method.shingles import MADE_BY  # numba: not needed to load the definitions

    how = (settings.unit, settings.shingle, settings.permutations, settings.seed)
    new = 0

    def to_sign(missing: pl.Series) -> ToDo:
        nonlocal new
        new = len(missing)
        there = ranges_of(table.files, missing, AT_ONCE, BYTES_AT_ONCE)
        return ToDo(SignDocuments(table.files, *how), there, "signatures", new, "documents", 16 * BYTES_AT_ONCE)

    shards = Shards(work.store, stage.name, digest([SIGNATURES, MADE_BY, *how]))
    return Signed(shards.ready(table.documents["doc_id"], to_sign, work.executor, work.log), new)


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


def _after(held_out: pl.Series, order: Order) -> Order:
    """The order with held-out documents before all others, by their ids. Their rows come after those of the corpus."""
    place_H = held_out.rank("ordinal").to_numpy().astype(np.int64) - 1
    always_H = np.ones(len(held_out), bool)
    return Order(
        np.append(order.place_N + len(held_out), place_H),
        np.append(order.always_N, always_H),
    )


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


def _shared(signed: Sequence[Signed], bands: Bands, place_N: np.ndarray, scratch: Path) -> Shared:
    folder, first = scratch / "bands", 0
    folder.mkdir()
    with TableWriter(folder / "bands.parquet", BANDS) as writer:
        for of in signed:
            end = first + len(of.at.at)
            _write_bands(writer, of.at, bands, place_N[first:end])
            first = end
    found = query_on_disk("stages/near_buckets", {"bands": parquet_files(folder)}, scratch)
    shutil.rmtree(folder)
    candidates, first_C = np.unique(found["place"].to_numpy(), return_index=True)
    return Shared(candidates.astype(np.int64), found["bucket"].to_numpy(), np.append(first_C, len(found)))


def _write_bands(writer: TableWriter, placed: Placed, bands: Bands, place_N: np.ndarray) -> None:
    from grip_assets.method.near_copies import buckets  # numba: not needed to load the definitions

    for start in range(0, len(place_N), BLOCK):
        rows = placed.read(start, start + BLOCK, ["signature", "n_shingles"])
        some_B = rows["n_shingles"].to_numpy() > 0  # documents without a word are near copies of nothing
        bucket_Bb = buckets(matrix(rows["signature"])[some_B], bands)
        place_B = place_N[start : start + BLOCK][some_B].astype(np.uint32)
        writer.write(pa.table({"bucket": bucket_Bb.reshape(-1), "place": np.repeat(place_B, bands.n)}))


class Found(NamedTuple):
    """``by_N``: the row of the document that stands for each. ``similarity_N``: with it. ``like_N``: the row of the
    held-out document of which a document that stays is a near copy; -1 if there is none. ``compared``: pairs."""

    by_N: np.ndarray
    similarity_N: np.ndarray
    like_N: np.ndarray
    compared: int


def _standing(
    work: Work, settings: NearDuplicates, searched: Sequence[Searched], order: Order, shared: Shared, scratch: Path
) -> Found:
    from grip_assets.method.near_copies import stand  # numba: not needed to load the definitions

    n = len(order.place_N)
    by_N, similarity_N, like_N = np.arange(n), np.ones(n), np.full(n, -1)
    if not len(shared.candidates):
        return Found(by_N, similarity_N, like_N, 0)
    row_N = np.empty(n, np.int64)
    row_N[order.place_N] = np.arange(n)
    row_C = row_N[shared.candidates]
    file, start_C = _write_sets(work, settings, searched, row_C, scratch)
    sets = np.memmap(file, np.uint64, "r").view(np.ndarray)
    always_C, held_out_C = order.always_N[row_C], row_C >= len(searched[0].documents)
    found = stand(
        sets,
        start_C,
        shared.bucket_R,
        shared.bucket_start_C,
        settings.threshold,
        always_C,
        held_out_C=held_out_C,
        strict=settings.drop_background,
    )
    del sets  # the file is removed with the scratch folder
    by_N[row_C], similarity_N[row_C] = row_C[found.by_C], found.similarity_C
    like_N[row_C] = np.where(found.like_C < 0, -1, row_C[found.like_C])
    return Found(by_N, similarity_N, like_N, found.compared)


def _write_sets(
    work: Work, settings: NearDuplicates, searched: Sequence[Searched], row_C: np.ndarray, scratch: Path
) -> tuple[Path, np.ndarray]:
    """Write the sets of shingles of the candidates into a file, in the order of their rows, as they are streamed.

    Returns the file, and the (C, 2) places at which the set of each candidate begins and ends.
    """
    from grip_assets.method import shingles  # numba: not needed to load the definitions

    how = shingles.shingling(settings.unit, settings.shingle, settings.seed)

    def sets_of(table: Searched, rows: RowRange) -> list[np.ndarray]:
        found, end_B = shingles.shingles(*utf8(read_range(table.files, ["text"], rows)["text"]), how)
        return [np.unique(found[start:end]) for start, end in pairwise(end_B)]

    sizes: list[np.ndarray] = []
    file, first = scratch / "sets", 0
    progress = Progress("shingles of possible copies", len(row_C), "documents", work.log)
    with file.open("wb") as out:
        for table in searched:
            bytes_N = table.documents["n_bytes"].to_numpy()
            chosen_N = np.isin(np.arange(first, first + len(bytes_N)), row_C)
            there = ranges(bytes_N, AT_ONCE, BYTES_AT_ONCE, chosen_N)
            for sets in each(partial(sets_of, table), there, bytes_each=16 * BYTES_AT_ONCE):
                out.writelines(of.data for of in sets)
                sizes.append(np.array([len(of) for of in sets]))
                progress.advance(len(sets))
            first += len(bytes_N)
    progress.finish()
    end_C = np.cumsum(np.concatenate(sizes))
    in_order = np.argsort(np.argsort(row_C))  # the number of each candidate in the order of the rows
    return file, np.stack([end_C - np.concatenate(sizes), end_C], axis=1)[in_order]


def _write(work: Work, names: pl.Series, by_N: np.ndarray, similarity_N: np.ndarray, like_N: np.ndarray) -> str:
    """Write the table ``near_duplicates``. Returns a hash of the documents that are left out or like one held out.

    ``names``: of the corpus, then of what is held out. The column like_held_out is only there if it has a value.
    """
    hashed, is_any_like = hashlib.sha256(), bool((like_N >= 0).any())

    def rows() -> Iterator[pa.Table]:
        for start in range(0, len(by_N), BLOCK):
            by_B = by_N[start : start + BLOCK]
            block = pl.DataFrame(
                {
                    "doc_id": names[start : start + len(by_B)],
                    "stands_for": names.gather(by_B),
                    "similarity": similarity_N[start : start + len(by_B)],
                }
            )
            hashed.update(repr(block.filter(pl.col("doc_id") != pl.col("stands_for")).rows()).encode())
            if is_any_like:
                like_B = pl.Series(like_N[start : start + BLOCK])
                block = block.with_columns(like_held_out=names.gather(like_B.replace(-1, None)))
                hashed.update(repr(block.filter(pl.col("like_held_out").is_not_null()).rows()).encode())
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
                "The document that stands for it: itself, or the one of which it is a near copy, which may be held out."
                " Only documents that stand for themselves are read by what follows.",
                ("corpus.text", "held_out.text"),
            ),
            Column(
                "similarity",
                pl.Float64,
                "Jaccard similarity of their sets of shingles; 1 with itself.",
                ("corpus.text",),
            ),
            Column(
                "like_held_out",
                pl.String,
                "For a document that stays since its source is kept: the held-out document of which it is a near copy."
                " Null for all others.",
                ("corpus.role", "held_out.text"),
                added=True,
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
    Check("stand_for_themselves", True, "A document that stands for another one stands for itself, or is held out."),
    Check("similar_enough", True, "A near copy has at least the threshold's similarity with what stands for it."),
    Check("nothing_lost", True, "Documents of the corpus = documents that go on + near copies."),
    Check(
        "background_apart",
        False,
        "No document of a source that is kept is a near copy of a held-out one: the evaluation would know it. Such"
        " documents stay; near_duplicates.drop_background=true leaves them out.",
    ),
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
    facts=facts,
    otherwise="the pool changed",
)
