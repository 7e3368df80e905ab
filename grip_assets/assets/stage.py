"""One factory turns a stage into a Dagster asset: versioned, reused where it is there, checked as it is made."""

import time
from collections.abc import Mapping
from functools import partial

import dagster as dg

from grip_assets import checks, ledger
from grip_assets.assets.data import Data
from grip_assets.automation import on_change
from grip_assets.errors import GripError
from grip_assets.recompute import Made, Stage, make
from grip_assets.report.inspect import inspect
from grip_assets.report.metadata import metadata
from grip_assets.store.catalog import rebuild


def stage_asset(stage: Stage, stages: Mapping[str, Stage]) -> dg.AssetsDefinition:
    """The asset of ``stage``. Its data version is the recipe, so the UI knows what is unsynced and why."""
    deps = [dg.AssetKey(name) for name in stage.inputs] + [ledger.settings_key(group) for group in stage.reads]

    @dg.asset(
        name=stage.name,
        deps=deps,
        group_name=stage.group,
        kinds={"parquet", "duckdb"},
        owners=["team:grip"],
        description=stage.description,
        code_version=stage.code_version,
        automation_condition=None if stage.on_request else on_change,
        check_specs=checks.specs(stage.name),
    )
    def _asset(context: dg.AssetExecutionContext, data: Data) -> dg.MaterializeResult:
        store = data.store()
        settings = ledger.settings_in_force(context.instance)
        made = make(
            stage,
            stages,
            settings,
            _input_versions(context.instance, stage),
            store,
            context.log.info,
            context.run_id,
            partial(inspect, stages=stages),
        )
        in_force = ledger.records(context.instance, stages) | {stage.name: _current(made, context.run_id)}
        rebuild(store, stages, settings, in_force)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(made.version),
            metadata=metadata(made, store),
            check_results=checks.results(stage.name, made.manifest["checks"]),
        )

    return _asset


def _input_versions(instance: dg.DagsterInstance, stage: Stage) -> dict[str, str]:
    keys = [dg.AssetKey(name) for name in stage.inputs] + [ledger.settings_key(group) for group in stage.reads]
    found = ledger.latest(instance, keys)
    missing = [key.to_user_string() for key in keys if key not in found]
    if missing:
        raise GripError(f"{stage.name} needs {', '.join(missing)}. Materialize {missing[0]} first, or run `curate`.")
    return {name: found[dg.AssetKey(name)].version for name in stage.inputs}


def _current(made: Made, run_id: str) -> ledger.Record:
    """This run's materialization, which the event log does not have yet."""
    return ledger.Record(made.version, run_id, time.time(), {"reused": made.reused})
