"""The document-intruder test on planted clusters, where the right answer is known."""

import numpy as np
import polars as pl
import pytest
from planted import planted

from grip_assets.method.intruders import CHANCE, MEMBERS, coverage, odd_one_out, trials
from grip_assets.method.statistics import proportion
from grip_assets.method.statistics import weighted_proportion as overall


def pool(sizes, **more):
    x_ND, label_N = planted(sizes, **more)
    ids = [f"d{i:04}" for i in range(len(label_N))]
    return x_ND, pl.DataFrame({"doc_id": ids, "cluster_id": label_N}, schema_overrides={"cluster_id": pl.Int32})


def counts(found, x_ND):
    right_T = odd_one_out(x_ND, found.rows_TS) == found.place_T
    clusters, place_T = np.unique(found.cluster_T, return_inverse=True)
    return np.bincount(place_T, right_T), np.bincount(place_T, minlength=len(clusters))


def test_perfect_clusters_give_away_every_intruder():
    x_ND, documents = pool([80, 60, 40, 9])
    found = trials(documents, 20, seed=0)
    right_K, n_K = counts(found, x_ND)
    assert n_K.tolist() == [20] * 4 and (right_K / n_K).min() > 0.95
    assert overall(right_K, n_K, np.array([80, 60, 40, 9])).low > 0.9


def test_shuffled_labels_give_chance_within_the_interval():
    x_ND, documents = pool([400, 300, 300])
    labels = documents["cluster_id"].shuffle(seed=3)
    found = trials(documents.with_columns(cluster_id=labels), 300, seed=0)
    right_K, n_K = counts(found, x_ND)
    estimate = overall(right_K, n_K, np.array([400, 300, 300]))
    assert len(found) == 900 and estimate.low < CHANCE < estimate.high


def test_a_trial_has_five_members_and_one_of_another_cluster():
    _, documents = pool([30, 20, 7, 3])
    found = trials(documents, 12, seed=1)
    label_N = documents["cluster_id"].to_numpy()
    assert set(found.cluster_T) == {0, 1, 2}, "three documents are too few to be tested"
    intruders = set()
    for k, rows, place in zip(found.cluster_T, found.rows_TS, found.place_T, strict=True):
        assert len(set(rows)) == MEMBERS + 1 and label_N[rows[place]] != k
        assert (label_N[np.delete(rows, place)] == k).all()
        intruders.add(int(label_N[rows[place]]))
    assert intruders == {0, 1, 2, 3}, "but its documents may be intruders"
    assert np.bincount(found.place_T, minlength=6).min() > 0


def test_no_member_is_shown_twice_before_all_were_shown():
    _, documents = pool([60, 10])
    found = trials(documents, 12, seed=0)
    shown = [np.delete(rows, place) for k, rows, place in zip(*vars(found).values(), strict=True) if k == 0]
    assert len(set(np.concatenate(shown))) == 60


def test_the_same_documents_are_shown_whatever_the_order_of_the_pool():
    _, documents = pool([40, 30, 20])
    other = documents.sample(fraction=1, shuffle=True, seed=5)
    one, two = trials(documents, 8, seed=0), trials(other, 8, seed=0)
    ids = [
        [frame["doc_id"][row] for row in t.rows_TS.ravel().tolist()] for frame, t in ((documents, one), (other, two))
    ]
    assert ids[0] == ids[1] and (one.place_T == two.place_T).all()
    assert (trials(documents, 8, seed=1).rows_TS != one.rows_TS).any()


def test_many_clusters_share_the_trials_and_none_is_left_out():
    _, documents = pool([12] * 30)
    found = trials(documents, 20, seed=0, most=90)
    assert np.unique(found.cluster_T, return_counts=True)[1].tolist() == [3] * 30
    few = trials(documents, 20, seed=0, most=10)
    assert len(few) == 10 and len(set(few.cluster_T)) == 10


@pytest.mark.parametrize("sizes", [[50], [4, 4]])
def test_where_nothing_can_be_tested_there_is_no_trial(sizes):
    _, documents = pool(sizes)
    found = trials(documents, 20, seed=0)
    assert len(found) == 0 and found.rows_TS.shape == (0, 6)
    assert not overall(np.zeros(1), np.zeros(1), np.array([50])).known


def test_a_large_cluster_weighs_more_and_coverage_says_what_was_tested():
    right_K, n_K, size_K = np.array([20, 0, 0]), np.array([20, 20, 0]), np.array([900, 100, 250])
    estimate = overall(right_K, n_K, size_K)
    assert estimate.value == pytest.approx(0.9) and estimate.low < 0.9 < estimate.high and estimate.n == 40
    assert coverage(n_K, size_K) == pytest.approx(0.8)
    equal = overall(np.array([12, 8]), np.array([20, 20]), np.array([5, 5]))
    assert (equal.low, equal.high) == pytest.approx((proportion(20, 40).low, proportion(20, 40).high))
