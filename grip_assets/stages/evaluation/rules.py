"""The baselines on stored tables: each rule of baselines.py with what it needs to know of the documents."""

import importlib.metadata
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.stage import Settings, Work
from grip_assets.errors import GripError
from grip_assets.method.geometry import unit_rows
from grip_assets.method.sampling import keyed_sample, keyed_uniform
from grip_assets.method.selection import baselines
from grip_assets.method.selection.draw import draw_one
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Clustering, Corpus, Evaluation
from grip_assets.sources.benchmarks import content_hash, problems
from grip_assets.stages.curation.quality_scores import static_scores
from grip_assets.stages.curation.subset import clusters_of
from grip_assets.stages.evaluation import evaluation_set
from grip_assets.store.tables import blocks, rows_of, vector_blocks

Draw = Callable[[int], np.ndarray]
"""Seed to copies of each document, int64 (N,)."""

TEXTS_AT_ONCE = 512


@dataclass
class Pool:
    """Documents in the order of the table ``clusters``, and the budget in tokens. ``seconds``: what a rule spent in an
    earlier run on what it found kept."""

    work: Work
    documents: pl.DataFrame
    total: int
    max_repeats: int
    seconds: float = 0.0

    @property
    def lengths_N(self) -> np.ndarray:
        return self.documents["n_tokens"].to_numpy()

    def uniform(self, seed: int) -> np.ndarray:
        """The numbers that the chain draws with, so that under one seed all strategies share their luck."""
        return keyed_uniform(seed, "subset", self.documents["doc_id"])

    def take(self, key_N: np.ndarray) -> np.ndarray:
        """The largest keys first; a document that the whole budget has no room for is passed over."""
        return draw_one(key_N, self.lengths_N, self.total, self.max_repeats).repeats_N

    def largest(self, value_N: np.ndarray) -> Draw:
        """The largest values; the seed decides between equals."""
        return lambda seed: self.take(baselines.first(self.uniform(seed), value_N))

    def strata(self, stratum_N: np.ndarray) -> Draw:
        """The same tokens of every stratum, uniform inside."""
        return lambda seed: baselines.stratified(
            self.uniform(seed), stratum_N, self.lengths_N, self.total, self.max_repeats
        )

    def ordered(self, column: str, of: pl.DataFrame) -> np.ndarray:
        """A column of another table in the order of the documents."""
        found = self.documents.select("doc_id").join(of, on="doc_id", how="left", maintain_order="left")
        return found[column].to_numpy()


def random(pool: Pool) -> Draw:
    """Uniform from the whole pool. The chain's own random row (`proportional`) is drawn cluster by cluster, where a
    document that is longer than the cluster's budget is never taken [A17b]: not what all else should be measured by."""
    return lambda seed: pool.take(pool.uniform(seed))


def by_cluster(pool: Pool) -> Draw:
    return pool.strata(pool.documents["cluster_id"].to_numpy())


def by_language(pool: Pool) -> Draw:
    languages = pl.read_parquet(pool.work.files("corpus"), columns=["doc_id", "language"])
    known = languages.with_columns(stratum=pl.col("language").fill_null("").rank("dense").cast(pl.Int64) - 1)
    return pool.strata(pool.ordered("stratum", known))


def longest(pool: Pool) -> Draw:
    return pool.largest(pool.lengths_N)


def shortest(pool: Pool) -> Draw:
    return pool.largest(-pool.lengths_N)


def top_quality(pool: Pool) -> Draw:
    """The static judge's score of every document, over the dimensions that the chain scores by."""
    started = time.monotonic()
    found = static_scores(pool.work)
    pool.seconds += max(float(found["seconds"].sum()) - (time.monotonic() - started), 0)  # spent in an earlier run
    return pool.largest(pool.ordered("score", found.with_columns(pl.col("score").fill_null(-1.0))))  # not judged: last


def semdedup(pool: Pool) -> Draw:
    repeats_N = pool.take(baselines.first(pool.uniform(0), -_likeness(pool)))
    return lambda seed: repeats_N


def d4(pool: Pool) -> Draw:
    again = partial(_prototypical, pool)
    key_N = baselines.d4(_likeness(pool), pool.uniform(0), pool.lengths_N, pool.total, again)
    repeats_N = pool.take(key_N)
    return lambda seed: repeats_N


