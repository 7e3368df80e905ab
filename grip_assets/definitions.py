"""The Dagster definitions: assets, checks, jobs, schedules, sensors and resources.

Loading this module imports neither torch nor transformers.
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
    description="Bring every asset up to date, except the evaluation. Existing artifacts are reused.",
)
evaluate = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.groups("settings", "curation", "mixing", "attribution", "evaluation"),
    description="Curate, train small models on the subset of each strategy, and say whether the strategies differ."
    " Trained models are reused.",
)


def change(group: str) -> Any:
    """The job ``change_<group>``. Its Launchpad form has the fields of the settings group.

    It runs the group and the assets that depend on it. Only the group ``evaluation`` runs assets of the evaluation.
    """
    below = dg.AssetSelection.assets(settings_key(group)).downstream()
    form = dg.ConfigMapping(config_schema=fields(group), config_fn=lambda given: run_config({group: given}))
    return dg.define_asset_job(
        f"change_{group}",
        selection=below if group == "evaluation" else below - evaluation,
        config=form,
        description=f"Change fields of settings/{group}, and recompute the assets that depend on them. Name only the"
        f" fields to change, for example `{example(group)}`; the others keep their values. The page of the asset"
        f" [settings/{group}](/assets/settings/{group}) shows the values in force, and links to a form filled with"
        " them.",
    )


changes = {group: change(group) for group in GROUPS}
TOLD: dict[str, Any] = {"loggers": {"console": {"config": {}}}}  # the run's log lines on the terminal

rollback = dg.define_asset_job(
    "rollback",
    selection=curated,
    config=dg.ConfigMapping(
        config_schema={"subset": dg.Field(str, description="Version of an earlier subset; `grip history` lists them.")},
        config_fn=lambda given: TOLD | run_config(settings_of_subset(Data().store(), given["subset"])),
    ),
    description="Put the settings of an earlier subset in force again. As long as its artifacts are on the disk,"
    " nothing is computed again.",
)


def executor() -> dg.ExecutorDefinition:
    """One process for all steps, or one process per step with ``GRIP_EXECUTOR=multiprocess``.

    With one process per step, a stage's memory is freed when it ends, and judge and proxy run at the same time. The
    processes are forked from a server that has the common modules loaded. A stage loads its models itself.
    """
    if wrong := variables.problem("GRIP_EXECUTOR"):
        warn_once(f"All steps run in one process: {wrong}")
    if wrong or variables.value("GRIP_EXECUTOR") != "multiprocess":
        return dg.in_process_executor  # starting a process takes longer than most steps; heavy steps use all cores
    preload = ["grip_assets.definitions", "duckdb", "polars", "pyarrow.parquet", "numpy"]
    return dg.multiprocess_executor.configured({"start_method": {"forkserver": {"preload_modules": preload}}})


def curate_job() -> dg.JobDefinition:
    """The job ``curate``. It is a function of a module, so that another process can find the job too."""
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
            target=dg.AssetSelection.groups("curation", "mixing", "attribution", "reports"),
            minimum_interval_seconds=30,
            description="When a setting or an input of an asset has changed, recomputes that asset and the assets that"
            " depend on it. An asset whose run failed waits for the next change. The evaluation is never run"
            " automatically.",
            use_user_code_server=True,  # custom conditions are evaluated where their code is
        ),
    ],
    resources={"data": Data()},
    executor=executor(),
    loggers={"console": console},
)
