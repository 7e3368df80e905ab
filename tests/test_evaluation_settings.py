"""Settings of the evaluation of round two: seeds by strategy, multiples, further targets; what a plan counts."""

import numpy as np
import polars as pl
import pytest

from grip_assets.errors import GripError
from grip_assets.settings import Evaluation, hashed_values, validate
from grip_assets.stages.evaluation import forecast, random_curve
from grip_assets.stages.evaluation.trainings import MODEL, TRAINING
from grip_assets.store.artifacts import ArtifactStore


def test_main_strategies_and_random_have_more_seeds_and_all_begin_at_the_same():
    now = Evaluation(strategies=["random", "grip", "dsir"], main=["grip"], seeds=3, main_seeds=10, seed=5)
    assert [len(now.seeds_of(name)) for name in now.strategies] == [10, 10, 3]
    assert now.seeds_of("dsir") == range(5, 8)
    assert len(Evaluation(seeds=3).seeds_of("random")) == 3, "no strategy is main"


def test_new_settings_rename_nothing_that_was_made_before():
    fields = ("strategies", "seeds", "main", "main_seeds", "seed", "target")
    assert hashed_values(Evaluation(), fields) == hashed_values(Evaluation(), ("strategies", "seeds", "seed", "target"))
    assert "targets" not in hashed_values(Evaluation(), ("documents", "targets"))
    assert not {"multiples", "main", "targets"} & {*MODEL, *TRAINING}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"targets": ["python"]}, "Write language:NAME, prose, or NAME=PATH"),
        ({"targets": ["language:go", "go=/x"]}, "two sets would be called 'go'"),
        ({"targets": ["held_out=/x"]}, "two sets would be called 'held_out'"),
        ({"multiples": [0.0]}, "0 is no multiple"),
        ({"main": ["gripp"]}, "there is no strategy 'gripp'. Did you mean 'grip'"),
    ],
)
def test_what_cannot_be_measured_is_refused(values, said):
    with pytest.raises(GripError, match=said.replace("(", r"\(")):
        validate("evaluation", values)


def test_random_at_one_is_not_trained_twice():
    assert Evaluation(multiples=[4, 1, 0.5, 0.5]).multiples == [0.5, 4.0]


def test_a_draw_of_more_tokens_has_the_draw_of_fewer_and_keeps_the_background():
    documents = pl.DataFrame({"doc_id": [f"{i:04}" for i in range(400)], "n_tokens": [5 + i % 7 for i in range(400)]})
    kept_N = np.zeros(400, bool)
    kept_N[:3] = True
    small, large = (random_curve.taken_at(documents, kept_N, tokens, 0) for tokens in (500, 1000))
    lengths_N = documents["n_tokens"].to_numpy()
    assert abs(lengths_N[small & ~kept_N].sum() - 500) <= 11 and abs(lengths_N[large & ~kept_N].sum() - 1000) <= 11
    assert not (small & ~large).sum() > 1, "but for the last document, which ends nearest to the budget"
    short = random_curve.taken_at(documents, kept_N, 500, 0, 8)
    assert lengths_N[short & ~kept_N].max() == 8 and abs(lengths_N[short & ~kept_N].sum() - 500) <= 8
    assert small[:3].all() and random_curve.taken_at(documents, kept_N, 10**9, 0).all(), "or all that there is"
    assert (small != random_curve.taken_at(documents, kept_N, 500, 1)).any()


def test_a_plan_counts_strategies_curve_and_loop(tmp_path):
    now = Evaluation(strategies=["random", "grip", "dsir", "grip_rounds"], main=["grip"], seeds=3, main_seeds=5)
    found = forecast.trainings_of(now, ArtifactStore(tmp_path))
    assert found.number == {"strategies": 5 + 5 + 3, "curve": 5 * 3, "loop": 2 * 3}
    assert found.units == 13 + 5 * 6.5 + 6 and found.basis == "guess"
    longer = forecast.trainings_of(now.model_copy(update={"tokens": 2 * now.tokens}), ArtifactStore(tmp_path))
    assert longer.seconds == pytest.approx(2 * found.seconds)


def test_a_plan_says_the_seeds_from_a_prior_that_it_names(tmp_path):
    settings = {"evaluation": Evaluation(strategies=["random", "grip"], seeds=3)}
    store = ArtifactStore(tmp_path)
    spread, models = forecast.spread_seen(store), forecast.trainings_of(settings["evaluation"], store)
    lines = forecast.as_lines(spread, models, 120.0, settings)
    assert "nothing was trained here yet" in lines[0] and "needs 10 seeds" in lines[1]
    assert "--set evaluation.seeds=10" in lines[-1]
    data = forecast.as_data(spread, models, 120.0, settings)
    assert data["seeds_needed"] == 10 and data["seconds"] > 120
