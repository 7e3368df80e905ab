"""corpus_map: a sample of the corpus as points of the plane. It depends on the clusters alone: no budget moves it."""

import time
from typing import Any

import polars as pl

from grip_assets.engine.stage import Stage, Work
from grip_assets.method.projection import tsne
from grip_assets.method.sampling import keyed_sample
from grip_assets.runtime.progress import duration
from grip_assets.store.tables import rows_of

DOCUMENTS = 3_000  # what a picture can show
SEED = 0


def compute(work: Work) -> dict[str, Any]:
    documents = work.frame("clusters").select("doc_id", "cluster_id")
    chosen_N = keyed_sample(SEED, "corpus_map", documents["doc_id"], DOCUMENTS)
    sample = documents.filter(pl.Series(chosen_N))
    work.log(f"laying {len(sample):,} of {len(documents):,} documents out in the plane, about 5 s a thousand")
    started = time.monotonic()
    xy_N2 = tsne(rows_of(work.files("cluster_embeddings"), chosen_N))
    work.log(f"laid out in {duration(time.monotonic() - started)}")
    work.draft.write("corpus_map", sample.with_columns(x=pl.Series(xy_N2[:, 0]), y=pl.Series(xy_N2[:, 1])))
    return {"documents_on_the_map": len(sample)}


stage = Stage(
    name="corpus_map",
    code_version="1",
    compute=compute,
    description="A map of the corpus: at most 3,000 documents in the plane by t-SNE, near ones near each other."
    " Distances between far groups say nothing.",
    tables=("corpus_map",),
    inputs=("clusters",),
    group="reports",
)
