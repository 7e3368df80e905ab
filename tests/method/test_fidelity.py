"""Fidelity: by target, family and size, never pooled; with an interval, a ceiling, a comparison, and words."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from grip_assets.errors import GripError
from grip_assets.method.attribution.fidelity import (
    MEAN,
    RANDOM,
    STRUCTURED,
    Check,
    agreement,
    difference,
    family,
    fidelity,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def planted(n=32, noise=0.1, **more):
    u = rng().normal(size=(2, n))
    families = np.array([RANDOM] * 8 + [STRUCTURED] * (n - 8))
    return Check(["a", "b"], u, families, np.full(n, 100), u, u + noise * rng(1).normal(size=u.shape), **more), u


def rows_of(found, **wanted):
    return [row for row in found if all(getattr(row, name) == value for name, value in wanted.items())]


def test_each_target_family_and_size_has_a_row_and_a_family_is_random_or_structured():
    check, u = planted()
    found = fidelity({"good": u, "additive": u + rng(2).normal(size=u.shape)}, "additive", check)
    assert [(row.target, row.family) for row in rows_of(found, name="good")] == [
        (target, kind) for kind in (RANDOM, STRUCTURED) for target in ("a", "b", MEAN)
    ]
    assert family("uniform") == RANDOM and {family(k) for k in ("few_clusters", "duplicates", "length")} == {STRUCTURED}
    only = Check(["a"], u[:1], check.family_S, check.size_S)
    assert {row.target for row in fidelity({"good": u[:1]}, "good", only)} == {"a"}


def test_the_correlation_is_that_of_one_group_alone():
    check, u = planted()
    p = u + rng(3).normal(size=u.shape)
    row = rows_of(fidelity({"p": p}, "p", check), target="b", family=STRUCTURED)[0]
    assert row.spearman.value == pytest.approx(spearmanr(p[1, 8:], u[1, 8:])[0]) and row.spearman.n == 24
    assert row.spearman.low < row.spearman.value < row.spearman.high
    mean = rows_of(fidelity({"p": p}, "p", check), target=MEAN, family=STRUCTURED)[0]
    assert mean.spearman.value == pytest.approx(np.mean([spearmanr(p[t, 8:], u[t, 8:])[0] for t in (0, 1)]))


def test_larger_subsets_that_are_worth_more_do_not_look_like_fidelity():
    size = np.repeat([10, 1000], 16)
    u = rng().normal(size=(1, 32)) + size / 100
    check = Check(["a"], u, np.array([STRUCTURED] * 32), size)
    found = fidelity({"by size": np.log(size)[None] + 1e-3 * rng(1).normal(size=(1, 32))}, "by size", check)
    assert len(found) == 2 and all(abs(row.spearman.value) < 0.6 and row.spearman.low < 0 for row in found)


def test_the_ceiling_is_the_agreement_of_two_seeds_and_the_ratio_is_to_it():
    check, u = planted(noise=0.5)
    row = rows_of(fidelity({"p": u}, "p", check), target="a", family=STRUCTURED)[0]
    expected = spearmanr(check.first_TS[0, 8:], check.again_TS[0, 8:])[0]
    assert row.ceiling == pytest.approx(expected) and row.ratio == pytest.approx(1 / expected)
    few = check.again_TS.copy()
    few[:, :6] = np.nan  # two of the random subsets are left: the ceiling is that of all repeated ones of this size
    some = Check(check.targets, u, check.family_S, check.size_S, check.first_TS, few)
    row = rows_of(fidelity({"p": u}, "p", some), target="a", family=RANDOM)[0]
    assert row.ceiling == pytest.approx(spearmanr(check.first_TS[0, 6:], few[0, 6:])[0])
    none = Check(check.targets, u, check.family_S, check.size_S)
    assert np.isnan(fidelity({"p": u}, "p", none)[0].ceiling) and np.isnan(fidelity({"p": u}, "p", none)[0].ratio)


def test_words_say_whether_a_score_is_better_than_additive():
    check, u = planted()
    noisy, little = u + 1.5 * rng(4).normal(size=u.shape), u + 0.05 * rng(5).normal(size=u.shape)
    found = fidelity({"little": little, "additive": noisy, "equal": noisy + 1e-9, "none": rng(6).normal(size=u.shape)}, "additive", check)  # fmt: skip
    said = {row.name: row.words for row in rows_of(found, target=MEAN, family=STRUCTURED)}
    assert said["little"].startswith("predicts better than additive by 0.")
    assert (
        said["equal"] == "predicts no better than additive"
        and said["none"] == "no agreement with retraining is certain"
    )
    assert said["additive"].startswith("agrees with retraining")
    turned = fidelity({"additive": little, "worse": noisy}, "additive", check)
    assert rows_of(turned, name="worse", target=MEAN, family=STRUCTURED)[0].words.startswith(
        "predicts worse than additive"
    )


def test_each_configuration_may_be_compared_with_an_additive_score_of_its_own():
    check, u = planted()
    found = fidelity({"x/0.3": u, "x/0": u + rng(7).normal(size=u.shape), "y": u}, {"x/0.3": "x/0"}, check)
    assert rows_of(found, name="x/0.3")[0].over_additive.known and not rows_of(found, name="y")[0].over_additive.known


def test_a_constant_prediction_has_no_fidelity_and_failed_trainings_are_left_out():
    u = rng().normal(size=(1, 12))
    assert agreement(np.ones((1, 12)), u).value == 0
    holed = u.copy()
    holed[0, :3] = np.nan
    assert agreement(u, holed).n == 9 and agreement(u, holed).value == pytest.approx(1)
    assert not agreement(u[:, :3], u[:, :3]).known and not difference(u[:, :3], u[:, :3], u[:, :3]).known
    with pytest.raises(GripError, match="not finite"):
        agreement(u * np.nan, u)
    with pytest.raises(GripError, match="differ in length"):
        Check(["a", "b"], u, np.zeros(12), np.zeros(12))


def test_a_difference_is_paired():
    """Two scores with the same large noise differ by little, and that little is certain."""
    u = rng().normal(size=(1, 40))
    noise = 2 * rng(1).normal(size=u.shape)
    gain = difference(2 * u + noise, u + noise, u)
    assert gain.low > 0 and gain.high - gain.low < agreement(u + noise, u).high - agreement(u + noise, u).low
