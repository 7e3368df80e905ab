"""What Dagster shows of a stage that the settings do not need."""

import dataclasses
from types import SimpleNamespace

import dagster as dg
import pytest
from stub_stages import Stubs

from grip_assets.engine.declarations import Check
from grip_assets.orchestration import event_log, past
from grip_assets.orchestration.automation import unsynced_because
from grip_assets.orchestration.data_folder import Data
from grip_assets.orchestration.event_log import settings_key
from grip_assets.orchestration.settings_assets import settings_assets
from grip_assets.orchestration.stage_assets import stage_asset
from grip_assets.settings import validate

UNIFORM = "settings/selection.weight is uniform"
CHECK = Check("never_run", True, "There is no query of this name: it must not be asked for.")


@pytest.fixture(scope="module")
def materialized(tmp_path_factory):
    """The events of a run of the stubs in which ``sketch`` is not used."""
    root = tmp_path_factory.mktemp("unused")
    stubs = Stubs(root)
    stubs.stages["sketch"] = dataclasses.replace(stubs.stages["sketch"], checks=(CHECK,))
    with dg.DagsterInstance.ephemeral() as instance:
        values = validate("selection", {"weight": "uniform"}).model_dump(mode="json")
        said = dg.AssetMaterialization(settings_key("selection"), metadata={"values": values})
        instance.report_runless_asset_event(said)
        assets = [stage_asset(stage, stubs.stages) for stage in stubs.stages.values()]
        result = dg.materialize(assets, instance=instance, resources={"data": Data(root=str(root))})
        yield result, instance.get_run_by_id(result.run_id)


def test_an_unused_asset_says_so_and_its_run_succeeds(materialized):
    result, run = materialized
    (made,) = result.asset_materializations_for_node("sketch")
    assert made.metadata["not used"].value == "settings/selection.weight is uniform"
    assert made.metadata["dagster/row_count"].value == 0
    assert [column.name for column in made.metadata["dagster/column_schema"].value.columns] == ["n"]
    computed = run.tags["grip/computed"].split("; ")
    assert set(computed) == {"pool", "cut", "weigh", "pick"} and "grip/reused" not in run.tags


def test_the_checks_of_an_unused_asset_pass_and_say_that_nothing_was_looked_at(materialized):
    result, _ = materialized
    (found,) = result.get_asset_check_evaluations()
    assert found.check_name == "never_run" and found.passed
    assert found.metadata["not used"].value == "settings/selection.weight is uniform"


def test_an_asset_depends_on_the_settings_that_say_whether_it_is_used(tmp_path):
    stubs = Stubs(tmp_path)
    asset = stage_asset(stubs.stages["sketch"], stubs.stages)
    assert settings_key("selection") in asset.dependency_keys


@pytest.fixture
def stubs_in_dagster(tmp_path):
    """Runs of stub assets, and what the UI calls unsynced afterwards. ``sketch`` is used with selection.weight=density."""
    stubs = Stubs(tmp_path)
    assets = [stage_asset(stage, stubs.stages) for stage in stubs.stages.values()]
    groups = [asset for asset in settings_assets if asset.key.path[-1] in ("clustering", "budget", "selection")]
    definitions = dg.Definitions([*groups, *assets], resources={"data": Data(root=str(tmp_path))})
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr("grip_assets.orchestration.settings_assets.STAGES", stubs.stages)
        patch.setattr("grip_assets.orchestration.past.STAGES", stubs.stages)

        def run(*names: str, **changes: dict) -> set[str]:
            keys = [dg.AssetKey(name) for name in names] + [settings_key(group) for group in changes]
            selected = keys or [asset.key for asset in [*groups, *assets]]
            ops = {f"settings__{group}": {"config": values} for group, values in changes.items()}
            made = dg.materialize(
                [*groups, *assets], instance=instance, selection=selected, resources={"data": definitions.resources["data"]},
                run_config={"ops": ops},
            )  # fmt: skip
            assert made.success
            return {key.to_user_string() for key in unsynced_because(instance, definitions.resolve_asset_graph())}

        yield SimpleNamespace(stubs=stubs, instance=instance, run=run)


def test_an_unused_asset_is_never_unsynced(stubs_in_dagster):
    run, instance = stubs_in_dagster.run, stubs_in_dagster.instance
    run()
    assert run(selection={"weight": "uniform"}) == {"pick"}, "sketch is not used any more, and says so at once"
    record = event_log.records(instance, ["sketch"])["sketch"]
    assert record.metadata["not used"] == UNIFORM and record.metadata["changed"] == "- sketch: not used now"
    assert run() == set()
    before = event_log.records(instance, ["sketch"])["sketch"].version
    assert run(selection={"seed": 5}) == {"pick"}
    stubs_in_dagster.stubs.pool, stubs_in_dagster.stubs.listing = 2, "another pool"
    assert run("pool") == {"cut", "pick"}, "its input is another, and it does not read it"
    record = event_log.records(instance, ["sketch"])["sketch"]
    assert (
        record.version == before and record.metadata["changed"] == "nothing" and record.metadata["not used"] == UNIFORM
    )


def test_an_asset_that_is_used_as_before_does_not_mind_what_it_only_looks_at(stubs_in_dagster):
    run, instance = stubs_in_dagster.run, stubs_in_dagster.instance
    run()
    before = event_log.records(instance, ["sketch"])["sketch"]
    assert run(selection={"beta": 0.9}) == {"pick"}
    after = event_log.records(instance, ["sketch"])["sketch"]
    assert after.version == before.version and after.metadata["path"] == before.metadata["path"]
    stubs_in_dagster.stubs.pool, stubs_in_dagster.stubs.listing = 2, "another pool"
    assert run("pool") == {"cut", "sketch", "pick"}, "what it reads is another"


def test_an_asset_that_is_needed_again_is_unsynced(stubs_in_dagster):
    run = stubs_in_dagster.run
    run(selection={"weight": "uniform"})
    run()
    assert run(selection={"weight": "density"}) == {"sketch", "pick"}
    assert run(selection={"beta": 0.9}) == {"sketch", "pick"}, "and stays so until it is made"
    assert run() == set()


def test_an_input_that_is_made_again_and_is_the_same_touches_nothing(stubs_in_dagster):
    run, instance = stubs_in_dagster.run, stubs_in_dagster.instance
    run(selection={"weight": "uniform"})
    run()
    before = len(list(past.events(instance, dg.AssetKey("sketch"))))
    run("pool", selection={"weight": "uniform"})
    assert len(list(past.events(instance, dg.AssetKey("sketch")))) == before


def test_a_run_of_all_assets_puts_each_in_force_once(stubs_in_dagster):
    run, instance = stubs_in_dagster.run, stubs_in_dagster.instance
    run()
    stubs_in_dagster.stubs.pool, stubs_in_dagster.stubs.listing = 2, "another pool"
    run(*stubs_in_dagster.stubs.stages, selection={"weight": "uniform"})
    assert len(list(past.events(instance, dg.AssetKey("sketch")))) == 2


def test_what_goes_back_leaves_unused_assets_synced(stubs_in_dagster, monkeypatch):
    run, instance = stubs_in_dagster.run, stubs_in_dagster.instance
    monkeypatch.setattr("grip_assets.orchestration.past.data_root", lambda: stubs_in_dagster.stubs.store.root)
    run(selection={"weight": "uniform"})
    run()
    run(selection={"seed": 5})
    past.undo(instance)
    assert run("pool") == set()
