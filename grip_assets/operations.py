"""The operations of a user: curate, plan, status and others.

The command line calls them. The UI does the same with its jobs.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from grip_assets.engine import plan as planning
from grip_assets.engine.in_force import Run
from grip_assets.engine.plan import Step
from grip_assets.engine.stage import Stage, turned_since
from grip_assets.errors import GripError
from grip_assets.judges.choose import judge_for
from grip_assets.method.budget.allocation import capacities, resolve_total
from grip_assets.method.partition.base import choose_k
from grip_assets.orchestration import engines, event_log, kept_partition, past
from grip_assets.orchestration.artifact_changes import settings_of_subset
from grip_assets.orchestration.automation import unsynced_because
from grip_assets.orchestration.data_folder import Data
from grip_assets.orchestration.home import belong_together, bind, make_home, may_write, must_write, readers_copy
from grip_assets.orchestration.launch import launch
from grip_assets.orchestration.triggers import GOING_ON
from grip_assets.profiles import IN_FORCE
from grip_assets.runtime import device
from grip_assets.runtime.folders import data_address
from grip_assets.settings import GROUPS, Budget, Clustering, Corpus, Evaluation, Group, Quality, nearest
from grip_assets.settings.assignments import read_assignments as read_assignments
from grip_assets.settings.changes import Changes, changed, run_config
from grip_assets.settings.places import placed
from grip_assets.stages import CURATED, STAGES, costs
from grip_assets.stages.evaluation import forecast as evaluation_forecast
from grip_assets.stages.evaluation.strategies import strategy
from grip_assets.stages.evaluation.trainings import DEVICE
from grip_assets.stages.reports.balance import Sweep, sweep
from grip_assets.store import catalog, cleaning
from grip_assets.store.artifacts import ArtifactStore, data_root

NO_TAGS: Mapping[str, str] = {}
INTERRUPTED = "DagsterExecutionInterruptedError"  # what Dagster raises in a step on SIGINT
BACK_TO = "grip/back_to"  # run tag of a rollback: the version of the earlier subset


def open_instance() -> dg.DagsterInstance:
    """The instance of ``DAGSTER_HOME`` (see home.py). GripError if it belongs to another data folder."""
    home = make_home()
    if not may_write(home):
        return _to_read(home)
    instance = dg.DagsterInstance.from_config(str(home))
    engines.keep(instance)
    belong_together(instance, home)
    return instance


def bring_catalog_up_to_date() -> None:
    """Rebuild the catalog if it is outdated, because a run was killed or is in progress.

    For a user who may only read, the catalog stays as the last run wrote it.
    """
    can_write = data_address() or os.access(data_root(), os.W_OK)  # a cache is made when it is needed
    if catalog.is_outdated(data_root()) and can_write and may_write(make_home()):
        with open_instance() as instance:
            Data().show(instance)


def _to_read(home: Path) -> dg.DagsterInstance:
    """The instance for a user who may only read. It uses a copy, which is removed when the instance is closed."""
    copies = ExitStack()
    instance = dg.DagsterInstance.from_config(str(copies.enter_context(readers_copy(home))))
    copies.callback(instance.dispose)
    instance.dispose = copies.close  # type: ignore[method-assign]
    belong_together(instance, home)
    return instance


def settings_after(instance: dg.DagsterInstance, changes: Changes) -> dict[str, Group]:
    """The settings in force after ``changes``. GripError for a value that is refused.

    Some settings describe a pool, such as its columns and its title. If ``changes`` name another pool, these settings
    take the values that they last had with that pool, or the defaults.
    """
    settings, changes = event_log.settings_in_force(instance), placed(changes)
    if "corpus" in changes:
        changes = changes | {"corpus": past.for_pool(instance, Corpus.of(settings), changes["corpus"])}
    if "clustering" in changes:
        store = ArtifactStore(data_root())
        changes = changes | {"clustering": kept_partition.named(instance, changes["clustering"], store)}
    return changed(settings, changes)


def plan(instance: dg.DagsterInstance, changes: Changes) -> list[Step]:
    """The steps of a run with ``changes``. GripError for all that can be refused before the run."""
    return _steps(instance, settings_after(instance, changes))


def _steps(instance: dg.DagsterInstance, settings: dict[str, Group]) -> list[Step]:
    versions, store = event_log.versions_in_force(instance, CURATED), ArtifactStore(data_root())
    steps = planning.plan(CURATED, settings, versions, store)
    _fits_the_pool(settings, steps, store)
    return steps


def forecast(instance: dg.DagsterInstance, changes: Changes) -> tuple[list[Step], costs.Forecast]:
    """The steps of a run with ``changes``, and their expected time and disk space."""
    settings = settings_after(instance, changes)
    steps = _steps(instance, settings)
    records = event_log.records(instance, ["report"])
    return steps, costs.forecast(steps, CURATED, settings, ArtifactStore(data_root()), records)


def forecast_of_evaluation(
    instance: dg.DagsterInstance, changes: Changes
) -> tuple[evaluation_forecast.Spread, evaluation_forecast.Trainings, float, dict[str, Group]]:
    """What an evaluation with ``changes`` would take: the spread seen, the trainings, and the seconds before them."""
    settings, store = settings_after(instance, changes), ArtifactStore(data_root())
    evaluation = Evaluation.of(settings)
    versions = event_log.versions_in_force(instance, CURATED)
    everything = [settings, *(strategy(name, settings).settings for name in evaluation.selecting if name != IN_FORCE)]
    seconds: dict[tuple[str, str], float] = {}
    for some in everything:
        steps = planning.plan(CURATED, some, versions, store)
        for cost in costs.forecast(steps, CURATED, some, store, {}).to_compute:
            known = cost.asset in CURATED and some is not settings
            if known and CURATED[cost.asset].group == "reports":
                continue  # only the settings in force are reported
            of = json.dumps(CURATED[cost.asset].values(some), default=str) if cost.asset in CURATED else ""
            seconds[cost.asset, of] = cost.seconds
    before = sum(seconds.values()) + evaluation_forecast.SELECTING * len(everything)
    models = evaluation_forecast.trainings_of(evaluation, store)
    return evaluation_forecast.spread_seen(store), models, before, settings


def balance(instance: dg.DagsterInstance, lambdas: list[float], log: Callable[[str], None]) -> Sweep:
    """GEM with each of ``lambdas`` on the embeddings in force. Nothing is stored. GripError if there are none."""
    versions = event_log.versions_in_force(instance, ["corpus", "embeddings"])
    store = ArtifactStore(data_root())
    if lacking := [name for name in ("corpus", "embeddings") if not store.has(name, versions.get(name, ""))]:
        raise GripError(f"There are no {lacking[-1]} in {store.root} yet. Run `grip curate` first.")
    embeddings, corpus = (store.parquet(name, versions[name], name) for name in ("embeddings", "corpus"))
    return sweep(embeddings, corpus, event_log.settings_in_force(instance), lambdas, log)


def clean(instance: dg.DagsterInstance, keep: int, remove: bool) -> list[cleaning.Removable]:
    """Find the artifacts that neither the assets in force nor the ``keep`` latest subsets need.

    ``remove``: also remove them. This raises GripError during a run, since the run's artifacts are not in force yet.
    """
    if remove:
        must_write()
        event_log.close_runs_of_dead_processes(instance)
    data = Data()
    with data.alone() if remove else nullcontext():
        if remove and (runs := instance.get_runs(dg.RunsFilter(statuses=GOING_ON), limit=1)):
            raise GripError(f"Run {runs[0].run_id} is going on. Wait for its end: its artifacts are not in force yet.")
        store = data.store()
        partition = Clustering.of(event_log.settings_in_force(instance)).keep
        also = [("partition", partition)] if partition else []
        found = cleaning.removable(store, event_log.versions_in_force(instance, STAGES), keep, also)
        if remove:
            cleaning.remove(store, found)
    if remove and found:
        data.show(instance)
    return found


def _fits_the_pool(settings: dict[str, Group], steps: list[Step], store: ArtifactStore) -> None:
    """GripError if the number of clusters or the budget does not fit the pool. A pool that was never read passes."""
    version = next((step.version for step in steps if step.asset == "corpus"), None)
    if version is None or not store.knows("corpus", version):
        return  # the size of a new pool is not known: the stages check it
    manifest, budget = store.manifest("corpus", version), Budget.of(settings)
    documents, tokens = manifest["tables"]["corpus"]["rows"], manifest["metrics"]["tokens"]
    clustering = Clustering.of(settings)
    if clustering.method == "kmeans" and not clustering.keep:
        choose_k(documents, clustering.k)
    available = tokens if budget.unit == "tokens" else documents
    capacities(np.array([available]), resolve_total(budget.total, available), budget.overflow, budget.max_repeats)


class Stopped(KeyboardInterrupt):
    """Somebody interrupted a run. The message says which settings are in force now."""


def curate(instance: dg.DagsterInstance, changes: Changes, tags: Mapping[str, str] = NO_TAGS) -> Run:
    """Make the changes and bring every asset up to date, except the evaluation. ``tags``: added to the run's tags."""
    from grip_assets.definitions import curate_job  # reads DAGSTER_HOME and GRIP_DATA, which must be set before

    return _run(instance, curate_job, changes, None, tags)


