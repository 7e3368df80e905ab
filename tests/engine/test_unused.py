"""A stage that the settings do not need is empty, says so, and costs nothing."""

import dataclasses

import pytest
from stub_stages import Stubs

from grip_assets.engine.in_force import Run
from grip_assets.engine.make import Chain
from grip_assets.operations import _unsynced
from grip_assets.orchestration.artifact_changes import causes
from grip_assets.orchestration.metadata import metadata
from grip_assets.report.terminal.summary import what_ran
from grip_assets.settings import GROUPS, validate
from grip_assets.stages import STAGES
from grip_assets.stages.costs import forecast
from grip_assets.stages.reports import rounds
from grip_assets.store.artifacts import ArtifactStore

UNIFORM = "settings/selection.weight is uniform"


@pytest.fixture
def stubs(tmp_path) -> Stubs:
    return Stubs(tmp_path)


def test_an_unused_stage_is_empty_and_nothing_of_it_is_computed(stubs):
    stubs.set("selection", weight="uniform")
    assert stubs.run() == ["pool", "cut", "weigh", "pick"]
    manifest = stubs.store.manifest("sketch", stubs.versions["sketch"])
    assert manifest["unused"] == UNIFORM
    assert manifest["inputs"] == {} and manifest["checks"] == [] and manifest["tables"]["sketch"]["rows"] == 0
    assert stubs.rows("sketch").schema == stubs.stages["sketch"].table("sketch").schema, "its columns are there"
    assert len(stubs.rows("pick")) == 3, "what reads it gets an empty table"


def test_an_unused_stage_is_never_stale(stubs):
    stubs.set("selection", weight="uniform")
    stubs.run()
    version = stubs.versions["sketch"]
    stubs.pool, stubs.listing = 2, "another pool"
    stubs.set("selection", beta=0.9)
    assert stubs.run() == ["pool", "cut", "weigh", "pick"] and stubs.versions["sketch"] == version


def test_the_plan_says_that_a_stage_is_not_used(stubs):
    stubs.set("selection", weight="uniform")
    step = stubs.plan()["sketch"]
    assert (step.action, step.why, step.in_force) == ("unused", f"not used: {UNIFORM}", False)
    stubs.run()
    plan = stubs.plan()
    assert plan["sketch"].in_force and plan["sketch"].why == f"not used: {UNIFORM}"
    assert {step.action for name, step in plan.items() if name != "sketch"} == {"reuse"}


def test_an_unused_stage_costs_nothing(stubs):
    stubs.set("selection", weight="uniform")
    stubs.run()
    stubs.versions.pop("sketch")  # as if it had never been put in force
    expected = forecast(list(stubs.plan().values()), stubs.stages, stubs.settings, stubs.store, {})
    assert {cost.asset: cost.action for cost in expected.costs}["sketch"] == "unused"
    assert expected.seconds == 0 and expected.n_bytes == 0 and not expected.to_compute


def test_the_status_says_when_whether_a_stage_is_used_has_changed(stubs):
    def because() -> list[str]:
        sketch = stubs.stages["sketch"]
        return _unsynced(sketch, stubs.settings, stubs.versions, stubs.store, ["settings/selection is another"])

    stubs.set("selection", weight="uniform")
    stubs.run()
    assert because() == [], "whatever else changes"
    stubs.set("selection", weight="density")
    assert because() == ["it was not used before"]
    stubs.run()
    stubs.set("selection", weight="uniform")
    assert because() == ["not used now"]


def test_what_a_run_did_names_what_was_not_used():
    assert what_ran(Run("id", ["pick"], [], ["sketch"]))[-1] == "not used: sketch"
    assert len(what_ran(Run("id", ["pick"], []))) == 2


def test_a_stage_that_is_used_again_is_computed_and_the_plan_says_why(stubs):
    stubs.set("selection", weight="uniform")
    stubs.run()
    stubs.set("selection", weight="density")
    step = stubs.plan()["sketch"]
    assert (step.action, step.why) == ("compute", "it was not used before")
    before = stubs.versions["sketch"]
    assert stubs.run() == ["sketch", "pick"]
    after = stubs.versions["sketch"]
    said = causes(before, after, stubs.stages["sketch"], stubs.stages, stubs.store)
    assert said == ["sketch: it was not used before"]
    stubs.set("selection", weight="uniform")
    assert stubs.run() == [] and stubs.versions["sketch"] == before, "going back costs nothing"


def test_the_reason_of_now_is_shown_and_not_that_of_the_first_time(stubs):
    stubs.set("selection", weight="uniform")
    stubs.run()
    other = dataclasses.replace(stubs.stages["sketch"], unused=lambda settings: "settings/budget.base is neyman")
    stubs.stages["sketch"] = other
    made = stubs.make("sketch")
    assert made.reused and made.version == stubs.versions["sketch"]
    said = metadata(made, other, stubs.store)
    assert said["not used"] == "settings/budget.base is neyman" and said["dagster/row_count"] == 0


def test_whether_a_stage_is_used_depends_on_declared_groups_only(stubs):
    def peeks(settings):
        return settings["budget"].base

    stubs.stages["sketch"] = dataclasses.replace(stubs.stages["sketch"], unused=peeks)
    with pytest.raises(KeyError, match="budget"):
        stubs.plan()


def test_a_probe_that_was_not_needed_is_no_round(tmp_path):
    """Its manifest names no proxy: replay was off for a while, or a strategy that replays nothing was compared."""
    store = ArtifactStore(tmp_path)
    settings = {group: schema() for group, schema in GROUPS.items()}
    settings["budget"] = validate("budget", {"replay": "none"})
    assert "unused" in Chain(STAGES, store, print).make(STAGES["adaptation_deltas"], settings, {}).manifest
    assert STAGES["rounds"].facts(settings, tmp_path) == {"measured": []}
    assert rounds.measurements(store) == []
