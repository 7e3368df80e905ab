"""embeddings: every document as a unit vector e(x) [paper 2.2, A19]. Each document is embedded only once, in shards.

With settings/embedding.sample only a sample gets a vector. It is drawn by a keyed hash of the ids, so a pool that grows
keeps its sample: a share keeps all of it, a count as much as it can. student.py labels the other documents.

The encoder itself is in models/encoder.py.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR16, Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.method.selection.registry import SELECTIONS
from grip_assets.models.files import COLUMN, content_hash, locate
from grip_assets.models.opening import EncoderFiles
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import Embedding, Selection, digest, field_names, hashed_values
from grip_assets.stages.curation.features import must_have_vectors
from grip_assets.stages.curation.headers import no_header
from grip_assets.stages.curation.partition import LEAST, enough_documents
from grip_assets.store.shards import Shards
from grip_assets.store.tables import RowRange, blocks, matrix, ranges_of, read_range, vectors

if TYPE_CHECKING:
    from grip_assets.models.encoder import Encoder

AT_ONCE, BYTES_AT_ONCE = 64, 64 << 10  # most documents and bytes of a shard of work: some seconds of a processor
COUNTS = ("n_encoder_tokens", "n_windows", "n_windows_embedded")


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    if Embedding.of(settings).model == COLUMN:
        return {}
    files = locate(Embedding.of(settings).model, "settings/embedding.model")
    return {"model": content_hash(files, root)}


@dataclass(frozen=True)
class EmbedDocuments:
    """The job: embeds a range of rows of the table ``corpus``. Its unit of progress is a document.

    ``headers``: the table that says how many characters at the start of each document are skipped; None: none are.
    """

    corpus: str
    encoder: EncoderFiles
    batch_windows: int
    headers: str | None = None

    @property
    def opening(self) -> str:
        return f"loading the encoder {self.encoder.files.name}"

    def open(self) -> "Encoder":
        return self.encoder.open()

    def run(self, shard: RowRange) -> pa.Table:
        encoder = self.open()
        rows = read_range(self.corpus, ["doc_id", "text"], shard)
        skip = read_range(self.headers, ["n_chars"], shard)["n_chars"].to_pylist() if self.headers else [0] * len(rows)
        texts = [text.as_py()[start:] for text, start in zip(rows["text"], skip, strict=True)]
        embedded = encoder.embed_shard(texts, self.batch_windows, worked)
        keys = [_key(doc, start) for doc, start in zip(rows["doc_id"].to_pylist(), skip, strict=True)]
        counts = {name: pa.array([getattr(e, name) for e in embedded], pa.int64()) for name in COUNTS}
        return pa.table({"key": keys, "embedding": vectors(np.stack([e.vector for e in embedded])), **counts})


def _key(doc_id: str, start: int) -> str:
    """The name in the shards of a document without its first ``start`` characters. A whole one has its own name."""
    return f"{doc_id}:{start}" if start else doc_id


def sample_of(settings: Embedding, documents: pl.Series) -> np.ndarray:
    """The documents to embed, as a mask (N,): those whose keyed hash is below the share, or the smallest hashes.

    At least two documents, or all.
    """
    if settings.sample is None:
        return np.ones(len(documents), bool)
    u_N = keyed_uniform(settings.seed, "embeddings", documents)
    share_N = u_N < settings.sample if settings.sample <= 1 else np.zeros(len(documents), bool)
    least = LEAST if settings.sample <= 1 else max(int(settings.sample), LEAST)
    if np.count_nonzero(share_N) >= least:
        return share_N
    chosen_N = np.zeros(len(documents), bool)
    chosen_N[np.argsort(u_N, kind="stable")[:least]] = True
    return chosen_N


def compute(work: Work) -> dict[str, Any]:
    settings = Embedding.of(work.settings)
    everything = pl.read_parquet(work.files("corpus"), columns=["doc_id"])["doc_id"]
    chosen_N = sample_of(settings, everything)
    names = everything.filter(pl.Series(chosen_N))
    enough_documents(len(names), work)
    must_have_vectors(SELECTIONS[Selection.of(work.settings).rule].features, work.settings)
    if settings.model == COLUMN:
        return _of_the_pool(work, settings)
    unused = {"sample": None, "seed": 0, "skip_header": None}
    method = hashed_values(settings.model_copy(update=unused), applying=True) | {"model": None}
    how = digest([stage.code_version, method, facts(work.settings, work.store.root)])  # the model's content is in facts
    fresh = 0

    def to_embed(missing: pl.Series) -> ToDo:
        nonlocal fresh
        fresh = len(missing)
        headers = work.files("headers") if "headers" in work.inputs else None
        job = EmbedDocuments(work.files("corpus"), _encoder(settings), settings.batch_windows, headers)
        documents = missing.str.split(":").list.first()
        there = ranges_of(work.files("corpus"), documents, AT_ONCE, BYTES_AT_ONCE)
        return ToDo(job, there, "embedding", fresh, "documents")

    placed = Shards(work.store, stage.name, how).ready(_keys(work, names), to_embed, work.executor, work.log)
    totals: Counter[str] = Counter()

    def in_corpus_order() -> Iterator[pa.Table]:
        start, at = 0, 0
        for block in blocks(work.files("corpus"), ["doc_id", "n_tokens"]):
            here_B = chosen_N[at : at + len(block)]
            at += len(block)
            if here_B.any():
                rows = placed.read(start, start := start + int(here_B.sum())).rename_columns({"key": "doc_id"})
                if "headers" in work.inputs:  # the names in the shards say what was skipped
                    rows = rows.set_column(rows.column_names.index("doc_id"), "doc_id", _ids(block, here_B))
                totals.update({name: int(np.sum(rows[name].to_numpy())) for name in COUNTS})
                yield rows.append_column("n_tokens", block["n_tokens"].filter(pa.array(here_B)))

    work.draft.write_blocks("embeddings", in_corpus_order())
    return {"documents_embedded_now": fresh, "share_embedded": len(names) / len(everything), **totals}


def _ids(block: pa.Table, here_B: np.ndarray) -> pa.ChunkedArray:
    return block["doc_id"].filter(pa.array(here_B))


def _keys(work: Work, names: pl.Series) -> pl.Series:
    """The names in the shards of documents, in their order."""
    if "headers" not in work.inputs:
        return names
    starts = pl.read_parquet(work.files("headers"), columns=["doc_id", "n_chars"])
    of_names = names.to_frame().join(starts, on="doc_id", how="left", maintain_order="left")
    cut = pl.format("{}:{}", "doc_id", "n_chars")
    return of_names.select(pl.when(pl.col("n_chars") > 0).then(cut).otherwise("doc_id"))["doc_id"]


def _encoder(settings: Embedding) -> EncoderFiles:
    s = settings
    return EncoderFiles(locate(s.model), s.pooling, s.window, s.max_windows, s.dtype)


def _of_the_pool(work: Work, settings: Embedding) -> dict[str, Any]:
    """Write the pool's own vectors, normalised. ``own_vectors`` and ``corpus`` have the same order."""
    if settings.column is None:
        raise GripError(
            "settings/embedding.model is 'column', and settings/embedding.column is not set. Set it to the name of the"
            " column that has a vector for each document."
        )
    own = blocks(work.files("own_vectors"), ["doc_id", "vector"])
    n = 0

    def in_corpus_order() -> Iterator[pa.Table]:
        nonlocal n
        for block in blocks(work.files("corpus"), ["doc_id", "n_tokens"]):
            given = next(own, None)
            if given is None or given["doc_id"] != block["doc_id"]:
                raise GripError(
                    f"settings/embedding.column is '{settings.column}', and the pool has no such column. Folders of"
                    " files have no columns at all: name an encoder in settings/embedding.model instead."
                )
            n += len(block)
            x_BD = matrix(given["vector"]).astype(np.float64)
            embedding = vectors(x_BD / np.linalg.norm(x_BD, axis=1, keepdims=True))
            counts = {name: np.zeros(len(block), np.int64) for name in COUNTS}
            table = {"doc_id": block["doc_id"], "embedding": embedding, **counts, "n_tokens": block["n_tokens"]}
            yield pa.table(table)

    work.draft.write_blocks("embeddings", in_corpus_order())
    return {"documents_embedded_now": 0, "documents_with_own_vectors": n}


