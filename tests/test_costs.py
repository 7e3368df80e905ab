"""What a plan says about time and disk: measured here, scaled, or a guess, and never another pool's seconds."""

import json

import pytest
from conftest import small, write_pool

from grip_assets.stages.costs import GUESS, RATES

pytestmark = pytest.mark.run


def by_asset(lab, **changes):
    _, forecast = lab.operations.forecast(lab.instance, changes)
    return forecast, {cost.asset: cost for cost in forecast.costs}


def test_a_pool_that_was_never_run_is_guessed_from_its_listing(new_lab, models, pool):
    lab = new_lab(first=False)
    forecast, costs = by_asset(lab, **small(models, pool))
    assert not forecast.size.known and forecast.size.documents == 121
    used = [cost for cost in forecast.costs if cost.action != "unused"]
    assert {cost.basis for cost in used} == {GUESS}
    assert {"report", "the run itself"} <= costs.keys() and forecast.seconds > RATES["report"].fixed
    assert all(cost.seconds > 0 and cost.n_bytes > 0 for cost in used)
    assert all(cost.seconds == 0 and cost.n_bytes == 0 for cost in forecast.costs if cost not in used)
    assert forecast.free_bytes > 0


def test_seconds_of_one_pool_are_never_those_of_another(lab, tmp_path):
    assert all(cost.action != "compute" and cost.seconds == 0 for cost in by_asset(lab)[1].values()), "a no-op is free"
    measured = by_asset(lab, selection={"beta": 0.9})[1]["subset"]
    assert measured.basis == "measured here" and measured.seconds > 0

    (tmp_path / "twice").mkdir()
    for part in ("a", "b"):
        (tmp_path / "twice" / part).mkdir()
        for file in write_pool(tmp_path / "twice" / part, n=30).rglob("*.py"):
            file.write_text(f"# {part}\n{file.read_text()}")
    forecast, costs = by_asset(lab, corpus={"path": str(tmp_path / "twice")})
    assert costs["embeddings"].basis == "scaled from 120 documents" and forecast.size.documents == 242
    assert costs["subset"].seconds > measured.seconds

    (tmp_path / "large.jsonl").write_text(json.dumps({"text": "x" * 4_000_000}) + "\n")
    costs = by_asset(lab, corpus={"path": str(tmp_path / "large.jsonl")})[1]
    assert costs["embeddings"].basis == GUESS, "120 documents say nothing about a pool so much larger"


def test_trainings_of_mixtures_cost_by_their_tokens_and_only_where_budgets_are_learned(lab):
    assert by_asset(lab)[1]["mixture_runs"].action == "unused"
    mixed = {"budget": {"base": "mixture", "replay": "none"}}
    few = by_asset(lab, **mixed, mixing={"mixtures": 64})[1]["mixture_runs"]
    many, seeds, longer = (
        by_asset(lab, **mixed, mixing=more)[1]["mixture_runs"]
        for more in ({"mixtures": 128}, {"seeds": 2}, {"tokens": 600_000})
    )
    fixed = RATES["mixture_runs"].fixed
    assert few.basis == GUESS and few.seconds > fixed
    assert many.seconds == seeds.seconds == longer.seconds == pytest.approx(2 * few.seconds - fixed)
    assert many.n_bytes > 1.9 * few.n_bytes > longer.n_bytes, "each model is kept, however long it was trained"
