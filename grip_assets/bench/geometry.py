"""Benches kmeans, gem, assignment, density and draw: against faiss, hnswlib, scikit-learn, numpy and our own k-means.

All run on all cores.
"""

import os
from collections.abc import Iterator

import faiss
import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.bench import Result, interleaved
from grip_assets.bench.data import mixture, real_embeddings
from grip_assets.method import neighbours
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import lloyd
from grip_assets.method.partition.mixture import Options
from grip_assets.method.partition.mixture import fit as fit_mixture
from grip_assets.method.partition.nearest import two_nearest
from grip_assets.method.partition.seeding import kmeanspp
from grip_assets.method.sampling import keyed_uniform
from grip_assets.method.screening import encode, fastest
from grip_assets.method.selection import draw as selection
from grip_assets.runtime import threads
from grip_assets.runtime.threads import default_workers

D, ITERATIONS = 384, 20


def kmeans(quick: bool) -> Iterator[Result]:
    """Spherical k-means on all rows with the same number of iterations, seeding included.

    Quality: our mean cosine minus theirs.
    """
    planted = mixture(20_000 if quick else 200_000, D, 1024, 0)
    yield from _kmeans("planted", planted, 256 if quick else 1024, quick)
    if not quick:
        real = real_embeddings(16_000)
        yield from _kmeans(f"real, {len(real):,}", real, 256, quick)


def _kmeans(name: str, x_ND: np.ndarray, k: int, quick: bool) -> Iterator[Result]:
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    lloyd.lloyd(lloyd.prepare(x_ND[:2000]), x_ND[:64], 3)  # compiles the kernels and measures the machine
    kmeanspp(x_ND[:2000], 64, 0)

    def ours() -> None:
        start_KD = x_ND[np.sort(kmeanspp(x_ND, k, len(found["ours"])))]
        found["ours"].append(lloyd.lloyd(lloyd.prepare(x_ND), start_KD, ITERATIONS).objectives[-1])

    def theirs() -> None:
        faiss.omp_set_num_threads(default_workers())
        seed, n = len(found["theirs"]), len(x_ND)
        kmeans = faiss.Kmeans(
            D, k, niter=ITERATIONS, seed=seed, spherical=True, min_points_per_centroid=1, max_points_per_centroid=n
        )
        kmeans.train(x_ND)
        found["theirs"].append(_mean_cosine(x_ND, np.asarray(kmeans.centroids)))

    taken = interleaved(ours, theirs, 1 if quick else 2)
    note = f"{name} x {D}, K = {k:,}: our mean cosine less theirs, mean of seeds; screened in {fastest()[0]}"
    yield taken.result("kmeans", "faiss.Kmeans, spherical", _gain(found), note)
    if quick:
        return
    from sklearn.cluster import MiniBatchKMeans

    def mini_batch() -> None:
        model = MiniBatchKMeans(k, init="random", n_init=1, batch_size=8192, random_state=0).fit(x_ND)
        found["theirs"] = [_mean_cosine(x_ND, model.cluster_centers_)]

    taken = interleaved(ours, mini_batch, 1)
    yield taken.result("kmeans", "sklearn MiniBatchKMeans", _gain(found), f"{name}; theirs does not see all rows")


def _gain(found: dict[str, list[float]]) -> float:
    return float(np.mean(found["ours"]) - np.mean(found["theirs"]))