def rollback(instance: dg.DagsterInstance, subset: str) -> Run:
    """Put the settings of an earlier subset in force. ``subset``: its whole version."""
    from grip_assets.definitions import rollback_job

    changes = settings_of_subset(ArtifactStore(data_root()), subset)
    return _run(instance, rollback_job, changes, None, {BACK_TO: subset}, {"subset": subset})


def evaluate(
    instance: dg.DagsterInstance, changes: Changes, only: Sequence[str], tags: Mapping[str, str] = NO_TAGS
) -> Run:
    """Make the changes, curate, and bring these assets of the evaluation, and their inputs, up to date."""
    from grip_assets.definitions import defs, evaluate_job

    settings = settings_after(instance, changes)
    unknown = [name for name in only if name not in STAGES or name in CURATED]
    if unknown:
        known = {name: stage for name, stage in STAGES.items() if name not in CURATED}
        raise GripError(f"There is no asset '{unknown[0]}' in the evaluation. {nearest(unknown[0], known)}")
    for name in only:
        if reason := STAGES[name].why_unused(settings):
            raise GripError(f"{name} measures nothing with these settings: {reason}. Change this, and run it again.")
    needed = dg.AssetSelection.groups("settings", "curation", "mixing", "attribution")
    wanted = needed | dg.AssetSelection.assets(*only).upstream()
    assets = wanted.resolve(defs.resolve_asset_graph())
    device.must_be_there(device.for_training(Evaluation.of(settings).device), DEVICE)
    if dg.AssetKey("evaluation_set") in assets and not Corpus.of(settings).held_out:
        raise GripError(
            "settings/corpus.held_out is 0, so the evaluation has no held-out documents to measure the loss on. Add"
            " --set corpus.held_out=0.05: a twentieth of the projects is set aside, and the pool is curated without"
            " them."
        )
    run = _run(instance, evaluate_job, changes, list(assets), tags)
    _show_on_the_page(instance)
    return run


