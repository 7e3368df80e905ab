"""Floors, caps and exact sums, on ordinary and on extreme numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import (
    allocate,
    capacities,
    largest_remainder,
    neyman_probe,
    resolve_total,
    water_fill,
)

utilities = st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.floats(0.1, 10)), min_size=1, max_size=30)


def slow_water_fill(utility, cap, total):
    """Bisection on the level λ with n_k = min(λ u_k, c_k)."""
    low, high = 0.0, 1e9
    for _ in range(200):
        level = (low + high) / 2
        low, high = (level, high) if np.minimum(level * utility, cap).sum() < total else (low, level)
    return np.minimum(high * utility, cap)


def test_water_filling_agrees_with_bisection():
    rng = np.random.default_rng(0)
    for _ in range(200):
        utility, cap = rng.lognormal(size=12), rng.lognormal(3, 1.5, size=12)
        total = rng.uniform(0.05, 0.95) * cap.sum()
        np.testing.assert_allclose(water_fill(utility, cap, total), slow_water_fill(utility, cap, total), rtol=1e-8)


@given(utilities, st.data())
@settings(max_examples=300, deadline=None)
def test_water_filling_keeps_caps_and_sums_for_extreme_utilities(utility, data):
    cap = np.array(data.draw(st.lists(st.integers(0, 10**9), min_size=len(utility), max_size=len(utility))))
    total = data.draw(st.integers(0, int(cap.sum()) + 10))
    filled = water_fill(np.array(utility), cap, total)
    assert (filled >= 0).all() and (filled <= cap).all()
    assert filled.sum() == pytest.approx(min(total, cap.sum()), rel=1e-9, abs=1e-6)
    whole = largest_remainder(filled, cap, min(total, int(cap.sum())))
    assert whole.sum() == min(total, cap.sum())
    assert (whole >= 0).all() and (whole <= cap).all()


def test_utilities_that_are_worlds_apart_still_fill_to_the_total():
    utility, cap = np.array([1.1754943508222875e-38, 4.037422248759067e261]), np.array([523397851, 1])
    assert water_fill(utility, cap, 523397851).tolist() == [523397850, 1]


def test_a_cluster_without_utility_gets_nothing_until_the_others_are_full():
    assert water_fill(np.array([0.0, 1.0]), np.array([10, 10]), 8).tolist() == [0, 8]
    assert water_fill(np.array([0.0, 1.0]), np.array([10, 10]), 14).tolist() == [4, 10]


def test_the_largest_fractions_are_rounded_up_and_ties_go_to_the_lower_id():
    assert largest_remainder(np.array([1.5, 1.5, 2.0]), np.array([9, 9, 9]), 5).tolist() == [2, 1, 2]
    assert largest_remainder(np.array([1.9, 1.1, 2.0]), np.array([1, 9, 9]), 5).tolist() == [1, 2, 2]


@given(
    st.lists(st.tuples(st.integers(1, 500), st.floats(0, 2)), min_size=1, max_size=25),
    st.integers(0, 12),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_the_probe_is_within_clusters_and_sums_exactly(clusters, minimum, data):
    size = np.array([n for n, _ in clusters])
    weight = np.array([n * max(s, 1e-6) for n, s in clusters])
    total = data.draw(st.integers(1, int(size.sum()) * 2))
    probe = neyman_probe(total * weight / weight.sum(), size, minimum, total)
    floor = np.minimum(minimum, size)
    assert probe.sum() == np.clip(total, floor.sum(), size.sum())
    assert (probe >= floor).all() and (probe <= size).all()


def test_the_probe_is_proportional_where_nothing_binds():
    size, sigma = np.array([100, 200, 400]), np.array([0.2, 0.5, 0.8])
    target = 84 * size * sigma / (size * sigma).sum()
    assert np.abs(neyman_probe(target, size, 1, 84) - target).max() < 1


def test_neyman_minimises_the_variance_of_the_mean():
    """The allocation beats proportional and uniform ones on sum (N_k/N)² σ_k² / n_k, and every swap of one document."""
    size, sigma = np.array([300, 500, 200, 1000]), np.array([0.9, 0.1, 0.5, 0.3])

    def variance(n):
        return ((size / size.sum()) ** 2 * sigma**2 / n).sum()

    target = 200 * size * sigma / (size * sigma).sum()
    best = neyman_probe(target, size, 1, 200)
    assert variance(best) < variance(200 * size / size.sum()) and variance(best) < variance(np.full(4, 50))
    for i in range(4):
        for j in range(4):
            swapped = best + 3 * ((np.arange(4) == i).astype(int) - (np.arange(4) == j))
            assert variance(best) <= variance(swapped) + 1e-12


def test_a_budget_of_nothing_or_above_the_pool_is_refused():
    with pytest.raises(GripError, match="settings/budget.total is 1e-06, which is less than one of 1,000"):
        resolve_total(1e-6, 1000)
    with pytest.raises(GripError, match=r"settings/budget.total asks for 2,000.*overflow to 'repeat'"):
        capacities(np.array([500, 500]), 2000, "waterfill", 1)
    assert capacities(np.array([500, 500]), 2000, "repeat", 3).tolist() == [1500, 1500]


def test_overflow_error_names_the_cluster():
    with pytest.raises(GripError, match="Cluster 1 would get 90 of the 20"):
        allocate(np.array([1.0, 9.0]), np.array([200, 20]), 100, "error")
    assert allocate(np.array([1.0, 9.0]), np.array([200, 20]), 100, "waterfill").tolist() == [80, 20]
