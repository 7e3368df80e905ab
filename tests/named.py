"""Names for the clusters of a data folder, as the stage ``taxonomy`` makes them, without a run of the stage."""

import time
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import connect

VERSION = "00000000000000ff"
TAXONOMY = {
    "cluster_id": pl.Int32,
    "name": pl.String,
    "description": pl.String,
    "words": pl.List(pl.String),
    "named_by": pl.String,
    "family": pl.Int32,
    "family_name": pl.String,
    "n_docs": pl.Int64,
    "n_tokens": pl.Int64,
}


def publish(root: Path, monkeypatch: Any, names: list[str], families: int = 2) -> cluster_names.ClusterNames:
    """Give the clusters in force these names, in turn. The influence of a document is minus its cosine.

    So the representatives are the documents farthest from the centre, which nothing else would take.
    """
    store = ArtifactStore(root)
    with connect(root) as connection:
        ((clusters,),) = connection.execute(
            "SELECT version FROM artifacts WHERE asset = 'clusters' AND in_force"
        ).fetchall()
        sizes = connection.sql(
            "SELECT cluster_id, count(*) AS n_docs, sum(n_tokens)::BIGINT AS n_tokens FROM clusters GROUP BY ALL ORDER BY 1"
        ).pl()
        influence = connection.sql(
            "SELECT doc_id, cluster_id, -cosine AS influence, 0.0 AS log_gamma, 0.0 AS log_density, 0.0 AS log_rho,"
            " row_number() OVER (PARTITION BY cluster_id ORDER BY cosine, doc_id)::INTEGER AS rank FROM clusters"
        ).pl()
    rows = [row | _named(row["cluster_id"], names, families) for row in sizes.iter_rows(named=True)]
    manifest = {
        "stage": "taxonomy", "version": VERSION, "inputs": {"clusters": clusters}, "settings": {}, "metrics": {},
        "checks": [], "extremes": [], "seconds": 0.0, "computed_at": time.time(), "run_id": "", "code_version": "1",
        "main": "taxonomy", "shards": [], "made_for": None,
    }  # fmt: skip
    with store.publish("taxonomy", manifest) as draft:
        draft.write("taxonomy", pl.DataFrame(rows, TAXONOMY))
        draft.write("influence", influence)
    made = store.manifest("taxonomy", VERSION)
    if monkeypatch:
        monkeypatch.setattr(cluster_names, "_taxonomies", lambda store: [made])
    return cluster_names.of_clusters(store, clusters, VERSION)


def _named(cluster: int, names: list[str], families: int) -> dict[str, Any]:
    name = names[cluster % len(names)]
    return {
        "name": name,
        "description": f"About {name}.",
        "words": [name, "word"],
        "named_by": "words",
        "family": cluster % families,
        "family_name": f"family {cluster % families} of {name}",
    }
