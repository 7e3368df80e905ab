"""The stage taxonomy on planted clusters: names, families and influence; names by an endpoint on loopback."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.method.geometry import unit_rows
from grip_assets.naming.inert import is_name
from grip_assets.settings import GROUPS, validate
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.tables import vectors

LICENCE = "# Copyright (c) 2020 The Authors\n# Licensed under the Frobnicate License\n\n"
SUBJECTS = {
    "parser": "def parse_header(self, tokens):\n    grammar = tokens.lexer\n    return parse_tree(grammar, {i})\n",
    "matrix": "class SparseMatrix{i}:\n    def multiply(self, column_vector):\n        return eigen_values(column_vector)\n",
    "socket": "async def handle_request{i}(socket_server):\n    packet = socket_server.receive_packet({i})\n",
    "garden": "The gardener waters roses and tulips in garden {i}; every rose needs water and sunlight.\n",
}
D = 8


class Small:
    """A data folder in which corpus and clusters are planted: one cluster for each subject, 30 documents in each."""

    def __init__(self, root, subjects=SUBJECTS, n=30, change=lambda i, text: text, value=None, **taxonomy):
        self.store = ArtifactStore(root)
        self.settings = {name: validate(name, {}) for name in GROUPS}
        self.turn(**taxonomy)
        self.inputs = {"corpus": "planted", "partition": "planted", "clusters": "planted"}
        names = list(subjects)
        rows = [(k, i) for k in range(len(names)) for i in range(n)]
        texts = [change(i, LICENCE + subjects[names[k]].format(i=i) * 3) for k, i in rows]
        ids = [f"{j:032x}" for j in range(len(rows))]
        cluster = np.array([k for k, _ in rows], np.int32)
        rng = np.random.default_rng(0)
        x = unit_rows(np.eye(len(names), D)[cluster] + 0.1 * rng.normal(size=(len(rows), D)))
        centres = unit_rows(np.array([x[cluster == k].sum(0) for k in range(len(names))]))
        self.x, self.cluster, self.ids = x.astype(np.float16), cluster, ids
        corpus = pl.DataFrame({
            "doc_id": ids, "text": texts, "language": "python",
            "source": [f"pool/{names[k]}/file_{i}.py" for k, i in rows], "n_bytes": [len(t.encode()) for t in texts],
        })  # fmt: skip
        clusters = pl.DataFrame({
            "doc_id": ids, "cluster_id": cluster, "confidence": rng.uniform(0.2, 1, len(ids)).astype(np.float32),
        })  # fmt: skip
        centroids = pl.DataFrame({
            "cluster_id": pl.Series(range(len(names)), dtype=pl.Int32), "n_docs": [n] * len(names), "n_tokens": [n] * len(names),
            "component": pl.Series(range(len(names)), dtype=pl.Int32),
            "value": pl.Series(value or [None] * len(names), dtype=pl.String),
        })  # fmt: skip
        centroid = pl.Series("centroid", centres, dtype=pl.Array(pl.Float32, D))
        method = "kmeans" if value is None else "column"
        components = centroids.select("cluster_id", "value", method=pl.lit(method), column=pl.lit("c")).with_columns(
            centroid
        )
        self._plant("corpus", {}, corpus=corpus)
        self._plant("partition", {"corpus": "planted"}, components=components)
        x = pa.table({"doc_id": ids, "embedding": vectors(self.x)})
        tables = {"clusters": clusters, "centroids": centroids.with_columns(centroid), "cluster_embeddings": x}
        self._plant("clusters", {"corpus": "planted", "partition": "planted"}, **tables)

    def turn(self, **taxonomy):
        self.settings["taxonomy"] = validate("taxonomy", self.settings["taxonomy"].model_dump() | taxonomy)

    def _plant(self, stage, inputs, **tables):
        manifest = {"version": "planted", "stage": stage, "inputs": inputs, "settings": {}, "computed_at": 0}
        with self.store.publish(stage, manifest | {"seconds": 0, "run_id": "", "metrics": {}}) as draft:
            for table in STAGES[stage].tables:
                draft.write(table.name, tables.get(table.name, table.empty()))

    def make(self, run="run", log=lambda line: None):
        made = Chain(STAGES, self.store, log, run, inspect).make(STAGES["taxonomy"], self.settings, self.inputs)
        assert not [c for c in made.manifest["checks"] if c["violations"] and c["name"] != "named_as_asked"]
        self.made, self.metrics = made, made.manifest["metrics"]
        return self.table("taxonomy")

    def table(self, name):
        return pl.read_parquet(self.store.parquet("taxonomy", self.made.version, name))


def test_clusters_are_named_by_what_they_are_about(tmp_path):
    found = Small(tmp_path).make()
    names = dict(found.select("cluster_id", "name").iter_rows())
    for k, words in enumerate([("parser", "grammar"), ("matrix", "eigen"), ("socket", "packet"), ("garden", "rose")]):
        assert words[0] in names[k].lower() and any(words[1] in w for w in found["words"][k]), names[k]
    assert set(found["named_by"]) == {"words"} and found["n_docs"].to_list() == [30] * 4
    assert not any(word in text for text in (str(found.rows()).lower(),) for word in ("copyright", "frobnicate"))


def test_the_same_pool_has_the_same_names_on_any_number_of_threads_and_in_any_run(tmp_path, monkeypatch):
    versions = []
    for i, workers in enumerate("13"):
        monkeypatch.setenv("GRIP_WORKERS", workers)
        small = Small(tmp_path / str(i))
        small.make()
        versions.append(small.made.version)
        tables = [small.table(name) for name in ("taxonomy", "influence")]
        versions.append(str([table.rows() for table in tables]))
    assert versions[:2] == versions[2:]


def test_representatives_lead_the_ranks_and_are_no_copies(tmp_path):
    small = Small(tmp_path, top=5, near_copy=0.97)
    small.make()
    influence = small.table("influence")
    x = unit_rows(small.x).astype(np.float64)
    for k in range(4):
        mine = influence.filter(pl.col("cluster_id") == k).sort("rank")
        assert mine["rank"].to_list() == list(range(1, 31)) and len(set(mine["doc_id"])) == 30
        rows = [small.ids.index(doc) for doc in mine["doc_id"][:5]]
        cosine = x[rows] @ x[rows].T - np.eye(5)
        assert cosine.max() <= 0.97
        rest = mine["influence"][5:]
        assert rest.is_sorted(descending=True) and mine["influence"][0] == mine["influence"].max()


def test_a_large_cluster_is_measured_on_a_sample_by_hash(tmp_path):
    small = Small(tmp_path, members=12)
    small.make()
    influence = small.table("influence")
    assert influence.group_by("cluster_id").len()["len"].to_list() == [12] * 4
    whole = Small(tmp_path / "whole")
    whole.make()
    assert set(influence["doc_id"]) < set(whole.table("influence")["doc_id"])


def test_clusters_by_a_column_are_called_by_their_values(tmp_path):
    values = ["c++", "(missing)", "<script>alert(1)</script>", "\u202e\x1b[31m*"]
    found = Small(tmp_path, value=values).make()
    assert found["name"].to_list() == ["c++", "(missing)", "script alert(1) script", "31m"]
    assert set(found["named_by"]) == {"value"}
    empty = Small(tmp_path / "empty", value=["\u2603", "a", "A", "b"]).make()
    assert empty["named_by"].to_list() == ["words", "value", "value", "value"]
    assert empty["name"].str.to_lowercase().n_unique() == 4 and empty["name"][2].startswith("A: ")


@pytest.mark.parametrize("wanted", [None, 1, 2, 3, 4, 9])
def test_families_have_different_names_and_each_cluster_one(tmp_path, wanted):
    found = Small(tmp_path, families=wanted).make()
    n = min(wanted or 2, 4)
    assert found["family"].n_unique() == n and sorted(set(found["family"])) == list(range(n))
    assert found.group_by("family").agg(pl.col("family_name").n_unique())["family_name"].to_list() == [1] * n
    assert found["family_name"].n_unique() == n and all(map(is_name, found["family_name"]))
