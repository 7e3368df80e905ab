"""Weights belong to the tokenizer of the small models: how much of them is elsewhere in tokens of another."""

import numpy as np
import polars as pl
import pytest
from test_mixing_evidence import ONE, Pool

from grip_assets.engine.inspect import inspect
from grip_assets.orchestration import checks
from grip_assets.stages import STAGES
from grip_assets.stages.mixing.other_tokenizer import shift
from grip_assets.training.small import learn_tokenizer


def test_a_domain_with_twice_the_small_tokens_has_less_of_the_others():
    """Half of the small tokens, cut twice as finely, are a third of the tokens that the budget counts."""
    assert shift(np.array([0.5, 0.5]), np.array([0.6, 0.3]), np.array([0.3, 0.3])) == pytest.approx(1 / 6)


def test_tokenizers_that_differ_alike_everywhere_move_nothing_nor_does_a_domain_without_a_text():
    weight_D, small_D = np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.4, 0.5])
    assert shift(weight_D, small_D, small_D / 2) == pytest.approx(0)
    assert shift(weight_D, np.array([0.6, np.nan, 0.5]), small_D / 2) == pytest.approx(0)
    assert shift(weight_D, np.full(3, np.nan), small_D) == 0


@pytest.mark.parametrize(("finer", "said"), [(1, 0), (4, 1)])
def test_a_check_says_when_the_tokenizers_differ_between_domains(tmp_path, finer, said):
    """The corpus has counted ``finer`` times as many tokens in the texts of the first domain."""
    pool = Pool(tmp_path)
    text = "one two three four " * 20
    tokenizer = learn_tokenizer([text], 300).to_str()
    domain = ONE[pool.topic]
    corpus = pl.DataFrame({
        "doc_id": pool.ids, "n_bytes": [400] * len(pool.ids), "n_tokens": np.where(domain == 0, 100 * finer, 100),
    })  # fmt: skip
    pool.publish("corpus", "corpus", corpus=corpus)
    items = pl.DataFrame({
        "item_id": list("abcde"), "target": ["target", *[f"domain:{d}" for d in range(4)]], "prompt": [""] * 5,
        "text": [text] * 5, "in_pool": [0.0] * 5,
    })  # fmt: skip
    pool.plant("now", ONE, tokenizer=tokenizer, items=items, corpus={"corpus": "corpus"})
    made = pool.make(version="now", regressor="loglinear", look=inspect)
    outcome = {check["name"]: check["violations"] for check in made.manifest["checks"]}
    assert outcome["same_tokens"] == said
    assert (made.manifest["metrics"]["tokenizer_shift"] > 0.05) == bool(said)


def test_an_artifact_that_is_older_than_a_check_says_that_it_was_not_checked():
    stage = STAGES["mixture"]
    old = [{"name": c.name, "violations": 0, "first": []} for c in stage.checks if c.name != "same_tokens"]
    found = {result.check_name: result for result in checks.results(stage, {"checks": old})}
    assert set(found) == {check.name for check in stage.checks}, "Dagster requires a result of each"
    assert (
        found["same_tokens"].passed
        and "before there was this check" in found["same_tokens"].metadata["not checked"].value
    )
