"""Curations with a learned budget, from the pool to the subset, with models of a few thousand weights."""

import polars as pl
import pytest

from grip_assets.engine.plan import plan
from grip_assets.errors import GripError
from grip_assets.orchestration.event_log import settings_in_force, versions_in_force
from grip_assets.settings.changes import merge, read_profile
from grip_assets.stages import CURATED, STAGES
from grip_assets.store.artifacts import ArtifactStore

LEARNED = {"mixture_domains", "mixture_runs", "mixture"}
TINY = {
    "clustering": {"k": 4, "min_cluster_docs": 12, "iterations": 5, "seeds": 1},
    "mixing": {
        "mixtures": 8, "bootstrap": 5, "check_seeds": 2, "held_out": 2, "tokens": 2048, "vocabulary": 320,
        "hidden": 16, "layers": 1, "heads": 1, "context": 32, "batch_tokens": 256, "dtype": "float32",
    },
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.run]


def curated_with(lab, profile):
    return lab.curate(**merge(read_profile(profile), TINY))


def followed(lab) -> pl.DataFrame:
    return lab.sql(
        "SELECT weight, natural_share, base_budget / total AS share, allocated, total, base FROM budgets JOIN mixture USING (cluster_id)"
    )


@pytest.mark.parametrize("profile", ["gem_regmix", "gem_doremi", "gem_perf"])
def test_a_profile_curates_on_learned_budgets_and_a_second_run_computes_nothing(lab, profile):
    computed = curated_with(lab, profile)
    assert LEARNED | {"partition", "budgets", "subset"} <= computed
    found = followed(lab)
    assert set(found["base"]) == {"mixture"} and found["share"].to_list() == pytest.approx(found["weight"].to_list())
    assert found["weight"].sum() == pytest.approx(1) and found["allocated"].sum() == found["total"][0]
    assert lab.sql("SELECT count(*) FROM mixture_steps").item() == 0 or profile == "gem_doremi"
    failed = [c for s in LEARNED for c in checks(lab, s) if c["violations"] and blocking(s, c["name"])]
    assert not failed
    assert curated_with(lab, profile) == set()
    assert lab.curate(budget={"base": "proportional"}) & LEARNED == set()
    assert lab.curate(budget={"base": "mixture"}) <= {"rounds"}, "going back costs nothing"


def checks(lab, stage):
    store = ArtifactStore(lab.data)
    return store.manifest(stage, versions_in_force(lab.instance, STAGES)[stage])["checks"]


def blocking(stage, name):
    return next(check.blocking for check in STAGES[stage].checks if check.name == name)


def test_the_check_trains_each_mixer_beside_its_prediction_and_grips_budget_once_it_was_measured(lab):
    """The laboratory is curated with GRIP's budget on the same clusters, so that it was measured."""
    lab.curate(budget={"base": "mixture"}, mixing=TINY["mixing"])
    lab.operations.evaluate(lab.instance, {}, ["mixture_check"])
    verdict = lab.sql("SELECT * FROM mixture_verdict")
    assert verdict["mixer"].to_list() == ["found", "natural", "uniform", "tempered", "unimax", "chameleon", "grip"]
    assert verdict["words"].null_count() == 0 and verdict.filter(mixer="grip")["predicted"].null_count() == 1
    assert lab.sql("SELECT count(DISTINCT seed) FROM mixture_check").item() == 2
    before = lab.sql("SELECT mixer, seed, target, loss FROM mixture_check ORDER BY ALL")
    lab.operations.evaluate(lab.instance, {"mixing": {"check_seeds": 3}}, ["mixture_check"])
    assert lab.sql("SELECT mixer, seed, target, loss FROM mixture_check WHERE seed < 2 ORDER BY ALL").equals(before)
    lab.curate(probe={"fraction": 0.5})
    lab.operations.evaluate(lab.instance, {"budget": {"replay": "none"}, "probe": {"fraction": 0.3}}, ["mixture_check"])
    left = ArtifactStore(lab.data).manifest("mixture_check", versions_in_force(lab.instance, STAGES)["mixture_check"])
    assert "GRIP's own budget is left out: probe_set was not made" in left["metrics"]["grip_left_out"]


def test_a_check_of_a_budget_that_is_not_learned_is_refused(lab):
    with pytest.raises(
        GripError, match="mixture_check measures nothing with these settings: settings/budget.base is neyman"
    ):
        lab.operations.evaluate(lab.instance, {}, ["mixture_check"])


def test_another_objective_trains_nothing_and_replay_multiplies_learned_budgets(lab):
    lab.curate(budget={"base": "mixture"}, mixing=TINY["mixing"])
    found = lab.sql("SELECT replay_multiplier, utility / base_budget AS factor FROM budgets")
    assert found["factor"].to_list() == pytest.approx(found["replay_multiplier"].to_list())
    assert found["replay_multiplier"].max() > 1
    computed = lab.curate(mixing={"objective": "benchmarks"})
    assert "mixture" in computed and not computed & {"mixture_domains", "mixture_runs"}
    with pytest.raises(GripError, match="there is no such domain"):
        lab.curate(mixing={"objective": "domain:zzz"})


def test_a_strategy_with_a_learned_budget_is_compared_and_nothing_of_it_comes_into_force(new_lab):
    lab = new_lab(corpus={"held_out": 0.1, "project_depth": 2}, mixing=TINY["mixing"])
    before = versions_in_force(lab.instance, CURATED)
    strategies = {"strategies": ["random", "proportional", "grip_regmix"], "seeds": 2}
    lab.operations.evaluate(lab.instance, {"evaluation": strategies}, ["strategies"])
    costs = lab.sql("SELECT strategy, n_tokens, seconds FROM strategy_costs")
    assert set(costs["strategy"]) == set(strategies["strategies"])
    seconds = dict(costs.select("strategy", "seconds").iter_rows())
    assert seconds["grip_regmix"] > seconds["proportional"], "the trainings count"
    assert versions_in_force(lab.instance, CURATED) == before


def test_reports_that_make_budgets_again_read_the_learned_ones(lab):
    lab.curate(budget={"base": "mixture", "replay": "none"}, mixing=TINY["mixing"])
    knobs = lab.sql("SELECT knob, budget_moved, overlap FROM knobs")
    assert knobs.filter(pl.col("knob").is_in(["budget.tau", "budget.temperature"]))["budget_moved"].to_list() == [0] * 4
    assert lab.sql("SELECT count(*) FROM stability WHERE varied = 'draw'").item() == 3
    steps = plan(
        STAGES, settings_in_force(lab.instance), versions_in_force(lab.instance, STAGES), ArtifactStore(lab.data)
    )
    assert {s.asset for s in steps if s.action == "compute"} <= {"mixture_check", *(set(STAGES) - set(CURATED))}
