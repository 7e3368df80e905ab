"""What Dagster shows of a stage that the settings do not need."""

import dataclasses

import dagster as dg
import pytest
from stub_stages import Stubs

from grip_assets.engine.declarations import Check
from grip_assets.orchestration.data_folder import Data
from grip_assets.orchestration.event_log import settings_key
from grip_assets.orchestration.stage_assets import stage_asset
from grip_assets.settings import validate

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
