"""corpus_map: a sample of the corpus as points in the plane. It depends only on the clusters, not on budgets."""

import time
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.projection import tsne
from grip_assets.method.sampling import keyed_sample
from grip_assets.runtime.progress import duration
from grip_assets.stages.curation.densities import embedded_of
from grip_assets.store.tables import rows_of

DOCUMENTS = 3_000  # as many points as a picture can show
SEED = 0


def compute(work: Work) -> dict[str, Any]:
    documents = embedded_of(work).select("doc_id", "cluster_id")
    chosen_N = keyed_sample(SEED, "corpus_map", documents["doc_id"], DOCUMENTS)
    sample = documents.filter(pl.Series(chosen_N))
    work.log(f"t-SNE of {len(sample):,} of {len(documents):,} documents takes about 5 s per thousand")
    started = time.monotonic()
    xy_N2 = tsne(rows_of(work.files("cluster_embeddings"), chosen_N))
    work.log(f"t-SNE took {duration(time.monotonic() - started)}")
    work.draft.write("corpus_map", sample.with_columns(x=pl.Series(xy_N2[:, 0]), y=pl.Series(xy_N2[:, 1])))
    return {"documents_on_the_map": len(sample)}


TABLES = (
    Table(
        "corpus_map",
        (
            Column("doc_id", pl.String, "Document of the sample.", ("clusters.doc_id",)),
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("x", pl.Float32, "Horizontal place on the map, by t-SNE.", ("cluster_embeddings.embedding",)),
            Column("y", pl.Float32, "Vertical place on the map, by t-SNE.", ("cluster_embeddings.embedding",)),
        ),
    ),
)
CHECKS = (
    Check("finite", True, "Every point of the map is finite."),
    Check("same_clusters", True, "Every document is on the map at most once, and with its cluster."),
)

stage = Stage(
    name="corpus_map",
    code_version="1",
    compute=compute,
    description="A map of the corpus: at most 3,000 documents with a vector, in the plane, by t-SNE. Similar documents"
    " are near each other. Distances between far groups mean nothing.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("clusters",),
    group="reports",
)
