"""A stage that gains an input, or a group of settings, keeps its artifacts where the settings do not need it."""

import dataclasses

import pytest
from stub_stages import Stubs, _sketch_unused

from grip_assets.engine.make import versions_under
from grip_assets.orchestration.artifact_changes import causes
from grip_assets.settings import Selection, validate

ALL = ["pool", "cut", "weigh", "sketch", "pick"]


def gains(stubs: Stubs) -> None:
    """``weigh``, which read cut alone, reads ``sketch`` and settings/selection too if the weight is not uniform."""
    weigh = stubs.stages["weigh"]
    stubs.stages["weigh"] = dataclasses.replace(
        weigh,
        inputs=(*weigh.inputs, "sketch"),
        reads={**weigh.reads, "selection": ("weight",)},
        left_out={"sketch": _sketch_unused, "selection": _sketch_unused},
        compute=lambda work: computed(stubs, work),
    )
    stubs.stages["sketch"] = stubs.stages.pop("sketch")
    stubs.stages = {name: stubs.stages[name] for name in ("pool", "cut", "sketch", "weigh", "pick")}


def computed(stubs: Stubs, work) -> dict:
    stubs.computed.append(work.stage.name)
    work.draft.write(work.stage.name, work.frame("cut"))
    return {"inputs": sorted(work.inputs)}


@pytest.fixture
def older(tmp_path) -> Stubs:
    """A data folder that was made before ``weigh`` had the input and the group."""
    stubs = Stubs(tmp_path)
    stubs.set("selection", weight="uniform")
    assert stubs.run() == ["pool", "cut", "weigh", "pick"]
    gains(stubs)
    return stubs


def test_an_artifact_of_before_keeps_its_name_and_is_reused(older):
    before = dict(older.versions)
    assert {step.action for name, step in older.plan().items() if name != "sketch"} == {"reuse"}
    assert older.run() == [] and older.versions == before
    assert list(older.store.manifest("weigh", before["weigh"])["inputs"]) == ["cut"]


def test_other_settings_of_the_group_and_another_unused_input_change_nothing(older):
    older.set("selection", seed=5)
    sketch = older.stages["sketch"]
    older.stages["sketch"] = dataclasses.replace(sketch, code_version="2")
    before = older.versions["weigh"]
    assert older.run() == ["pick"] and older.versions["weigh"] == before, "pick reads it in any case"


def test_what_is_left_out_is_in_no_manifest_and_no_work(older):
    older.set("budget", tau=0.7)
    older.run()
    manifest = older.store.manifest("weigh", older.versions["weigh"])
    assert manifest["metrics"] == {"inputs": ["cut"]} and set(manifest["inputs"]) == {"cut"}
    assert set(manifest["settings"]) == {"budget"}


def test_settings_that_need_it_compute_it_and_the_reasons_are_said(older):
    before = older.versions["weigh"]
    older.set("selection", weight="density")
    steps = older.plan()
    assert (steps["sketch"].action, steps["weigh"].action) == ("compute", "compute")
    assert "sketch changes" in steps["weigh"].why
    assert older.run() == ["sketch", "weigh", "pick"]
    after = older.versions["weigh"]
    manifest = older.store.manifest("weigh", after)
    assert manifest["metrics"] == {"inputs": ["cut", "sketch"]} and set(manifest["settings"]) == {"budget", "selection"}
    assert causes(before, after, older.stages["weigh"], older.stages, older.store)
    older.set("selection", weight="uniform")
    assert older.run() == [] and older.versions["weigh"] == before, "going back costs nothing"
    assert causes(after, before, older.stages["weigh"], older.stages, older.store)


def test_a_report_makes_an_input_that_only_the_other_settings_need(older):
    """``pick`` compares with settings that need ``sketch``, which those in force do not need."""
    found = {}

    def compares(work):
        other = {**work.settings, "selection": validate("selection", {"weight": "density"})}
        found.update(versions_under(other, work))
        work.draft.write("pick", work.frame("cut"))
        return {}

    older.run()
    older.stages["pick"] = dataclasses.replace(older.stages["pick"], compute=compares, code_version="2")
    older.computed.clear()
    older.run()
    assert older.computed == ["sketch", "weigh"] and Selection.of(older.settings).weight == "uniform"
    assert older.store.manifest("weigh", found["weigh"])["inputs"]["sketch"] == found["sketch"]
