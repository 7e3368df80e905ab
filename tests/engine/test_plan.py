"""A plan says what the run then does, and why."""

import shutil

import pytest
from stub_stages import Stubs


@pytest.fixture
def stubs(tmp_path) -> Stubs:
    return Stubs(tmp_path)


def to_compute(stubs: Stubs) -> list[str]:
    return [name for name, step in stubs.plan().items() if step.action == "compute"]


@pytest.mark.parametrize(
    ("group", "values"),
    [
        ("clustering", {"k": 7}),
        ("budget", {"tau": 0.25}),
        ("selection", {"beta": 0.9}),
        ("selection", {"weight": "uniform"}),
        ("reports", {"stability_seeds": 1}),
    ],
)
def test_the_plan_says_what_the_run_then_does(stubs, group, values):
    assert to_compute(stubs) == ["pool", "cut", "weigh", "sketch", "pick"] == stubs.run()
    assert {step.why for step in stubs.plan().values()} == {"in force"}
    stubs.set(group, **values)
    assert to_compute(stubs) == stubs.run()
    assert all(step.in_force for step in stubs.plan().values())


def test_the_plan_says_why(stubs):
    assert {step.why for step in stubs.plan().values()} == {"never computed in this data folder"}
    stubs.run()
    before = stubs.settings["budget"].tau
    stubs.set("budget", tau=0.25)
    plan = stubs.plan()
    assert plan["weigh"].why == f"budget.tau: {before} → 0.25"
    assert plan["pick"].why == "weigh changes"
    assert plan["cut"].why == "in force" and plan["cut"].in_force
    stubs.run()
    stubs.set("budget", tau=before)
    assert stubs.plan()["weigh"].why == "computed before" and not stubs.plan()["weigh"].in_force


def test_the_plan_says_what_is_damaged_removed_or_changed_outside(stubs):
    stubs.run()
    part = next(stubs.store.folder("cut", stubs.versions["cut"]).rglob("*.parquet"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-1])
    assert stubs.plan()["cut"].why.startswith("damaged: table cut")
    part.write_bytes(whole)
    shutil.rmtree(stubs.store.folder("weigh", stubs.versions["weigh"]))
    assert stubs.plan()["weigh"].why == "its folder was removed"
    stubs.listing = "listed again"
    assert stubs.plan()["pool"].why == "code, model or files changed"


def test_seconds_of_a_plan_are_those_of_the_last_computation(stubs):
    assert stubs.plan()["cut"].seconds is None
    stubs.run()
    manifest = stubs.store.manifest("cut", stubs.versions["cut"])
    assert stubs.plan()["cut"].seconds == manifest["seconds"] > 0
