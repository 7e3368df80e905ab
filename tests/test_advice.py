"""The sentence with which an evaluation ends, on planted tables: each variant, and no claim that was not measured."""

import numpy as np
import pytest

from grip_assets.method.worth import worth
from grip_assets.stages.evaluation.advice import advice, usual_spread

RNG = np.random.default_rng(7)
SEEDS = range(6)
LUCK = dict(zip(SEEDS, RNG.normal(0, 0.05, 6), strict=True))
RANDOM = {seed: 3.0 + LUCK[seed] for seed in SEEDS}


def against_random(gain: float, noise: float = 0.004, seeds=SEEDS) -> dict[int, float]:
    """Losses that are lower than random's under each seed: by a share, and by luck of mean 0."""
    drawn = RNG.normal(0, noise, len(seeds))
    drawn -= drawn.mean()
    return {seed: RANDOM[seed] - 3.0 * gain + drawn[i] for i, seed in enumerate(seeds)}


CURVE = {m: {seed: v - 0.1 * np.log2(m) for seed, v in RANDOM.items()} for m in (0.5, 1.0, 2.0, 4.0)}
COSTS = {"random": 0.0, "grip": 1500.0, "by_cluster": 960.0, "dsir": 300.0, "in_force": 1500.0, "cheap": 5.0}


def test_one_profile_is_better_than_all_others():
    losses = {"random": RANDOM, "grip": against_random(0.033), "by_cluster": against_random(0.01)}
    found = advice(losses, COSTS, {"grip": worth(CURVE, losses["grip"])})
    assert (found.variant, found.strategy) == ("one", "grip")
    assert found.words.startswith("On this pool, use profile grip: 3.3% better than random (95% interval ")
    assert ", worth 2.0 times the tokens (1.9 to 2.0), for 25 minutes; nothing else was" in found.words
    assert found.better.low < 0.033 < found.better.high and found.seeds == 6


def test_several_cannot_be_told_apart_and_the_cheapest_is_named():
    losses = {"random": RANDOM, "grip": against_random(0.02, 0.02), "by_cluster": against_random(0.019, 0.02)}
    found = advice(losses, COSTS, {})
    assert (found.variant, found.strategy) == ("several", "by_cluster") and found.as_good == ("by_cluster", "grip")
    assert "use profile by_cluster, the cheapest of 2 that cannot be told apart (with grip): 1.9%" in found.words
    assert "worth" not in found.words, "no curve was trained"
    assert "for 16 minutes" in found.words


def test_nothing_is_better_and_enough_seeds_say_so():
    losses = {"random": RANDOM, "grip": against_random(0.0), "by_cluster": against_random(-0.02)}
    found = advice(losses, COSTS, {})
    assert (found.variant, found.strategy, found.better) == ("nothing", "random", None)
    assert found.words.startswith("On this pool, nothing was measurably better than random, and 6 seeds would show")


def test_too_few_seeds_say_how_many_are_needed():
    losses = {"random": RANDOM, "grip": against_random(0.005, 0.05), "by_cluster": against_random(0.004, 0.05)}
    found = advice(losses, COSTS, {})
    assert (found.variant, found.strategy) == ("too_few_seeds", "random")
    assert found.seeds_needed > 10 and f"A difference of 1% needs {found.seeds_needed} seeds" in found.words
    assert "6 seeds show only differences from" in found.words


def test_a_difference_to_another_is_paired_over_the_seeds_that_both_have():
    losses = {"random": RANDOM, "grip": against_random(0.03), "dsir": against_random(0.02, seeds=range(3))}
    found = advice(losses, COSTS, {})
    assert found.strategy == "grip" and found.seeds == 6
    assert usual_spread(losses) > 0


def test_your_own_settings_and_what_no_user_can_choose():
    losses = {"random": RANDOM, "in_force": against_random(0.03), "grip_steady": against_random(0.05)}
    found = advice(losses, COSTS, {}, usable=["random", "in_force"])
    assert "use your own settings: 3.0% better" in found.words


@pytest.mark.parametrize("losses", [{"random": RANDOM}, {"random": RANDOM, "grip": dict(RANDOM)}])
def test_nothing_compared_and_nothing_different_are_said(losses):
    found = advice(losses, COSTS, {})
    assert found.variant == "nothing" and found.seeds_needed is None
    assert "nothing else was compared" in found.words or "the same documents" in found.words


def test_a_choice_is_never_one_that_another_is_measurably_better_than():
    """The cheap one is not told from the best, whose losses are noisy, but a third one beats it under every seed."""
    cheap = against_random(0.01, 0.0005)
    third = {seed: value - 0.006 + RNG.normal(0, 0.0002) for seed, value in cheap.items()}
    losses = {"random": RANDOM, "grip": against_random(0.013, 0.03), "cheap": cheap, "by_cluster": third}
    found = advice(losses, COSTS, {})
    assert found.strategy in ("by_cluster", "grip")