def _likeness(pool: Pool) -> np.ndarray:
    """Of each document to what SemDeDup prefers to it, one cluster in memory at a time."""
    progress = Progress("comparing inside clusters", len(pool.documents), "documents", pool.work.log)
    found = []
    for cluster in clusters_of(pool.work, pool.documents):
        found.append(baselines.likeness(unit_rows(cluster.x_ND), cluster.documents["cosine"].to_numpy()))
        progress.advance(len(cluster.x_ND))
    progress.finish()
    return np.concatenate(found)


def _prototypical(pool: Pool, kept_N: np.ndarray) -> np.ndarray:
    """Cosine of the kept documents to the centroids of clusters made of them alone, as settings/clustering says."""
    from grip_assets.method.partition import kmeans as clustering  # compiled

    settings = Clustering.of(pool.work.settings)
    files = pool.work.files("cluster_embeddings")
    ids = pool.documents["doc_id"].filter(pl.Series(kept_N))
    sample_N = kept_N.copy()
    sample_N[kept_N] = keyed_sample(settings.seed, "clusters", ids, settings.fit_sample)
    return clustering.cluster(
        lambda: (x_BD for x_BD in vector_blocks(files, kept_N) if len(x_BD)),
        rows_of(files, sample_N),
        clustering.choose_k(len(ids), settings.k and min(settings.k, len(ids))),
        settings.iterations,
        settings.seeds,
        settings.seed,
        settings.min_cluster_docs,
        pool.work.log,
    ).cosine_N


def dsir(pool: Pool) -> Draw:
    """Documents by how much more likely they are in the target than in the pool, with the noise of each seed."""
    from grip_assets.method.selection.dsir import log_weights

    work, files, n = pool.work, pool.work.files("corpus"), len(pool.documents)
    target = _target(work.settings)
    progress = Progress("DSIR, two passes", 2 * n, "documents", work.log)
    with tempfile.TemporaryDirectory(dir=work.draft.folder) as folder:
        weight_N, long_N = log_weights(
            lambda: (block["text"].to_pylist() for block in blocks(files, ["text"], TEXTS_AT_ONCE)),
            math.ceil(n / TEXTS_AT_ONCE),
            target,
            Path(folder),
            progress.advance,
        )
    progress.finish()
    found = pl.read_parquet(files, columns=["doc_id"]).with_columns(weight=weight_N, long=long_N)
    weight_N, long_N = (pool.ordered(column, found) for column in ("weight", "long"))
    return lambda seed: pool.take(baselines.resampled(weight_N, long_N, pool.uniform(seed)))


def _target(settings: Settings) -> list[str]:
    """The user's target set, or the benchmarks' problems as they stand when solved."""
    evaluation, corpus = Evaluation.of(settings), Corpus.of(settings)
    if evaluation.target is None:
        found = [p.prompt + p.solution for name in corpus.benchmarks for p in problems(name)]
    else:
        found = [document.text for document in evaluation_set.target_documents(evaluation.target, corpus)]
    if not found:
        raise GripError(
            "settings/evaluation.strategies has 'dsir', which selects for a target, and there is none. Set"
            " settings/evaluation.target to documents of yours, or name a benchmark in settings/corpus.benchmarks."
        )
    return found


RULES: dict[str, Callable[[Pool], Draw]] = {
    rule.__name__: rule
    for rule in (random, by_cluster, by_language, top_quality, semdedup, d4, dsir, longest, shortest)
}
NEEDS = dict.fromkeys(("by_cluster", "semdedup", "d4"), ("embeddings", "clusters"))  # the others need the corpus only


def must_be_ready(strategies: list[str], settings: Settings) -> None:
    """GripError for a rule whose package or target is not there, before an hour is spent on the others."""
    if "dsir" in strategies:
        from grip_assets.method.selection.dsir import must_be_there

        must_be_there()
        _target(settings)


def rule_facts(settings: Settings, root: Path) -> dict[str, Any]:
    """What the rules depend on outside of settings and tables."""
    evaluation, corpus = Evaluation.of(settings), Corpus.of(settings)
    if "dsir" not in evaluation.strategies:
        return {}
    try:
        package = importlib.metadata.version("data-selection")
    except importlib.metadata.PackageNotFoundError:  # compute says what to do
        package = ""
    benchmarks = [content_hash(name) for name in corpus.benchmarks if evaluation.target is None]
    return {"data-selection": package, "benchmarks": benchmarks, **evaluation_set.facts(settings, root)}
