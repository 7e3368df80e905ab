"""probe_variance: does Neyman's allocation [G3] estimate the pool better than simpler ones of the same size?

Probes are drawn many times under each allocation. From each probe the mean of the pool is estimated, by strata. This
needs quantities that are known for every document. There are two:
- score: the static judge scores every document, once.
- loss: the loss of the proxy, with its own head, on one window of each document of a sample. Here the sample counts as
  the pool. The drop of a reset head cannot be used, since it is defined for a cluster, not for a document.

The optimum is n_k ∝ N_k s_k, where s_k is the true spread of the quantity. No probe can know s_k beforehand. Neyman's
allocation with σ_k is as good as σ_k is near s_k. All allocations have the probe's minimum per cluster. Such a minimum
may leave nothing to allocate, so everything is also shown with a minimum of one document.
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
LEAST = 40  # documents of each cluster in the sample
WINDOW = 128  # tokens of a document on which its loss is measured
SHARD_VERSION = "1"
AT_ONCE, BYTES_AT_ONCE = 32, 1 << 20  # documents of a shard of work
PROPORTIONAL, NO_CLUSTERS = "proportional", "no clusters"


@dataclass(frozen=True)
class Population:
    """A quantity that is known for every document, by cluster, and the σ_k of the clusters."""

    quantity: str
    values_K: list[np.ndarray]
    sigma_K: np.ndarray

    @property
    def size_K(self) -> np.ndarray:
        return np.array([len(values) for values in self.values_K])

    @property
    def spread_K(self) -> np.ndarray:
        """s_k, the standard deviation in each cluster, float64 (K,); 0 for a single document."""
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
    """``found``: columns doc_id and the quantity. Documents without the quantity are left out."""
    known_ones = clusters.join(found, on="doc_id", maintain_order="left").drop_nulls(quantity)
    parts = known_ones.partition_by("cluster_id", maintain_order=True)
    sigma_of = dict(sigma.select("cluster_id", "sigma").iter_rows())
    return Population(
        quantity,
        [part[quantity].to_numpy() for part in parts],
        np.array([sigma_of[part["cluster_id"][0]] for part in parts]),
    )


def allocations(population: Population) -> dict[str, np.ndarray]:
    """Name of an allocation to the weights (K,) to which n_k is proportional."""
    size_K = population.size_K
    return {
        PROPORTIONAL: size_K,
        "neyman": size_K * population.sigma_K,
        "uniform": np.ones(len(size_K)),
        "optimum": size_K * population.spread_K,
    }


def compared(population: Population, probe: Probe, floor: int) -> Iterator[dict[str, Any]]:
    """A row for each allocation. All probes have the same size."""
    size_K, spread_K, values_K = population.size_K, population.spread_K, population.values_K
    total = round(probe.fraction * int(size_K.sum()))
    names = allocations(population)
    n_AK = np.stack([neyman_probe(target_K, size_K, floor, total) for target_K in names.values()])
    estimate_AR = stratified_estimates(values_K, n_AK, DRAWS)
    expected_A = [stratified_variance(size_K, n_K, spread_K**2) for n_K in n_AK]
    everything = np.concatenate(values_K)
    # The simplest alternative: documents drawn from the whole pool, without clusters.
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
    """The static judge's score of every document, from 0 to 1: columns doc_id and score."""
    return static_scores(work).select("doc_id", pl.col("score") / 10)


@dataclass(frozen=True)
class MeasureLosses:
    """The job: the proxy's loss on one window of each document, for a range of rows of ``corpus``."""

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
    """The proxy's loss per token for a sample of documents: columns doc_id and loss.

    A document of a single token has null.
    """
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
                "Estimated quantity. score: the static judge's score, of every document. loss: the proxy's loss per"
                " token, of a sample.",
            ),
            Column("floor", pl.Int64, "Least number of documents per cluster."),
            Column(
                "allocation",
                pl.String,
                "Allocation, by its weights: N_k (proportional), N_k σ_k (neyman), 1 (uniform), N_k s_k with the true"
                " spread (optimum); or no clusters.",
            ),
            Column("n_docs", pl.Int64, "Number of documents whose mean is estimated.", ("clusters.doc_id",)),
            Column("n_clusters", pl.Int64, "Number of clusters.", ("clusters.cluster_id",)),
            Column("probe_size", pl.Int64, "Number of documents in a probe.", ("clusters.doc_id",)),
            Column("at_floor", pl.Int64, "Number of clusters that got no more than the floor.", ("sigma_k.sigma",)),
            Column("mean", pl.Float64, "True mean, over all documents.", ("corpus.text",)),
            Column(
                "bias",
                pl.Float64,
                "Mean of the estimates minus the true mean.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "variance",
                pl.Float64,
                "Variance of the estimates over draws.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "expected_variance",
                pl.Float64,
                "Variance of the estimates by Cochran's formula.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "ratio_to_proportional",
                pl.Float64,
                "Variance divided by that of the proportional allocation, in the same draws.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "low",
                pl.Float64,
                "Lower end of its 95% interval, by resampling draws.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "high",
                pl.Float64,
                "Upper end of its 95% interval.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "expected_ratio",
                pl.Float64,
                "The same ratio by Cochran's formula.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column(
                "spread_correlation",
                pl.Float64,
                "Rank correlation over clusters between σ_k and the true spread.",
                ("corpus.text", "sigma_k.sigma", "clusters.cluster_id"),
            ),
            Column("draws", pl.Int64, "Number of probes drawn."),
        ),
    ),
)
CHECKS = (
    Check("same_size", True, "The probes of all allocations have the same size."),
    Check("unbiased", True, "The mean of the estimates is the true mean, within four standard errors."),
    Check("as_expected", False, "The variance over draws agrees with Cochran's formula, within a factor of 2."),
    Check("neyman_pays", False, "Neyman's allocation estimates better than the proportional one."),
)

stage = Stage(
    name="probe_variance",
    code_version="1",
    compute=compute,
    description="Does the probe estimate the pool better than simpler samples? The mean of the pool is estimated from"
    " many probes of equal size. The table has the variance of the estimates for Neyman's allocation [paper eq. 4], the"
    " proportional, the uniform and the optimal one, and without clusters. It is measured for the static judge's score"
    " of every document, and for the proxy's loss on a sample.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=("corpus", "clusters", "sigma_k"),
    reads={"probe": ("fraction", "min_per_cluster"), "quality": ("dimensions",), "adaptation": ("proxy",)},
    facts=_facts,
    group="evaluation",
)
