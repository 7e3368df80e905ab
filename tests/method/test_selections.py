"""What every selection promises: the tests of the interface, which run over every entry of the registry."""

from dataclasses import dataclass
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest

from grip_assets.errors import GripError
from grip_assets.method.attribution.objective import Aim
from grip_assets.method.selection.base import CLUSTERS, POOL, Attributed, Budgets, Documents, Selected
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

    def attributed(self):
        phi_NF = np.random.default_rng(9).normal(0.2, 1, (N, 6)).astype(np.float16)[self.order]
        target_TF = np.eye(2, 6) + 0.3
        return Attributed(lambda: iter([phi_NF[:50], phi_NF[50:]]), True, Aim(target_TF, np.ones(2), 1.0))


def permuted() -> np.ndarray:
    """Clusters in another order, and documents inside them."""
    rng = np.random.default_rng(8)
    starts = np.cumsum(SIZES) - SIZES
    return np.concatenate([starts[k] + rng.permutation(SIZES[k]) for k in (2, 0, 3, 1)])


def select(
    rule: str, order=None, total=0.3, unit="tokens", max_repeats=1, max_tokens=None, empty=None, **settings
) -> Selected:
    """``total``: a share of the pool. ``empty``: the place of a further cluster, which has no documents."""
    order = np.arange(N) if order is None else order
    cluster_N = np.repeat(np.arange(len(SIZES)), SIZES)[order]
    numbers = list(dict.fromkeys(cluster_N.tolist()))
    tokens_N = np.random.default_rng(0).lognormal(5, 1, N).astype(np.int64)[order]
    ids = pl.Series([f"{i:032x}" for i in order])
    place = [] if empty is None else [empty]
    documents = Documents(ids, tokens_N, np.insert(SIZES[numbers], place, 0), unit, max_tokens)
    share = np.insert(np.bincount(cluster_N, documents.cost_N)[numbers] * total, place, 0)
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
@pytest.mark.parametrize("place", [0, 2, len(SIZES)])
def test_a_cluster_without_documents_to_select_changes_nothing(rule, place):
    """The cluster of a source that is kept has none."""
    plain, found = select(rule), select(rule, empty=place)
    assert (found.repeats_N == plain.repeats_N).all() and np.array_equal(found.key_N, plain.key_N)


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
    decided = rule in ("semdedup", "d4", "longest", "shortest", "greedy")
    other = select(rule, seed=7).repeats_N
    assert (other == first.repeats_N).all() == decided


@ENTRIES
def test_copies_are_taken_where_the_budget_is_above_the_pool(rule):
    if rule == "greedy":
        with pytest.raises(GripError, match="takes each document once"):
            select(rule, total=1.4, max_repeats=2)
        return
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
    for name in {"density", "quality", "language", "likeness", "prototypicality", "target", "attributed"}:
        if name not in SELECTIONS[rule].features:
            monkeypatch.setattr(Planted, name, lambda *args, name=name: pytest.fail(f"{name} is asked for"))
    select(rule)


def test_a_part_that_cannot_use_its_share_leaves_it_to_the_others():
    found = select("by_cluster", unit="documents", total=0.6)
    taken_K = np.add.reduceat(found.repeats_N, np.cumsum(SIZES) - SIZES)
    assert taken_K[1] == 1 and taken_K[3] == 25 and abs(taken_K[0] - taken_K[2]) <= 15


@pytest.mark.parametrize("scope", ["pool", "clusters"])
@pytest.mark.parametrize("unit", ["tokens", "documents"])
def test_a_greedy_selection_says_of_each_document_when_and_why_it_was_taken(scope, unit):
    found = select("greedy", unit=unit, scope=scope, rounds=8)
    steps, taken = found.steps, found.repeats_N > 0
    assert found.budgets == (CLUSTERS if scope == "clusters" else POOL) and found.repeats_N.max() == 1
    assert sorted(steps.rank_N[taken]) == list(range(1, taken.sum() + 1)) and (steps.rank_N[~taken] == 0).all()
    penalty_N = steps.alignment_N - steps.covered_N - steps.gain_N
    assert np.isfinite(penalty_N).all() and (penalty_N > -1e-9).all(), "its own square"
    first = int(np.argmin(np.where(taken, steps.rank_N, N + 1)))
    assert steps.covered_N[first] == 0, "nothing was there before it"
    assert (steps.covered_N != 0).sum() > N / 2
    assert 0 < found.said["utility"] <= found.said["utility_bound"] and "optimum" in found.said["certificate"]
    if scope == "pool" and unit == "documents":
        assert steps.gain_N[~taken].max() <= steps.gain_N[taken].max()


def test_a_greedy_selection_takes_one_of_two_copies_where_the_additive_one_takes_both():
    copies_NF = np.repeat(np.eye(20), 2, axis=0).astype(np.float32)
    ids = pl.Series([f"{i:04d}" for i in range(40)])
    documents, budgets = Documents(ids, np.full(40, 10), np.array([40])), Budgets(np.array([200]), np.ones(1))
    target_TF, scale_T, ones_T = np.linspace(2, 1, 20)[None], np.full(1, 25.0), np.ones(1)
    pairs = []
    for gamma in (0.0, 1.0):
        attributed = Attributed(lambda: iter([copies_NF]), False, Aim(target_TF, scale_T, gamma, ones_T))
        features = Mock(attributed=lambda attributed=attributed: attributed)
        found = SELECTIONS["greedy"].select(documents, budgets, features, Selection(rule="greedy"))
        pairs.append(len({i // 2 for i in np.flatnonzero(found.repeats_N)}))
    assert pairs[0] == 10 and pairs[1] > 15
