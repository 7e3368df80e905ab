"""What every selection promises: the tests of the interface, which run over every entry of the registry."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from grip_assets.method.selection.base import CLUSTERS, POOL, Budgets, Documents, Selected
from grip_assets.method.selection.registry import SELECTIONS
from grip_assets.settings import Selection, choices

SIZES = np.array([40, 1, 90, 25])
N = int(SIZES.sum())
ENTRIES = pytest.mark.parametrize("rule", SELECTIONS)


@dataclass
class Planted:
    """Features of N documents. ``order``: where each document was before a permutation."""

    order: np.ndarray

    def _of(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).uniform(0.1, 1, N)[self.order]

    def density(self):
        return self._of(1) * 10

    def quality(self):
        return np.round(self._of(2) * 10)

    def language(self):
        return (self._of(3) * 3).astype(np.int64)

    def likeness(self):
        return self._of(4)

    def prototypicality(self, kept_N):
        return self._of(5)[kept_N]

    def target(self):
        return self._of(6) * 5, self._of(7) > 0.2


def permuted() -> np.ndarray:
    """Clusters in another order, and documents inside them."""
    rng = np.random.default_rng(8)
    starts = np.cumsum(SIZES) - SIZES
    return np.concatenate([starts[k] + rng.permutation(SIZES[k]) for k in (2, 0, 3, 1)])


def select(rule: str, order=None, total=0.3, unit="tokens", max_repeats=1, max_tokens=None, **settings) -> Selected:
    """``total``: a share of the pool."""
    order = np.arange(N) if order is None else order
    cluster_N = np.repeat(np.arange(len(SIZES)), SIZES)[order]
    numbers = list(dict.fromkeys(cluster_N.tolist()))
    tokens_N = np.random.default_rng(0).lognormal(5, 1, N).astype(np.int64)[order]
    ids = pl.Series([f"{i:032x}" for i in order])
    documents = Documents(ids, tokens_N, SIZES[numbers], unit, max_tokens)
    share = np.bincount(cluster_N, documents.cost_N)[numbers] * total
    allocated = np.floor(share).astype(np.int64)
    budgets = Budgets(allocated, share, max_repeats)
    found = SELECTIONS[rule].select(documents, budgets, Planted(order), Selection(rule=rule, **settings))
    assert found.repeats_N.shape == found.key_N.shape == (N,)
    return found


def costs(unit: str = "tokens") -> np.ndarray:
    tokens_N = np.random.default_rng(0).lognormal(5, 1, N).astype(np.int64)
    return tokens_N if unit == "tokens" else np.ones(N, np.int64)


def test_the_registry_has_what_the_setting_offers():
    assert tuple(SELECTIONS) == choices(Selection.model_fields["rule"].annotation)


@ENTRIES
@pytest.mark.parametrize("total", [0.05, 0.3, 0.9])
def test_the_budget_is_met_within_a_document(rule, total):
    found, cost_N = select(rule, total=total), costs()
    assert found.repeats_N.min() == 0 and found.repeats_N.max() == 1
    allocated = int(found.allocated_S.sum())
    assert abs(int((found.repeats_N * cost_N).sum()) - allocated) <= cost_N.max()
    assert int(found.drawn.drawn_K.sum()) == int((found.repeats_N * cost_N).sum())
    if found.budgets == CLUSTERS:
        taken_K = np.add.reduceat(found.repeats_N * cost_N, np.cumsum(SIZES) - SIZES)
        assert (taken_K == found.drawn.drawn_K).all()
        assert (np.abs(taken_K - found.drawn.granted_K) <= cost_N.max()).all()


@ENTRIES
def test_documents_as_the_unit_are_met_exactly(rule):
    found = select(rule, unit="documents", total=0.4)
    assert found.repeats_N.sum() == found.allocated_S.sum() > 0


@ENTRIES
def test_the_order_of_clusters_and_documents_does_not_matter(rule):
    order = permuted()
    plain, other = select(rule), select(rule, order)
    assert (plain.repeats_N[order] == other.repeats_N).all()


@ENTRIES
def test_the_same_seed_takes_the_same_and_another_one_only_what_it_may(rule):
    first, again = select(rule), select(rule)
    assert first.repeats_N.tobytes() == again.repeats_N.tobytes() and first.key_N.tobytes() == again.key_N.tobytes()
    decided = rule in ("semdedup", "d4", "longest", "shortest")
    other = select(rule, seed=7).repeats_N
    assert (other == first.repeats_N).all() == decided


@ENTRIES
def test_copies_are_taken_where_the_budget_is_above_the_pool(rule):
    found, cost_N = select(rule, total=1.4, max_repeats=2), costs()
    assert set(found.repeats_N) == {1, 2}
    assert abs(int((found.repeats_N * cost_N).sum()) - found.allocated_S.sum()) <= cost_N.max()


@ENTRIES
def test_a_document_above_the_limit_is_never_taken(rule):
    limit = int(np.quantile(costs(), 0.6))
    found = select(rule, max_tokens=limit)
    assert found.repeats_N.sum() > 0 and (found.repeats_N[costs() > limit] == 0).all()


@ENTRIES
def test_the_largest_keys_of_what_fits_are_taken(rule):
    """Under a budget of the pool: everything above the threshold is in, and what is in is at or above it."""
    if SELECTIONS[rule].budgets != POOL:
        pytest.skip("a budget for each part")
    found = select(rule, unit="documents")
    threshold = found.drawn.threshold_K[0]
    assert ((found.key_N >= threshold) == (found.repeats_N > 0)).all()


@ENTRIES
def test_only_the_features_that_are_declared_are_asked_for(rule, monkeypatch):
    for name in {"density", "quality", "language", "likeness", "prototypicality", "target"}:
        if name not in SELECTIONS[rule].features:
            monkeypatch.setattr(Planted, name, lambda *args, name=name: pytest.fail(f"{name} is asked for"))
    select(rule)


def test_a_part_that_cannot_use_its_share_leaves_it_to_the_others():
    found = select("by_cluster", unit="documents", total=0.6)
    taken_K = np.add.reduceat(found.repeats_N, np.cumsum(SIZES) - SIZES)
    assert taken_K[1] == 1 and taken_K[3] == 25 and abs(taken_K[0] - taken_K[2]) <= 15
