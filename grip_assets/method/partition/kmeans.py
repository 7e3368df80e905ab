"""Spherical k-means [G1, A18]: fit centroids on a sample, assign every document, merge what is too small.

Shapes: N documents, B rows of a block, K clusters, d dimensions. Rows are unit vectors.
Fit: lloyd.py, at most seeds x iterations x N K d operations. Assignment and the two sums: one pass over the blocks
each; nothing of size N x K is held. Labels are exact, so the number of workers changes nothing.

A merged cluster is the union of its parts: documents are not assigned again afterwards, since that could make other
clusters small. The final centroid is the normalised sum of the members, so that mean cosine = ||mean vector||
(P2), which is what sql/equations/sigma_k.sql relies on.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import lloyd
from grip_assets.method.sampling import keyed_order
from grip_assets.method.screening import Codes, compiled, encode, fastest
from grip_assets.runtime import threads
from grip_assets.runtime.progress import Progress

Blocks = Callable[[], Iterable[np.ndarray]]
"""Starts a fresh pass over the rows, in blocks of a fixed size."""

SAME_DIRECTION = 1 - 1e-5  # cosine above which two centroids are one: halves of a split that nothing parted


@dataclass(frozen=True)
class Clustering:
    """``cluster_N`` int32, ids by falling size; ``cosine_N`` float64, to the final centroid; centroids float32."""

    cluster_N: np.ndarray
    cosine_N: np.ndarray
    centroids_KD: np.ndarray
    counts_K: np.ndarray

    @property
    def imbalance(self) -> float:
        return float(self.counts_K.max() / np.median(self.counts_K))


def choose_k(n_documents: int, k: int | None) -> int:
    """A18: k, or sqrt(N) between 16 and 1,024 (never more than N)."""
    if k is None:
        return min(int(np.clip(round(np.sqrt(n_documents)), 16, 1024)), n_documents)
    if k > n_documents:
        raise GripError(
            f"settings/clustering.k is {k}, and the corpus has only {n_documents} documents."
            " Lower k, or set it to null to have it chosen."
        )
    return k


def cluster(
    blocks: Blocks,
    sample_ND: np.ndarray,
    k: int,
    iterations: int,
    seeds: int,
    seed: int,
    min_cluster_docs: int,
    log: Callable[[str], None] = lambda line: None,
) -> Clustering:
    """All of G1: ``sample_ND`` fits the centroids, ``blocks`` (the whole corpus) is assigned to them."""
    if k > len(sample_ND):
        raise GripError(
            f"settings/clustering.fit_sample leaves {len(sample_ND)} documents to fit {k} clusters on."
            f" Raise fit_sample to {k} or more, or lower k."
        )
    fitted_KD = fit(unit_rows(sample_ND), k, iterations, seeds, seed, log)
    ids: list[np.ndarray] = []
    sums_KD: np.ndarray = np.zeros(fitted_KD.shape)
    codes = encode(fitted_KD, fastest()[0])
    assigned = threads.each(
        partial(_assign_block, centroids_KD=fitted_KD, codes=codes), blocks(), bytes_each=_block_bytes(fitted_KD)
    )
    for ids_B, block_KD in assigned:
        ids.append(ids_B)
        sums_KD += block_KD  # in the order of the blocks; kept for all blocks they would be K x d x blocks
    cluster_N = np.concatenate(ids)
    mapping_K = merge_small(sums_KD, np.bincount(cluster_N, minlength=len(fitted_KD)), min_cluster_docs)
    cluster_N = mapping_K[cluster_N]
    merged_KD = np.zeros((mapping_K.max() + 1, sums_KD.shape[1]))
    np.add.at(merged_KD, mapping_K[mapping_K >= 0], sums_KD[mapping_K >= 0])
    centroids_KD = directions(merged_KD)
    with_ids = _with_ids(blocks(), cluster_N)
    each = _block_bytes(fitted_KD)
    cosine_N = np.concatenate(
        list(threads.each(partial(_cosines, centroids_KD=centroids_KD), with_ids, bytes_each=each))
    )
    return Clustering(cluster_N, cosine_N, centroids_KD.astype(np.float32), np.bincount(cluster_N))


def _block_bytes(centroids_KD: np.ndarray) -> int:
    """A block of 16,384 rows in float16, float32 and int8, and its sums."""
    k, d = centroids_KD.shape
    return 16_384 * d * 7 + k * d * 8


def fit(
    x_ND: np.ndarray, k: int, iterations: int, seeds: int, seed: int, log: Callable[[str], None] = lambda line: None
) -> np.ndarray:
    """Centroids of the initialisation with the highest mean cosine, without copies of one direction.

    An initialisation is k rows drawn at random. Ties go to the earlier seed.
    """
    rows = lloyd.prepare(x_ND)
    best_KD, highest = x_ND[:0], -np.inf
    for s in range(seed, seed + seeds):
        progress = Progress(f"k-means, seed {s}", iterations, "iterations", log)
        start_KD = x_ND[np.sort(keyed_order(s, "clusters", len(x_ND))[:k])]
        centroids_KD, _, mean_cosine = lloyd.lloyd(rows, start_KD, iterations, progress.advance)
        if mean_cosine > highest:
            best_KD, highest = centroids_KD, mean_cosine
    keep: list[int] = []
    for i, row in enumerate(best_KD):
        if not (best_KD[keep] @ row > SAME_DIRECTION).any():
            keep.append(i)
    return best_KD[keep]


def assign(x_BD: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """Nearest centroid of each row by cosine, int32 (B,), as in float64; ties go to the lowest id."""
    return lloyd.nearest(x_BD, centroids_KD, encode(centroids_KD, fastest()[0]))


def _assign_block(block_BD: np.ndarray, centroids_KD: np.ndarray, codes: Codes) -> tuple[np.ndarray, np.ndarray]:
    x_BD = unit_rows(block_BD)
    ids_B = lloyd.nearest(x_BD, centroids_KD, codes)
    sums_KD = np.zeros(centroids_KD.shape)
    _add_rows(x_BD, ids_B, sums_KD)
    return ids_B, sums_KD


@compiled
def _add_rows(x_BD, ids_B, sums_KD):
    for i in range(x_BD.shape[0]):
        for j in range(x_BD.shape[1]):
            sums_KD[ids_B[i], j] += x_BD[i, j]


def merge_small(sums_KD: np.ndarray, counts_K: np.ndarray, minimum: int) -> np.ndarray:
    """A18: new id of each cluster, int32 (K,), -1 for empty ones.

    The smallest cluster below ``minimum`` documents joins the one whose mean direction is nearest, until all are large
    enough or one is left. New ids run by falling size; ties by the old id.
    """
    sums_KD, counts_K = sums_KD.copy(), counts_K.copy()
    owner_K = np.where(counts_K > 0, np.arange(len(counts_K)), -1)
    while True:
        live = np.flatnonzero(counts_K > 0)
        smallest = live[np.argmin(counts_K[live])]
        if len(live) == 1 or counts_K[smallest] >= minimum:
            break
        others = live[live != smallest]
        nearest = others[np.argmax(directions(sums_KD[others]) @ directions(sums_KD[[smallest]])[0])]
        sums_KD[nearest] += sums_KD[smallest]
        counts_K[nearest] += counts_K[smallest]
        counts_K[smallest] = 0
        owner_K[owner_K == smallest] = nearest
    order = live[np.lexsort((live, -counts_K[live]))]
    new_id = {old: new for new, old in enumerate(order)}
    return np.array([new_id.get(owner, -1) for owner in owner_K], np.int32)


def directions(sums_KD: np.ndarray) -> np.ndarray:
    """Normalised sums, float64 (K, d); opposite members that cancel out give a zero row."""
    norms_K = np.linalg.norm(sums_KD, axis=1, keepdims=True)
    return sums_KD / np.maximum(norms_K, 1e-12)


def _with_ids(blocks: Iterable[np.ndarray], cluster_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    start = 0
    for block_BD in blocks:
        yield block_BD, cluster_N[start : start + len(block_BD)]
        start += len(block_BD)


def _cosines(block: tuple[np.ndarray, np.ndarray], centroids_KD: np.ndarray) -> np.ndarray:
    block_BD, ids_B = block
    cosine_B = np.empty(len(ids_B))
    lloyd.cosines(unit_rows(block_BD), centroids_KD, ids_B, cosine_B)
    return cosine_B