def _show_on_the_page(instance: dg.DagsterInstance) -> None:
    """Write the report again if there is one: it shows the evaluation too, and no curation followed."""
    from grip_assets.orchestration.page_asset import CODE_VERSION
    from grip_assets.report.page.write import page_path, write  # plotly

    store = ArtifactStore(data_root())
    if page_path(store.root).is_file():
        records, settings = event_log.in_force(instance, CURATED)
        write(store, {name: record.version for name, record in records.items()}, settings, CODE_VERSION)


def _run(
    instance: dg.DagsterInstance,
    find_job: Callable[[], dg.JobDefinition],
    changes: Changes,
    only: list[dg.AssetKey] | None,
    tags: Mapping[str, str],
    form: dict[str, Any] | None = None,
) -> Run:
    """Launch the job and return its outcome. ``form``: the job's own Launchpad form, if it has one.

    The plan is made first, so that a missing path or model is refused before any setting is changed.
    """
    must_write()
    for run in event_log.close_runs_of_dead_processes(instance):
        print(f"run {run} ended without finishing. {_stays(instance, run)}", file=sys.stderr)
    settings = settings_after(instance, changes)
    steps = _steps(instance, settings)
    _judge_is_ready(Quality.of(settings), steps)
    if only is None and (there := _nothing_to_do(instance, settings, steps)):
        return there
    bind(instance, make_home())
    config: dict[str, Any] = {"loggers": {"console": {"config": {}}}}
    if changes:
        # The validated values: the text '1e-3' has become a number.
        values = {group: settings[group].model_dump(mode="json") for group in changes}
        config |= run_config({group: {name: values[group][name] for name in changes[group]} for group in changes})
    return _outcome(instance, launch(instance, find_job, form or config, {**event_log.process_tags(), **tags}, only))


