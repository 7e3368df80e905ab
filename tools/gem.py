"""Measures for docs/gem.md what no stage measures: fits repeated over seeds. ``python -m tools.gem`` runs all of it.

It reads the documents and vectors in force, and fits k-means and GEM with the settings in force, under ``SEEDS`` seeds
each. It writes four tables into the folder .measured of the data folder, where tools/evidence.py finds them:
``gem_fits`` has one row per fit, ``gem_seeds`` the means over seeds, ``gem_pairs`` how alike the fits of two seeds are,
and ``gem_sweep`` the table that `grip balance` prints. Nothing is put in force. Small clusters are not dissolved here,
so all fits have the same K.

``python -m tools.gem 24 5`` fits 24 clusters under five seeds. ``python -m tools.gem speed`` writes the table
``gem_speed`` instead: documents that one processor embeds and that it labels per second. It needs a student in force.

Shapes: N documents, K clusters, d dimensions.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from grip_assets import operations
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import gem, lloyd, mixture
from grip_assets.method.partition.balance import evenness
from grip_assets.method.partition.base import Fitted, PoolFacts
from grip_assets.method.partition.registry import PARTITIONS
from grip_assets.method.statistics import Estimate, mean
from grip_assets.models.files import locate
from grip_assets.models.opening import EncoderFiles
from grip_assets.settings import Clustering, Embedding
from grip_assets.sources.documents import project_of
from grip_assets.stages.curation.embeddings import EmbedDocuments
from grip_assets.stages.curation.student import LabelDocuments
from grip_assets.store.artifacts import data_root
from grip_assets.store.catalog import connect
from grip_assets.store.tables import RowRange
from tools.evidence import MEASURED

SEEDS, K = 5, 24
EMBEDDED, LABELLED = (16, 216), (64, 1600)  # rows of the corpus: up to the first to warm up, up to the second timed
LAMBDAS = [0, 0.05, 0.125, 0.5, 1.25, 5.6]
BASE, LEARNED, GEM = "k-means", "vMF, learned prior", "GEM, T = null"
HARD = {"method": "gem", "temperature": 1.0}  # as in the paper
FITS: dict[str, dict[str, Any]] = {
    BASE: {"method": "kmeans"},
    LEARNED: HARD | {"balance": 0.0},
    "vMF, uniform prior": HARD | {"balance": 0.0},
    "GEM, T = 1": HARD | {"balance": 0.125},
    "GEM, T = 1, λ = 1.25": HARD | {"balance": 1.25},
    "GEM, T = 1, 32 dimensions": HARD | {"balance": 0.125, "pca": 32},
    GEM: {"method": "gem", "temperature": None, "balance": 0.125},
}
MEASURES = ("nmi_language", "nmi_package", "effective", "largest", "smallest", "mean_cosine", "sure", "seconds")


class Pool(NamedTuple):
    """``x_ND``: unit vectors, float32. ``groups``: the value of each document in each column, by the column's name."""

    x_ND: np.ndarray
    groups: dict[str, list[str]]


class Fit(NamedTuple):
    """``label_N``: int32. ``confidence_N``: float32, as the method defines it. ``seconds`` are of all processors."""

    label_N: np.ndarray
    confidence_N: np.ndarray
    seconds: float


Fitter = Callable[[np.ndarray, Clustering, bool], Fit]  # vectors, settings, whether the prior is learned


def pool_in_force(root: Path) -> Pool:
    with connect(root) as connection:
        rows = connection.sql(
            "SELECT coalesce(language, '') AS language, source, embedding FROM corpus JOIN embeddings USING (doc_id)"
            " WHERE embedding IS NOT NULL ORDER BY doc_id"
        ).pl()
    packages = [project_of(source, 2) for source in rows["source"]]
    return Pool(
        unit_rows(np.stack(rows["embedding"].to_list())), {"language": list(rows["language"]), "package": packages}
    )


def settings_in_force(root: Path) -> Clustering:
    with connect(root) as connection:
        rows = connection.execute("""SELECT name, value FROM settings WHERE "group" = 'clustering'""").fetchall()
    return Clustering(**{name: json.loads(value) for name, value in rows} | {"keep": None})


def fit(x_ND: np.ndarray, settings: Clustering, learned: bool) -> Fit:
    start = time.process_time()
    fitted: Fitted
    if learned:  # a reference for comparison, which is no setting
        options = replace(gem.options(settings), prior="learned")
        fitted = gem.of(mixture.fit(lloyd.prepare(x_ND), settings.k or K, options))
    else:
        fitted = PARTITIONS[settings.method].fit(x_ND, settings, lambda line: None, PoolFacts(len(x_ND)))
    seconds = time.process_time() - start
    return Fit(*fitted.assign(x_ND)[:2], seconds)