TABLES = (
    Table(
        "embeddings",
        (
            Column("doc_id", pl.String, "Document.", ("corpus.doc_id",)),
            Column("embedding", VECTOR16, "Unit vector e(x), float16.", ("corpus.text",)),
            Column(
                "n_encoder_tokens",
                pl.Int64,
                "Tokens by the encoder's tokenizer, without special tokens.",
                ("corpus.text",),
            ),
            Column("n_windows", pl.Int64, "Windows that the document has.", ("corpus.text",)),
            Column("n_windows_embedded", pl.Int64, "Windows that were embedded.", ("corpus.text",)),
            Column("n_tokens", pl.Int64, "Tokens ℓ(x).", ("corpus.n_tokens",)),
        ),
    ),
)
CHECKS = (
    Check("unit_norms", True, "Every embedding has norm 1, up to float16 rounding."),
    Check(
        "every_document_embedded",
        True,
        "One embedding for each document of the corpus, or for as many of them as settings/embedding.sample asks for.",
    ),
)

stage = Stage(
    name="embeddings",
    code_version="1",
    compute=compute,
    description="Each document as a vector of its meaning, e(x), of length 1. A long document is embedded window by"
    " window, and the vectors of its windows are averaged by their tokens. A document is never embedded twice. With"
    " settings/embedding.sample only a sample is embedded. With settings/embedding.model=column these are the pool's"
    " own vectors, normalised.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "headers"),
    reads={"embedding": field_names(Embedding, but=["skip_header"])},
    facts=facts,
    left_out={"headers": no_header},
)