def _nothing_to_do(instance: dg.DagsterInstance, settings: dict[str, Group], steps: list[Step]) -> Run | None:
    """The run that made the subset, if a new run would change no table, setting, page or catalog; otherwise None.

    To find this out is faster than a run that writes two hundred events with "reused".
    """
    from grip_assets.definitions import defs
    from grip_assets.orchestration.page_asset import is_current

    records, in_force = event_log.in_force(instance, CURATED)
    if any(not step.in_force for step in steps) or settings != in_force:
        return None
    store, versions = ArtifactStore(data_root()), {name: record.version for name, record in records.items()}
    if not catalog.is_current(store.root, versions) or not is_current(store, records, settings):
        return None
    unsynced = unsynced_because(instance, defs.resolve_asset_graph()).keys()
    made = [event_log.settings_key(group) for group in GROUPS] + [dg.AssetKey(name) for name in (*CURATED, "report")]
    if not unsynced.isdisjoint(made):
        return None
    unused = [step.asset for step in steps if step.action == "unused"]
    return Run(records["subset"].run_id, [], [name for name in CURATED if name not in unused], unused)


def _outcome(instance: dg.DagsterInstance, result: dg.JobExecutionResult) -> Run:
    if not result.success:
        raise _failure(instance, result)
    seen: list[Any] = [
        *(e.step_materialization_data.materialization for e in result.get_asset_materialization_events()),
        *(e.asset_observation_data.asset_observation for e in result.get_asset_observation_events()),
    ]
    by_asset = {said.asset_key.path[0]: said.metadata for said in seen}
    unused = [stage for stage in STAGES if stage in by_asset and "not used" in by_asset[stage]]
    reused = {s: by_asset[s]["reused"].value for s in STAGES if s in by_asset and s not in unused}
    return Run(result.run_id, [s for s in reused if not reused[s]], [s for s in reused if reused[s]], unused)


def _failure(instance: dg.DagsterInstance, result: dg.JobExecutionResult) -> GripError | Stopped:
    """The reason, what to do next, and which settings of the run are in force.

    The steps of some settings groups may have run after a stage refused the settings. These groups are restored here.
    """
    if past.is_refused(instance, result.run_id):
        past.go_back(instance, result.run_id, f"refused by run {result.run_id}")
        return GripError(_first_failure(result))
    reason, stays = _first_failure(result), _stays(instance, result.run_id)
    if isinstance(reason, Stopped):
        return Stopped(f"{reason} {stays}".strip())
    return GripError(f"{reason}\n{stays}".strip())


def _stays(instance: dg.DagsterInstance, run_id: str) -> str:
    """Which settings a failed run put in force, and how to go back. Empty if it changed none."""
    turned = past.changed_by(instance, run_id)
    if not turned:
        return ""
    return f"It put {past.listed(turned)} in force. `grip settings --undo` takes this back."


def _judge_is_ready(quality: Quality, steps: list[Step]) -> None:
    """Report a missing API key now, and not after an hour of embedding."""
    if quality.judge == "llm" and any(s.action == "compute" for s in steps if s.asset == "quality_scores"):
        from grip_assets.llm.endpoint import endpoint  # an extra

        endpoint()
        with judge_for(quality, data_root(), "", print):
            pass


