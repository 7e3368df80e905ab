"""What the Dagster event log says is in force: the version of each asset and the values of each settings group.

The event log is the only ledger. Artifacts on disk say what was ever computed; what counts now is asked here.
"""

import json
import os
import socket
import time
from collections.abc import Iterable
from functools import lru_cache

import dagster as dg

from grip_assets.engine.in_force import Record
from grip_assets.settings import GROUPS, Group, group_type, validate

DATA_VERSION = "dagster/data_version"
PROCESS = "grip/process"
COMPUTED, REUSED, CHANGED = "grip/computed", "grip/reused", "grip/changed"
TAG_CHARS = 1000


def settings_key(group: str) -> dg.AssetKey:
    return dg.AssetKey(["settings", group])


def latest(instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey]) -> dict[dg.AssetKey, Record]:
    """The latest materialization of each asset that has one, in one look at the event log."""
    found = {}
    for row in instance.get_asset_records(list(keys)):
        event = row.asset_entry.last_materialization
        if event is not None and event.asset_materialization is not None:
            made = event.asset_materialization
            values = {name: value.value for name, value in made.metadata.items()}
            version = (made.tags or {}).get(DATA_VERSION, "")
            found[made.asset_key] = Record(version, event.run_id, event.timestamp, values)
    return found


def records(instance: dg.DagsterInstance, stages: Iterable[str]) -> dict[str, Record]:
    """The latest materialization of every stage that has one."""
    return {key.to_user_string(): r for key, r in latest(instance, [dg.AssetKey(name) for name in stages]).items()}


def versions_in_force(instance: dg.DagsterInstance, stages: Iterable[str]) -> dict[str, str]:
    """Version of every stage that was materialized."""
    return {name: record.version for name, record in records(instance, stages).items()}


def settings_in_force(instance: dg.DagsterInstance) -> dict[str, Group]:
    """Every settings group as last materialized; the defaults where none was. Fields gone since then are left out."""
    return in_force(instance, [])[1]


def in_force(instance: dg.DagsterInstance, stages: Iterable[str]) -> tuple[dict[str, Record], dict[str, Group]]:
    """``records`` and ``settings_in_force`` in one look at the event log."""
    names = {dg.AssetKey(name): name for name in stages}
    found = latest(instance, [*names, *(settings_key(group) for group in GROUPS)])
    records = {name: found[key] for key, name in names.items() if key in found}
    return records, {group: _values(group, found.get(settings_key(group))) for group in GROUPS}


def _values(group: str, record: Record | None) -> Group:
    return _validated(group, json.dumps(record.metadata["values"] if record else {}, sort_keys=True))


@lru_cache(maxsize=256)  # each step of a run asks again for the same values
def _validated(group: str, values: str) -> Group:
    known = group_type(group).model_fields
    return validate(group, {name: value for name, value in json.loads(values).items() if name in known})


def current(version: str, run_id: str, reused: bool) -> Record:
    """The materialization of the step that is running, which the event log does not have yet."""
    return Record(version, run_id, time.time(), {"reused": reused})


def tag_run(instance: dg.DagsterInstance, run_id: str, stage: str, reused: bool, because: Iterable[str]) -> None:
    """Say in the run's tags which stages it computed and reused and what had changed: one glance in the list of runs.
    Tags are read, added to and written: one step at a time."""
    run = instance.get_run_by_id(run_id)
    if run is None:
        return
    tags = {name: [part for part in run.tags.get(name, "").split("; ") if part] for name in (COMPUTED, REUSED, CHANGED)}
    tags[REUSED if reused else COMPUTED].append(stage)
    tags[CHANGED] += [cause for cause in because if cause not in tags[CHANGED]]
    instance.add_run_tags(run_id, {name: "; ".join(parts)[:TAG_CHARS] for name, parts in tags.items() if parts})


def process_tags() -> dict[str, str]:
    """Tags that let a later process see whether the one that started a run is still there."""
    return {PROCESS: f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"}


def close_runs_of_dead_processes(instance: dg.DagsterInstance) -> list[str]:
    """A killed process leaves its run 'started' for ever, which would hold back automation: call it failed.
    Returns their ids."""
    closed = []
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    for run in instance.get_runs(unfinished):
        host, _, rest = run.tags.get(PROCESS, "").partition("/")
        pid, _, started = rest.partition("/")
        if host == socket.gethostname() and _started(int(pid)) != started:
            instance.report_run_failed(
                run, f"Process {pid} ended without finishing the run. Start it again: it resumes."
            )
            closed.append(run.run_id)
    return closed


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot, so that a reused number is not mistaken; '' if none."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
