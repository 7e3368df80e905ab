"""Weights are learned in the small models' tokens, and the budget has them in the tokens that it counts."""

import numpy as np
import polars as pl
import pytest
from test_mixing_evidence import ONE, Pool
from test_mixture import Planted, settings

from grip_assets.engine.inspect import inspect
from grip_assets.orchestration import checks
from grip_assets.stages import STAGES
from grip_assets.stages.mixing.other_tokenizer import recounted, shift


def test_a_domain_that_the_small_tokenizer_cuts_twice_as_finely_has_less_of_the_budgets_tokens():
    """Half of the small tokens, cut twice as finely, are a third of the tokens that the budget counts."""
    weight_D = np.array([0.5, 0.5])
    there_D = recounted(weight_D, np.array([0.5, 1.0]))
    assert there_D.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert shift(weight_D, there_D) == pytest.approx(1 / 6)


def test_tokenizers_that_differ_alike_everywhere_move_nothing():
    weights_SD = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    assert recounted(weights_SD, np.full(3, 0.7)) == pytest.approx(weights_SD)


@pytest.mark.parametrize(("finer", "said"), [(1, 0), (4, 1)])
def test_the_budget_has_the_texts_that_the_small_models_asked_for(tmp_path, finer, said):
    """The corpus has counted ``finer`` times as many tokens in the texts of the first domain. A check says so."""
    pool = Pool(tmp_path)
    domain = ONE[pool.topic]
    pool.plant("now", ONE, counted=np.where(domain == 0, 100 * finer, 100).tolist())
    made = pool.make(version="now", regressor="loglinear", look=inspect)
    read = {t: pl.read_parquet(pool.store.parquet("mixture", made.version, t)) for t in ("mixture", "mixture_weights")}
    weight_D, most_D = (read["mixture_weights"][column].to_numpy() for column in ("weight", "most"))
    texts_D = weight_D * np.array([finer, 1, 1, 1])
    wanted_D = texts_D / texts_D.sum()
    assert (wanted_D <= most_D).all(), "no cap is met, or this test would prove less"
    assert read["mixture_weights"]["budget_weight"].to_numpy() == pytest.approx(wanted_D)
    assert read["mixture"]["weight"].to_numpy() == pytest.approx(wanted_D)
    outcome = {check["name"]: check["violations"] for check in made.manifest["checks"]}
    assert outcome["same_tokens"] == said and outcome["sum_to_one"] == 0
    assert made.manifest["metrics"]["tokenizer_shift"] == pytest.approx(abs(weight_D - wanted_D).sum() / 2)


def test_intervals_are_counted_in_the_budgets_tokens_too(tmp_path):
    planted = Planted(tmp_path, settings(kl_to_natural=0.5), counted=[300] * 720 + [100] * 80)
    tables = planted.make()
    weights, clusters = tables["mixture_weights"], tables["mixture"]
    assert clusters["weight"][3] < weights["weight"][3]
    assert (clusters["low"] <= clusters["weight"]).all() and (clusters["weight"] <= clusters["high"]).all()
    assert clusters["high"][3] < weights["high"][3]


def test_an_artifact_that_is_older_than_a_check_says_that_it_was_not_checked():
    stage = STAGES["mixture"]
    old = [{"name": c.name, "violations": 0, "first": []} for c in stage.checks if c.name != "same_tokens"]
    found = {result.check_name: result for result in checks.results(stage, {"checks": old})}
    assert set(found) == {check.name for check in stage.checks}, "Dagster requires a result of each"
    assert (
        found["same_tokens"].passed
        and "before there was this check" in found["same_tokens"].metadata["not checked"].value
    )
