"""Random numbers as a hash of (seed, stage, document). They depend on no order and no number of workers [spec 7]."""

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.runtime import threads

CHUNK = 65_536
FIRST, SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # MurmurHash3's 64-bit finaliser


def keyed_uniform(seed: int, stage: str, ids: Sequence[str] | pl.Series) -> np.ndarray:
    """One uniform in the open interval (0, 1) for each id, float64, shape (N,).

    The same (seed, stage, id) gives the same number in any order, on any machine, in any batch. The hash starts from
    (seed, stage), mixes in the eight-byte words of the id one after the other, and at last the id's length.
    """
    key = _key(seed, stage)
    if not len(ids):
        return np.empty(0)
    starts, u_N = range(0, len(ids), CHUNK), np.empty(len(ids))

    def fill(start: int) -> None:
        states = _fold(key, ids[start : start + CHUNK])
        u_N[start : start + CHUNK] = ((states >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53

    for _ in threads.each(fill, starts, 1 if len(starts) == 1 else None):
        pass
    return u_N


def keyed_sample(seed: int, stage: str, ids: Sequence[str] | pl.Series, n: int) -> np.ndarray:
    """A mask (N,) of the ``n`` ids with the smallest numbers (or of all ids)."""
    chosen_N = np.zeros(len(ids), bool)
    chosen_N[np.argsort(keyed_uniform(seed, stage, ids), kind="stable")[:n]] = True
    return chosen_N


def keyed_clusters(seed: int, stage: str, documents: pl.DataFrame, n: int, least: int) -> pl.DataFrame:
    """A sample of about ``n`` of the ``documents`` (doc_id, cluster_id), in their order, for measurements inside
    clusters.

    A plain sample of a large pool would have too few documents of each cluster. So if there are many clusters, only
    some of them are drawn, with the same share of each, but at least ``least`` documents (or all).
    """
    if n >= len(documents):
        return documents
    sizes = documents.group_by("cluster_id").len("size").sort("cluster_id")
    sizes = sizes[keyed_order(seed, stage, len(sizes))]
    before = pl.col("size").clip(upper_bound=least).cum_sum().shift(1, fill_value=0)
    chosen = sizes.filter(before < n)
    share = n / chosen["size"].sum()
    wanted = chosen.with_columns(wanted=(pl.col("size") * share).ceil().clip(least))
    u = pl.Series("u", keyed_uniform(seed, stage, documents["doc_id"]))
    return (
        documents.with_columns(u)
        .join(wanted.select("cluster_id", "wanted"), on="cluster_id", maintain_order="left")
        .filter(pl.col("u").rank("ordinal").over("cluster_id") <= pl.col("wanted"))
        .drop("u", "wanted")
    )


def keyed_order(seed: int, stage: str, n: int) -> np.ndarray:
    """The numbers 0 to n - 1 in a random order, which depends only on (seed, stage, n)."""
    key = _key(seed, stage)
    return np.argsort(_mix(np.arange(n, dtype=np.uint64) * FIRST + key[0]) ^ key[1], kind="stable")


def keyed_words(seed: int, stage: str, start: int, stop: int) -> np.ndarray:
    """64 random bits for each of the numbers from ``start`` to ``stop`` - 1, uint64. They depend only on (seed, stage,
    number), so a long row of numbers can be made in parts."""
    key = _key(seed, stage)
    return _mix(_mix(np.arange(start, stop, dtype=np.uint64) * FIRST + key[0]) ^ key[1])


def _key(seed: int, stage: str) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(f"{seed}:{stage}".encode(), digest_size=16).digest(), "<u8")


def _fold(key: np.ndarray, ids: Sequence[str] | pl.Series) -> np.ndarray:
    words_NW, length_N = _words(ids)
    state_N = np.full(len(length_N), key[0])
    n_words = -(-length_N // 8)
    for w in range(words_NW.shape[1]):
        folded_N = _mix(state_N ^ words_NW[:, w]) + key[1]
        state_N = np.where(w < n_words, folded_N, state_N)
    return _mix(state_N ^ length_N.astype(np.uint64))


def _mix(state_N: np.ndarray) -> np.ndarray:
    state_N = (state_N ^ (state_N >> np.uint64(33))) * FIRST
    state_N = (state_N ^ (state_N >> np.uint64(33))) * SECOND
    return state_N ^ (state_N >> np.uint64(33))


def _words(ids: Sequence[str] | pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 bytes of the ids as little-endian words, uint64 (N, W), padded with 0; and their lengths in bytes (N,)."""
    if isinstance(ids, pl.Series):
        text = ids.to_arrow(compat_level=pl.CompatLevel.oldest())  # the strings one after the other
    else:
        text = pa.array(ids, pa.large_string())
    _, offsets, data = text.buffers()
    offset_N = np.frombuffer(offsets, "<i8")[text.offset : text.offset + len(text) + 1]
    length_N = np.diff(offset_N)
    width = -(-int(length_N.max()) // 8) * 8
    raw = np.frombuffer(data or b"", np.uint8)[offset_N[0] : offset_N[-1]]
    if width and (length_N == width).all():  # document ids
        return raw.view("<u8").reshape(len(text), -1), length_N
    bytes_NB = np.zeros((len(text), width), np.uint8)
    bytes_NB[np.arange(width) < length_N[:, None]] = raw
    return bytes_NB.view("<u8"), length_N
