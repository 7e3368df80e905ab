"""A stage's result on a small planted input. When it changes, the stage's code_version must change with it.

Encoder and proxy round as the processor does, so embeddings, clusters and losses are planted; their own tests hold
them to references.
"""

import hashlib
import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from conftest import TOPICS
from defaults import without_near_copies

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.method.partition.finish import directions
from grip_assets.settings import validate
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import REPOSITORY, ArtifactStore
from grip_assets.store.tables import vectors

GOLDEN = REPOSITORY / "tests" / "golden.json"


def plant(store: ArtifactStore, stage: str, inputs: dict, **tables: pl.DataFrame | pa.Table) -> None:
    manifest = {"version": "planted", "stage": stage, "inputs": inputs, "computed_at": 0, "seconds": 0, "run_id": ""}
    with store.publish(stage, manifest) as draft:
        for name, table in tables.items():
            draft.write(name, table)


@pytest.fixture
def store(tmp_path):
    """Corpus, clusters and losses of 160 documents in four topics, one cluster each."""
    store = ArtifactStore(tmp_path)
    texts = [TOPICS[t].format(i=i, j=i * 7) * (1 + i % 4) for t in TOPICS for i in range(40)]
    ids, clusters = [f"{i:032x}" for i in range(160)], np.repeat(np.arange(4, dtype=np.int32), 40)
    n_tokens = pl.Series([len(t) // 4 for t in texts])
    rng = np.random.default_rng(0)
    x = directions(np.eye(4, 8)[clusters] + 0.1 * (1 + clusters[:, None]) * rng.normal(size=(160, 8))).astype(
        np.float16
    )
    centres = directions(np.array([x[clusters == k].astype(float).sum(0) for k in range(4)]))
    corpus = pl.DataFrame(
        {
            "doc_id": ids,
            "text": texts,
            "language": "python",
            "source": ids,
            "n_bytes": n_tokens * 4,
            "n_tokens": n_tokens,
        }
    )
    plant(
        store,
        "corpus",
        {},
        corpus=corpus,
        rejected=corpus.select("source").head(0),
        held_out=corpus.head(0),
        contamination=corpus.select("source").head(0),
        own_vectors=corpus.select("doc_id").head(0),
        intake=pl.DataFrame({"outcome": ["read"], "n": [160]}),
    )
    plant(store, "embeddings", {"corpus": "planted"})
    table = pl.DataFrame(
        {
            "doc_id": ids,
            "cluster_id": clusters,
            "cosine": (x.astype(float) * centres[clusters]).sum(1),
            "n_tokens": n_tokens,
        }
    )
    plant(
        store, "clusters", {"embeddings": "planted"}, clusters=table,
        centroids=table.group_by("cluster_id").agg(n_docs=pl.len()).sort("cluster_id"),
        cluster_embeddings=pa.table({"doc_id": ids, "embedding": vectors(x)}),
    )  # fmt: skip
    return store


def test_a_result_that_changes_needs_a_new_code_version(store):
    settings = without_near_copies()
    settings["probe"] = validate("probe", {"fraction": 0.3})
    settings["budget"] = validate("budget", {"replay": "loss"})
    versions = {"corpus": "planted", "embeddings": "planted", "clusters": "planted"}
    found = {}
    for name in ("sigma_k", "probe_set", "quality_scores", "budgets", "densities", "subset"):
        if name == "budgets":
            losses = pl.DataFrame(
                {"cluster_id": range(4), "delta": [0.9, 0.5, 1.4, 1.1], "relative_delta": [0.09, 0.05, 0.14, 0.11]}
            )
            plant(
                store,
                "adaptation_deltas",
                {"probe_set": versions["probe_set"]},
                adaptation_deltas=losses,
                loss_curves=losses,
                probe_agreement=losses,
            )
            versions["adaptation_deltas"] = "planted"
        stage = STAGES[name]
        inputs = {i: versions[i] for i in stage.inputs_under(settings)}
        made = Chain(STAGES, store, lambda line: None, "run", inspect).make(stage, settings, inputs)
        versions[name] = made.version
        assert not made.reused and not [c for c in made.manifest["checks"] if c["violations"]]
        rows = {t: rounded(pl.read_parquet(store.parquet(name, made.version, t))) for t in stage.table_names}
        found[f"{name} {stage.code_version}"] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    if not GOLDEN.exists():  # delete it to write it anew
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text()), "bump the stage's code_version, then delete tests/golden.json"


def rounded(frame: pl.DataFrame) -> list:
    return [[float(f"{v:.9g}") if isinstance(v, float) else v for v in row] for row in frame.rows()]
