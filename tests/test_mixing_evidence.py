"""Losses of mixtures outlive their partition: a regression on mean embeddings learns from mixtures of another one [C23].

Documents have one of six topics, and the loss on the target depends on the topics that a training reads. Two partitions
group the topics differently.
"""

import json

import numpy as np
import polars as pl
import pytest
from defaults import without_near_copies
from mixed import by_words, corpus_of

from grip_assets.engine.make import Chain, look_at_nothing
from grip_assets.errors import GripError
from grip_assets.method.agreement import rank_correlation
from grip_assets.method.mixing.predictability import splits
from grip_assets.method.mixing.regress import by_embedding
from grip_assets.method.mixing.swarm import Swarm, draw
from grip_assets.settings import validate
from grip_assets.stages import STAGES
from grip_assets.stages.mixing.evidence import mean_embeddings
from grip_assets.store.artifacts import ArtifactStore

TOPICS, DOCS = 6, 480
ONE = np.array([0, 0, 1, 2, 3, 3])  # domain of each topic
OTHER = np.array([2, 0, 1, 1, 0, 3])
DIRECTION = np.linalg.qr(np.random.default_rng(0).normal(size=(24, TOPICS)))[0].T  # (topic, number)
WORTH = np.array([1.0, 0.8, 0.1, 0.0, 0.3, 0.5])  # of a topic for the target


def partition(domain_of, n=24, seed=0):
    """The mean embeddings of its domains, the weights of ``n`` mixtures, and their losses on the target."""
    part_DC = np.eye(4)[domain_of].T
    part_DC /= part_DC.sum(axis=1, keepdims=True)
    weights_nD = draw(part_DC.sum(axis=1) / 4, n, Swarm(strengths=(0.5, 5.0), seed=seed))
    read_nC = weights_nD @ part_DC
    noise_n = np.random.default_rng(seed).normal(0, 0.005, n)
    return part_DC @ DIRECTION, weights_nD, 2.5 - read_nC @ WORTH + 0.3 * (read_nC**2).sum(axis=1) + noise_n


def test_mixtures_of_another_partition_predict_those_of_this_one():
    mean_DV, weights_nD, loss_n = partition(ONE)
    other_DV, other_nD, other_n = partition(OTHER, seed=1)
    fit = by_embedding(mean_DV, other_nD @ other_DV, other_n)
    alone = fit(weights_nD[:0], loss_n[:0])
    assert rank_correlation(alone.predict(weights_nD), loss_n) > 0.9


def test_within_a_partition_it_predicts_too_and_evidence_helps_a_small_swarm():
    mean_DV, weights_nD, loss_n = partition(ONE, 60)
    other_DV, other_nD, other_n = partition(OTHER, 40, seed=1)

    def spearman(fit, n):
        rows = splits(weights_nD[:n], loss_n[:n], "embedding", n_splits=4, share=0.5, fit=fit)
        return np.mean([row["spearman"] for row in rows])

    assert spearman(by_embedding(mean_DV), 60) > 0.9
    few = spearman(by_embedding(mean_DV), 10)
    assert spearman(by_embedding(mean_DV, other_nD @ other_DV, other_n), 10) > few + 0.02


def test_the_mean_embedding_of_a_domain_is_that_of_its_tokens(tmp_path):
    random = np.random.default_rng(3)
    x_NV, tokens_N, domain_N = random.normal(size=(50, 8)), random.integers(1, 90, 50), np.arange(50) % 3
    ids = [f"{i:02}" for i in range(50)]
    vectors = pl.DataFrame({"doc_id": ids, "embedding": pl.Series(x_NV, dtype=pl.Array(pl.Float32, 8))})
    vectors[:45].write_parquet(tmp_path / "vectors.parquet")  # the last five have none
    documents = pl.DataFrame({"doc_id": ids, "domain": domain_N, "n_tokens": tokens_N}).reverse()
    found_DV = mean_embeddings(str(tmp_path / "vectors.parquet"), documents)
    for d in range(3):
        of_d = np.flatnonzero(domain_N[:45] == d)
        wanted_V = (x_NV[of_d] * tokens_N[of_d, None]).sum(axis=0) / tokens_N[of_d].sum()
        np.testing.assert_allclose(found_DV[d], wanted_V, atol=1e-6)
    with pytest.raises(GripError, match="Domain 1 has no document with a vector"):
        mean_embeddings(str(tmp_path / "vectors.parquet"), documents.with_columns(domain=pl.col("domain") * 2))


# ------------------------------------------------------------------------------------------------------- the stage


