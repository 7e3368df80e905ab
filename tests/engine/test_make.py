"""What the engine computes and what it reuses, shown on stub stages.

The chain of the stubs: pool -> cut (clustering.k) -> weigh (budget.tau) -> pick (selection.beta), pool -> sketch -> pick,
which reads all the others.
"""

import dataclasses
import shutil
from collections import Counter

import polars as pl
import pytest
from stub_stages import Stubs

from grip_assets.engine.declarations import Check
from grip_assets.engine.make import Chain, versions_under
from grip_assets.engine.stage import Result
from grip_assets.errors import GripError
from grip_assets.orchestration.artifact_changes import causes
from grip_assets.settings import validate

ALL = ["pool", "cut", "weigh", "sketch", "pick"]
DESCENDANTS = {"clustering": ["cut", "weigh", "pick"], "budget": ["weigh", "pick"], "selection": ["pick"]}
CHANGES = {"clustering": {"k": 7}, "budget": {"tau": 0.25}, "selection": {"beta": 0.9}}


@pytest.fixture
def stubs(tmp_path) -> Stubs:
    return Stubs(tmp_path)


def test_the_first_run_computes_everything_and_the_second_nothing(stubs):
    assert stubs.run() == ALL
    assert stubs.run() == []
    assert all(stubs.make(name).reused for name in ALL)


@pytest.mark.parametrize("group", CHANGES)
def test_a_changed_setting_computes_exactly_its_descendants_and_going_back_costs_nothing(stubs, group):
    stubs.run()
    before, versions = stubs.settings[group].model_dump(), dict(stubs.versions)
    stubs.set(group, **CHANGES[group])
    assert stubs.run() == DESCENDANTS[group]
    stubs.set(group, **before)
    assert stubs.run() == [] and stubs.versions == versions


def test_a_field_that_no_stage_reads_computes_nothing(stubs):
    stubs.run()
    stubs.set("clustering", iterations=3)
    stubs.set("selection", seed=9)
    assert stubs.run() == []


def test_a_new_code_version_computes_the_stage_and_its_descendants(stubs):
    stubs.run()
    stubs.stages["weigh"] = dataclasses.replace(stubs.stages["weigh"], code_version="2")
    assert stubs.run() == ["weigh", "pick"]


def test_a_touched_pool_is_read_again_and_nothing_else_is(stubs):
    stubs.run()
    versions = dict(stubs.versions)
    stubs.listing = "listed again"
    assert stubs.run() == ["pool"] and stubs.versions == versions, "the same content has the same name"
    assert stubs.run() == [], "the new recipe is an alias of that name"


def test_another_content_of_the_pool_computes_everything(stubs):
    stubs.run()
    stubs.pool, stubs.listing = 2, "listed again"
    assert stubs.run() == ALL


def test_an_incomplete_result_is_used_and_its_stage_runs_again(stubs):
    stubs.complete = False
    assert stubs.run() == ALL
    assert stubs.run() == ["pool"], "what was left out is asked for again"
    stubs.complete = True
    assert stubs.run() == ["pool"] and stubs.run() == []


def test_inputs_made_from_different_versions_of_an_ancestor_are_refused(stubs):
    stubs.run()
    weighed = stubs.versions["weigh"]
    stubs.set("clustering", k=7)
    cut = stubs.make("cut").version
    with pytest.raises(GripError, match="another version of cut"):
        stubs.make("pick", cut=cut, weigh=weighed)


