"""The choice by the bootstrap between sources, on utilities that are given."""

import numpy as np

from grip_assets.method.attribution import choice
from grip_assets.method.attribution.choice import Configuration

SUBSETS = 32
UTILITY = np.random.default_rng(0).normal(size=(1, SUBSETS))
START, OTHER_GAMMA = Configuration("unigram", "none", 1.0), Configuration("unigram", "none", 0.0)
GRADIENT = Configuration("full", "none", 0.3)


def picked(noise: dict[Configuration, float]) -> choice.Measured:
    rng = np.random.default_rng(1)
    predicted = {c: UTILITY + sd * rng.normal(size=UTILITY.shape) for c, sd in noise.items()}
    measured = choice.calibration(UTILITY, ["calibration"] * SUBSETS, np.full(SUBSETS, 100))
    return next(row for row in choice.choose("bootstrap", predicted, measured, START) if row.chosen)


def test_a_gain_that_another_gamma_has_is_no_reason_for_another_source():
    """Both are far better than the default, and the gradient is a little better than the other gamma."""
    for seed_noise in (0.10, 0.12):
        found = picked({START: 3.0, OTHER_GAMMA: seed_noise, GRADIENT: 0.09})
        assert found.configuration == OTHER_GAMMA


def test_a_source_that_is_measurably_better_than_all_of_the_default_one_is_chosen():
    assert picked({START: 3.0, OTHER_GAMMA: 1.5, GRADIENT: 0.1}).configuration == GRADIENT


def test_the_default_stays_where_nothing_is_measurably_better():
    found = picked({START: 0.5, OTHER_GAMMA: 0.6, GRADIENT: 0.48})
    assert found.configuration == START and "none is measurably better" in found.words


def test_the_cross_entropy_has_its_additive_score_beside_it_and_no_other_gamma():
    names = [c.name for c in choice.grid(["cross_entropy", "unigram"], ["none", "unit"], [0, 0.3])]
    assert names == [
        "cross_entropy/none/0", "cross_entropy/none/1", "unigram/none/0", "unigram/none/0.3", "unigram/unit/0",
        "unigram/unit/0.3",
    ]  # fmt: skip
    assert [c.name for c in choice.grid(["cross_entropy"], ["none"], [0])] == ["cross_entropy/none/0"]
    assert choice.default("cross_entropy", "unit").name == "cross_entropy/none/1"
