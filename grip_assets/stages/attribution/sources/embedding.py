"""The source embedding: the stored vector of a document, and the mean vector of a target's items. Nothing is learned.

Vectors of documents are those of the stage embeddings. Items are embedded by the same encoder, once.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.models.files import COLUMN, content_hash, locate
from grip_assets.models.opening import EncoderFiles
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import Embedding, digest, hashed_values
from grip_assets.stages.attribution.sources.base import (
    STAGE,
    VERSION,
    Asked,
    Measured,
    Rows,
    Target,
    mean_of,
    norms,
    shortening,
)
from grip_assets.store.shards import Shards
from grip_assets.store.tables import matrix, vector_rows, vectors, width

if TYPE_CHECKING:
    from grip_assets.models.encoder import Encoder

AT_ONCE = 32  # items of a shard of work


@dataclass(frozen=True)
class EmbedItems:
    """The job: vectors of texts, given as (key, text). Its unit of progress is an item."""

    encoder: EncoderFiles
    batch_windows: int

    @property
    def opening(self) -> str:
        return f"loading the encoder {self.encoder.files.name}"

    def open(self) -> "Encoder":
        return self.encoder.open()

    def run(self, shard: tuple[tuple[str, str], ...]) -> pa.Table:
        encoder, started = self.open(), time.thread_time()
        found = encoder.embed_shard([text for _, text in shard], self.batch_windows, worked)
        return pa.table(
            {
                "key": [key for key, _ in shard],
                "embedding": vectors(np.stack([e.vector for e in found])),
                "n_tokens": [e.n_encoder_tokens for e in found],
                "seconds": [(time.thread_time() - started) / len(shard)] * len(shard),
            }
        )


def must_have_vectors(settings: Embedding) -> None:
    """GripError if documents have no vector, or if items could have none."""
    if settings.model == COLUMN:
        raise GripError(
            "settings/attribution.source asks for 'embedding', and settings/embedding.model is 'column': the pool's own"
            " vectors are there, but the items of targets cannot be embedded. Set attribution.source to column, and"
            " attribution.column to a table that has vectors of both."
        )
    if not settings.embeds_all:
        raise GripError(
            "settings/attribution.source asks for 'embedding', and with settings/embedding.sample not all documents"
            " have a vector. Set embedding.sample to null, or choose another source."
        )


def measure(asked: Asked) -> Measured:
    work, embedding = asked.work, Embedding.of(asked.work.settings)
    must_have_vectors(embedding)
    files = work.files("cluster_embeddings")
    item_IW, tokens_I, seconds, n_bytes = _items(asked, embedding)
    sketch, how_short = shortening(asked.settings, width(files), item_IW, "embedding")
    targets = {}
    for name in asked.targets:
        chosen_I = (asked.items["target"] == name).to_numpy()
        mean_W = mean_of(item_IW[chosen_I], tokens_I[chosen_I])
        targets[name] = Target(sketch.apply(mean_W[None])[0], int(chosen_I.sum()))
    tokens_N = asked.documents["n_tokens"].to_numpy()

    def read(start: int, stop: int) -> Rows:
        feature_BW = vector_rows(files, start, stop).astype(np.float32)
        return Rows(sketch.apply(feature_BW), tokens_N[start:stop], norms(feature_BW))

    return Measured(width(files), how_short, read, targets, seconds, 0.0, n_bytes, 0)


def _items(asked: Asked, embedding: Embedding) -> tuple[np.ndarray, np.ndarray, float, int]:
    """(vectors of the items, float32 (I, W); their tokens; seconds; bytes)."""
    work, files = asked.work, locate(embedding.model, "settings/embedding.model")
    texts = {digest([prompt, text]): prompt + text for prompt, text in asked.items.select("prompt", "text").iter_rows()}
    keys = [digest([prompt, text]) for prompt, text in asked.items.select("prompt", "text").iter_rows()]
    e = embedding
    job = EmbedItems(EncoderFiles(files, e.pooling, e.window, e.max_windows, e.dtype), e.batch_windows)

    def to_embed(missing: pl.Series) -> ToDo:
        left = [(key, texts[key]) for key in missing]
        shards = [tuple(left[i : i + AT_ONCE]) for i in range(0, len(left), AT_ONCE)]
        return ToDo(job, shards, "vectors of targets", len(left), "items")

    method = hashed_values(embedding.model_copy(update={"sample": None, "seed": 0}), applying=True) | {"model": None}
    how = digest([VERSION, "embedding", method, content_hash(files, work.store.root)])
    rows = Shards(work.store, STAGE, how).completed(keys, to_embed, work.executor, work.log)
    seconds = float(np.sum(rows["seconds"].to_numpy()))
    return matrix(rows["embedding"]).astype(np.float32), rows["n_tokens"].to_numpy(), seconds, rows.nbytes
