"""How even a partition is and what that costs: the figures beside obvious references, the fits on planted rows."""

import faiss
import numpy as np
import polars as pl
import pytest
from planted import planted
from sklearn.metrics import normalized_mutual_info_score

from grip_assets.method.agreement import mutual_information
from grip_assets.method.partition import balance
from grip_assets.method.partition.balance import FITS, compared, evenness, groups, small_recall, swept
from grip_assets.settings import Clustering


def test_even_masses_have_all_figures_at_their_best():
    found = evenness(np.full(8, 3.0))
    assert found == pytest.approx((1, 8, 1 / 8, 1, 0, 0))


def test_one_cluster_with_all_documents_is_a_collapse():
    assert evenness(np.array([0, 0, 9, 0])) == pytest.approx((0, 1, 1, 0, 3 / 4, 3 / 4))
    assert evenness(np.array([5])) == pytest.approx((1, 1, 1, 1, 0, 0))


def test_the_figures_are_those_of_their_definitions():
    mass = np.random.default_rng(0).pareto(1.0, 40)
    p, found = mass / mass.sum(), evenness(mass)
    apart = np.abs(p[:, None] - p).mean()
    assert found.gini == pytest.approx(apart / (2 * p.mean()))
    assert found.effective == pytest.approx(np.prod(p**-p)) and found.entropy == pytest.approx(
        np.log(found.effective) / np.log(40)
    )
    assert (found.largest, found.smallest) == pytest.approx((p.max(), p.min() * 40))
    assert found.light == np.mean(p < 0.1 / 40)


def test_mutual_information_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 7, 500), rng.integers(0, 4, 500)
    other[:200] = one[:200] % 4
    assert mutual_information(one, other) == pytest.approx(normalized_mutual_info_score(one, other))
    assert mutual_information(one, one) == pytest.approx(1) and mutual_information(one * 0, other) == 0
    assert mutual_information(one * 0, other * 0) == 0


def test_groups_leave_out_what_is_rare_or_unknown():
    values = pl.Series("language", ["b"] * 6 + ["a"] * 5 + ["rare"] * 4 + [None] * 9)
    assert groups(values).tolist() == [1] * 6 + [0] * 5 + [-1] * 13
    assert groups(values[:10]) is None, "only one group is left"


def test_small_groups_are_recalled_where_they_are_the_commonest():
    """Of 40 rows in 4 clusters, groups 1 and 2 are small: 8 and 6 rows."""
    group = np.repeat([0, 1, 2], [26, 8, 6])
    label = np.concatenate([np.repeat([0, 1], [20, 6]), np.repeat([1, 2], [3, 5]), np.repeat([3], [6])])
    assert small_recall(label, group, 4) == pytest.approx((5 + 6) / 14), "3 rows are among 6 of the large group"
    assert small_recall(label * 0, group, 4) == 0
    assert small_recall(label, group, 40) is None, "no group has less than an even share"


@pytest.fixture(scope="module")
def rows():
    return planted([600, 300, 120, 60, 40, 40, 20, 20], d=16, spread=0.12, seed=1)


SETTINGS = Clustering(method="gem", seeds=2, iterations=10, fit_iterations=40)


def test_all_fits_are_compared_on_the_same_rows(rows):
    x, labels = rows
    fits = list(compared(x, 8, SETTINGS, None))
    assert [fit.name for fit in fits] == list(FITS)
    for fit in fits:
        assert fit.hard_K.sum() == len(x) and len(fit.hard_K) == 8
        assert fit.mean_cosine > 0.9 and mutual_information(fit.label_N, labels) > 0.6
        assert (fit.soft_K is None) == ("kmeans" in fit.name)
    table = [row for fit in fits for row in fit.rows({"language": labels, "project": None})]
    assert len(table) == 8 and all(0 <= row["entropy"] <= 1 and row["effective"] <= 8 for row in table)
    assert all(("nmi_language" in row) == (row["masses"] == "hard") and "nmi_project" not in row for row in table)


def test_plain_k_means_is_as_good_as_that_of_faiss(rows):
    x, _ = rows
    fit = next(compared(x, 8, SETTINGS, None))
    means = np.stack([x[fit.label_N == k].mean(0) for k in range(8)])
    faiss.omp_set_num_threads(1)
    theirs = faiss.Kmeans(16, 8, niter=20, nredo=5, seed=0, min_points_per_centroid=1)
    theirs.train(x)
    ours = ((x - means[fit.label_N]) ** 2).sum()
    assert ours <= theirs.obj[-1] * 1.02


def test_more_balance_gives_more_even_clusters(rows):
    x, _ = rows
    fits = list(swept(x, 8, balance.gem.options(SETTINGS), [0.0, 5.0, 1e4]))
    even = [evenness(fit.soft_K).effective for fit in fits]
    assert even[0] < even[1] < even[2] and even[2] == pytest.approx(8, abs=1e-3)
    assert fits[0].mean_cosine > fits[2].mean_cosine


def test_the_workers_change_no_bit(rows, monkeypatch):
    x, found = rows[0], []
    for workers in ("1", "3"):
        monkeypatch.setenv("GRIP_WORKERS", workers)
        monkeypatch.setattr(balance, "CHUNK", 256)
        found.append([(fit.label_N.tolist(), fit.mean_cosine) for fit in compared(x, 6, SETTINGS, None)])
    assert found[0] == found[1]


def test_a_fit_with_equal_rows_still_has_k_clusters():
    x = np.repeat(np.eye(3, 4, dtype=np.float32), 10, axis=0)
    fits = list(compared(x, 3, SETTINGS, None))
    assert all(sorted(fit.hard_K) == [10, 10, 10] for fit in fits)
