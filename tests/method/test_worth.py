"""Worth in random tokens and the seeds that a difference needs, on planted curves and spreads."""

import numpy as np
import pytest

from grip_assets.method.power import power, seeds_needed, shown_by, spread, usual
from grip_assets.method.worth import falling, reached, worth

MULTIPLES = (0.5, 1.0, 2.0, 4.0)


def curve(noise: float = 0.0, seeds: int = 5, shared: bool = False) -> dict[float, dict[int, float]]:
    """Random loses 0.1 a doubling from 3.0 at 1. ``shared``: one deviation a seed, at all multiples."""
    rng = np.random.default_rng(3)
    luck = rng.normal(0, noise, (len(MULTIPLES), seeds))
    luck = np.broadcast_to(luck[0], luck.shape) if shared else luck
    return {m: {s: 3.0 - 0.1 * np.log2(m) + luck[i, s] for s in range(seeds)} for i, m in enumerate(MULTIPLES)}


def test_worth_is_the_multiple_of_random_tokens_with_the_same_loss():
    found = worth(curve(), dict.fromkeys(range(5), 2.9))
    assert found.value == pytest.approx(2.0) and found.said(found.value) == "2.0"
    assert worth(curve(), dict.fromkeys(range(5), 3.0)).value == pytest.approx(1.0)
    assert worth(curve(), dict.fromkeys(range(5), 2.95)).value == pytest.approx(2**0.5)


def test_worth_beyond_the_curve_is_said_and_not_extrapolated():
    more, less = worth(curve(), dict.fromkeys(range(5), 2.5)), worth(curve(), dict.fromkeys(range(5), 3.5))
    assert str(more) == "more than 4 (95% interval all more than 4)" and more.within(more.value) == 4.0
    assert str(less) == "less than 1/2 (95% interval all less than 1/2)" and less.within(less.value) == 0.5


def test_luck_that_a_seed_gives_to_all_does_not_widen_the_interval():
    shared = curve(0.05, shared=True)
    own = {seed: shared[2.0][seed] for seed in range(5)}
    paired = worth(shared, own)
    assert paired.value == pytest.approx(2.0) and paired.low == pytest.approx(2.0, abs=0.03)
    unpaired = worth(curve(0.05), {seed: 2.9 + luck for seed, luck in enumerate((0.05, -0.04, 0.02, -0.05, 0.02))})
    assert unpaired.high / unpaired.low > 1.5, "and own luck does"


def test_the_interval_of_worth_holds_the_truth_nineteen_times_of_twenty():
    rng, held = np.random.default_rng(0), 0
    for _ in range(300):
        drawn = {m: {s: 3.0 - 0.1 * np.log2(m) + rng.normal(0, 0.02) for s in range(4)} for m in MULTIPLES}
        found = worth(drawn, {s: 2.9 + rng.normal(0, 0.02) for s in range(4)})
        held += found.low <= 2.0 <= found.high
    assert 0.91 <= held / 300 <= 0.99


def test_a_curve_that_rises_by_luck_is_read_as_one_that_does_not():
    assert falling(np.array([3.0, 2.8, 2.9, 2.7])).tolist() == pytest.approx([3.0, 2.85, 2.85, 2.7])
    assert reached(np.array([-1.0, 0.0, 1.0, 2.0]), np.array([3.0, 2.85, 2.85, 2.7]), 2.85) == 0.0, "the first place"


def test_worth_needs_a_curve_and_shared_seeds():
    assert not worth({}, {0: 3.0}).known and str(worth({}, {0: 3.0})) == "not known"
    assert not worth(curve(), {9: 2.9}).known
    alone = worth(curve(seeds=1), {0: 2.9})
    assert alone.value == pytest.approx(2.0) and str(alone) == "2.0", "one seed has no interval"


def test_the_power_of_a_paired_test_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    from scipy.stats import ttest_1samp

    drawn = rng.normal(0.01, 0.01, (4000, 8))
    measured = float((ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05).mean())
    assert power(0.01, 0.01, 8) == pytest.approx(measured, abs=0.03)


def test_seeds_needed_are_the_least_that_reach_the_power():
    needed = seeds_needed(0.01, 0.01)
    assert needed == 10, "a spread as large as the difference: the ten seeds of tables of sample sizes"
    assert power(0.01, 0.01, needed) >= 0.8 > power(0.01, 0.01, needed - 1)
    assert seeds_needed(0.0001, 0.01) == 2 and seeds_needed(10.0, 0.01) is None
    assert shown_by(10, 0.01) <= 0.01 < shown_by(9, 0.01)


def test_the_spread_is_of_paired_differences():
    base = {0: 3.0, 1: 3.3, 2: 2.7}
    assert spread({s: v - 0.1 for s, v in base.items()}, base) != spread({0: 2.9, 1: 3.3, 2: 2.7}, base)
    assert spread({0: 2.97, 1: 3.33, 2: 2.7}, base) == pytest.approx(0.01)
    assert np.isnan(spread(base, base)) and np.isnan(spread({0: 1.0}, base))
    assert usual({"a": 0.01, "b": 0.02, "c": 9.0, "d": np.nan}) == 0.02
