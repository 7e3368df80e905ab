"""Intervals hold what they promise, and estimates are those of the libraries."""

import numpy as np
import pytest
from scipy import stats

from grip_assets.method import agreement
from grip_assets.method import statistics as found
from grip_assets.method.budget.allocation import neyman_probe


def test_correlations_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, 60).astype(float)  # with ties
    y = x + rng.normal(size=60) * 3
    assert found.spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.rank_agreement(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.pearson(x, y).value == pytest.approx(stats.pearsonr(x, y).statistic)
    low, high = stats.pearsonr(x, y).confidence_interval()
    assert (found.pearson(x, y).low, found.pearson(x, y).high) == pytest.approx((low, high), abs=1e-6)


def test_rank_agreement_brackets_the_truth_and_is_the_same_again():
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    y = 0.6 * x + 0.8 * rng.normal(size=200)
    one = found.rank_agreement(x, y, seed=5)
    assert one.low < 6 / np.pi * np.arcsin(0.3) < one.high, "Spearman's of two normals with correlation 0.6"
    assert one == found.rank_agreement(x, y, seed=5) != found.rank_agreement(x, y, seed=6)


@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0], [3.0, 3.0, 3.0, 3.0, 3.0]])
def test_too_few_or_equal_values_have_no_interval(x):
    x = np.array(x)
    assert not np.isfinite(found.rank_agreement(x, x).low)
    assert not np.isfinite(found.slope_over_groups(x, x, x).low)


def test_what_is_not_known_is_left_out():
    x, y = np.array([1.0, 2, 3, 4, np.nan, 6]), np.array([1.0, 2, np.nan, 3, 4, 5])
    assert found.rank_agreement(x, y).n == 4 and found.rank_agreement(x, y).value == pytest.approx(1)
    assert found.mean(np.array([1.0, np.nan, 3.0])).value == 2 and found.mean(np.array([])).n == 0


def grouped(rng, groups=30, each=20, slope=-0.02, between=0.1):
    """Points whose groups have a level of their own, and lengths of their own."""
    group = np.repeat(np.arange(groups), each)
    x = rng.normal(10, 1, groups)[group] + rng.normal(0, 1, len(group))
    return x, 1 + slope * x + rng.normal(0, between, groups)[group] + rng.normal(0, 0.05, len(group)), group


def test_the_slope_is_that_of_least_squares():
    x, y, group = grouped(np.random.default_rng(0))
    one = found.slope_over_groups(x, y, group)
    assert one.value == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-9) and one.n == 600
    assert one.value == pytest.approx(found.slope(x, y)[0].value, rel=1e-9)


def test_groups_that_are_alike_widen_the_interval_of_the_slope_until_it_covers():
    rng = np.random.default_rng(0)
    held = {"groups": 0, "points": 0}
    for _ in range(100):
        x, y, group = grouped(rng)
        whole, single = found.slope_over_groups(x, y, group), found.slope_over_groups(x, y, np.arange(len(x)))
        held["groups"] += whole.low < -0.02 < whole.high
        held["points"] += single.low < -0.02 < single.high
    assert held["groups"] >= 88 and held["points"] < 75


def test_a_mean_has_students_interval():
    values = np.random.default_rng(0).normal(3, 1, 12)
    one = found.mean(values)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (one.value, one.low, one.high) == pytest.approx((values.mean(), low, high))


def test_crossing_is_interpolated():
    x = np.array([0.0, 1.0, 2.0])
    assert found.crossing(x, np.array([0.0, 1.0, 3.0]), 2.0) == 1.5
    assert found.crossing(x, np.array([3.0, 1.0, 0.0]), 2.0) == 0.5
    assert found.crossing(x, np.array([0.0, 1.0, 3.0]), 3.0) == 2.0
    assert np.isnan(found.crossing(x, np.array([0.0, 1.0, 3.0]), 4.0))


def test_wasserstein_is_that_of_scipy():
    rng = np.random.default_rng(0)
    x, one, other = np.sort(rng.normal(size=50)), rng.integers(0, 3, 50), rng.uniform(size=50)
    assert found.wasserstein(x, one, other) == pytest.approx(stats.wasserstein_distance(x, x, one, other))
    assert found.wasserstein(x, one, one) == 0 and np.isnan(found.wasserstein(x, one, 0 * one))


# Probes of clusters whose spread is known.


