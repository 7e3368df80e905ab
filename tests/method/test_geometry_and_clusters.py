"""G0, G1, A18: spherical k-means on planted data, against brute force."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from planted import blocks_of, planted

from grip_assets.errors import GripError
from grip_assets.method.geometry import rao_entropy, unit_rows
from grip_assets.method.partition.base import PoolFacts, choose_k
from grip_assets.method.partition.finish import Block as Rows
from grip_assets.method.partition.finish import InMemory, centre, directions, dissolve, finish
from grip_assets.method.partition.kmeans import SAME_DIRECTION, KMeans, distinct, fit
from grip_assets.settings import Clustering


def settings(k, minimum=1, iterations=20, seeds=3):
    return Clustering(k=k, iterations=iterations, seeds=seeds, min_cluster_docs=minimum)


def run(x, k, minimum=1, block=64):
    """k-means as the stages do it: fit on all rows, finish, centre."""
    blocks = blocks_of(x, block)
    found = finish(fit(x, settings(k, minimum)), InMemory(blocks), minimum)
    centroids, cosine = centre(blocks, found.cluster_N, len(found.component_K))
    return SimpleNamespace(
        cluster_N=found.cluster_N,
        counts_K=found.counts_K,
        imbalance=found.imbalance,
        centroids_KD=centroids,
        cosine_N=cosine,
    )


def assign(x, centres):
    return KMeans(centres.astype(np.float32)).assign(x).label_B


def test_planted_clusters_are_found_and_numbered_by_size():
    x, labels = planted([200, 120, 60, 30])
    found = run(x, 4)
    assert found.counts_K.tolist() == [200, 120, 60, 30]
    assert all(len(set(labels[found.cluster_N == k])) == 1 for k in range(4))


def test_the_objective_is_no_worse_than_a_plain_lloyd():
    x, _ = planted([90, 80, 70, 60, 50, 40, 30, 20], spread=0.6)
    rng = np.random.default_rng(0)
    best = 0.0
    for _ in range(5):
        centres = x[rng.choice(len(x), 8, replace=False)].astype(np.float64)
        for _ in range(20):
            labels = (x @ centres.T).argmax(1)
            centres = directions(
                np.array([x[labels == k].sum(0) if (labels == k).any() else centres[k] for k in range(8)])
            )
        best = max(best, (x @ centres.T).max(1).mean())
    assert run(x, 8).cosine_N.mean() > best - 0.01


def test_assignment_is_the_float64_nearest_and_ties_go_to_the_lowest_id():
    x, _ = planted([300, 300], spread=0.9)
    centres = unit_rows(np.random.default_rng(1).normal(size=(40, 24)))
    exact = x.astype(np.float64) @ centres.astype(np.float64).T
    assert (assign(x, centres) == exact.argmax(1)).all()
    assert (assign(x, np.concatenate([centres, centres])) == exact.argmax(1)).all()


def test_blocks_and_workers_change_nothing(monkeypatch):
    x, _ = planted([100, 80, 60, 40], spread=0.7)
    monkeypatch.setenv("GRIP_WORKERS", "1")
    one = run(x, 9)
    monkeypatch.setenv("GRIP_WORKERS", "4")
    four = run(x, 9)
    assert (one.cluster_N == four.cluster_N).all() and (one.cosine_N == four.cosine_N).all()
    assert (one.centroids_KD == four.centroids_KD).all()
    assert (one.cluster_N == run(x, 9, block=17).cluster_N).all()


def test_the_mean_cosine_is_the_length_of_the_mean_vector():
    x, _ = planted([150, 100, 50], spread=0.8)
    found = run(x, 5)
    for k in range(len(found.counts_K)):
        members = x[found.cluster_N == k].astype(np.float64)
        assert found.cosine_N[found.cluster_N == k].mean() == pytest.approx(np.linalg.norm(members.mean(0)), abs=1e-6)


def dissolved(degrees, counts, minimum):
    """The components that stay, of some on a circle that have so many documents each, all at the centroid."""
    angles = np.radians(degrees)
    kmeans = KMeans(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = kmeans.centroids_KD[labels]
    return dissolve(kmeans, labels, lambda chosen: Rows(rows[chosen]), minimum).tolist()


def test_small_clusters_are_dissolved():
    assert dissolved([0, 24, 90, 180], [100, 3, 50, 60], 10) == [0, 2, 3]
    assert dissolved([0, 24, 90, 180], [3, 0, 2, 1], 10) == [2], "the last one stays, whatever its size"
    assert dissolved([0, 24, 90, 180], [3, 0, 2, 1], 1) == [0, 2, 3], "one without documents goes"
    x, _ = planted([100, 4, 3], spread=0.3)
    assert run(x, 12, minimum=20).counts_K.min() >= 20
    assert run(x[:5], 3, minimum=20).counts_K.tolist() == [5]


def test_the_smallest_cluster_is_dissolved_first():
    assert dissolved([-20, 25, 0], [100, 2, 9], 10) == [0, 2], "the nine are eleven then, and no longer small"


def test_copies_and_single_documents_make_no_empty_cluster():
    x = np.repeat(planted([3])[0], [50, 2, 1], axis=0)
    found = run(x, 10)
    assert (found.counts_K > 0).all() and found.counts_K.sum() == 53
    assert len(found.counts_K) <= 3
    same = np.repeat(x[:1], 30, axis=0)
    assert run(same, 5).counts_K.tolist() == [30]
    assert len(run(x[50:], 3).counts_K) <= 3


def test_copies_of_one_centroid_are_one():
    copies = np.repeat(planted([3])[0], 20, axis=0)
    kept = fit(copies, settings(40, iterations=5, seeds=1)).centroids_KD
    assert 3 <= len(kept) < 40
    assert len(distinct(copies[:40])) == 2 and len(distinct(copies)) == 3
    assert ((kept @ kept.T)[np.triu_indices(len(kept), 1)] <= SAME_DIRECTION).all()


def test_k_is_the_root_of_the_corpus_within_bounds():
    assert [choose_k(n, None) for n in (5, 100, 10_000, 10**8)] == [5, 16, 100, 1024]
    with pytest.raises(GripError, match=r"settings/clustering.k is 9, and the corpus has only 5 documents"):
        choose_k(5, 9)


def test_rows_without_direction_are_refused():
    x = np.ones((4, 3), np.float32)
    x[2] = np.nan
    with pytest.raises(GripError, match="1 of 4 embeddings are zero or not finite .the first is row 2"):
        unit_rows(x)


def test_the_quadratic_entropy_is_the_double_sum():
    x = planted([20, 10], spread=0.9)[0].astype(np.float64)
    weights = np.random.default_rng(0).uniform(size=30)
    pi = weights / weights.sum()
    slow = sum(pi[i] * pi[j] * ((x[i] - x[j]) ** 2).sum() for i in range(30) for j in range(30))
    assert rao_entropy(x, weights) == pytest.approx(slow, abs=1e-6)


def test_a_row_of_zeros_is_refused():
    with pytest.raises(GripError, match="1 of 4 embeddings are zero or not finite .the first is row 2"):
        unit_rows(np.eye(4, 3)[[0, 1, 3, 2]])


def test_a_sample_smaller_than_k_is_refused():
    x, _ = planted([60])
    with pytest.raises(
        GripError, match=r"settings/clustering.fit_sample leaves 20 documents, too few to fit 50 clusters"
    ):
        fit(x[:20], settings(50), pool=PoolFacts(len(x)))


def test_candidates_that_float32_cannot_tell_apart_are_decided_in_float64():
    x, _ = planted([2000], spread=0.9)
    centre = x[:1].astype(np.float64)
    centres = unit_rows(centre + 1e-6 * np.random.default_rng(0).normal(size=(30, 24)))
    exact = np.einsum("nd,kd->nk", x.astype(np.float64), centres.astype(np.float64))
    assert ((x @ centres.T).argmax(1) != exact.argmax(1)).any()  # else the case is too easy
    assert (assign(x, centres) == exact.argmax(1)).all()


def test_the_length_of_a_vector_changes_nothing():
    x, _ = planted([100, 80, 60, 40], spread=0.9)
    scaled = x * 2.0 ** np.random.default_rng(0).integers(-3, 4, size=(len(x), 1)).astype(np.float32)
    one, two = run(x, 9), run(scaled, 9)
    assert (one.cluster_N == two.cluster_N).all() and (one.cosine_N == two.cosine_N).all()


def test_cosines_are_float64_to_the_direction_of_the_sum():
    x, _ = planted([150, 100, 50], spread=0.8)
    found = run(x, 5)
    sums = np.array([x[found.cluster_N == k].astype(np.float64).sum(0) for k in range(len(found.counts_K))])
    exact = (x.astype(np.float64) * directions(sums)[found.cluster_N]).sum(1)
    assert np.abs(found.cosine_N - exact).max() < 1e-12


def test_imbalance_is_largest_over_median():
    assert run(planted([200, 120, 60, 30])[0], 4).imbalance == pytest.approx(200 / 90)


def test_centroids_are_a_fixed_point_of_spherical_not_of_euclidean_k_means():
    tight, wide = planted([200], spread=0.05)[0], planted([200], spread=1.0, seed=3)[0]
    x = np.concatenate([tight, wide])
    centres = fit(x, settings(2, iterations=100, seeds=1)).centroids_KD
    ids = assign(x, centres)
    again = directions(np.array([x[ids == k].astype(np.float64).sum(0) for k in range(2)]))
    assert np.abs(again - centres).max() < 1e-5


def test_memory_does_not_grow_with_the_number_of_blocks(monkeypatch):
    monkeypatch.setenv("GRIP_WORKERS", "1")
    x = unit_rows(np.random.default_rng(0).normal(size=(64, 512)))
    peaks = []
    for n_blocks in (4, 100):
        tracemalloc.start()
        labels = np.arange(64 * n_blocks, dtype=np.int32) % 64
        centre(lambda n=n_blocks: (x for _ in range(n)), labels, 64)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    sums = 64 * 512 * 8
    assert peaks[1] - peaks[0] < 10 * sums  # all kept would be 96 times
