"""Documents without a vector (settings/embedding.sample): the student labels them, and every stage deals with them."""

import json
import re

import numpy as np
import polars as pl
import pytest
from conftest import small as settings_of
from defaults import without_near_copies
from test_partition_stages import Small, pool, violations

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.engine.plan import plan
from grip_assets.errors import GripError
from grip_assets.method.partition import kmeans
from grip_assets.runtime.executors import Local
from grip_assets.settings import Embedding, validate
from grip_assets.stages import STAGES
from grip_assets.stages.curation.embeddings import sample_of
from grip_assets.store.artifacts import ArtifactStore

TOPICS = ["matrix rows columns", "request session await", "parse lines fields", "table index key", "sprite frame pixel"]


def spoken(documents):
    """``documents`` with texts whose words tell their topic, which the column ``kept`` has."""
    rng, rows = np.random.default_rng(5), []
    for kept, doc in documents.select("kept", "doc_id").iter_rows():
        topic = TOPICS[json.loads(kept)["stars"] if kept else 0].split()
        words = [*rng.choice(topic, 6), *(f"word{i}" for i in rng.integers(0, 40, 20))]
        rows.append(f"{doc} {' '.join(words)}")
    return documents.with_columns(text=pl.Series(rows), n_bytes=pl.Series([len(row) for row in rows], dtype=pl.Int64))


class Sampled(Small):
    """``Small`` with texts, in which only a share of the documents has a vector."""

    def __init__(self, root, documents, version="planted", share=0.5, **clustering):
        self.share = share
        super().__init__(root, spoken(documents), version, **clustering)

    def turn(self, **clustering):
        super().turn(**clustering | {"k": len(TOPICS)})
        self.settings["embedding"] = validate("embedding", {"sample": self.share})

    def _plant(self, name, inputs, table):
        if name == "embeddings":
            table = table.filter(sample_of(Embedding(sample=self.share), self.documents["doc_id"]))
        super()._plant(name, inputs, table)

    def table(self, name):
        owner = "student" if name.startswith("student") else None
        return super().table(name) if owner is None else pl.read_parquet(
            self.store.parquet(owner, self.made[owner].version, name)
        )  # fmt: skip


def without_times(figures):
    return figures.drop("documents_per_second", "embedding_documents_per_second")


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    found = Sampled(tmp_path_factory.mktemp("half"), pool(1200))
    found.make()
    return found


def test_the_student_labels_every_document_without_a_vector(half):
    assert not violations([made.manifest for made in half.made.values()])
    clusters, labels = half.table("clusters"), half.table("student_labels")
    assert len(clusters) == 1200 and len(labels) == 1200 - len(half.table("cluster_embeddings"))
    by_text = clusters.filter(pl.col("labelled_by") == "student")
    assert by_text["cosine"].null_count() == len(by_text) == len(labels)
    joined = by_text.join(labels, on="doc_id").join(half.table("centroids"), on="cluster_id")
    assert (joined["component"] == joined["component_right"]).all()
    assert joined["confidence"].equals(joined["confidence_right"])
    assert half.table("cluster_embeddings")["doc_id"].to_list() == clusters.drop_nulls("cosine")["doc_id"].to_list()


def test_it_agrees_with_the_teacher_on_documents_that_it_never_saw(half):
    (figures,) = half.table("student").to_dicts()
    assert figures["n_held_out"] > 40 and figures["agreement"] > 0.8 > 0.4 > figures["largest_class"]
    assert figures["low"] < figures["agreement"] <= figures["high"] and figures["macro_f1"] > 0.7
    assert figures["mass_distance"] < 0.1 and figures["documents_per_second"] > 0
    topics = half.documents.select("doc_id", topic=pl.col("kept").fill_null(""))
    told = half.table("clusters").filter(pl.col("labelled_by") == "student").join(topics, on="doc_id")
    purity = told.group_by("cluster_id", "topic").len().group_by("cluster_id").agg(pl.max("len"))["len"].sum() / len(
        told
    )
    assert purity > 0.8, "what it says of the others is true, too"


def test_a_cluster_has_enough_documents_with_a_vector_and_ids_count_all(half):
    clusters, centroids = half.table("clusters"), half.table("centroids")
    assert clusters.drop_nulls("cosine").group_by("cluster_id").len()["len"].min() >= 20
    assert centroids["n_docs"].is_sorted(descending=True) and centroids["n_docs"].sum() == 1200
    assert centroids["n_tokens"].sum() == half.documents["n_tokens"].sum()


def test_workers_change_no_byte_of_the_student(tmp_path, half):
    other = Sampled(tmp_path, pool(1200))
    other.make(Local(3))
    for name in ("student_labels", "student_classes", "student_weights", "clusters"):
        assert other.table(name).equals(half.table(name)), name
    assert without_times(other.table("student")).equals(without_times(half.table("student")))


