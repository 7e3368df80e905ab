"""The versions of assets and the values of settings that are in force, read from the Dagster event log.

Only the event log says what is in force. The artifacts on disk are all that was ever computed.
"""

import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import dagster as dg
from dagster._core.definitions.data_version import DataProvenance, extract_data_provenance_from_entry

from grip_assets.engine.in_force import Record
from grip_assets.settings import GROUPS, Group, group_type, validate

DATA_VERSION = "dagster/data_version"
PROCESS = "grip/process"
COMPUTED, REUSED, CHANGED = "grip/computed", "grip/reused", "grip/changed"
TAG_CHARS = 1000


def settings_key(group: str) -> dg.AssetKey:
    return dg.AssetKey(["settings", group])


class Look:
    """The latest materializations of some assets, from one query of the event log."""

    def __init__(self, instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey]):
        rows = instance.get_asset_records(list(dict.fromkeys(keys)))
        entries = [row.asset_entry for row in rows if row.asset_entry.last_materialization]
        self.events = {entry.asset_key: e for entry in entries if (e := entry.last_materialization)}
        self.storage_ids = {entry.asset_key: entry.last_materialization_storage_id for entry in entries}

    @property
    def versions(self) -> dict[dg.AssetKey, str]:
        return {key: self.tags(key).get(DATA_VERSION, "") for key in self.events}

    def tags(self, key: dg.AssetKey) -> dict[str, str]:
        """Tags of the latest materialization: its version, and the versions of its inputs."""
        made = self.events[key].asset_materialization
        return dict(made.tags or {}) if made else {}

    def record(self, key: dg.AssetKey) -> Record | None:
        event = self.events.get(key)
        made = event.asset_materialization if event else None
        if event is None or made is None:
            return None
        values = {name: value.value for name, value in made.metadata.items()}
        return Record((made.tags or {}).get(DATA_VERSION, ""), event.run_id, event.timestamp, values)

    def records(self, keys: Iterable[dg.AssetKey]) -> dict[str, Record]:
        """Records by the asset's name. Assets that were never materialized are left out."""
        return {key.to_user_string(): record for key in keys if (record := self.record(key))}

    def settings(self, group: str) -> Group:
        """The group as last materialized, or its defaults. Fields that no longer exist are left out."""
        record = self.record(settings_key(group))
        return _validated(group, json.dumps(record.metadata["values"] if record else {}, sort_keys=True))

    def provenance(self, key: dg.AssetKey) -> DataProvenance | None:
        """The code version and the inputs of the latest materialization."""
        event = self.events.get(key)
        return extract_data_provenance_from_entry(event) if event else None


def latest(instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey]) -> dict[dg.AssetKey, Record]:
    """The latest materialization of each asset that has one, from one query of the event log."""
    look = Look(instance, keys)
    return {key: record for key in look.events if (record := look.record(key))}


def records(instance: dg.DagsterInstance, stages: Iterable[str]) -> dict[str, Record]:
    """The latest materialization of every stage that has one."""
    return {key.to_user_string(): r for key, r in latest(instance, [dg.AssetKey(name) for name in stages]).items()}


def versions_in_force(instance: dg.DagsterInstance, stages: Iterable[str]) -> dict[str, str]:
    """The version of every stage that was materialized."""
    return {name: record.version for name, record in records(instance, stages).items()}


def settings_in_force(instance: dg.DagsterInstance) -> dict[str, Group]:
    """Every settings group as last materialized, or its defaults. Fields that no longer exist are left out."""
    return in_force(instance, [])[1]


def in_force(instance: dg.DagsterInstance, stages: Iterable[str]) -> tuple[dict[str, Record], dict[str, Group]]:
    """``records`` and ``settings_in_force`` from one query of the event log."""
    keys = [dg.AssetKey(name) for name in stages]
    look = Look(instance, [*keys, *map(settings_key, GROUPS)])
    return look.records(keys), {group: look.settings(group) for group in GROUPS}


@lru_cache(maxsize=256)  # each step of a run validates the same values
def _validated(group: str, values: str) -> Group:
    known = group_type(group).model_fields
    return validate(group, {name: value for name, value in json.loads(values).items() if name in known})


@dataclass(frozen=True)
class Told:
    """What a run did with a stage. ``because``: what had changed."""

    stage: str
    reused: bool
    because: Sequence[str]


def tag_run(instance: dg.DagsterInstance, run_id: str, told: Iterable[Told]) -> None:
    """Write into the run's tags which stages it computed and reused, and what had changed. The list of runs shows them.

    The tags are read, changed and written back, so the caller must hold the lock of the data folder.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        return
    tags = {name: [part for part in run.tags.get(name, "").split("; ") if part] for name in (COMPUTED, REUSED, CHANGED)}
    for made in told:
        tags[REUSED if made.reused else COMPUTED].append(made.stage)
        tags[CHANGED] += [cause for cause in made.because if cause not in tags[CHANGED]]
    instance.add_run_tags(run_id, {name: "; ".join(parts)[:TAG_CHARS] for name, parts in tags.items() if parts})


def process_tags() -> dict[str, str]:
    """Tags by which a later process sees whether the process of a run still exists."""
    return {PROCESS: f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"}


def close_runs_of_dead_processes(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs of dead processes of this machine as failed, and return their ids.

    A killed process leaves its run in the state 'started', and automation would wait for it for ever.
    """
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
    """Start time of a process in clock ticks since boot, '' if there is no such process. It tells a process from a
    later one with the same number."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