def measure(pool: Pool, settings: Clustering, k: int, seeds: int, fit: Fitter = fit) -> dict[str, pl.DataFrame]:
    """The tables, by name. Fits of one seed follow each other, so that a busy machine is as slow for all of them."""
    rows, labels = [], {}
    for changes in (FITS[BASE], FITS[GEM]):  # once before any is timed: what is compiled is compiled
        fit(pool.x_ND, settings.model_copy(update={"k": k} | changes), False)
    for place, (name, changes) in itertools.product(range(seeds), FITS.items()):
        own = {"k": k, "min_cluster_docs": 1, "seed": settings.seed + place * settings.seeds}
        found = fit(pool.x_ND, settings.model_copy(update=changes | own), name == LEARNED)
        labels[name, place] = found.label_N
        rows.append({"fit": name, "seed": own["seed"], **described(pool, found, k)})
        print(rows[-1], file=sys.stderr, flush=True)
    fits = pl.DataFrame(rows)
    return {
        "gem_fits": fits,
        "gem_seeds": pl.DataFrame(over_seeds(fits)),
        "gem_pairs": pl.DataFrame(pairs(labels, seeds)),
    }


def described(pool: Pool, found: Fit, k: int) -> dict[str, float]:
    """Balance and agreement of one fit. ``sure``: share of documents with a confidence above .99."""
    from sklearn.metrics import normalized_mutual_info_score

    count_K = np.bincount(found.label_N, minlength=k)
    even = evenness(count_K)
    sums_KD = np.zeros((k, pool.x_ND.shape[1]))
    np.add.at(sums_KD, found.label_N, pool.x_ND.astype(np.float64))
    agreement = {
        f"nmi_{name}": float(normalized_mutual_info_score(values, found.label_N))
        for name, values in pool.groups.items()
    }
    return agreement | {
        **{name: getattr(even, name) for name in ("effective", "largest", "smallest")},
        "mean_cosine": float(np.linalg.norm(sums_KD, axis=1).sum() / len(found.label_N)),  # P2: cosine to centroids
        "sure": float((found.confidence_N > 0.99).mean()),
        "seconds": found.seconds,
    }


def over_seeds(fits: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """For each fit and measure: mean over seeds, and mean difference to k-means under the same seed; 95% intervals."""
    base = fits.filter(pl.col("fit") == BASE).sort("seed")
    for (name,), own in fits.group_by("fit", maintain_order=True):
        own = own.sort("seed")
        for measure in MEASURES:
            value, apart = mean(own[measure].to_numpy()), mean((own[measure] - base[measure]).to_numpy())
            yield {"fit": name, "measure": measure, **value.columns("value"), **_apart(apart), "seeds": len(own)}


def _apart(difference: Estimate) -> dict[str, float | None]:
    return difference.columns("difference", "difference_low", "difference_high")


def pairs(labels: dict[tuple[str, int], np.ndarray], seeds: int) -> Iterator[dict[str, Any]]:
    """Adjusted Rand index of every two seeds of a fit: 1 if both group alike, 0 if by chance."""
    from sklearn.metrics import adjusted_rand_score

    for name in FITS:
        for one, other in itertools.combinations(range(seeds), 2):
            same = adjusted_rand_score(labels[name, one], labels[name, other])
            yield {"fit": name, "one": one, "other": other, "rand": float(same)}


def sweep() -> pl.DataFrame:
    with operations.open_instance() as instance:
        return operations.balance(instance, LAMBDAS, lambda line: print(line, file=sys.stderr, flush=True)).rows


def speed(root: Path) -> pl.DataFrame:
    """Processor seconds of the two jobs on some documents in force, reading included, after a first small run."""
    with connect(root) as connection:
        folders = dict(connection.execute("SELECT asset, path FROM artifacts WHERE in_force").fetchall())
        rows = connection.execute("""SELECT name, value FROM settings WHERE "group" = 'embedding'""").fetchall()
    settings = Embedding(**{name: json.loads(value) for name, value in rows})
    corpus = f"{folders['corpus']}/corpus/*.parquet"
    weights, classes = (f"{folders['student']}/student_{name}/*.parquet" for name in ("weights", "classes"))
    encoder = EncoderFiles(
        locate(settings.model), settings.pooling, settings.window, settings.max_windows, settings.dtype
    )
    among = tuple(pl.read_parquet(classes)["component"].to_list())
    jobs: dict[str, tuple[Any, int, int]] = {
        "embed": (EmbedDocuments(corpus, encoder, 1), *EMBEDDED),
        "label": (LabelDocuments(corpus, weights, classes, among), *LABELLED),
    }
    found = []
    for what, (job, warm, last) in jobs.items():
        job.run(RowRange(0, warm))
        start = time.process_time()
        n = len(job.run(RowRange(warm, last)))
        found.append({"what": what, "documents": n, "seconds": time.process_time() - start})
    return pl.DataFrame(found)


def main(k: int = K, seeds: int = SEEDS) -> None:
    tables = measure(pool_in_force(data_root()), settings_in_force(data_root()), k, seeds)
    _write(tables | {"gem_sweep": sweep()})


def _write(tables: dict[str, pl.DataFrame]) -> None:
    folder = data_root() / MEASURED
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
        print(f"{folder / name}.parquet: {len(table)} rows")


if __name__ == "__main__":
    if sys.argv[1:] == ["speed"]:
        _write({"gem_speed": speed(data_root())})
    else:
        main(*map(int, sys.argv[1:3]))