def test_a_grown_pool_keeps_its_student_and_labels_only_new_documents(tmp_path, monkeypatch):
    before = Sampled(tmp_path, pool(600))
    before.make()
    more = pool(100, seed=1).with_columns(doc_id="new " + pl.col("doc_id"))
    after = Sampled(tmp_path, pl.concat([pool(600), more]), "grown", keep=before.made["partition"].version)
    monkeypatch.setattr(kmeans, "fit", None)
    manifests = {manifest["stage"]: manifest for manifest in after.make()}
    assert not violations(manifests.values())
    new = int((~sample_of(Embedding(sample=0.5), more["doc_id"])).sum())
    metrics = manifests["student"]["metrics"]
    assert (
        metrics["documents_labelled_now"] == new < metrics["documents_labelled"] == len(after.table("student_labels"))
    )
    assert metrics["kept"] == before.made["student"].version
    assert after.table("student_weights").equals(before.table("student_weights"))
    old = after.table("student_labels").join(before.table("student_labels"), on="doc_id", how="inner")
    assert (old["component"] == old["component_right"]).all()


def test_a_partition_kept_for_an_unchanged_pool_keeps_its_student_too(tmp_path, monkeypatch):
    small = Sampled(tmp_path, pool(600))
    small.make()
    first = dict(small.made)
    small.turn(keep=first["partition"].version)
    small.make()
    assert {name: made.version for name, made in small.made.items()} == {n: made.version for n, made in first.items()}
    small.settings["student"] = validate("student", {"per_cluster": 5})
    small.make()
    assert small.made["student"].version != first["student"].version
    assert small.made["student"].manifest["metrics"]["kept"] == ""


def test_a_mixture_is_a_teacher_too(tmp_path):
    small = Sampled(tmp_path, pool(), method="gem")
    assert not [v for v in violations(small.make()) if v["name"] != "balanced"]
    clusters = small.table("clusters")
    by_text = clusters.filter(pl.col("labelled_by") == "student")
    assert len(by_text) == len(small.table("student_labels")) > 200
    assert by_text["generative_id"].null_count() == len(by_text) and clusters["generative_id"].null_count() == len(
        by_text
    )
    assert small.table("student")["agreement"][0] > 0.7


def test_a_partition_by_a_column_needs_no_student(tmp_path):
    small = Sampled(tmp_path, pool(), method="column")
    small.make()
    assert not [v for v in violations([m.manifest for m in small.made.values()]) if v["name"] != "balanced"]
    assert small.made["student"].manifest["unused"] == "settings/clustering.method is column"
    named = small.table("centroids").select("cluster_id", "value")
    joined = small.table("clusters").join(small.documents.select("doc_id", "language"), on="doc_id")
    joined = joined.join(named, on="cluster_id")
    known = joined.filter(pl.col("language").is_in(["python", "go", "rust"]))
    assert (known["value"] == known["language"]).all() and set(known["labelled_by"]) == {"column"}
    lost = joined.filter(pl.col("cosine").is_null() & ~pl.col("language").is_in(["python", "go", "rust"]))
    assert len(lost) and set(lost["value"]) == {"python"} and set(lost["confidence"]) == {0.0}, "(other) was dissolved"
    kept = Sampled(tmp_path / "other", pool(), method="column")
    kept.make()
    kept.turn(keep=kept.made["partition"].version, method="kmeans")
    kept.make()
    assert len(kept.table("student_labels")) == 0 and len(kept.table("clusters")) == 600


def test_a_share_keeps_its_sample_in_a_pool_that_grows():
    ids = pl.Series([f"{i:032x}" for i in range(2000)])
    tenth = Embedding(sample=0.1)
    small, large = sample_of(tenth, ids[:1000]), sample_of(tenth, ids)
    assert (large[:1000] == small).all() and 0.05 < large.mean() < 0.15
    assert sample_of(Embedding(sample=100), ids).sum() == 100
    assert set(np.flatnonzero(sample_of(Embedding(sample=100), ids))) < set(
        np.flatnonzero(sample_of(Embedding(sample=200), ids))
    )
    assert (sample_of(Embedding(sample=0.1, seed=1), ids) != large).any()
    assert sample_of(Embedding(sample=0.0001), ids[:10]).sum() == 2 and sample_of(Embedding(), ids).all()
    assert Embedding(sample="10%").sample == 0.1 and Embedding(sample="20k").n_embedded(10**6) == 20_000


CURATION = ("corpus", "embeddings", "partition", "student", "clusters", "taxonomy", "sigma_k", "probe_set", "quality_scores",
            "adaptation_deltas", "budgets", "densities", "subset", "corpus_map", "knobs")  # fmt: skip