def _mean_cosine(x_ND: np.ndarray, centroids_KD: np.ndarray) -> float:
    c_KD = unit_rows(centroids_KD)
    return float(np.mean([(x_BD @ c_KD.T).max(1).mean() for x_BD in np.array_split(x_ND, max(len(x_ND) // 4000, 1))]))


def gem(quick: bool) -> Iterator[Result]:
    """A balanced mixture and our spherical k-means, with the same number of iterations and the same start.

    Quality: mean cosine of the mixture's labels to its directions, minus that of k-means.
    """
    for n, k in ((20_000, 256),) if quick else ((200_000, 24), (200_000, 1024)):
        yield _gem(mixture(n, D, 1024, 0), k)


def _gem(x_ND: np.ndarray, k: int) -> Result:
    found: dict[str, float] = {}
    once = Options(seeds=1, iterations=ITERATIONS, tolerance=0.0)
    fit_mixture(lloyd.prepare(x_ND[:2000]), 16, once)  # compiles the kernels

    def ours() -> None:
        found["ours"] = _mean_cosine(x_ND, fit_mixture(lloyd.prepare(x_ND), k, once).mu_KD)

    def kmeans_alone() -> None:
        start_KD = x_ND[np.sort(kmeanspp(x_ND, k, 0))]
        found["theirs"] = _mean_cosine(x_ND, lloyd.lloyd(lloyd.prepare(x_ND), start_KD, ITERATIONS).centroids_KD)

    taken = interleaved(ours, kmeans_alone, 1)
    note = f"{len(x_ND):,} x {D}, K = {k:,}: our mean cosine less that of k-means"
    return taken.result("gem", "our spherical k-means", found["ours"] - found["theirs"], note)


def assignment(quick: bool) -> Iterator[Result]:
    """Labels of new rows. Quality: share of labels equal to those of an exhaustive search in float64."""
    n, k = 20_000 if quick else 200_000, 1024
    x_ND = mixture(n + k, D, 1024, 1)
    x_ND, c_KD = x_ND[:n], x_ND[n:].copy()
    codes = encode(c_KD, fastest()[0])
    shards = [x_ND[i : i + 4096] for i in range(0, n, 4096)]
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = np.concatenate(list(threads.each(lambda x_BD: two_nearest(x_BD, c_KD, codes).label_B, shards)))

    def theirs() -> None:
        faiss.omp_set_num_threads(default_workers())
        index = faiss.IndexFlatIP(D)
        index.add(c_KD)
        found["theirs"] = index.search(x_ND, 1)[1][:, 0]

    ours()
    taken = interleaved(ours, theirs, 2 if quick else 5)
    exact_N = np.concatenate([(x_BD.astype(np.float64) @ c_KD.T.astype(np.float64)).argmax(1) for x_BD in shards])
    same = float((found["ours"] == exact_N).mean())
    note = f"{n:,} x {D} to {k:,}: share as in float64 (theirs {(found['theirs'] == exact_N).mean():.6f})"
    yield taken.result("assignment", "faiss IndexFlatIP", same, note)


def density(quick: bool) -> Iterator[Result]:
    """Ten nearest neighbours inside clusters. Quality: share of rows whose distances equal those in float64."""
    for n in (500, 5000) if quick else (500, 2000, 20_000):
        clusters = [mixture(n, D, max(n // 100, 1), i) for i in range(max(20_000 // n, 1))]
        yield _density(clusters, 2 if quick else 5, "faiss IndexFlatIP")
    if not quick:
        yield _density([mixture(20_000, D, 200, 0)], 1, "hnswlib")
        yield _large(mixture(200_000, D, 2000, 3))
        yield _split(mixture(20_000, D, 200, 0))


def _density(clusters: list[np.ndarray], times: int, against: str) -> Result:
    n, k, format, found = len(clusters[0]), 10, fastest()[0], {}
    step = min(n, 2048)
    shards = [(i, start) for i in range(len(clusters)) for start in range(0, n, step)]

    def ours() -> None:
        coded = [neighbours.Cluster.of(x_ND, format) for x_ND in clusters] if n > step else None

        def search(shard: tuple[int, int]) -> np.ndarray:
            i, start = shard
            cluster = coded[i] if coded else neighbours.Cluster.of(clusters[i], format)
            return neighbours.nearest(cluster, start, min(start + step, n), k)

        found["ours"] = np.concatenate(list(threads.each(search, shards)))[:n]

    def with_faiss() -> None:
        faiss.omp_set_num_threads(default_workers())
        for x_ND in reversed(clusters):
            index = faiss.IndexFlatIP(D)
            index.add(x_ND)
            found["theirs"] = index.search(x_ND, k + 1)[1][:, 1:]

    def with_hnswlib() -> None:
        import hnswlib

        index = hnswlib.Index("ip", D)
        index.init_index(n, ef_construction=200, M=24, random_seed=0)
        index.set_num_threads(default_workers())
        index.add_items(clusters[0])
        index.set_ef(120)
        found["theirs"] = index.knn_query(clusters[0], k + 1)[0][:, 1:]

    ours()
    taken = interleaved(ours, with_faiss if against.startswith("faiss") else with_hnswlib, times)
    x_ND, rows = clusters[0].astype(np.float64), np.arange(0, n, max(n // 500, 1))
    exact_RN = x_ND[rows] @ x_ND.T
    exact_RN[np.arange(len(rows)), rows] = -np.inf
    near_RN = np.argsort(-exact_RN, 1)[:, :k]
    exact_Rk = np.sort(np.linalg.norm(x_ND[rows][:, None] - x_ND[near_RN], axis=2), axis=1)
    right = float((np.abs(found["ours"][rows] - exact_Rk).max(1) < 1e-9).mean())
    recall = np.mean([len(set(a) & set(b)) / k for a, b in zip(found["theirs"][rows], near_RN, strict=True)])
    note = f"{len(clusters)} clusters of {n:,}: share exact (recall of theirs {recall:.4f})"
    return taken.result("density", against, right, note)


def _split(x_ND: np.ndarray) -> Result:
    """The loss if a cluster is searched in parts, as clusters above ``selection.split`` are.

    Quality: share of distances kept.
    """
    n, format, found = len(x_ND), fastest()[0], {}

    def search(parts: list[np.ndarray]) -> np.ndarray:
        distance_Nk = np.empty((n, 10))

        def part(rows: np.ndarray) -> None:
            distance_Nk[rows] = neighbours.nearest(neighbours.Cluster.of(x_ND[rows], format), 0, len(rows), 10)

        list(threads.each(part, parts))
        return distance_Nk

    def ours() -> None:
        found["split"] = search(neighbours.split(x_ND, n // 4, 0))

    def theirs() -> None:
        found["exact"] = search([np.arange(n)])

    taken = interleaved(ours, theirs, 1)
    kept = float((found["split"] == found["exact"]).mean())
    h = selection.bandwidth(found["exact"], "median")
    change = np.abs(selection.density(found["split"], h) / selection.density(found["exact"], h) - 1)
    note = (
        f"cluster of {n:,} in parts of about {n // 8:,}: share of distances kept; density {np.median(change):.4f} off"
    )
    return taken.result("density", "itself, not split", kept, note)


def _large(x_ND: np.ndarray) -> Result:
    """A large cluster: a twentieth of its rows, each compared with all rows."""
    n, some = len(x_ND), len(x_ND) // 20
    cluster = neighbours.Cluster.of(x_ND, fastest()[0])

    def ours() -> None:
        list(threads.each(lambda s: neighbours.nearest(cluster, s, min(s + 1024, some), 10), range(0, some, 1024)))

    def theirs() -> None:
        faiss.omp_set_num_threads(default_workers())
        index = faiss.IndexFlatIP(D)
        index.add(x_ND)
        index.search(x_ND[:some], 11)

    taken = interleaved(ours, theirs, 1)
    return taken.result("density", "faiss IndexFlatIP", 1.0, f"{some:,} rows of a cluster of {n:,}; memory is bounded")


def draw(quick: bool) -> Iterator[Result]:
    """Weighted draw without replacement, including the keys. Quality: largest error of the inclusion probabilities in
    draws of a small case, in standard errors (tests/method/test_selection.py tests the distribution)."""
    n, m = (1_000_000, 100_000) if quick else (10_000_000, 1_000_000)
    rng = np.random.default_rng(0)
    weight_N = rng.lognormal(0, 1, n)
    ids = _ids(n)
    cost_N, found = np.ones(n, np.int64), {}

    def ours() -> None:
        key_N = selection.keys(keyed_uniform(0, "bench", ids), weight_N)
        found["ours"] = np.flatnonzero(selection.draw_one(key_N, cost_N, m).repeats_N)

    def theirs() -> None:
        found["theirs"] = rng.choice(n, m, replace=False, p=weight_N / weight_N.sum())

    taken = interleaved(ours, theirs, 3)
    gap = weight_N[found["ours"]].mean() / weight_N[found["theirs"]].mean() - 1
    yield taken.result(
        "draw", "numpy choice", gap, f"{m:,} of {n:,}, hashes of ids included: mean weight against theirs"
    )


def _ids(n: int):
    """Document ids of 32 hex digits."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[np.frombuffer(os.urandom(n * 32), np.uint8) % 16]
    offsets = pa.py_buffer(np.arange(0, n * 32 + 1, 32, dtype=np.int64))
    return pl.Series(pa.LargeStringArray.from_buffers(n, offsets, pa.py_buffer(digits)))
