"""embeddings: every document as a unit vector e(x) [paper 2.2, A19]. A document is embedded once, ever."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR16, Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.models.files import COLUMN, content_hash, locate
from grip_assets.runtime.progress import Progress, waiting
from grip_assets.settings import Embedding, digest, hashed_values
from grip_assets.stages.curation.clusters import enough_documents
from grip_assets.store.shards import Shards
from grip_assets.store.tables import blocks, matrix, texts, vectors

SHARD_DOCUMENTS = 16_384
if TYPE_CHECKING:
    from grip_assets.models.encoder import Embedded

COUNTS = ("n_encoder_tokens", "n_windows", "n_windows_embedded")


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    if Embedding.of(settings).model == COLUMN:
        return {}
    files = locate(Embedding.of(settings).model, "settings/embedding.model")
    return {"model": content_hash(files, root)}


def compute(work: Work) -> dict[str, Any]:
    settings = Embedding.of(work.settings)
    enough_documents(pl.scan_parquet(work.files("corpus")).select(pl.len()).collect().item(), work)
    if settings.model == COLUMN:
        return _of_the_pool(work, settings)
    method = hashed_values(settings, applying=True) | {"model": None}  # its content is in the facts
    how = digest([stage.code_version, method, facts(work.settings, work.store.root)])
    shards = Shards(work.store, "embeddings", how)
    fresh = _embed_missing(work, shards, settings)
    index = shards.index()
    totals: Counter[str] = Counter()

    def in_corpus_order() -> Iterator[pa.Table]:
        for block in blocks(work.files("corpus"), ["doc_id", "n_tokens"]):
            rows = shards.read(block["doc_id"].to_pylist(), index).rename_columns({"key": "doc_id"})
            totals.update({name: int(np.sum(rows[name].to_numpy())) for name in COUNTS})
            yield rows.append_column("n_tokens", block["n_tokens"])

    work.draft.write_blocks("embeddings", in_corpus_order())
    return {"documents_embedded_now": fresh, **totals}


def _of_the_pool(work: Work, settings: Embedding) -> dict[str, Any]:
    """The pool's own vectors, normalised. Both tables have the documents in the same order."""
    if settings.column is None:
        raise GripError(
            "settings/embedding.model is 'column', and settings/embedding.column is not set. Set it to the name of a"
            " column of the pool that holds a vector for each document."
        )
    own = blocks(work.files("own_vectors"), ["doc_id", "vector"])
    n = 0

    def in_corpus_order() -> Iterator[pa.Table]:
        nonlocal n
        for block in blocks(work.files("corpus"), ["doc_id", "n_tokens"]):
            given = next(own, None)
            if given is None or given["doc_id"] != block["doc_id"]:
                raise GripError(
                    f"settings/embedding.column is '{settings.column}', and the pool has no such column: folders of"
                    " files have none. Name an encoder in settings/embedding.model."
                )
            n += len(block)
            x_BD = matrix(given["vector"]).astype(np.float64)
            embedding = vectors(x_BD / np.linalg.norm(x_BD, axis=1, keepdims=True))
            counts = {name: np.zeros(len(block), np.int64) for name in COUNTS}
            table = {"doc_id": block["doc_id"], "embedding": embedding, **counts, "n_tokens": block["n_tokens"]}
            yield pa.table(table)

    work.draft.write_blocks("embeddings", in_corpus_order())
    return {"documents_embedded_now": 0, "documents_with_own_vectors": n}


def _embed_missing(work: Work, shards: Shards, settings: Embedding) -> int:
    """Embed the documents that are in no shard yet; return how many."""
    have = shards.index().keys()
    missing = [
        doc
        for block in blocks(work.files("corpus"), ["doc_id"])
        for doc in block["doc_id"].to_pylist()
        if doc not in have
    ]
    if not missing:
        return 0
    from grip_assets.models.encoder import load_encoder  # torch: not needed where all is there

    files = locate(settings.model)
    with waiting(f"loading the encoder {files.name}", work.log):
        encoder = load_encoder(files, settings.pooling, settings.window, settings.max_windows, settings.dtype)
    found = (text for _, text in texts(work.files("corpus"), set(missing)))
    progress = Progress("embedding", len(missing), "documents", work.log)
    # One stream: reading, tokenising and computing go on while a shard is written.
    stream = encoder.embed_documents(found, settings.batch_windows, progress.advance)
    shards.write_each(zip(missing, stream, strict=True), _table, SHARD_DOCUMENTS)
    progress.finish()
    return len(missing)


def _table(rows: list[tuple[str, "Embedded"]]) -> pa.Table:
    ids, embedded = zip(*rows, strict=True)
    columns = {name: pa.array([getattr(e, name) for e in embedded], pa.int64()) for name in COUNTS}
    return pa.table({"key": list(ids), "embedding": vectors(np.stack([e.vector for e in embedded])), **columns})


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
            Column("n_windows", pl.Int64, "Windows of the document.", ("corpus.text",)),
            Column("n_windows_embedded", pl.Int64, "Windows that went into the vector.", ("corpus.text",)),
            Column("n_tokens", pl.Int64, "Tokens ℓ(x).", ("corpus.n_tokens",)),
        ),
    ),
)
CHECKS = (
    Check("unit_norms", True, "Every embedding has norm 1 within float16."),
    Check("every_document_embedded", True, "One embedding for each document of the corpus."),
)

stage = Stage(
    name="embeddings",
    code_version="1",
    compute=compute,
    description="Each document as a vector of its meaning, e(x), of length 1. Long documents are embedded window by"
    " window and pooled by token count. A document whose vector is there is not embedded again. With"
    " settings/embedding.model: column these are the pool's own vectors, normalised.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("corpus",),
    reads={"embedding": None},
    facts=facts,
)
