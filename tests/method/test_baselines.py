"""The rules that GRIP is compared with do what their papers say, held against slow and obvious code."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grip_assets.method.geometry import unit_rows
from grip_assets.method.selection import baselines
from grip_assets.method.selection.base import Budgets, Documents, take_equally
from grip_assets.method.selection.draw import draw_one
from grip_assets.settings import Selection


def rows(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)))


def taken(key_N, lengths_N, total) -> set[int]:
    return set(np.flatnonzero(draw_one(key_N, lengths_N, total).repeats_N))


def documents(lengths_N) -> Documents:
    ids = pl.Series([f"{i:04}" for i in range(len(lengths_N))], dtype=pl.String)
    return Documents(ids, np.asarray(lengths_N), np.array([len(lengths_N)]))


def budget(total: int, max_repeats: int = 1) -> Budgets:
    return Budgets(np.array([total]), np.ones(1), max_repeats)


def stratified(key_N, stratum_N, lengths_N, total, max_repeats=1) -> np.ndarray:
    return take_equally(documents(lengths_N), budget(total, max_repeats), key_N, stratum_N).repeats_N


class Known:
    """Features that a test gives."""

    def __init__(self, **known):
        self.known = known

    def __getattr__(self, name):
        return lambda *args: self.known[name](*args) if callable(self.known[name]) else self.known[name]


def test_the_largest_value_comes_first_and_equals_by_their_numbers():
    value, u = np.array([1.0, 3, 3, 2, 3]), np.array([0.9, 0.1, 0.5, 0.7, 0.3])
    key = baselines.first(u, value)
    assert np.argsort(-key).tolist() == [2, 4, 1, 3, 0]
    assert np.argsort(-baselines.first(u, np.zeros(5), value)).tolist() == [2, 4, 1, 3, 0]


# stratified


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), min_size=1, max_size=60), st.floats(0.01, 1))
def test_strata_get_the_same_or_all_they_have(rows, share):
    stratum, lengths = np.array(rows).T
    _, stratum = np.unique(stratum, return_inverse=True)
    total = round(share * int(lengths.sum()))
    if total < 1:
        return
    key = baselines.first(np.random.default_rng(0).uniform(size=len(lengths)))
    repeats = stratified(key, stratum, lengths, total, 1)
    longest = lengths.max()
    assert repeats.min() >= 0 and repeats.max() <= 1
    assert abs(int((repeats * lengths).sum()) - total) <= longest
    has, got = np.bincount(stratum, lengths), np.bincount(stratum, lengths * repeats)
    level = max(got[got < has], default=0)  # what one that is not exhausted got at most
    assert all(h - g <= 2 * longest or abs(g - level) <= 2 * longest for h, g in zip(has, got, strict=True))


def test_a_small_stratum_leaves_its_rest_to_the_others():
    stratum = np.repeat([0, 1, 2], [100, 100, 3])
    lengths = np.ones(203, np.int64)
    repeats = stratified(np.random.default_rng(0).uniform(size=203), stratum, lengths, 63, 1)
    assert np.bincount(stratum, repeats).tolist() == [30, 30, 3]


def test_strata_are_repeated_where_that_is_allowed():
    stratum, lengths = np.repeat([0, 1], [8, 2]), np.ones(10, np.int64)
    repeats = stratified(np.linspace(0, 1, 10), stratum, lengths, 14, 3)
    assert np.bincount(stratum, repeats).tolist() == [8, 6]


# SemDeDup


def semdedup_kept(x: np.ndarray, cosine: np.ndarray, threshold: float) -> set[int]:
    """One after the other, the farthest from the centroid first: gone is what is too like any before it."""
    order = sorted(range(len(x)), key=lambda i: (cosine[i], i))
    return {i for n, i in enumerate(order) if not any(x[i] @ x[j] > threshold for j in order[:n])}


@pytest.mark.parametrize("n, block", [(1, 1024), (60, 7), (60, 1024), (131, 64)])
def test_likeness_is_the_largest_cosine_to_what_is_preferred(n, block, monkeypatch):
    monkeypatch.setattr(baselines, "ROWS", block)
    x, cosine = rows(n), np.random.default_rng(1).uniform(size=n).round(1)  # with ties
    slow = [max([x[i] @ x[j] for j in range(n) if (cosine[j], j) < (cosine[i], i)], default=-1.0) for i in range(n)]
    assert baselines.likeness(x, cosine) == pytest.approx(np.array(slow), abs=2e-6)


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6])
def test_to_a_budget_is_semdedup_with_the_threshold_of_that_budget(threshold):
    x, cosine = rows(80, 8), np.random.default_rng(2).uniform(size=80)
    kept = semdedup_kept(x, cosine, threshold)
    assert 0 < len(kept) < 80
    key = baselines.first(np.random.default_rng(3).uniform(size=80), -baselines.likeness(x, cosine))
    assert taken(key, np.ones(80, np.int64), len(kept)) == kept


def test_of_planted_copies_the_one_farthest_from_the_centroid_stays():
    x = np.repeat(rows(10, 64), 4, axis=0)
    x = unit_rows(x + 0.01 * np.random.default_rng(1).normal(size=x.shape))
    centroid = unit_rows(x.mean(0, keepdims=True))[0]
    key = baselines.first(np.zeros(40), -baselines.likeness(x, x @ centroid))
    farthest = {4 * g + int(np.argmin(x[4 * g : 4 * g + 4] @ centroid)) for g in range(10)}
    assert taken(key, np.ones(40, np.int64), 10) == farthest


# D4


def test_d4_drops_copies_then_prototypes():
    prototypical = np.array([0.9, 0.2, 0.5, 0.7, 0.95, 0.1, 0.3, 0.8])
    like = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.99, 0.98, 0.3])  # 5 and 6 are copies, though least prototypical
    seen = []

    def cluster_again(kept):
        seen.append(kept)
        return prototypical[kept]

    known = Known(likeness=like, prototypicality=cluster_again)
    key = baselines.d4(documents(np.full(8, 10)), budget(40), known, Selection()).key_N
    assert np.flatnonzero(~seen[0]).tolist() == [5, 6]
    assert np.argsort(-key).tolist() == [1, 2, 3, 7, 0, 4, 6, 5]
    assert taken(key, np.full(8, 10), 40) == {1, 2, 3, 7}


def test_above_its_share_d4_is_semdedup():
    known = Known(likeness=np.arange(10) / 10, prototypicality=lambda kept: np.zeros(int(kept.sum())))
    found = baselines.d4(documents(np.ones(10, np.int64)), budget(9), known, Selection())
    assert set(np.flatnonzero(found.repeats_N)) == set(range(9))


# DSIR


def test_gumbel_keys_draw_by_importance_without_replacement():
    """The first document is document i with probability w_i / sum(w); the same as the package's own resampling."""
    weight, draws = np.array([1.0, 2, 4, 1]), 8000  # each of four other documents
    known = Known(target=(np.tile(np.log(weight), draws), np.ones(4 * draws, bool)))
    found = baselines.dsir(documents(np.ones(4 * draws, np.int64)), budget(1), known, Selection(rule="dsir"))
    hits = np.bincount(found.key_N.reshape(draws, 4).argmax(axis=1))
    assert hits / draws == pytest.approx(weight / weight.sum(), abs=0.02)


def test_documents_too_short_for_dsir_come_last():
    known = Known(target=(np.array([5000.0, 0, 1000]), np.array([False, True, True])))
    found = baselines.dsir(documents(np.ones(3, np.int64)), budget(1), known, Selection(rule="dsir"))
    assert np.argsort(-found.key_N).tolist() == [2, 1, 0]
