"""What Dagster loads: assets, checks, jobs, schedules, sensors, resources. Nothing else.

Loading it imports neither torch nor transformers.
"""

from typing import Any

import dagster as dg

from grip_assets.orchestration.artifact_changes import settings_of_subset
from grip_assets.orchestration.console import console
from grip_assets.orchestration.data_folder import Data
from grip_assets.orchestration.event_log import settings_key
from grip_assets.orchestration.page_asset import report
from grip_assets.orchestration.settings_assets import example, fields, settings_assets
from grip_assets.orchestration.stage_assets import stage_asset
from grip_assets.orchestration.triggers import new_checkpoint, new_documents, schedules
from grip_assets.runtime import variables
from grip_assets.runtime.notices import warn_once
from grip_assets.settings import GROUPS
from grip_assets.settings.changes import run_config
from grip_assets.stages import STAGES

evaluation = dg.AssetSelection.groups("evaluation")
curated = dg.AssetSelection.all() - evaluation
curate = dg.define_asset_job(
    "curate",
    selection=curated,
    description="Bring every asset up to date but the evaluation. What is there already is reused.",
)
evaluate = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.groups("settings", "curation", "evaluation"),
    description="Curate, train small models on what each strategy selects, and say whether the difference is there."
    " A model that was trained is not trained again.",
)


def change(group: str) -> Any:
    """The job of one settings group, with its fields as the form; its run is that group and exactly what depends on
    it, the evaluation aside."""
    below = dg.AssetSelection.assets(settings_key(group)).downstream()
    form = dg.ConfigMapping(config_schema=fields(group), config_fn=lambda given: run_config({group: given}))
    return dg.define_asset_job(
        f"change_{group}",
        selection=below if group == "evaluation" else below - evaluation,
        config=form,
        description=f"Change fields of settings/{group}, and recompute what depends on them. Name only the fields to"
        f" change, for example `{example(group)}`; the others keep their values. The values in force, and a form filled"
        f" with them, are on the page of the asset [settings/{group}](/assets/settings/{group}).",
    )


changes = {group: change(group) for group in GROUPS}
TOLD: dict[str, Any] = {"loggers": {"console": {"config": {}}}}  # what the command line prints of a run

rollback = dg.define_asset_job(
    "rollback",
    selection=curated,
    config=dg.ConfigMapping(
        config_schema={"subset": dg.Field(str, description="Version of an earlier subset; `grip history` lists them.")},
        config_fn=lambda given: TOLD | run_config(settings_of_subset(Data().store(), given["subset"])),
    ),
    description="Settings of an earlier subset become the settings in force. What is there already is reused, so"
    " nothing is computed again as long as its artifacts are.",
)


def executor() -> dg.ExecutorDefinition:
    """One process for all steps, or with ``GRIP_EXECUTOR=multiprocess`` one a step: memory of a stage goes back when
    it ends, and judge and proxy run side by side. Processes are forked from a server that has loaded what every stage
    needs; models are loaded by the stage that computes with them."""
    if wrong := variables.problem("GRIP_EXECUTOR"):
        warn_once(f"All steps run in one process: {wrong}")
    if wrong or variables.value("GRIP_EXECUTOR") != "multiprocess":
        return dg.in_process_executor  # one process a step costs more than most steps; heavy ones use all cores inside
    preload = ["grip_assets.definitions", "duckdb", "polars", "pyarrow.parquet", "numpy"]
    return dg.multiprocess_executor.configured({"start_method": {"forkserver": {"preload_modules": preload}}})


def curate_job() -> dg.JobDefinition:
    """Where a process of its own finds the job."""
    return defs.resolve_job_def("curate")


def rollback_job() -> dg.JobDefinition:
    return defs.resolve_job_def("rollback")


def evaluate_job() -> dg.JobDefinition:
    return defs.resolve_job_def("evaluate")


defs = dg.Definitions(
    assets=[*settings_assets, *(stage_asset(stage, STAGES) for stage in STAGES.values()), report],
    jobs=[curate, evaluate, *changes.values(), rollback],
    schedules=schedules(curate),
    sensors=[
        new_documents(curate),
        new_checkpoint(changes["adaptation"]),
        dg.AutomationConditionSensorDefinition(
            "recompute_on_change",
            target=dg.AssetSelection.groups("curation", "reports"),
            minimum_interval_seconds=30,
            description="Recomputes what is unsynced: when a setting or an input of an asset has changed, runs that"
            " asset and what follows from it. An asset whose run failed waits for the next change; the evaluation is"
            " never run by itself.",
            use_user_code_server=True,  # custom conditions are evaluated where their code is
        ),
    ],
    resources={"data": Data()},
    executor=executor(),
    loggers={"console": console},
)
