"""Subsets for retraining: what each kind is made of, that more of them change none, and that all keep to their size."""

import numpy as np
import polars as pl
import pytest

from grip_assets.method.attribution import trials as t
from grip_assets.method.attribution.trials import Pool, Trial, candidates, fitted, kinds, order, repeated, trials

N, SIZE = 3000, 20_000


@pytest.fixture(scope="module")
def pool() -> Pool:
    rng = np.random.default_rng(0)
    return Pool(
        pl.Series([f"doc {i}" for i in range(N)]),
        rng.integers(1, 400, N),
        rng.integers(0, 12, N),
        rng.choice([-1, 0, 1, 2], N, p=[0.1, 0.5, 0.3, 0.1]),
    )


def members(pool: Pool, kind: str, number: int = 0, size: int = SIZE) -> tuple[np.ndarray, int]:
    order_N, copies = order(pool, Trial("check", kind, size, number, -1), 0)
    assert sorted(order_N) == list(range(N)), "every document has its place"
    first_M = candidates(order_N, pool.tokens_N, copies, size)
    return first_M[fitted(pool.tokens_N[first_M], copies, size)], copies


@pytest.mark.parametrize("kind", [t.UNIFORM, *t.STRUCTURED])
def test_a_subset_keeps_to_its_size_and_differs_from_the_next(pool, kind):
    for number in range(4):
        rows_M, copies = members(pool, kind, number)
        assert t.CLOSE * SIZE <= pool.tokens_N[rows_M].sum() * copies <= SIZE
        assert set(rows_M) != set(members(pool, kind, number + 1)[0])


def test_each_kind_has_its_structure(pool):
    clusters = [len(set(pool.cluster_N[members(pool, t.FEW, i)[0]])) for i in range(8)]
    assert set(clusters) <= {1, 2, 3} and len(set(clusters)) > 1
    for i in range(4):
        counts = np.bincount(pool.cluster_N[members(pool, t.MANY, i)[0]], minlength=12)
        assert (counts > 0).sum() == 6 and counts[counts > 0].max() - counts[counts > 0].min() <= 8
    assert {members(pool, t.DUPLICATES, i)[1] for i in range(12)} == set(t.COPIES)
    assert {tuple(set(pool.band_N[members(pool, t.LENGTH, i)[0]])) for i in range(12)} == {(0,), (1,), (2,)}
    assert {tuple(set(pool.language_N[members(pool, t.LANGUAGE, i)[0]])) for i in range(12)} == {(0,), (1,), (2,)}
    assert np.ptp(pool.tokens_of(pool.band_N)) < 1000


def test_a_kind_for_which_the_pool_has_too_few_clusters_or_languages_is_left_out(pool):
    assert kinds(pool, SIZE) == t.STRUCTURED
    one = Pool(pool.ids, pool.tokens_N, np.zeros(N, int), np.full(N, -1))
    assert kinds(one, SIZE) == (t.DUPLICATES, t.LENGTH)
    three = Pool(pool.ids, pool.tokens_N, pool.cluster_N % 3, pool.language_N)
    assert kinds(three, SIZE) == (t.FEW, t.DUPLICATES, t.LENGTH, t.LANGUAGE)
    rare = int(pool.tokens_of(pool.language_N).max()) + 1
    assert t.LANGUAGE not in kinds(pool, rare)


def test_a_cluster_that_is_too_small_is_filled_from_others(pool):
    tiny = Pool(pool.ids, pool.tokens_N, np.arange(N) // 10, pool.language_N)
    for kind in (t.FEW, t.MANY):
        rows_M, copies = members(tiny, kind)
        assert tiny.tokens_N[rows_M].sum() * copies >= t.CLOSE * SIZE


def test_more_subsets_keep_those_before_and_no_role_shares_one(pool):
    few = list(trials({SIZE: t.STRUCTURED}, (5, 2), (5, 2), 6))
    many = list(trials({SIZE: t.STRUCTURED}, (9, 4), (7, 2), 6))
    assert {trial.name for trial in few} < {trial.name for trial in many}
    assert len({trial.name for trial in many}) == len(many) == 22
    assert {trial.block for trial in many if trial.role == t.CHECK} == {-1}
    assert {trial.block for trial in many if trial.role == t.CALIBRATION} == set(range(6))
    drawn = [tuple(members(pool, trial.kind, trial.number)[0]) for trial in few if trial.role == t.CHECK]
    assert len(set(drawn)) == 7
    names = [trial.name for trial in many]
    assert set(repeated(names, 3, 0)) < set(repeated(names, 6, 0)) and len(repeated(names, 99, 0)) == 22


@pytest.mark.parametrize("kind", [t.UNIFORM, *t.STRUCTURED])
def test_documents_that_are_longer_than_the_subset_do_not_keep_it_from_being_filled(pool, kind):
    """Most tokens of a pool may be in a few long documents. Wherever these come first, shorter ones fill the subset."""
    long_N = np.where(np.random.default_rng(1).random(N) < 0.5, 90_000, pool.tokens_N)
    longer = Pool(pool.ids, long_N, pool.cluster_N, pool.language_N)
    for number in range(12):
        rows_M, copies = members(longer, kind, number)
        filled = longer.tokens_N[rows_M].sum() * copies
        assert 0.9 * SIZE <= filled <= SIZE


def test_documents_that_fit_are_looked_at_until_they_are_half_as_many_again():
    tokens = np.array([500, 40, 90, 120, 30, 2, 60])
    assert candidates(np.arange(7), tokens, 1, 100).tolist() == [1, 2, 3, 4], "120 may fit all the same"
    assert candidates(np.arange(7), tokens, 2, 100).tolist() == [1, 4, 5, 6], "each of them twice"
    assert candidates(np.arange(2), tokens, 1, 100).tolist() == [1], "a pool that has too few"


def test_a_document_longer_than_the_subset_is_passed_over():
    assert fitted(np.array([500, 40, 90, 30, 2]), 1, 100).tolist() == [False, True, False, True, True]
    assert fitted(np.array([30, 30, 30]), 4, 250).tolist() == [True, True, False]
    assert fitted(np.array([99, 1]), 1, 100).tolist() == [True, False], "nearly full is full"
