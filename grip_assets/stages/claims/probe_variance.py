"""probe_variance: does Neyman's allocation [G3] estimate the pool better than simpler ones of the same size?

Probes are drawn many times under each allocation, and the mean of the pool is estimated from each, by strata. What is
estimated must be known of every document: the score, which the static judge gives to all (an answer is kept, so a
document is judged once), and the loss of the proxy, with its own head, on one window of each document of a sample.
The drop of a reset head, which the probe measures, is defined for a cluster and not for a document; the loss is what it
falls from and to. For the loss, the sample is the pool.

The optimum, n_k ∝ N_k s_k with the true spread s_k of what is estimated, is what no probe can know beforehand: σ_k is
as good as it is near s_k. Floors of the probe count for all; since they may leave nothing to allocate, all is shown
with one document of each cluster as the floor, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.method.agreement import rank_correlation
from grip_assets.method.budget.allocation import neyman_probe
from grip_assets.method.sampling import keyed_clusters
from grip_assets.method.statistics import known, stratified_estimates, stratified_variance, variance_ratio
from grip_assets.models.files import content_hash, locate
from grip_assets.models.opening import ProxyFiles
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import Adaptation, Probe, digest
from grip_assets.stages.curation.quality_scores import stage as quality_scores
from grip_assets.stages.curation.quality_scores import static_scores
from grip_assets.store.shards import Shards
from grip_assets.store.tables import RowRange, ranges_of, read_range

if TYPE_CHECKING:
    from grip_assets.models.proxy import Proxy

DRAWS = 200
SAMPLE = 1_500  # documents whose loss is measured
LEAST = 40  # of a cluster
WINDOW = 128  # tokens of a document that its loss is measured on
SHARD_VERSION = "1"
AT_ONCE, BYTES_AT_ONCE = 32, 1 << 20  # documents of a shard of work
PROPORTIONAL, NO_CLUSTERS = "proportional", "no clusters"


@dataclass(frozen=True)
class Population:
    """A quantity of every document, by cluster, and the σ_k of the clusters."""

    quantity: str
    values_K: list[np.ndarray]
    sigma_K: np.ndarray

    @property
    def size_K(self) -> np.ndarray:
        return np.array([len(values) for values in self.values_K])

    @property
    def spread_K(self) -> np.ndarray:
        """s_k: standard deviation in the cluster, 0 for a single document."""
        return np.array([values.std(ddof=1) if len(values) > 1 else 0.0 for values in self.values_K])


def compute(work: Work) -> dict[str, Any]:
    work.must_be_in_force()
    probe = Probe.of(work.settings)
    clusters = work.frame("clusters").select("doc_id", "cluster_id")
    populations = [
        _population("score", _scores(work), clusters, work.frame("sigma_k")),
        _population("loss", _losses(work, clusters), clusters, work.frame("sigma_k")),
    ]
    rows = [
        row for p in populations for floor in sorted({probe.min_per_cluster, 1}) for row in compared(p, probe, floor)
    ]
    work.draft.write("probe_variance", pl.DataFrame(rows, stage.schema("probe_variance")))
    wanted = [row for row in rows if row["floor"] == probe.min_per_cluster and row["allocation"] == "neyman"]
    return {f"{row['quantity']}_variance_over_proportional": row["ratio_to_proportional"] for row in wanted}


def _population(quantity: str, found: pl.DataFrame, clusters: pl.DataFrame, sigma: pl.DataFrame) -> Population:
    """``found``: doc_id and the quantity; documents without it are left out."""
    known_ones = clusters.join(found, on="doc_id", maintain_order="left").drop_nulls(quantity)
    parts = known_ones.partition_by("cluster_id", maintain_order=True)
    sigma_of = dict(sigma.select("cluster_id", "sigma").iter_rows())
    return Population(
        quantity,
        [part[quantity].to_numpy() for part in parts],
        np.array([sigma_of[part["cluster_id"][0]] for part in parts]),
    )


def allocations(population: Population) -> dict[str, np.ndarray]:
    """What n_k is in proportion to, (K,)."""
    size_K = population.size_K
    return {
        PROPORTIONAL: size_K,
        "neyman": size_K * population.sigma_K,
        "uniform": np.ones(len(size_K)),
        "optimum": size_K * population.spread_K,
    }


def compared(population: Population, probe: Probe, floor: int) -> Iterator[dict[str, Any]]:
    """A row for each allocation of probes of one size."""
    size_K, spread_K, values_K = population.size_K, population.spread_K, population.values_K
    total = round(probe.fraction * int(size_K.sum()))
    names = allocations(population)
    n_AK = np.stack([neyman_probe(target_K, size_K, floor, total) for target_K in names.values()])
    estimate_AR = stratified_estimates(values_K, n_AK, DRAWS)
    expected_A = [stratified_variance(size_K, n_K, spread_K**2) for n_K in n_AK]
    everything = np.concatenate(values_K)
    # The sceptic's: documents of the whole pool, as if there were no clusters.
    size = int(n_AK[0].sum())
    anywhere_R = stratified_estimates([everything], np.array([[size]]), DRAWS)[0]
    spread = everything.var(ddof=1) if len(everything) > 1 else 0.0
    expected_anywhere = stratified_variance(np.array([len(everything)]), np.array([size]), np.array([spread]))
    found = list(zip(names, estimate_AR, expected_A, (n_AK <= floor).sum(axis=1), strict=True))
    for name, estimate_R, expected, at_floor in [*found, (NO_CLUSTERS, anywhere_R, expected_anywhere, None)]:
        ratio = variance_ratio(estimate_R, estimate_AR[0])
        yield {
            "quantity": population.quantity,
            "floor": floor,
            "allocation": name,
            "n_docs": int(size_K.sum()),
            "n_clusters": len(size_K),
            "probe_size": size,
            "at_floor": at_floor,
            "mean": float(everything.mean()),
            "bias": float(estimate_R.mean() - everything.mean()),
            "variance": float(estimate_R.var(ddof=1)),
            "expected_variance": expected,
            **ratio.columns("ratio_to_proportional"),
            "expected_ratio": expected / expected_A[0] if expected_A[0] > 0 else None,
            "spread_correlation": known(rank_correlation(population.sigma_K, spread_K)),
            "draws": DRAWS,
        }


def _scores(work: Work) -> pl.DataFrame:
    """The static judge's score of every document (doc_id, score), each judged once."""
    return static_scores(work).select("doc_id", pl.col("score") / 10)