def test_the_formula_is_the_variance_of_all_samples():
    """Two clusters of 3 and 4, one and two documents of each: every sample there is."""
    from itertools import combinations

    one, other = np.array([1.0, 2.0, 6.0]), np.array([0.0, 3.0, 4.0, 9.0])
    estimates = [3 / 7 * a + 4 / 7 * np.mean(b) for a in one for b in combinations(other, 2)]
    spread = np.array([one.var(ddof=1), other.var(ddof=1)])
    assert found.stratified_variance([3, 4], [1, 2], spread) == pytest.approx(np.var(estimates))
    drawn = found.stratified_estimates([one, other], np.array([[1, 2]]), 4000)
    assert drawn.var() == pytest.approx(np.var(estimates), rel=0.08)
    assert drawn.mean() == pytest.approx(np.concatenate([one, other]).mean(), abs=0.1)


def test_a_probe_of_everything_is_exact():
    values = [np.arange(5.0), np.arange(7.0) ** 2]
    drawn = found.stratified_estimates(values, np.array([[5, 7], [2, 2]]), 10)
    assert drawn[0] == pytest.approx(np.concatenate(values).mean()) and drawn[1].std() > 0
    assert found.stratified_variance([5, 7], [5, 7], [1.0, 2.0]) == 0


def test_draws_do_not_depend_on_how_many_are_held_at_once(monkeypatch):
    values, n = [np.arange(50.0), np.arange(80.0)], np.array([[5, 7]])
    whole = found.stratified_estimates(values, n, 12)
    monkeypatch.setattr(found, "CELLS", 300)
    assert (found.stratified_estimates(values, n, 12) == whole).all()


def test_neyman_halves_the_variance_where_spreads_differ():
    """Without floors and for large clusters the ratio would be (mean s)² / mean s² = 0.31."""
    rng = np.random.default_rng(0)
    spread = np.array([10.0, 1, 0.1, 0.1] * 4)
    values = [rng.normal(0, s, 400) for s in spread]
    size = np.full(16, 400)
    neyman, plain = (neyman_probe(target, size, 2, 320) for target in (size * spread, size))
    drawn = found.stratified_estimates(values, np.stack([plain, neyman]), 600)
    ratio = found.variance_ratio(drawn[1], drawn[0])
    true = np.array([v.var(ddof=1) for v in values])
    expected = found.stratified_variance(size, neyman, true) / found.stratified_variance(size, plain, true)
    assert expected < 0.5 and ratio.low < expected < ratio.high and ratio.high < 0.6
    assert np.abs(drawn.mean(axis=1) - np.concatenate(values).mean()).max() < 4 * drawn.std() / np.sqrt(600)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = [(e := found.mean(rng.normal(0, 1, 3))).low <= 0 <= e.high for _ in range(4000)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_a_verdict_needs_an_interval_without_zero():
    def said(low: float, middle: float, high: float, **how: bool) -> str:
        return found.verdict(found.Estimate(middle, low, high, 3), 2, "random", **how)

    assert said(-0.2, -0.1, 0.0) == "no measurable difference to random"
    assert said(-0.15, -0.1, -0.05) == "better than random by 5.0%"
    assert said(0.05, 0.1, 0.15) == "worse than random by 5.0%"
    assert said(0.05, 0.1, 0.15, less_is_better=False).startswith("better")
    assert found.verdict(found.mean([0.1]), 2, "random").startswith("no measurable")
    assert found.verdict(found.mean([0.0] * 3), 2, "random") == "the same as random"
    assert found.verdict(found.mean([56 / 164] * 10), 2, "random").startswith("no measurable"), "but for rounding"


def test_agreement_is_that_of_the_libraries():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(7)
    for n in (3, 20, 200):
        one = rng.integers(0, 11, n)
        other = np.clip(one + rng.integers(-2, 3, n), 0, 10)
        theirs = cohen_kappa_score(one, other, weights="quadratic", labels=range(11))
        assert agreement.weighted_kappa(one, other) == pytest.approx(theirs, abs=1e-12)
        theirs = stats.spearmanr(one, other).statistic
        assert agreement.rank_correlation(one, other) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 20), (3, 20), (20, 20), (117, 400)])
def test_the_interval_of_a_share_is_wilsons(k, n):
    estimate = found.proportion(k, n)
    wilson = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert estimate.value == k / n and estimate.n == n
    assert (estimate.low, estimate.high) == pytest.approx((wilson.low, wilson.high), abs=1e-6)


def test_a_share_of_nothing_is_not_defined():
    assert not found.proportion(0, 0).known
