"""Approximate indices of faiss against our exact search, in one large cluster. docs/decisions.md has the result.

``python -m grip_assets.bench.approximate [ROWS]``. Seconds are processor time of all threads, so that other processes
on the machine do not count.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from grip_assets.bench.data import mixture
from grip_assets.method import neighbours
from grip_assets.method.screening import fastest
from grip_assets.runtime import threads
from grip_assets.runtime.threads import default_workers

D, K, STEP = 384, 10, 2048
PROBES = (8, 32)
SAME = 1e-4  # relative difference of mean distances that counts as equal, since faiss computes in float32


def exact(x_ND: np.ndarray) -> np.ndarray:
    """Mean distance to the K nearest neighbours by our search, float64 (N,)."""
    cluster = neighbours.Cluster.of(x_ND, fastest()[0])

    def search(start: int) -> np.ndarray:
        return neighbours.nearest(cluster, start, min(start + STEP, len(x_ND)), K)

    return np.concatenate(list(threads.each(search, range(0, len(x_ND), STEP)))).mean(1)


def inverted(x_ND: np.ndarray, probes: int) -> np.ndarray:
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(D), D, int(len(x_ND) ** 0.5), faiss.METRIC_INNER_PRODUCT)
    index.train(x_ND)
    return searched(index, x_ND, probes)


def graph(x_ND: np.ndarray) -> np.ndarray:
    index = faiss.IndexHNSWFlat(D, 24, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 100, 64
    return searched(index, x_ND)


def searched(index: Any, x_ND: np.ndarray, probes: int | None = None) -> np.ndarray:
    index.add(x_ND)
    if probes:
        index.nprobe = probes
    similar_NK, _ = index.search(x_ND, K + 1)
    return np.sqrt(np.maximum(2 - 2 * similar_NK[:, 1:], 0)).mean(1)


def timed(search: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    started = time.process_time()
    return search(), time.process_time() - started


def main(n: int) -> None:
    faiss.omp_set_num_threads(default_workers())
    x_ND = mixture(n, D, n // 100, 3)
    exact(x_ND[:5000])  # compiles the kernels
    distance_N, seconds = timed(lambda: exact(x_ND))
    print("| search | seconds | rows as exact | rows more than 1% off |\n|---|--:|--:|--:|")
    print(f"| ours, exact | {seconds:.1f} | 100% | 0% |")
    searches = {f"IndexIVFFlat, {p} probes": lambda p=p: inverted(x_ND, p) for p in PROBES}
    for name, search in {**searches, "IndexHNSWFlat, M = 24": lambda: graph(x_ND)}.items():
        theirs_N, seconds = timed(search)
        same, off = np.abs(theirs_N - distance_N) < SAME, np.abs(theirs_N / distance_N - 1) > 0.01
        print(f"| faiss {name} | {seconds:.1f} | {same.mean():.0%} | {off.mean():.0%} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