@dataclass(frozen=True)
class MeasureLosses:
    """The job: the proxy's loss on one window of each of some rows of ``corpus``. It works in documents."""

    corpus: str
    proxy: ProxyFiles

    @property
    def opening(self) -> str:
        return f"loading the proxy {Path(self.proxy.files.name).name}"

    def open(self) -> "Proxy":
        return self.proxy.open()

    def run(self, shard: RowRange) -> pa.Table:
        rows = read_range(self.corpus, ["doc_id", "text"], shard)
        losses = [self._loss(doc.as_py(), text.as_py()) for doc, text in zip(rows["doc_id"], rows["text"], strict=True)]
        return pa.table({"key": rows["doc_id"], "loss": pa.array(losses, pa.float64())})

    def _loss(self, doc: str, text: str) -> float | None:
        from grip_assets.training.adaptation import probe_batch  # torch

        proxy = self.open()
        window = min(WINDOW, proxy.context)
        windows = probe_batch([(doc, proxy.tokenize(text))], window, window, False, 0).train
        worked(1)
        return proxy.loss(windows[0]) if windows else None


def _losses(work: Work, clusters: pl.DataFrame) -> pl.DataFrame:
    """The proxy's loss per token (doc_id, loss) of a sample of documents; null where a document is one token."""
    sample = keyed_clusters(0, "probe_variance", clusters, SAMPLE, LEAST)
    made_from = [SHARD_VERSION, WINDOW, _facts(work.settings, work.store.root)["proxy"]]
    shards = Shards(work.store, "probe_variance", digest(made_from))

    def to_measure(missing: pl.Series) -> ToDo:
        from grip_assets.models.proxy import converted  # torch

        files = locate(Adaptation.of(work.settings).proxy, "settings/adaptation.proxy")
        job = MeasureLosses(work.files("corpus"), ProxyFiles(converted(files, work.store.root, work.log)))
        there = ranges_of(work.files("corpus"), missing, AT_ONCE, BYTES_AT_ONCE)
        return ToDo(job, there, "loss of documents", len(missing), "documents")

    found = shards.completed(sample["doc_id"], to_measure, work.executor, work.log)
    return pl.DataFrame(found).select(doc_id="key", loss="loss")


