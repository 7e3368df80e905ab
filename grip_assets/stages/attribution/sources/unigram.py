"""The source unigram: token counts in chi-squared units [M1]. It takes no model, and is the default.

phi_i = (p_i - q) / sqrt(q + 0.0001), where p_i are the shares of tokens in a document and q those of the pool. Counts
are kept by document, and q is taken from them each time. So a document that is added changes all features, but only it
is counted. The equations are in method/attribution/unigram.py.
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.method.attribution import unigram
from grip_assets.method.attribution.sketching import CountSketch
from grip_assets.runtime import opened
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import digest
from grip_assets.stages.attribution.sources.base import STAGE, VERSION, Asked, Measured, Rows, Target, norms, shortening
from grip_assets.store.shards import Placed, Shards
from grip_assets.store.tables import RowRange, ranges_of, read_range
from grip_assets.training.runs import tokenizer_in

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

AT_ONCE, BYTES_AT_ONCE = 1024, 2 << 20  # most documents and bytes of a shard of work
CELLS = 1 << 24  # counts that are dense at a time
READ_AT_ONCE = 16_384  # documents whose counts are added up at a time


@dataclass(frozen=True)
class CountTokens:
    """The job: the tokens of documents, each with how often it is there. Its unit of progress is a document."""

    corpus: str
    tokenizer: str

    def run(self, shard: RowRange) -> pa.Table:
        from grip_assets.training.small import encode  # torch

        tokenizer = opened.get(("tokenizer", self.tokenizer), partial(tokenizer_in, self.tokenizer))
        rows, started = read_range(self.corpus, ["doc_id", "text"], shard), time.thread_time()
        pairs = []
        for text in rows["text"]:
            (ids,) = encode(tokenizer, [text.as_py()])
            pairs.append(np.unique(np.array(ids, np.int32), return_counts=True))
            worked(1)
        seconds = (time.thread_time() - started) / max(len(pairs), 1)
        return pa.table(
            {
                "key": rows["doc_id"],
                "tokens": pa.array([tokens for tokens, _ in pairs], pa.large_list(pa.int32())),
                "counts": pa.array([counts.astype(np.int32) for _, counts in pairs], pa.large_list(pa.int32())),
                "seconds": pa.array([seconds] * len(pairs), pa.float64()),
            }
        )


@dataclass(frozen=True)
class Counted:
    """Token counts of all documents. ``total_V``: of the whole pool, float64. ``new``: documents counted now."""

    tokenizer: Any
    vocabulary: int
    placed: Placed
    total_V: np.ndarray
    seconds: float
    n_bytes: int
    new: int


def counted(asked: Asked) -> Counted:
    """The counts of every document. Those that are kept are not counted again."""
    work = asked.work
    files = work.files("attribution_tokenizer")
    tokenizer = tokenizer_in(files)
    vocabulary = tokenizer.get_vocab_size()
    new = 0

    def to_count(missing: pl.Series) -> ToDo:
        nonlocal new
        new = len(missing)
        there = ranges_of(work.files("corpus"), missing, AT_ONCE, BYTES_AT_ONCE)
        return ToDo(CountTokens(work.files("corpus"), files), there, "token counts", new, "documents")

    how = digest([VERSION, "unigram", tokenizer.to_str()])
    placed = Shards(work.store, STAGE, how).ready(asked.documents["doc_id"], to_count, work.executor, work.log)
    return Counted(tokenizer, vocabulary, placed, *_totals(placed, len(asked.documents), vocabulary), new)


def measure(asked: Asked) -> Measured:
    settings, found = asked.settings, counted(asked)
    vocabulary, total_V = found.vocabulary, found.total_V
    pool_V = total_V / total_V.sum()
    named = of_targets(asked, found.tokenizer, vocabulary)
    target_TV = unigram.chi_squared(np.stack([counts_V for counts_V, _ in named.values()]), pool_V)
    sketch, how_short = shortening(settings, vocabulary, target_TV, "unigram")

    def read(start: int, stop: int) -> Rows:
        counts, n_tokens_B = counts_of(found.placed, start, stop, vocabulary)
        if isinstance(sketch, CountSketch):
            return Rows(unigram.sketched(counts, pool_V, sketch), n_tokens_B, _norms(counts, pool_V))
        step, parts = max(CELLS // vocabulary, 1), []
        for first in range(0, stop - start, step):
            feature_BV = unigram.chi_squared(counts[first : first + step], pool_V)
            parts.append((sketch.apply(feature_BV), norms(feature_BV)))
        feature_BK, norm_B = (np.concatenate(some) for some in zip(*parts, strict=True))
        return Rows(feature_BK, n_tokens_B, norm_B)

    targets = {
        name: Target(feature_K, n)
        for (name, (_, n)), feature_K in zip(named.items(), sketch.apply(target_TV), strict=True)
    }
    flops = float(total_V.sum())
    return Measured(vocabulary, how_short, read, targets, found.seconds, flops, found.n_bytes, found.new)


def _totals(placed: Placed, n: int, vocabulary: int) -> tuple[np.ndarray, float, int]:
    """(counts of the whole pool, float64 (V,); seconds; bytes)."""
    total_V, seconds, n_bytes = np.zeros(vocabulary), 0.0, 0
    for start in range(0, n, READ_AT_ONCE):
        rows = placed.read(start, min(start + READ_AT_ONCE, n))
        tokens, counts = (_flat(rows[name]) for name in ("tokens", "counts"))
        total_V += np.bincount(tokens, counts, vocabulary)
        seconds += float(np.sum(rows["seconds"].to_numpy()))
        n_bytes += rows.nbytes
    return total_V, seconds, n_bytes


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    return pa.concat_arrays(chunk.flatten() for chunk in column.chunks).to_numpy(zero_copy_only=False)


def counts_of(placed: Placed, start: int, stop: int, vocabulary: int) -> "tuple[csr_matrix, np.ndarray]":
    """(sparse counts (B, V), tokens of each document)."""
    from scipy.sparse import csr_matrix  # slow to import

    rows = placed.read(start, stop, ["tokens", "counts"])
    tokens, counts = _flat(rows["tokens"]), _flat(rows["counts"])
    sizes_B = np.array([len(row) for row in rows["tokens"]], np.int64)
    matrix = csr_matrix((counts.astype(np.float64), tokens, np.append(0, np.cumsum(sizes_B))), (len(rows), vocabulary))
    return matrix, np.asarray(matrix.sum(axis=1)).ravel().astype(np.int64)


def _norms(counts: "csr_matrix", pool_V: np.ndarray) -> np.ndarray:
    """Norms of chi-squared features without making them: ||a - c||² = ||a||² - 2 <a, c> + ||c||², where a is sparse."""
    root_V = np.sqrt(pool_V + unigram.FLOOR)
    share = counts.multiply(1 / np.maximum(np.asarray(counts.sum(axis=1)), 1)).multiply(1 / root_V).tocsr()
    common_V = pool_V / root_V
    square_B = np.asarray(share.multiply(share).sum(axis=1)).ravel() - 2 * (share @ common_V) + common_V @ common_V
    return np.sqrt(np.maximum(square_B, 0))


def of_targets(asked: Asked, tokenizer: Any, vocabulary: int) -> dict[str, tuple[np.ndarray, int]]:
    """Target to (counts of the texts of its items, items). Prompts do not count."""
    from grip_assets.training.small import encode  # torch

    found = {}
    for (name,), rows in asked.items.group_by("target", maintain_order=True):
        ids = [np.array(row, np.int64) for row in encode(tokenizer, rows["text"].to_list())]
        found[str(name)] = (np.bincount(np.concatenate(ids), minlength=vocabulary).astype(np.float64), len(rows))
    return found
