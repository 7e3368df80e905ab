"""Distances of a sample of documents to their nearest neighbours in the cluster. Exact, in two passes over the vectors.

The density in ``selection_weights`` depends on each cluster's own bandwidth, so it cannot be compared between clusters.
These distances can. Memory: the vectors of the sample and one block. Cost: sample x mean cluster size x dimensions.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from grip_assets.method.geometry import unit_rows
from grip_assets.method.sampling import keyed_uniform
from grip_assets.store.tables import vector_blocks

SAMPLE = 2000


def neighbour_distances(documents: pl.DataFrame, vectors: str, k: int, sample: int = SAMPLE) -> pl.DataFrame:
    """``sample`` of the ``documents``, with the column ``distance``: the mean distance to their ``k`` nearest
    neighbours in the cluster.

    ``documents`` has doc_id and cluster_id, in the order of the rows of ``vectors`` (a glob). Documents with fewer
    than ``k`` neighbours are left out.
    """
    some = documents.with_row_index("row").with_columns(
        u=pl.Series(keyed_uniform(0, "report/neighbours", documents["doc_id"]))
    )
    some = some.sort("u", "doc_id").head(sample).sort("row")
    rows, cluster_N = some["row"].to_numpy().astype(np.int64), documents["cluster_id"].to_numpy()
    sizes = np.bincount(cluster_N)
    chosen = [b_ND[rows[(rows >= start) & (rows < start + len(b_ND))] - start] for start, b_ND in _blocks(vectors)]
    queries_SD = unit_rows(np.concatenate(chosen))
    nearest_SK = np.full((len(rows), k), np.inf, np.float32)
    asked_S = cluster_N[rows]
    for start, block_ND in _blocks(vectors):
        here_N = cluster_N[start : start + len(block_ND)]
        for cluster in np.unique(here_N):
            asking = np.flatnonzero(asked_S == cluster)
            if len(asking):
                members = np.flatnonzero(here_N == cluster)
                far = squared(queries_SD[asking], block_ND[members])
                far[rows[asking][:, None] == start + members[None, :]] = np.inf  # not its own neighbour
                both = np.concatenate([nearest_SK[asking], far], axis=1)
                nearest_SK[asking] = np.partition(both, k - 1, axis=1)[:, :k]
    found = some.drop("row", "u").with_columns(distance=pl.Series(np.sqrt(nearest_SK).mean(axis=1)))
    return found.filter(pl.Series(sizes[asked_S] > k))


def squared(unit_AD: np.ndarray, b_BD: np.ndarray) -> np.ndarray:
    """Squared distances (A, B) between unit rows and the normalised rows of ``b_BD``; from 0 to 4."""
    b_BD = b_BD.astype(np.float32)
    norm_B = np.sqrt(np.einsum("bd,bd->b", b_BD, b_BD))
    return np.clip(2 - 2 * (unit_AD @ b_BD.T) / norm_B, 0, 4)


def _blocks(vectors: str) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of rows, float16. Each comes with the number of its first row."""
    start = 0
    for block_ND in vector_blocks(vectors):
        yield start, block_ND
        start += len(block_ND)
