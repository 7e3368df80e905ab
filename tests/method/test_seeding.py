"""Where a fit begins: greedy k-means++ on the sphere."""

import faiss
import numpy as np
import pytest
from planted import planted

from grip_assets.bench.data import mixture
from grip_assets.method.geometry import unit_rows
from grip_assets.method.partition import lloyd, seeding
from grip_assets.method.partition.seeding import kmeanspp


def test_k_means_is_at_least_as_good_as_faiss_over_ten_seeds():
    """On a heavy-tailed mixture, after the same number of iterations."""
    n, d, k = 2000, 32, 24
    x = mixture(n, d, 3 * k, 0)
    faiss.omp_set_num_threads(1)  # two that wait for each other take long on a busy machine
    rows, ours, theirs = lloyd.prepare(x), [], []
    for seed in range(10):
        ours.append(lloyd.lloyd(rows, x[np.sort(kmeanspp(x, k, seed))], 20).objectives[-1])
        kmeans = faiss.Kmeans(d, k, niter=20, seed=seed, spherical=True, max_points_per_centroid=n)
        kmeans.train(x)
        theirs.append((x @ unit_rows(kmeans.centroids).T).max(1).mean())
    assert np.mean(ours) >= np.mean(theirs)


@pytest.mark.parametrize("seed", range(5))
def test_every_planted_cluster_has_a_start_however_small(seed):
    x, labels = planted([3000, 500, 100, 20, 20, 10, 10, 5], spread=0.005, seed=seed)
    assert set(labels[kmeanspp(x, 8, seed)]) == set(range(8))


@pytest.mark.parametrize("d", [48, 1030])
def test_threads_and_formats_change_no_start(d, monkeypatch):
    x, found = mixture(1200, d, 40, 0), []
    for workers, form in (("1", "int8"), ("4", "int8"), ("3", "float32")):
        monkeypatch.setenv("GRIP_WORKERS", workers)
        monkeypatch.setattr(seeding, "fastest", lambda form=form: (form, {}))
        found.append(kmeanspp(x, 70, 7).tolist())
    assert found[0] == found[1] == found[2] and len(set(found[0])) == 70


def test_the_starts_depend_on_the_seed_and_come_from_all_rows_of_a_large_input():
    x = mixture(20_000, 16, 40, 0)
    first, second = kmeanspp(x, 100, 0), kmeanspp(x, 100, 1)
    assert set(first) != set(second)
    assert first.max() > 15_000 and first.min() < 5000


def test_copies_come_last_and_no_row_twice():
    x = np.repeat(mixture(30, 16, 30, 0), 20, axis=0)
    found = kmeanspp(x, 50, 0)
    assert len(set(found)) == 50 and len(set(found[:30] // 20)) == 30


def test_all_rows_can_be_starts():
    x = mixture(40, 16, 40, 0)
    assert sorted(kmeanspp(x, 40, 0)) == list(range(40)) and len(kmeanspp(x, 1, 0)) == 1


def test_a_row_is_drawn_in_proportion_to_its_distance():
    """The second start, when one trial is left: 1 - cos of three directions to the first are 1, 1.5 and 0.5."""
    distance_S = np.array([0, 2, 3, 1], np.int32) * (seeding.UNIT // 2)
    proposed, limit = seeding._proposed(distance_S, 0, range(6000))
    share = np.bincount(proposed, minlength=4) / 6000
    assert share == pytest.approx([0, 1 / 3, 1 / 2, 1 / 6], abs=0.02)
    assert (limit < distance_S[proposed]).all()  # nothing has changed yet, so every row is accepted