def _facts(settings: Settings, root: Path) -> dict[str, Any]:
    adaptation = Adaptation.of(settings)
    proxy = content_hash(locate(adaptation.proxy, "settings/adaptation.proxy"), root)
    return {"proxy": proxy, "judge": quality_scores.code_version}


TABLES = (
    Table(
        "probe_variance",
        (
            Column(
                "quantity",
                pl.String,
                "score: the static judge's, of every document; loss: the proxy's per token, of a sample.",
            ),
            Column("floor", pl.Int64, "Documents of a cluster at least."),
            Column(
                "allocation",
                pl.String,
                "What n_k is in proportion to: N_k, N_k σ_k (neyman), 1 (uniform), N_k s_k with the true spread"
                " (optimum); or no clusters.",
            ),
            Column("n_docs", pl.Int64, "Documents of the pool that is estimated.", ("clusters.doc_id",)),
            Column("n_clusters", pl.Int64, "Clusters.", ("clusters.cluster_id",)),
            Column("probe_size", pl.Int64, "Documents of a probe.", ("clusters.doc_id",)),
            Column("at_floor", pl.Int64, "Clusters that got no more than the floor.", ("sigma_k.sigma",)),
            Column("mean", pl.Float64, "The truth, mean over all documents.", ("corpus.text",)),
            Column(
                "bias",
                pl.Float64,
                "Mean estimate minus the truth.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "variance",
                pl.Float64,
                "Of the estimates, over draws.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "expected_variance",
                pl.Float64,
                "The same by Cochran's formula, without luck.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "ratio_to_proportional",
                pl.Float64,
                "Variance over that of the proportional allocation in the same draws.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "low",
                pl.Float64,
                "Of its 95% interval, draws resampled.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column("high", pl.Float64, "Of its 95% interval.", ("corpus.text", "sigma_k.sigma", "clusters.cluster_id")),
            Column(
                "expected_ratio",
                pl.Float64,
                "The same ratio by the formula.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "spread_correlation",
                pl.Float64,
                "Rank correlation over clusters of σ_k and the true spread.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column("draws", pl.Int64, "Probes drawn."),
        ),
    ),
)
CHECKS = (
    Check("same_size", True, "All allocations are compared at one size of the probe."),
    Check("unbiased", True, "The mean estimate is the truth, within four standard errors."),
    Check("as_expected", False, "The variance over draws is that of the formula, within a factor of 2."),
    Check("neyman_pays", False, "Neyman's allocation estimates better than the proportional one."),
)

stage = Stage(
    name="probe_variance",
    code_version="1",
    compute=compute,
    description="Does the probe estimate the pool better than simpler samples? Variance of the pool's mean as"
    " estimated from a probe, over many draws: Neyman's allocation [paper eq. 4], proportional, uniform, the optimum,"
    " and no clusters at all, at equal size. For the static judge's score of every document, and for the proxy's loss"
    " on a sample.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=("corpus", "clusters", "sigma_k"),
    reads={"probe": ("fraction", "min_per_cluster"), "quality": ("dimensions",), "adaptation": ("proxy",)},
    facts=_facts,
    group="evaluation",
)
