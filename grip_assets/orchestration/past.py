"""Earlier changes of settings, from the event log, and how to take them back.

To take back a change, a new materialization with the earlier values is added. It names the run whose change it takes
back. Nothing is deleted from the event log.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from grip_assets.engine.in_force import Record
from grip_assets.errors import GripError
from grip_assets.orchestration.event_log import DATA_VERSION, settings_key
from grip_assets.orchestration.unaffected import unaffected
from grip_assets.settings import GROUPS, Corpus, pool_fields, validate, version
from grip_assets.stages import STAGES
from grip_assets.store.artifacts import ArtifactStore, data_root

TAKES_BACK = "takes_back"  # metadata of a materialization that takes back a run's change: the run's id
PROFILE = "grip/profile"  # tag of a run: the profile that it set
REFUSED = "grip/refused"  # tag of a run whose settings were refused: the settings that were taken back
PAGE, SHOWN = 500, 5


@dataclass(frozen=True)
class Turn:
    """One change of a settings group.

    ``fields``: name to (value before, value after). ``takes_back``: the run whose change it takes back, if any.
    """

    group: str
    run_id: str
    at: float
    storage_id: int
    fields: Mapping[str, tuple[Any, Any]]
    takes_back: str | None


def last_tagged(instance: dg.DagsterInstance, tag: str) -> str | None:
    """The value of a tag in the latest run that has it. None if no run has it."""
    values = sorted(dict(instance.get_run_tags([tag])).get(tag, ()))
    runs = instance.get_runs(dg.RunsFilter(tags={tag: values}), limit=1) if values else []
    return runs[0].tags[tag] if runs else None


def events(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[tuple[int, Record]]:
    """All materializations of an asset, the latest first: their id in the event log, and the record."""
    cursor = None
    while True:
        page = instance.fetch_materializations(key, limit=PAGE, cursor=cursor)
        for record in page.records:
            entry, made = record.event_log_entry, record.asset_materialization
            assert made is not None
            values = {name: value.value for name, value in made.metadata.items()}
            yield (
                record.storage_id,
                Record((made.tags or {}).get(DATA_VERSION, ""), entry.run_id, entry.timestamp, values),
            )
        if not page.has_more:
            return
        cursor = page.cursor


def turns(instance: dg.DagsterInstance, groups: Iterable[str] = tuple(GROUPS)) -> list[Turn]:
    """Every change of these groups, the latest first."""
    found = [turn for group in groups for turn in _turns(instance, group)]
    return sorted(found, key=lambda turn: -turn.storage_id)


def _turns(instance: dg.DagsterInstance, group: str) -> Iterator[Turn]:
    """Changes of one group, the latest first. The event log is read only as far as the caller iterates."""
    log = events(instance, settings_key(group))
    newest = next(log, None)
    while newest is not None:
        storage_id, record = newest
        newest = next(log, None)
        old = newest[1].metadata["values"] if newest else {}
        fields = _differences(group, old, record.metadata["values"])
        takes_back = record.metadata.get(TAKES_BACK)
        if fields or takes_back:
            yield Turn(group, record.run_id, record.timestamp, storage_id, fields, takes_back)


def _differences(group: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields with other values: name to (old, new). A field that the old record does not have had its default."""
    before = {**GROUPS[group]().model_dump(mode="json"), **old}
    return {name: (before.get(name), value) for name, value in new.items() if before.get(name) != value}


def changed_by(instance: dg.DagsterInstance, run_id: str) -> list[Turn]:
    """Changes of a run that are still in force. Groups that were changed again since are left out."""
    return [turn for group in GROUPS if (turn := next(_turns(instance, group), None)) and turn.run_id == run_id]


def go_back(instance: dg.DagsterInstance, run_id: str, why: str) -> list[Turn]:
    """Restore the settings that a run changed, and return the changes that were taken back.

    A group that was changed again since is not touched. The run is tagged, so that its settings groups that have not
    run yet change nothing.
    """
    undone = changed_by(instance, run_id)
    for turn in undone:
        _restore(instance, turn, run_id, why)
    if undone or not is_refused(instance, run_id):
        instance.add_run_tags(run_id, {REFUSED: ("; ".join(described(undone)) or "nothing was changed yet")[:1000]})
    return undone


def is_refused(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a stage of this run has refused its settings."""
    run = instance.get_run_by_id(run_id)
    return run is not None and REFUSED in run.tags


def undo(instance: dg.DagsterInstance) -> list[Turn]:
    """Take back the latest change of settings that was not taken back yet. GripError if there is none."""
    log = turns(instance)
    taken = {turn.takes_back for turn in log if turn.takes_back}
    last = next((t for t in log if not t.takes_back and t.run_id and t.run_id not in taken), None)
    if last is None:
        raise GripError("No change of a setting is left to take back: the first settings are in force.")
    undone = [turn for turn in log if turn.run_id == last.run_id and not turn.takes_back]
    for turn in undone:
        _restore(instance, turn, last.run_id, "grip settings --undo")
    return undone


def _restore(instance: dg.DagsterInstance, turn: Turn, run_id: str, why: str) -> None:
    latest = next(events(instance, settings_key(turn.group)))[1].metadata["values"]
    known = GROUPS[turn.group].model_fields
    values = latest | {name: old for name, (old, _) in turn.fields.items()}
    after = validate(turn.group, {name: value for name, value in values.items() if name in known})
    back = [f"- `{name}`: {json.dumps(new)} → {json.dumps(old)}" for name, (old, new) in turn.fields.items()]
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            settings_key(turn.group),
            description=f"Went back to what was in force before run {run_id}: {why}",
            metadata={
                "values": after.model_dump(mode="json"),
                "changed": dg.MetadataValue.md("\n".join(back)),
                "went_back": why,
                TAKES_BACK: run_id,
            },
            tags={DATA_VERSION: version(after)},
        )
    )
    for made in unaffected(instance, settings_key(turn.group), STAGES, ArtifactStore(data_root())):
        instance.report_runless_asset_event(made)


def described(turned: Iterable[Turn]) -> list[str]:
    """One line ``group.field: old → new`` for each changed field."""
    return [
        f"{turn.group}.{name}: {json.dumps(old)} → {json.dumps(new)}"
        for turn in turned
        for name, (old, new) in turn.fields.items()
    ]


def listed(turned: Iterable[Turn]) -> str:
    """The first few of ``described``, and how many more there are."""
    lines = described(turned)
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def for_pool(instance: dg.DagsterInstance, in_force: Corpus, given: Mapping[str, Any]) -> dict[str, Any]:
    """``given``: new values of settings/corpus. If they name another pool, the fields that describe it are added.

    These fields take the values from the last time that this pool was in force, or the defaults. They never replace a
    value in ``given``.
    """
    if given.get("sources") and "path" not in given:
        given = {"path": None} | dict(given)
    if "path" not in given or given["path"] == in_force.path:
        return dict(given)
    if in_force.sources:
        given = {"sources": []} | dict(given)
    known = Corpus().model_dump(mode="json") | _last_of_pool(instance, given["path"])
    return {name: known[name] for name in pool_fields()} | dict(given)


def _last_of_pool(instance: dg.DagsterInstance, path: str | None) -> dict[str, Any]:
    """Values of settings/corpus when this pool was last in force, not counting runs that refused them."""
    log = [record for _, record in events(instance, settings_key("corpus"))]
    refused = {record.metadata.get(TAKES_BACK) for record in log}
    return next(
        (r.metadata["values"] for r in log if r.metadata["values"].get("path") == path and r.run_id not in refused), {}
    )