def test_an_artifact_that_was_removed_or_damaged_is_made_again_under_its_name(stubs):
    stubs.run()
    versions = dict(stubs.versions)
    folder = stubs.store.folder("weigh", versions["weigh"])
    shutil.rmtree(folder)
    assert stubs.run() == ["weigh"] and stubs.versions == versions
    part = next(folder.rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    assert stubs.run() == ["weigh"] and stubs.versions == versions
    assert any("is damaged" in line and "is made again" in line for line in stubs.log)


def test_a_stage_whose_input_was_removed_says_so(stubs):
    stubs.run()
    shutil.rmtree(stubs.store.folder("cut", stubs.versions["cut"]))
    stubs.set("budget", tau=0.25)
    with pytest.raises(GripError, match="was removed. Materialize cut first"):
        stubs.make("weigh")


def test_a_stage_that_fails_publishes_nothing(stubs):
    def fails(work):
        work.draft.write("cut", pl.DataFrame({"n": [1]}))
        raise OSError("no space")

    stubs.stages["cut"] = dataclasses.replace(stubs.stages["cut"], compute=fails)
    with pytest.raises(OSError, match="no space"):
        stubs.run()
    assert not stubs.store.folders("cut") and not list((stubs.store.root / ".scratch").iterdir())


def test_a_report_makes_what_it_compares_with_and_puts_nothing_in_force(stubs):
    compared = {}

    def compares(work):
        other = {**work.settings, "clustering": validate("clustering", {"k": 9})}
        if not compared:
            compared.update(versions_under(other, work))
        work.draft.write("pick", work.frame("cut"))
        return {}

    stubs.stages["pick"] = dataclasses.replace(stubs.stages["pick"], compute=compares)
    assert stubs.run() == ["pool", "cut", "weigh", "sketch", "cut", "weigh"], "what the change does not touch is reused"
    assert compared["sketch"] == stubs.versions["sketch"] and compared["cut"] != stubs.versions["cut"]
    assert stubs.store.manifest("cut", compared["cut"])["made_for"] == "pick"
    assert stubs.store.manifest("cut", stubs.versions["cut"])["made_for"] is None


def test_a_report_is_refused_where_an_input_was_made_with_other_settings(stubs):
    stubs.run()
    asks = dataclasses.replace(stubs.stages["weigh"], compute=lambda work: work.must_be_in_force() or {})
    stubs.stages["weigh"] = dataclasses.replace(asks, code_version="2")
    stubs.set("clustering", k=9)
    with pytest.raises(GripError, match="cut was not made with those in force"):
        stubs.make("weigh")


def test_memory_that_ran_out_is_told_in_the_metrics(stubs):
    from grip_assets.runtime import memory

    real = stubs.stages["cut"].compute

    def runs_out(work):
        memory.ran_out.append("a block was halved")
        return real(work)

    stubs.stages["cut"] = dataclasses.replace(stubs.stages["cut"], compute=runs_out)
    stubs.run()
    manifest = stubs.store.manifest("cut", stubs.versions["cut"])
    assert manifest["metrics"] == {"rows": 1, "memory_warning": "1 times a block was halved"}
    assert "memory_warning" not in stubs.store.manifest("weigh", stubs.versions["weigh"])["metrics"]


def test_content_and_declaration_of_a_stage_must_agree(stubs):
    stubs.stages["pool"] = dataclasses.replace(stubs.stages["pool"], named_by_content=False)
    with pytest.raises(AssertionError, match="named_by_content"):
        stubs.make("pool")


def test_checks_see_the_draft_and_their_outcome_stays_with_the_artifact(stubs, monkeypatch):
    asked = []

    def query(name, tables, may_lack):
        asked.append((name, len(pl.read_parquet(tables["cut"]))))
        return pl.DataFrame({"n": [1, 2]})

    monkeypatch.setattr("grip_assets.engine.checks.query", query)
    stubs.stages["cut"] = dataclasses.replace(stubs.stages["cut"], checks=(Check("small", True, "It is small."),))
    stubs.run()
    assert asked == [("checks/cut__small", 1)]
    expected = [{"name": "small", "violations": 2, "first": ["{'n': 1}", "{'n': 2}"]}]
    assert stubs.make("cut").manifest["checks"] == expected and len(asked) == 1


def test_a_result_may_be_metrics_alone():
    assert Result({"rows": 1}) == Result({"rows": 1}, content=None, complete=True)


def test_without_a_look_no_check_is_run(stubs):
    chain = Chain(stubs.stages, stubs.store, stubs.log.append)
    made = chain.make(stubs.stages["pool"], stubs.settings, {})
    assert made.manifest["checks"] == [] and made.manifest["extremes"] == []


def test_causes_of_a_change_are_said_once_and_each_artifact_is_looked_at_once(stubs, monkeypatch):
    stubs.run()
    before = stubs.versions["pick"]
    stubs.pool, stubs.listing = 2, "listed again"
    stubs.set("budget", tau=0.9)
    stubs.run()
    looked = Counter()

    def knows(stage, version, knows=stubs.store.knows):
        looked[stage, version] += 1
        return knows(stage, version)

    monkeypatch.setattr(stubs.store, "knows", knows)
    said = causes(before, stubs.versions["pick"], stubs.stages["pick"], stubs.stages, stubs.store)
    assert said == ["pool: code, model or files changed", "budget.tau: 0.5 → 0.9"]
    assert len(looked) == 10 and set(looked.values()) == {1}, "five stages, two versions of each"