def _first_failure(result: dg.JobExecutionResult) -> Any:
    """The reason of the first failed step, as a sentence. ``Stopped`` if somebody interrupted it."""
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            cause = error.cause or error
            step = (event.step_key or "").replace("__", "/")
            if INTERRUPTED in (cause.cls_name, error.cls_name) or INTERRUPTED in str(cause.message):  # DuckDB wraps it
                return Stopped("stopped; the same command goes on from here.")
            if cause.cls_name == "DiskFull":
                return cause.message.partition(": ")[2].strip()
            if cause.cls_name == "DagsterAssetCheckFailedError":  # its further lines name the checks
                return f"{step}: {' '.join(cause.message.partition(': ')[2].split())}\n{_log_of(result.run_id)}"
            said = event.step_failure_data.user_failure_data
            if said is not None:
                return f"{step}: {said.description}"
            return f"{step} failed: {_unexpected(cause)}\n{_log_of(result.run_id)}"
    return f"Run {result.run_id} did not finish.\n{_log_of(result.run_id)}"


def _unexpected(error: Any) -> str:
    """An unforeseen error: its name and the first line of its message; all of it with ``GRIP_DEBUG``."""
    if os.environ.get("GRIP_DEBUG"):
        return error.to_string()
    lines = str(error.message).strip().splitlines() or [error.cls_name]
    return lines[0] if lines[0].startswith(error.cls_name) else f"{error.cls_name}: {lines[0]}"


def _log_of(run_id: str) -> str:
    return (
        f"Run {run_id} has the log (make ui, Runs). GRIP_DEBUG=1 prints the whole error. The same command continues"
        " from the finished work."
    )


@dataclass(frozen=True)
class AssetStatus:
    """``because``: why the asset is unsynced; empty if it is fresh. ``unused``: why the settings do not need it."""

    asset: str
    version: str | None
    materialized_at: float | None
    run_id: str | None
    because: list[str]
    unused: str = ""


def status(instance: dg.DagsterInstance) -> list[AssetStatus]:
    """Every asset: settings first, then in the order of the chain. Assets of the evaluation only if they were made."""
    from grip_assets.definitions import defs

    because = unsynced_because(instance, defs.resolve_asset_graph())
    settings, store = event_log.settings_in_force(instance), ArtifactStore(data_root())
    keys = [event_log.settings_key(group) for group in GROUPS]
    keys += [dg.AssetKey(name) for name in (*CURATED, "report", *STAGES)]
    latest = event_log.latest(instance, keys)
    in_force = {key.to_user_string(): record.version for key, record in latest.items()}
    found = []
    for key in dict.fromkeys(keys):
        name, record = key.to_user_string(), latest.get(key)
        if record is None and name in STAGES and name not in CURATED:
            continue  # nobody asked for this evaluation, so nothing is missing
        version, when, run = (record.version, record.timestamp, record.run_id) if record else (None, None, None)
        why = because.get(key, [])
        if record and name in STAGES:
            why = _unsynced(STAGES[name], settings, in_force, store, why)
        unused = STAGES[name].why_unused(settings) if name in STAGES else ""
        found.append(AssetStatus(name, version, when, run, why, unused))
    return found


def _unsynced(
    stage: Stage,
    settings: dict[str, Group],
    in_force: Mapping[str, str],
    store: ArtifactStore,
    why: list[str],
) -> list[str]:
    """Why an asset is unsynced: changed settings and inputs, or Dagster's words ``why`` if none has changed."""
    version = in_force[stage.name]
    if not store.has(stage.name, version):
        return [f"{store.shown(store.folder(stage.name, version))} is not there"]
    made = store.manifest(stage.name, version)
    was_unused, is_unused = "unused" in made, bool(stage.why_unused(settings))
    if was_unused and is_unused:
        return []
    if was_unused or is_unused:
        return ["not used now" if is_unused else "it was not used before"]
    if not why:
        return []
    changed = list(turned_since(stage, made, settings, store.root))
    moved = [f"{name} is another" for name, v in made["inputs"].items() if in_force.get(name) != v]
    return changed + moved or why
