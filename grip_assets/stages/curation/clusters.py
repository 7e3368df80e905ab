"""clusters: spherical k-means [G1, A18]. Vectors are rewritten sorted by cluster: a cluster is a range of rows."""

import tempfile
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR16, VECTOR32, Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_sample
from grip_assets.runtime.memory import need
from grip_assets.settings import Clustering
from grip_assets.settings.changes import profiles, read_profile
from grip_assets.store.tables import rows_of, vector_blocks, vectors, width

LEAST = 2  # documents that there is anything to choose between


def enough_documents(n: int, work: Work) -> int | None:
    """settings/clustering.k for a pool of ``n`` documents: a profile's k follows a smaller pool. Stages ask before they
    do anything costly. GripError where there is nothing to choose between, or where the user's k is above ``n``."""
    k = Clustering.of(work.settings).k
    if n < LEAST:
        raise GripError(
            f"The pool has {n} document{'s' if n != 1 else ''}, exact copies counted once: there is nothing to choose"
            " between. Name a larger pool in settings/corpus.path."
        )
    if k is None or k <= n:
        return k
    if k in _of_profiles():
        work.log(f"settings/clustering.k is {k:,} and the pool has {n:,} documents: {n:,} clusters before merging")
        return n
    raise GripError(
        f"settings/clustering.k is {k}, and the corpus has only {n} documents."
        " Lower k, or set it to null to have it chosen."
    )


def _of_profiles() -> set[int]:
    """Every k that a profile sets: it was chosen for no particular pool."""
    return {k for name in profiles() if (k := read_profile(name).get("clustering", {}).get("k"))}


def compute(work: Work) -> dict[str, Any]:
    from grip_assets.method.partition import kmeans as clustering  # compiled
    from grip_assets.method.screening import fastest

    settings = Clustering.of(work.settings)
    files = work.files("embeddings")
    documents = pl.read_parquet(files, columns=["doc_id", "n_tokens"])
    k = clustering.choose_k(len(documents), enough_documents(len(documents), work))
    need(
        min(len(documents), settings.fit_sample) * (7 * width(files) + 88),
        f"Fitting {k} centroids on {min(len(documents), settings.fit_sample):,} documents",
        "Lower settings/clustering.fit_sample",
    )
    sample_ND = rows_of(files, keyed_sample(settings.seed, "clusters", documents["doc_id"], settings.fit_sample))
    work.log(f"clustering {len(documents):,} documents into {k} clusters, {settings.seeds} initialisations")
    found = clustering.cluster(
        lambda: vector_blocks(files),
        sample_ND,
        k,
        settings.iterations,
        settings.seeds,
        settings.seed,
        settings.min_cluster_docs,
        work.log,
    )
    table = documents.with_columns(
        cluster_id=pl.Series(found.cluster_N, dtype=pl.Int32), cosine=pl.Series(found.cosine_N)
    ).with_row_index("row")
    table = table.sort("cluster_id", "doc_id")
    work.draft.write("clusters", table.select("doc_id", "cluster_id", "cosine", "n_tokens"))
    _write_sorted(work, files, table)
    centroids = (
        table.group_by("cluster_id").agg(n_docs=pl.len().cast(pl.Int64), n_tokens=pl.sum("n_tokens")).sort("cluster_id")
    )
    columns = centroids.to_arrow(compat_level=pl.CompatLevel.oldest())
    centroid = pa.FixedSizeListArray.from_arrays(pa.array(found.centroids_KD.reshape(-1)), found.centroids_KD.shape[1])
    work.draft.write("centroids", columns.append_column("centroid", centroid))
    return {
        "clusters": len(centroids),
        "clusters_before_merging": k,
        "mean_cosine": float(found.cosine_N.mean()),
        "imbalance": found.imbalance,
        "screened_in": fastest()[0],
        **{f"gigaflops_{name}": value for name, value in fastest()[1].items()},
    }


def _write_sorted(work: Work, files: str, table: pl.DataFrame) -> None:
    """All vectors in the order of ``table``, through a file: in memory are a block and what the system caches."""
    place_N = np.empty(len(table), np.int64)
    place_N[table["row"].to_numpy()] = np.arange(len(table))
    doc_ids, start = table["doc_id"], 0
    with tempfile.TemporaryFile(dir=work.draft.folder) as file:
        x_ND: np.ndarray | None = None
        for block_BD in vector_blocks(files):
            if x_ND is None:
                x_ND = np.memmap(file, np.float16, "w+", shape=(len(table), block_BD.shape[1]))
            place_B = place_N[start : start + len(block_BD)]
            order_B = np.argsort(place_B)
            x_ND[place_B[order_B]] = block_BD[order_B]
            start += len(block_BD)
        assert x_ND is not None
        schema = pa.schema([("doc_id", pa.string()), ("embedding", pa.list_(pa.float16(), x_ND.shape[1]))])
        with work.draft.writer("cluster_embeddings", schema) as writer:
            for start in range(0, len(table), 16_384):
                ids = doc_ids[start : start + 16_384].to_arrow(compat_level=pl.CompatLevel.oldest())
                writer.write(pa.table({"doc_id": ids, "embedding": vectors(x_ND[start : start + 16_384])}))


TABLES = (
    Table(
        "clusters",
        (
            Column("doc_id", pl.String, "Document.", ("embeddings.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster of the document.", ("embeddings.embedding",)),
            Column("cosine", pl.Float64, "Cosine to the centroid.", ("embeddings.embedding",)),
            Column("n_tokens", pl.Int64, "Tokens ℓ(x).", ("embeddings.n_tokens",)),
        ),
    ),
    Table(
        "centroids",
        (
            Column("cluster_id", pl.Int32, "Cluster.", ("embeddings.embedding",)),
            Column("n_docs", pl.Int64, "Documents N_k.", ("embeddings.doc_id",)),
            Column("n_tokens", pl.Int64, "Tokens of its documents.", ("embeddings.n_tokens",)),
            Column("centroid", VECTOR32, "Normalised mean of its vectors.", ("embeddings.embedding",)),
        ),
    ),
    Table(
        "cluster_embeddings",
        (
            Column("doc_id", pl.String, "Document, in the order of clusters.", ("embeddings.doc_id",)),
            Column("embedding", VECTOR16, "Its vector.", ("embeddings.embedding",)),
        ),
    ),
)
CHECKS = (
    Check("every_document_in_one_cluster", True, "Each embedded document is in exactly one cluster."),
    Check("no_empty_cluster", True, "Every centroid has documents, and as many as it says."),
    Check("balanced", False, "The largest cluster has at most 50 times the documents of the median one."),
)

stage = Stage(
    name="clusters",
    code_version="2",
    compute=compute,
    description="Groups of documents that are about the same: disjoint clusters by spherical k-means; small ones"
    " merged into the nearest. `centroids` has the centres, `cluster_embeddings` the vectors in the order of"
    " `clusters`.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("embeddings",),
    reads={"clustering": ("k", "iterations", "seeds", "min_cluster_docs", "fit_sample", "seed")},
)