class Pool:
    """A data folder in which both partitions have mixture_runs, with the versions ``one`` and ``other``."""

    def __init__(self, root):
        self.store = ArtifactStore(root)
        self.topic = np.arange(DOCS) % TOPICS
        self.ids = [f"{i:032x}" for i in range(DOCS)]
        self.publish("embeddings", "all", settings={"embedding": {"model": "encoder"}})
        for version, domain_of, seed in (("one", ONE, 0), ("other", OTHER, 1)):
            self.plant(version, domain_of, seed)

    def plant(
        self,
        version,
        domain_of,
        seed=0,
        text="a passage",
        tokenizer=None,
        tokens=300_000,
        items=None,
        counted=None,
        method="regmix",
    ):
        cluster = pl.Series("cluster_id", domain_of[self.topic], dtype=pl.Int32)
        clusters = pl.DataFrame({"doc_id": self.ids, "n_tokens": [100] * DOCS}).with_columns(cluster)
        vectors = pl.Series("embedding", DIRECTION[self.topic], dtype=pl.Array(pl.Float32, 24))
        four = pl.Series("domain", range(4), dtype=pl.Int32)
        mean_DV, weights_nD, loss_n = partition(domain_of, seed=seed)
        centroids = pl.DataFrame({"cluster_id": four, "centroid": pl.Series(mean_DV, dtype=pl.Array(pl.Float32, 24))})
        vectors = pl.DataFrame({"doc_id": self.ids}).with_columns(vectors)
        self.publish("clusters", version, {"embeddings": "all"}, clusters=clusters, centroids=centroids,
                     cluster_embeddings=vectors)  # fmt: skip
        share = np.bincount(domain_of, minlength=4) / TOPICS
        domains = pl.DataFrame([four]).with_columns(
            name=pl.format("{}", "domain"), cluster_id="domain", natural_share=pl.Series(share)
        )
        documents = clusters.select("doc_id", domain="cluster_id", held_out=pl.lit(False))
        one = pl.DataFrame({"item_id": ["a"], "target": ["target"], "prompt": [""], "text": [text], "in_pool": [0.0]})
        items = one if items is None else items
        self.publish("mixture_domains", version, {"clusters": version}, mixture_domains=domains, mixture_items=items,
                     mixture_documents=documents, mixture_tokenizer=pl.DataFrame({"json": [tokenizer or by_words()]}))  # fmt: skip
        self.publish("corpus", version, corpus=corpus_of(self.ids, [100] * DOCS if counted is None else counted))
        n = len(weights_nD)
        mixtures = pl.DataFrame({
            "mixture_id": np.repeat(np.arange(n, dtype=np.int32), 4), "domain": np.tile(np.arange(4, dtype=np.int32), n),
            "weight": weights_nD.ravel(), "achieved": weights_nD.ravel(), "kind": ["swarm"] * 4 * n,
        })  # fmt: skip
        losses = pl.DataFrame(
            [(i, 0, "target", loss, None) for i, loss in enumerate(loss_n)],
            STAGES["mixture_runs"].schema("mixture_losses"),
            orient="row",
        )
        self.publish("mixture_runs", version, {"mixture_domains": version}, {"mixing": {"method": method, "tokens": tokens}},
                     mixtures=mixtures, mixture_losses=losses)  # fmt: skip

    def publish(self, stage, version, inputs=None, settings=None, **tables):
        manifest = {"stage": stage, "version": version, "inputs": inputs or {}, "settings": settings or {}}
        with self.store.publish(stage, manifest | {"computed_at": 0, "seconds": 0, "run_id": "", "metrics": {}}) as out:
            for name, table in tables.items():
                out.write(name, table)

    def make(self, version="one", look=look_at_nothing, **mixing):
        now = without_near_copies()
        now["budget"] = validate("budget", {"base": "mixture"})
        now["mixing"] = validate("mixing", {"objective": "target", "bootstrap": 0, "regressor": "embedding"} | mixing)
        stage = STAGES["mixture"]
        return Chain(STAGES, self.store, lambda line: None, inspect=look).make(
            stage, now, dict.fromkeys(stage.inputs, version)
        )

    def fit(self, made):
        return pl.read_parquet(self.store.parquet("mixture", made.version, "mixture_fit"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return Pool(tmp_path_factory.mktemp("evidence"))


def test_the_table_says_how_well_earlier_mixtures_alone_predict_those_of_now(pool):
    made = pool.make(evidence=["other"])
    fit = pool.fit(made)
    assert fit["regressor"].unique(maintain_order=True).to_list() == ["loglinear", "evidence", "embedding"]
    (row,) = fit.filter(regressor="evidence").to_dicts()
    assert row["spearman"] > 0.9 and row["n_train"] == 24
    assert made.manifest["metrics"]["regressor"] == "embedding"
    assert ("mixture_runs", "other") in map(tuple, made.manifest["keeps"])
    assert ("clusters", "other") in map(tuple, made.manifest["keeps"]), "cleaning keeps what the evidence was made from"


def test_a_regression_on_mean_embeddings_changes_no_weight(pool):
    """The weights come from the log-linear law in any case, and without evidence there is no row of it."""
    one, other = (pool.make(regressor=name) for name in ("embedding", "loglinear"))
    assert "evidence" not in pool.fit(one)["regressor"].to_list()
    weights = [pl.read_parquet(pool.store.parquet("mixture", m.version, "mixture_weights")) for m in (one, other)]
    assert weights[0].equals(weights[1])


@pytest.mark.parametrize(
    ("planted", "mixing", "said"),
    [
        ({"text": "another passage"}, {}, "the texts of target are others"),
        ({"tokenizer": json.dumps({"other": 1})}, {}, "its tokenizer is another"),
        ({"tokens": 9}, {}, "mixing.tokens was 9 and is 300000"),
        ({"method": "doremi"}, {}, "there is no such mixture_runs by regmix. There are: one, other"),
        ({}, {"objective": "held_out"}, "no domain has a held-out document"),
    ],
)
def test_evidence_that_means_something_else_is_refused(pool, planted, mixing, said):
    version = f"v{len(list(pool.store.ever_made('mixture_runs')))}"
    pool.plant(version, OTHER, **planted)
    with pytest.raises(GripError, match=said):
        pool.make(evidence=[version], **mixing)


def test_evidence_that_is_not_there_is_refused_with_what_there_is(pool):
    with pytest.raises(
        GripError, match="names nothing, and there is no such mixture_runs by regmix. There are: one, other"
    ):
        pool.make(evidence=["nothing"])
