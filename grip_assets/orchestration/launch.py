"""Runs that the command line starts, in this process, as runs of the jobs in the UI.

To list a run under its job, the UI needs the job's origin: the code location and its repository. Dagster's own ways to
run a job in a process leave the origin out. So this module creates the run with its origin and then executes it.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from grip_assets.orchestration import engines

LOCATION, MODULE = "grip_assets", "grip_assets.definitions"  # as in workspace.yaml and pyproject.toml


def launch(
    instance: dg.DagsterInstance,
    find_job: Callable[[], dg.JobDefinition],
    config: Mapping[str, Any],
    tags: Mapping[str, str],
    only: list[dg.AssetKey] | None = None,
) -> dg.JobExecutionResult:
    """Run a job to its end. Failures are in the result and are not raised.

    ``find_job``: a function of a module, so that another process can find the job too. ``only``: the assets to run
    (None: all).
    """
    job = dg.reconstructable(find_job)
    run = instance.create_run_for_job(
        job.get_definition(),
        run_config=config,
        tags={**job.get_definition().run_tags, **tags},
        asset_selection=frozenset(only) if only else None,
        remote_job_origin=origin(job.get_definition().name),
        job_code_origin=job.get_python_origin(),
    )
    try:
        return execute_run(job, run, instance)
    finally:
        engines.flush(instance)


def origin(job: str) -> RemoteJobOrigin:
    """The job's code location and repository, as the UI knows them."""
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=MODULE)
    place = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(place, SINGLETON_REPOSITORY_NAME), job)
