"""mixture_check on planted losses: verdicts paired by seed, the predicted order, GRIP's own budget. Nothing is trained."""

import numpy as np
import polars as pl
import pytest
from test_mixture import NATURAL, Planted, domains, losses_of, settings

from grip_assets.engine.inspect import inspect
from grip_assets.engine.make import Chain
from grip_assets.method.statistics import Estimate
from grip_assets.settings.changes import read_profile
from grip_assets.stages import STAGES
from grip_assets.stages.evaluation import mixture_check
from grip_assets.stages.mixing.objective import objective_of

TARGETS = [f"domain:{name}" for name in ("one", "two", "three", "four")]
WEIGHTS = {"natural": NATURAL, "found": np.array([0.3, 0.25, 0.2, 0.25]), "uniform": np.full(4, 0.25)}


def check_of(weights=WEIGHTS, seeds=(0, 1, 2), fails=(), noise=1e-4):
    """Losses of mixers: those of a seed share their luck, which is larger than the differences."""
    luck = {seed: np.random.default_rng(seed).normal(0, 0.05) for seed in seeds}
    rows = [
        (mixer, seed, target, None if (mixer, seed) in fails else value + luck[seed], "diverged" if (mixer, seed) in fails else None)
        for i, (mixer, w) in enumerate(weights.items())
        for seed in seeds
        for target, value in zip(TARGETS, losses_of(w[None], noise, 100 * seed + i)[0], strict=True)
    ]  # fmt: skip
    return pl.DataFrame(rows, STAGES["mixture_check"].schema("mixture_check"), orient="row")


def verdicts(check, predicted=None, mixers=None):
    objective = objective_of("held_out", domains(), TARGETS)
    found = mixture_check.verdicts(check, mixers or list(WEIGHTS), objective, predicted or {})
    return {row["mixer"]: row for row in found}


def test_differences_are_paired_by_seed_so_that_luck_does_not_hide_them():
    found = verdicts(check_of())
    assert found["found"]["high"] < 0 and found["found"]["words"].startswith("better than natural by")
    true = float((losses_of(WEIGHTS["found"][None], 0) - losses_of(NATURAL[None], 0))[0] @ NATURAL)
    assert found["found"]["mean"] == pytest.approx(true, abs=1e-3)
    assert found["natural"]["mean"] == 0 and "with which the others are compared" in found["natural"]["words"]


def test_no_difference_is_called_none():
    same = {"natural": NATURAL, "found": NATURAL}
    found = verdicts(check_of(same, noise=0.01), mixers=["natural", "found"])
    assert found["found"]["words"] in ("no measurable difference to natural", "the same as natural")


def test_a_failed_training_leaves_its_seed_out_and_is_named():
    found = verdicts(check_of(fails={("found", 1)}))
    assert found["found"]["words"].endswith("(diverged)") and found["found"]["mean"] is not None
    gone = verdicts(check_of(fails={("found", s) for s in range(3)}))
    assert gone["found"]["words"] == "not measured: diverged" and gone["found"]["mean"] is None
    assert gone["uniform"]["mean"] is not None


def test_whether_the_predicted_order_held_is_said_in_words():
    def rows(measured):
        return [{"predicted": p, "mean": m} for p, m in zip([-3, -2, -1, 0, 1, 2, 3], measured, strict=True)]

    held, not_held = (mixture_check.order_held(rows(m)) for m in ([-6, -4, -2, 0, 2, 4, 6], [0, 3, -1, 2, -2, 1, 0]))
    assert "The predicted order of the mixers held: rank correlation 1.00" in mixture_check.in_words(held)
    assert "did not hold beyond chance" in mixture_check.in_words(not_held)
    assert "Nothing was predicted" in mixture_check.in_words(Estimate(np.nan, np.nan, np.nan, 0))
    assert "Too few" in mixture_check.in_words(mixture_check.order_held(rows([1, None, None, None, None, None, None])))


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """The stage on planted inputs. ``trained`` gives the planted losses and remembers what it was asked for."""
    planted = Planted(tmp_path, settings(kl_to_natural=0.5))
    planted.asked = []

    def trained(work, mixing, weights, seeds):
        planted.asked.append((weights, seeds))
        named = {str(i): w for i, w in enumerate(weights)}
        return check_of(named, seeds).rename({"mixer": "mixture"}).with_columns(pl.col("mixture").cast(pl.Int32))

    monkeypatch.setattr(mixture_check, "trained", trained)
    return planted


def make(planted):
    versions = dict.fromkeys(STAGES["mixture_check"].inputs, "planted")
    chain = Chain(STAGES, planted.store, lambda line: None, "run", inspect)
    versions["mixture"] = chain.make(
        STAGES["mixture"], planted.now, {n: "planted" for n in STAGES["mixture"].inputs}
    ).version
    for name in (
        "corpus",
        "embeddings",
        "partition",
        "student",
        "sigma_k",
        "probe_set",
        "quality_scores",
        "adaptation_deltas",
    ):
        planted.publish(name, **{t.name: t.empty() for t in STAGES[name].tables})
    return chain.make(STAGES["mixture_check"], planted.now, versions)


def test_all_mixers_are_trained_under_the_same_seeds_beside_what_was_predicted(planted, monkeypatch):
    monkeypatch.setattr("grip_assets.engine.stage.Work.must_be_in_force", lambda self: None)
    monkeypatch.setattr(
        mixture_check, "own_budget", lambda work: (None, "GRIP's own budget is left out: not measured.")
    )
    made = make(planted)
    ((weights, seeds),) = planted.asked
    assert len(weights) == 6 and seeds == [0, 1, 2]
    verdict = pl.read_parquet(planted.store.parquet("mixture_check", made.version, "mixture_verdict"))
    assert verdict["mixer"].to_list() == ["found", "natural", "uniform", "tempered", "unimax", "chameleon"]
    assert verdict["predicted"].null_count() == 0 and verdict.filter(mixer="natural")["predicted"][0] == 0
    assert "better than natural" in verdict.filter(mixer="found")["words"][0]
    metrics = made.manifest["metrics"]
    assert "predicted order of the mixers" in metrics["prediction"] and "not measured" in metrics["grip_left_out"]
    assert not [c for c in made.manifest["checks"] if c["violations"]]


def test_it_is_not_used_unless_the_budget_is_learned():
    now = settings() | {"budget": settings({"base": "proportional"})["budget"]}
    assert STAGES["mixture_check"].why_unused(now) == "settings/budget.base is proportional"


def test_grips_own_budget_has_the_budget_of_its_profile():
    profile = read_profile("grip")["budget"]
    from grip_assets.stages.evaluation.strategies import strategy

    own = strategy("grip", settings()).settings["budget"]
    assert own.base == profile["base"] == "neyman" and own.replay == profile["replay"] == "loss"
