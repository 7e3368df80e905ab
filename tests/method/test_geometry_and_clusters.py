"""G0, G1, A18: spherical k-means on planted data, against brute force."""

import tracemalloc

import numpy as np
import pytest

from grip_assets.errors import GripError
from grip_assets.method.geometry import rao_entropy, unit_rows
from grip_assets.method.partition.kmeans import SAME_DIRECTION, assign, choose_k, cluster, directions, fit, merge_small


def planted(sizes, d=24, spread=0.15, seed=0):
    """Unit rows around random directions, shuffled, with their labels."""
    rng = np.random.default_rng(seed)
    centres = directions(rng.normal(size=(len(sizes), d)))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = unit_rows(centres[labels] + spread * rng.normal(size=(len(labels), d)) / np.sqrt(d) * 3)
    order = rng.permutation(len(labels))
    return x[order], labels[order]


def blocks_of(x, size):
    return lambda: (x[i : i + size] for i in range(0, len(x), size))


def run(x, k, minimum=1, block=64, seeds=3, workers=None):
    return cluster(blocks_of(x, block), x, k, 20, seeds, 0, minimum)


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


def test_small_clusters_are_merged_into_the_nearest():
    sums = 10 * np.array([[1, 0.0], [0.9, 0.4], [0, 1], [-1, 0]])
    assert merge_small(sums, np.array([100, 3, 50, 60]), 10).tolist() == [0, 0, 2, 1]
    assert merge_small(sums, np.array([3, 0, 2, 1]), 10).tolist() == [0, -1, 0, 0]
    x, _ = planted([100, 4, 3], spread=0.3)
    assert run(x, 12, minimum=20).counts_K.min() >= 20
    assert run(x[:5], 3, minimum=20).counts_K.tolist() == [5]


def test_copies_and_single_documents_make_no_empty_cluster():
    x = np.repeat(planted([3])[0], [50, 2, 1], axis=0)
    found = run(x, 10)
    assert (found.counts_K > 0).all() and found.counts_K.sum() == 53
    assert len(found.counts_K) <= 3
    same = np.repeat(x[:1], 30, axis=0)
    assert run(same, 5).counts_K.tolist() == [30]
    assert len(run(x[50:], 3).counts_K) <= 3


def test_copies_of_one_centroid_are_one():
    kept = fit(np.repeat(planted([3])[0], 20, axis=0), 40, 5, 1, 0)
    assert 3 <= len(kept) < 40
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
    with pytest.raises(GripError, match=r"settings/clustering.fit_sample leaves 20 documents to fit 50 clusters"):
        cluster(blocks_of(x, 64), x[:20], 50, 5, 1, 0, 1)


def test_candidates_that_float32_cannot_tell_apart_are_decided_in_float64():
    x, _ = planted([2000], spread=0.9)
    centre = x[:1].astype(np.float64)
    centres = unit_rows(centre + 1e-6 * np.random.default_rng(0).normal(size=(30, 24)))
    exact = np.einsum("nd,kd->nk", x.astype(np.float64), centres.astype(np.float64))
    assert ((x @ centres.T).argmax(1) != exact.argmax(1)).any()  # else the case is too easy
    assert (assign(x, centres) == exact.argmax(1)).all()


def at(degrees, counts):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(counts)[:, None]


def test_the_smallest_cluster_is_merged_first():
    counts = [100, 2, 9]
    assert merge_small(at([-20, 25, 0], counts), np.array(counts), 10).tolist() == [0, 1, 1]


def test_a_merged_cluster_points_where_its_union_points():
    counts = [5, 6, 100, 101]
    assert merge_small(at([0, 25, 65, -30], counts), np.array(counts), 12).tolist() == [0, 0, 1, 0]


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
    centres = fit(x, 2, 100, 1, 0)
    ids = assign(x, centres)
    again = directions(np.array([x[ids == k].astype(np.float64).sum(0) for k in range(2)]))
    assert np.abs(again - centres).max() < 1e-5


def test_memory_does_not_grow_with_the_number_of_blocks(monkeypatch):
    monkeypatch.setenv("GRIP_WORKERS", "1")
    x = unit_rows(np.random.default_rng(0).normal(size=(64, 512)))
    peaks = []
    for n_blocks in (4, 100):
        tracemalloc.start()
        cluster(lambda n=n_blocks: (x for _ in range(n)), x, 64, 1, 1, 0, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    sums = 64 * 512 * 8
    assert peaks[1] - peaks[0] < 10 * sums  # all kept would be 96 times
