"""What a user does: curate, plan, status. The command line calls this; the UI does the same by its jobs."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import yaml

from grip_assets import ledger, recompute
from grip_assets.assets import CURATED, STAGES
from grip_assets.assets.settings import run_config
from grip_assets.assets.trainings import device_must_be_there
from grip_assets.automation import unsynced_because
from grip_assets.errors import GripError
from grip_assets.launch import launch
from grip_assets.profiles import Changes
from grip_assets.report.changes import settings_of_subset
from grip_assets.settings import GROUPS, Corpus, Evaluation, Group, Quality, group_type, nearest, validate
from grip_assets.store.artifacts import REPOSITORY, ArtifactStore, data_root


def open_instance() -> dg.DagsterInstance:
    """The instance of ``DAGSTER_HOME`` (default ``dagster_home``; a relative one is relative to the repository)."""
    home = (REPOSITORY / (os.environ.get("DAGSTER_HOME") or "dagster_home")).resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():  # otherwise Dagster sends telemetry and keeps its defaults
        shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", home)
    os.environ["DAGSTER_HOME"] = str(home)
    return dg.DagsterInstance.get()


def read_assignments(assignments: list[str]) -> Changes:
    """``group.field=value`` (value as YAML: numbers, null, lists), by group; GripError names what is wrong."""
    changes: Changes = {}
    for assignment in assignments:
        target, equals, value = assignment.partition("=")
        group, dot, name = target.partition(".")
        if not (equals and dot):
            raise GripError(f"'{assignment}' is not of the form group.field=value, for example budget.tau=0.7")
        if name not in group_type(group).model_fields:
            known = group_type(group).model_fields
            raise GripError(f"settings/{group} has no field '{name}'. {nearest(name, known)}")
        changes.setdefault(group, {})[name] = yaml.safe_load(value)
    return changes


def merge(*layers: Changes) -> Changes:
    """Later layers win, field by field."""
    merged: Changes = {}
    for layer in layers:
        for group, values in layer.items():
            merged.setdefault(group, {}).update(values)
    return merged


def after(instance: dg.DagsterInstance, changes: Changes) -> dict[str, Group]:
    """Settings in force with ``changes`` made; GripError for a value that is refused."""
    settings = ledger.settings_in_force(instance)
    return {g: validate(g, values.model_dump() | changes.get(g, {})) for g, values in settings.items()}


def plan(instance: dg.DagsterInstance, changes: Changes) -> list[recompute.Step]:
    versions = ledger.versions_in_force(instance, CURATED)
    return recompute.plan(CURATED, after(instance, changes), versions, ArtifactStore(data_root()))


@dataclass(frozen=True)
class Run:
    """``reused`` and ``computed``: stages, in pipeline order."""

    run_id: str
    computed: list[str]
    reused: list[str]


def curate(instance: dg.DagsterInstance, changes: Changes) -> Run:
    """Make the changes and bring every asset up to date, but the evaluation."""
    from grip_assets.definitions import curate_job  # after DAGSTER_HOME and GRIP_DATA are known

    return _run(instance, curate_job, changes, None)


def rollback(instance: dg.DagsterInstance, subset: str) -> Run:
    """Make the settings of an earlier subset (its version, or the beginning of it) those in force."""
    from grip_assets.definitions import rollback_job

    changes = settings_of_subset(ArtifactStore(data_root()), subset)
    return _run(instance, rollback_job, changes, None, {"subset": subset})


def evaluate(instance: dg.DagsterInstance, changes: Changes, only: Sequence[str]) -> Run:
    """Make the changes, curate, and bring these assets of the evaluation up to date, and what they need."""
    from grip_assets.definitions import defs, evaluate_job

    settings = after(instance, changes)
    corpus, evaluation = Corpus.of(settings), Evaluation.of(settings)
    device_must_be_there(evaluation)
    if not corpus.held_out:
        raise GripError(
            "settings/corpus.held_out is 0, so there is nothing that the evaluation could measure with. Add --set"
            " corpus.held_out=0.05: a twentieth of the projects is set aside, and the pool is curated without them."
        )
    unknown = [name for name in only if name not in STAGES or name in CURATED]
    if unknown:
        known = {name: stage for name, stage in STAGES.items() if name not in CURATED}
        raise GripError(f"There is no asset '{unknown[0]}' in the evaluation. {nearest(unknown[0], known)}")
    wanted = dg.AssetSelection.groups("settings", "curation") | dg.AssetSelection.assets(*only).upstream()
    return _run(instance, evaluate_job, changes, list(wanted.resolve(defs.resolve_asset_graph())))


def _run(
    instance: dg.DagsterInstance,
    find_job: Callable[[], dg.JobDefinition],
    changes: Changes,
    only: list[dg.AssetKey] | None,
    form: dict[str, Any] | None = None,
) -> Run:
    """``form`` is the job's own Launchpad form, where it has one.

    The plan is made first, so a path or a model that is not there is refused before any setting is changed."""
    ledger.close_runs_of_dead_processes(instance)
    settings = after(instance, changes)
    _judge_is_ready(Quality.of(settings), plan(instance, changes))
    config: dict[str, Any] = {"loggers": {"console": {"config": {}}}}
    if changes:
        # As validated: what was written '1e-3' is a number now.
        values = {group: settings[group].model_dump(mode="json") for group in changes}
        config |= run_config({group: {name: values[group][name] for name in changes[group]} for group in changes})
    return _outcome(launch(instance, find_job, form or config, ledger.process_tags(), only))


def _outcome(result: dg.JobExecutionResult) -> Run:
    if not result.success:
        raise GripError(_first_failure(result))
    seen: list[Any] = [
        *(e.step_materialization_data.materialization for e in result.get_asset_materialization_events()),
        *(e.asset_observation_data.asset_observation for e in result.get_asset_observation_events()),
    ]
    by_asset = {said.asset_key.path[0]: said.metadata for said in seen}
    reused = {stage: by_asset[stage]["reused"].value for stage in STAGES if stage in by_asset}
    made = [stage for stage in STAGES if stage in reused]
    return Run(result.run_id, [s for s in made if not reused[s]], [s for s in made if reused[s]])


def _judge_is_ready(quality: Quality, steps: list[recompute.Step]) -> None:
    """A missing key is better said before an hour of embedding than after it."""
    if quality.judge == "llm" and any(s.action == "compute" for s in steps if s.asset == "quality_scores"):
        from grip_assets.models.judge import judge_for
        from grip_assets.models.llm.endpoint import endpoint

        endpoint()
        with judge_for(quality, data_root(), "", print):
            pass


def _first_failure(result: dg.JobExecutionResult) -> str:
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            cause = error.cause or error
            step = (event.step_key or "").replace("__", "/")
            if cause.cls_name == "DagsterExecutionInterruptedError":
                raise KeyboardInterrupt
            said = event.step_failure_data.user_failure_data
            if said is not None:
                return f"{step}: {said.description}"
            return f"{step} failed: {cause.to_string()}\nRun {result.run_id} has the log (make ui, Runs)."
    return f"Run {result.run_id} did not finish; its log has the reason (make ui, Runs)."


@dataclass(frozen=True)
class AssetStatus:
    """``because``: why it is unsynced; empty where it is fresh."""

    asset: str
    version: str | None
    materialized_at: float | None
    run_id: str | None
    because: list[str]


def status(instance: dg.DagsterInstance) -> list[AssetStatus]:
    """Every asset, settings first, in pipeline order; of the evaluation what was made once."""
    from grip_assets.definitions import defs

    because = unsynced_because(instance, defs.resolve_asset_graph())
    keys = [ledger.settings_key(group) for group in GROUPS]
    keys += [dg.AssetKey(name) for name in (*CURATED, "report", *STAGES)]
    latest = ledger.latest(instance, keys)
    found = []
    for key in dict.fromkeys(keys):
        record = latest.get(key)
        if record is None and key.path[0] in STAGES and key.path[0] not in CURATED:
            continue  # an evaluation that nobody asked for is no gap
        version, when, run = (record.version, record.timestamp, record.run_id) if record else (None, None, None)
        found.append(AssetStatus(key.to_user_string(), version, when, run, because.get(key, [])))
    return found