class Curated:
    """The stages of a curation of the small pool, made one after the other in this process."""

    def __init__(self, root, models, path, **more):
        changes = settings_of(models, path, **more)
        self.settings = without_near_copies(**changes)
        self.store, self.versions, self.manifests = ArtifactStore(root), {}, {}

    def make(self, *names):
        for name in names or CURATION:
            chain, stage = Chain(STAGES, self.store, lambda line: None, "run", inspect), STAGES[name]
            made = chain.make(stage, self.settings, {i: self.versions[i] for i in stage.inputs_under(self.settings)})
            self.versions[name], self.manifests[name] = made.version, made.manifest
        return self

    def table(self, stage, name=None):
        return pl.read_parquet(self.store.parquet(stage, self.versions[stage], name or stage))


@pytest.fixture(scope="module")
def sampled(tmp_path_factory, models, pool):
    cheap = {"base": "proportional", "replay": "none"}  # no probe, no judge; the slow test below has them
    return Curated(tmp_path_factory.mktemp("sampled"), models, pool, embedding={"sample": 0.6}, budget=cheap).make()


def test_a_curation_with_a_sample_passes_every_check_that_blocks(sampled):
    for name, manifest in sampled.manifests.items():
        blocking = {check.name for check in STAGES[name].checks if check.blocking}
        assert not [c for c in manifest["checks"] if c["violations"] and c["name"] in blocking], name
    n, embedded = len(sampled.table("corpus")), len(sampled.table("embeddings"))
    assert 40 < embedded < n == len(sampled.table("clusters")) == len(sampled.table("subset", "selection_weights"))
    assert len(sampled.table("densities")) == len(sampled.table("corpus_map")) == embedded
    assert sampled.table("sigma_k")["n_docs"].sum() == n and sampled.table("sigma_k")["sigma"].null_count() == 0
    assert sampled.table("subset", "diversity")["n_docs"][0] == n


def test_a_document_without_a_density_draws_with_the_median_of_its_cluster(sampled):
    weights, densities = sampled.table("subset", "selection_weights"), sampled.table("densities")
    joined = weights.join(densities.select("doc_id", "density"), on="doc_id", how="left")
    median = dict(densities.group_by("cluster_id").agg(pl.median("density")).iter_rows())
    for cluster, used, own in joined.select("cluster_id", "density", "density_right").iter_rows():
        assert used == (median[cluster] if own is None else own)


def test_without_a_sample_the_student_costs_nothing(sampled, models, pool):
    everything = Curated(sampled.store.root, models, pool)
    steps = {step.asset: step for step in plan(STAGES, everything.settings, sampled.versions, everything.store)}
    assert steps["student"].action == "unused" and steps["student"].why == "not used: settings/embedding.sample is null"
    everything.make("corpus", "embeddings")
    again = everything.manifests["embeddings"]["metrics"]["documents_embedded_now"]
    assert again == len(everything.table("embeddings")) - len(sampled.table("embeddings")), (
        "no vector is computed twice"
    )


@pytest.mark.parametrize("rule", ["semdedup", "d4"])
def test_a_selection_that_compares_all_vectors_is_refused_before_anything_is_embedded(tmp_path, models, pool, rule):
    curated = Curated(tmp_path, models, pool, embedding={"sample": 0.5}, selection={"rule": rule}).make("corpus")
    with pytest.raises(GripError, match=re.escape("settings/embedding.sample=0.5")):
        curated.make("embeddings")


def test_k_above_the_sample_is_refused(tmp_path, models, pool):
    curated = Curated(tmp_path, models, pool, embedding={"sample": 5}).make("corpus")
    with pytest.raises(GripError, match=r"k is 6, and settings/embedding.sample leaves only 5"):
        curated.make("embeddings")


@pytest.mark.run
@pytest.mark.slow
def test_plan_summary_explain_and_page_say_who_labelled_the_documents(new_lab):
    from grip_assets.engine.in_force import Run
    from grip_assets.report.page import clusters
    from grip_assets.report.page.context import Context
    from grip_assets.report.terminal.explain import explain
    from grip_assets.report.terminal.forecast import as_text
    from grip_assets.report.terminal.summary import summary

    lab = new_lab(embedding={"sample": 0.6})
    _, forecast = lab.operations.forecast(lab.instance, {"embedding": {"sample": 0.5}})
    assert re.search(
        r"about 60 documents are embedded \(.*\), and the other 60 are labelled by the student \(",
        "\n".join(as_text(forecast)),
    )
    (n,) = lab.sql("SELECT count(*) FROM embeddings").row(0)
    assert f"{n} documents are embedded, the others labelled by their texts" in summary(lab.data, Run("", [], [], []))
    (doc,) = lab.sql("SELECT min(doc_id) FROM clusters WHERE labelled_by = 'student'").row(0)
    assert "it has no vector (embedding.sample)" in explain(lab.data, doc)
    with Context(lab.data) as context:
        blocks = clusters.section(context).blocks
    assert any("A student labels the others" in str(getattr(block, "text", "")) for block in blocks)
    assert lab.curate(embedding={"sample": 0.6}) == set(), "nothing changed"
