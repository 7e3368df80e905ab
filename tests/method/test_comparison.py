"""Intervals over seeds, and what is said of them."""

import math

import numpy as np
import pytest
from scipy import stats

from grip_assets.method.comparison import Estimate, estimate, verdict


def test_the_interval_is_student_s():
    values = np.random.default_rng(0).normal(2, 0.3, 5)
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert estimate(values)[1:] == pytest.approx(expected)


def test_it_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = [(e := estimate(rng.normal(0, 1, 3))).low <= 0 <= e.high for _ in range(4000)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_one_seed_says_nothing_of_the_error():
    assert estimate([1.0]).mean == 1 and math.isnan(estimate([1.0]).low)


def test_a_verdict_needs_an_interval_without_zero():
    assert verdict(Estimate(-0.1, -0.2, 0.0), 2, "random") == "no measurable difference to random"
    assert verdict(Estimate(-0.1, -0.15, -0.05), 2, "random") == "better than random by 5.0%"
    assert verdict(Estimate(0.1, 0.05, 0.15), 2, "random") == "worse than random by 5.0%"
    assert verdict(Estimate(0.1, 0.05, 0.15), 2, "random", less_is_better=False).startswith("better")
    assert verdict(estimate([0.1]), 2, "random").startswith("no measurable")
