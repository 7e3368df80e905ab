"""The stages partition and clusters on planted embeddings: tables, a column, a fit that is kept, jobs in other processes."""

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from defaults import without_near_copies

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.engine.stage import made_with
from grip_assets.errors import GripError
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import kmeans
from grip_assets.runtime.executors import Local
from grip_assets.settings import GROUPS, validate
from grip_assets.stages import STAGES
from grip_assets.stages.curation import partition as stage
from grip_assets.stages.curation.clusters import Assign, Cosines, Sums
from grip_assets.store import cleaning
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.tables import matrix, row_groups, rows_between, vectors

LANGUAGES = ["python"] * 60 + ["go"] * 25 + ["rust"] * 10 + ["cobol"] * 3 + [None] * 2
CLUSTERING = {"k": 10, "min_cluster_docs": 20, "iterations": 10, "seeds": 2}


def pool(n=600, d=16, seed=0):
    """Documents in five directions, with a language and a kept column."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, 5, n)
    x = unit_rows(rng.normal(size=(5, d))[topic] + 0.6 * rng.normal(size=(n, d)))
    return pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(n)],
            "n_tokens": rng.integers(1, 500, n),
            "language": [LANGUAGES[i % 100] for i in range(n)],
            "source": [f"file {i}" for i in range(n)],
            "kept": [json.dumps({"topic": f"t{t}", "stars": int(t)}) if t else None for t in topic],
        },
        schema_overrides={"n_tokens": pl.Int64, "language": pl.String},
    ).with_columns(embedding=pl.Series(x, dtype=pl.Array(pl.Float32, d)))


class Small:
    """A data folder in which corpus and embeddings are planted, as ``version``."""

    def __init__(self, root, documents, version="planted", **clustering):
        self.store, self.version, self.documents = ArtifactStore(root), version, documents
        self.settings = without_near_copies()
        self.turn(**CLUSTERING, **clustering)
        self._plant("corpus", {}, documents.drop("embedding").to_arrow(compat_level=pl.CompatLevel.oldest()))
        x = documents["embedding"].to_numpy()
        plain = documents.select("doc_id", "n_tokens").to_arrow(compat_level=pl.CompatLevel.oldest())
        self._plant("embeddings", {"corpus": version}, plain.append_column("embedding", vectors(x)))

    def turn(self, **clustering):
        values = self.settings["clustering"].model_dump() | clustering
        self.settings["clustering"] = validate("clustering", values)
        self.settings["corpus"] = validate("corpus", {"keep": ["topic", "stars"]})

    def _plant(self, name, inputs, table):
        manifest = {"stage": name, "version": self.version, "inputs": inputs, "settings": {}, "computed_at": 0}
        with self.store.publish(name, manifest | {"seconds": 0, "run_id": "", "metrics": {}}) as draft:
            parts = [table[i : i + 250] for i in range(0, len(table), 250)]
            with draft.writer(name, table.schema) as writer:
                for part in parts:  # several row groups, as a large pool has
                    writer.write(part)
                    writer._flush()
            for other in STAGES[name].tables[1:]:
                draft.write(other.name, other.empty())

    def make(self, executor=None):
        """Makes both stages; their manifests."""
        chain = Chain(STAGES, self.store, print, "run", inspect, executor or Local())
        inputs = {"corpus": self.version, "embeddings": self.version}
        self.made = {}
        for name in ("partition", "student", "clusters"):
            self.made[name] = chain.make(STAGES[name], self.settings, inputs)
            inputs |= {name: self.made[name].version}
        return [made.manifest for made in self.made.values()]

    def table(self, name):
        owner = "partition" if name in ("components", "fit_trace") else "clusters"
        return pl.read_parquet(self.store.parquet(owner, self.made[owner].version, name))

    def files(self, owner, name):
        return self.store.parquet(owner, self.version, name)


def violations(manifests):
    return [check for manifest in manifests for check in manifest["checks"] if check["violations"]]


def test_every_table_says_what_the_vectors_say(tmp_path):
    small = Small(tmp_path, pool())
    assert not violations(small.make())
    clusters, centroids = small.table("clusters"), small.table("centroids")
    found = small.table("cluster_embeddings")
    assert found["doc_id"].to_list() == clusters["doc_id"].to_list()
    x = unit_rows(found["embedding"].to_numpy().astype(np.float32)).astype(np.float64)
    ids, centres = clusters["cluster_id"].to_numpy(), centroids["centroid"].to_numpy().astype(np.float64)
    sums = np.array([x[ids == k].sum(0) for k in range(len(centres))])
    assert np.abs(centres - sums / np.linalg.norm(sums, axis=1, keepdims=True)).max() < 1e-6
    assert np.abs((x * centres[ids]).sum(1) - clusters["cosine"].to_numpy()).max() < 1e-6
    assert ((x @ centres.T).argmax(1) == ids).all(), "no document is nearer to another centroid than to its own"
    assert centroids["n_docs"].to_list() == np.bincount(ids).tolist() and min(centroids["n_docs"]) >= 20
    assert set(clusters["labelled_by"]) == {"embedding"} and clusters["confidence"].is_between(0, 1).all()


def test_the_order_of_the_pool_changes_no_byte(tmp_path):
    documents = pool()
    one = Small(tmp_path / "one", documents)
    other = Small(tmp_path / "other", documents[np.random.default_rng(0).permutation(len(documents))])
    for small in (one, other):
        small.make()
    for name in ("components", "fit_trace", "clusters", "centroids", "cluster_embeddings"):
        assert one.table(name).equals(other.table(name)), name


def test_a_pool_is_parted_by_a_column(tmp_path):
    small = Small(tmp_path, pool(), method="column")
    manifests = small.make()
    assert [check["name"] for check in violations(manifests)] in ([], ["balanced"])
    sizes = dict(small.table("centroids").select("value", "n_docs").iter_rows())
    assert sizes == {"python": 360, "go": 150, "rust": 60, "(other)": 30}, "cobol and those without a language"
    joined = small.table("clusters").join(small.documents, on="doc_id")
    named = joined.join(small.table("centroids").select("cluster_id", "value"), on="cluster_id")
    assert (named["value"] == named["language"].replace({"cobol": "(other)", None: "(other)"})).all()
    assert set(named["labelled_by"]) == {"column"} and set(named["confidence"]) == {1.0}
    small.turn(column="topic")
    small.make()
    assert set(small.table("centroids")["value"]) == {"t1", "t2", "t3", "t4", "(missing)"}


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    small = Small(tmp_path, pool(), method="column", column="licence")
    with pytest.raises(
        GripError, match=r"'licence', which the pool does not have. Choose one of: language, source, topic"
    ):
        small.make()


def test_a_value_without_a_document_is_refused(tmp_path):
    small = Small(tmp_path, pool().with_columns(language=pl.lit(None, pl.String)), method="column")
    with pytest.raises(GripError, match=r"no document of the pool has a value there. Choose one of"):
        small.make()


def grown(tmp_path, monkeypatch):
    """(a pool, the same pool with new documents whose partition is the first one's); nothing can be fitted any more."""
    before = Small(tmp_path, pool(600))
    before.make()
    more = pool(100, seed=1).with_columns(doc_id="new " + pl.col("doc_id"))
    after = Small(tmp_path, pl.concat([pool(600), more]), "grown", keep=before.made["partition"].version)
    monkeypatch.setattr(kmeans, "fit", None)
    return before, after


def test_a_kept_partition_is_not_fitted_again(tmp_path, monkeypatch):
    before, after = grown(tmp_path, monkeypatch)
    manifests = after.make()
    assert not violations(manifests) and manifests[0]["metrics"]["kept"] == before.made["partition"].version
    assert after.table("components").equals(before.table("components"))
    old, new = (
        small.table("clusters").join(small.table("centroids"), on="cluster_id").select("doc_id", "component")
        for small in (before, after)
    )
    joined = old.join(new, on="doc_id", suffix="_now")
    assert len(joined) == 600 and joined["component"].equals(joined["component_now"]), "who was there stays"


def test_a_partition_of_a_program_without_mixtures_can_be_kept(tmp_path):
    store = ArtifactStore(tmp_path)
    old = kmeans.KMeans(np.eye(2, 3, dtype=np.float32), [(0, 0, 0.5)]).tables()
    manifest = {"stage": "partition", "version": "old", "inputs": {}, "settings": {}, "computed_at": 0, "run_id": ""}
    with store.publish("partition", manifest) as draft:
        draft.write("components", old["components"].select("cluster_id", "method", "column", "value", "centroid"))
        draft.write("fit_trace", old["fit_trace"].drop("balance"))
    for table in stage.TABLES:
        found = stage._copied(store, "old", table)
        assert found.columns == list(table.schema)
        if table.name in old:
            assert found.drop("centroid", strict=False).equals(old[table.name].drop("centroid", strict=False))


def test_a_partition_kept_for_an_unchanged_pool_keeps_its_name(tmp_path, monkeypatch):
    small = Small(tmp_path, pool())
    small.make()
    first = dict(small.made)
    monkeypatch.setattr(kmeans, "fit", None)
    small.turn(keep=first["partition"].version)
    small.make()
    assert all(small.made[name].version == first[name].version and small.made[name].reused for name in first)
    assert made_with(STAGES["partition"], first["partition"].manifest, small.settings, small.store.root), (
        "reports go on from it"
    )
    small.turn(keep=None, seed=7)
    assert not made_with(STAGES["partition"], first["partition"].manifest, small.settings, small.store.root)


def test_a_kept_partition_survives_cleaning(tmp_path, monkeypatch):
    before, after = grown(tmp_path, monkeypatch)
    after.make()
    kept = ("partition", before.made["partition"].version)
    in_force = {name: made.version for name, made in after.made.items()}
    removed = {(item.stage, item.path.name) for item in cleaning.removable(after.store, in_force)}
    assert kept not in removed and ("embeddings", "planted") in removed, "of what it was made from nothing is needed"
    also = cleaning.removable(after.store, {"corpus": "grown"}, also=[kept])
    assert kept not in {(item.stage, item.path.name) for item in also}, "set, and no run since"


def test_in_force_is_the_fit_itself_and_a_bad_name_is_told_those_there_are(tmp_path, monkeypatch):
    before, after = grown(tmp_path, monkeypatch)
    after.make()
    version, copy = before.made["partition"].version, after.made["partition"].version
    assert stage.resolved("in_force", copy, after.store) == version != copy
    assert stage.resolved("in_force", version, after.store) == version
    assert stage.resolved(None, copy, after.store) is None
    with pytest.raises(GripError, match=f"no such partition in .*{copy}, {version}"):
        stage.resolved("nonsense", copy, after.store)
    with pytest.raises(GripError, match="no partition is in force yet"):
        stage.resolved("in_force", None, after.store)
    after.turn(keep="nonsense")
    with pytest.raises(GripError, match="no such partition"):
        after.make()


def test_a_change_of_other_seeds_or_budgets_does_not_refit(tmp_path):
    names = {"probe": {"seed": 7}, "budget": {"tau": 0.9}, "selection": {"seed": 3, "beta": 1.0}}
    now = {name: validate(name, {}) for name in GROUPS}
    then = now | {group: validate(group, values) for group, values in names.items()}
    for name in ("partition", "clusters"):
        inputs = dict.fromkeys(STAGES[name].inputs, "v")
        assert STAGES[name].recipe(now, inputs, tmp_path) == STAGES[name].recipe(then, inputs, tmp_path)


class Spawned:
    """An executor over fresh processes, which share nothing with this one but the files."""

    def __init__(self, processes):
        self.processes, self.bytes = processes, []

    def map(self, job, shards, bytes_each=0):
        for shard in shards:
            yield self.processes.submit(run_pickled, pickle.dumps(job), shard).result()


def run_pickled(job, shard):
    return pickle.loads(job).run(shard)


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as found:
        yield found


@pytest.mark.parametrize("method", ["kmeans", "column"])
def test_jobs_give_the_same_bytes_in_a_fresh_process(tmp_path, processes, method):
    here, there = (Small(tmp_path / name, pool(), method=method) for name in ("here", "there"))
    here.make()
    there.make(Spawned(processes))
    for name in ("clusters", "centroids", "cluster_embeddings"):
        files = [next((s.store.folder("clusters", s.made["clusters"].version) / name).iterdir()) for s in (here, there)]
        assert files[0].read_bytes() == files[1].read_bytes(), name


def test_a_job_is_plain_values():
    for job in (Assign("e", "c", (1, 2)), Sums("v", (3, 9)), Cosines("v", (3, 9), "c")):
        assert pickle.loads(pickle.dumps(job)) == job and len(pickle.dumps(job)) < 1000


def test_rows_between_are_those_of_the_whole_table(tmp_path):
    small = Small(tmp_path, pool())
    files = small.files("embeddings", "embeddings")
    assert [(g.start, g.stop) for g in row_groups(files)] == [(0, 250), (250, 500), (500, 600)]
    whole = pl.read_parquet(files)["doc_id"].to_list()
    for start, stop in ((0, 600), (240, 260), (250, 500), (599, 600), (10, 590)):
        found = pa.concat_tables(rows_between(files, ["doc_id", "embedding"], start, stop, rows=64))
        assert found["doc_id"].to_pylist() == whole[start:stop] and len(matrix(found["embedding"])) == stop - start


def test_what_memory_is_needed_is_said(tmp_path, monkeypatch):
    small = Small(tmp_path, pool(4000))
    monkeypatch.setenv("GRIP_MEMORY", "1MB")
    with pytest.raises(
        GripError, match="Fitting a partition on 4,000 documents takes .* Lower settings/clustering.fit_sample"
    ):
        small.make()
