"""The differences between two versions of an artifact: changed settings, and what moved between the clusters."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from grip_assets.engine.in_force import Record
from grip_assets.engine.stage import Stage, setting_changes
from grip_assets.errors import GripError
from grip_assets.orchestration.metadata import labelled, markdown_table
from grip_assets.orchestration.past import events
from grip_assets.report.compare import counts, find
from grip_assets.settings import default_of, group_type, trait, validate
from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.query import query

MOVED = 5


def causes(before: str, after: str, stage: Stage, stages: Mapping[str, Stage], store: ArtifactStore) -> list[str]:
    """Why a stage's version changed from ``before`` to ``after``, one sentence per cause.

    Causes are changed settings of the stage or of its inputs, changed code, changed models, or a changed pool.
    """
    return _Causes(stages, store).between(stage, before, after)


class _Causes:
    """Finds the causes of changes. It looks once at each pair of versions: many paths lead to the same input."""

    def __init__(self, stages: Mapping[str, Stage], store: ArtifactStore):
        self._stages, self._store = stages, store
        self._found: dict[tuple[str, str, str], list[str]] = {}

    def between(self, stage: Stage, before: str, after: str) -> list[str]:
        """The causes, each once; none if the two versions are one."""
        pair = (stage.name, before, after)
        if pair not in self._found:
            self._found[pair] = list(dict.fromkeys(self._look(stage, before, after))) if before != after else []
        return self._found[pair]

    def _look(self, stage: Stage, before: str, after: str) -> list[str]:
        store = self._store
        if not (store.knows(stage.name, before) and store.knows(stage.name, after)):
            return [f"{stage.name}: the artifact before it is not known"]
        old, new = store.manifest(stage.name, before), store.manifest(stage.name, after)
        if ("unused" in old) != ("unused" in new):
            return [f"{stage.name}: {'not used now' if 'unused' in new else 'it was not used before'}"]
        found = list(setting_changes(old["settings"], new["settings"]))
        if old["code_version"] != new["code_version"]:
            found.append(f"code of {stage.name}: {old['code_version']} → {new['code_version']}")
        for name in stage.inputs:
            if name in old["inputs"] and name in new["inputs"]:
                found += self.between(self._stages[name], old["inputs"][name], new["inputs"][name])
        return found or [f"{stage.name}: {stage.otherwise}"]


def settings_of_subset(store: ArtifactStore, version: str) -> dict[str, dict[str, Any]]:
    """The settings, by group, with which a subset and all its inputs were computed.

    Fields that do not apply under them are left out, because a manifest has the default for these, whatever was set.
    ``version``: a version of the subset, or its first characters. GripError if there is no such subset.
    """
    found: dict[str, dict[str, Any]] = {}
    for manifest in store.ancestors("subset", find(store, version)["version"]).values():
        for group, values in manifest["settings"].items():
            known = group_type(group).model_fields
            found.setdefault(group, {}).update({n: v for n, v in values.items() if n in known})
    return {group: _applying(group, _added_since(group) | values) for group, values in found.items()}


def _applying(group: str, values: dict[str, Any]) -> dict[str, Any]:
    settings = validate(group, values)
    return {name: value for name, value in values.items() if settings.applies(name)}


def _added_since(group: str) -> dict[str, Any]:
    """Defaults of the fields that were added later, so that old manifests do not have them."""
    fields = group_type(group).model_fields
    return {name: default_of(field) for name, field in fields.items() if trait(field, "added")}


def history(instance: dg.DagsterInstance, store: ArtifactStore, stages: Mapping[str, Stage]) -> list[dict[str, Any]]:
    """Every subset that was in force, the latest first, from the event log.

    A subset that was in force twice has two rows.
    Keys: version, at (when it came into force), run_id, in_force (now), rollback (it was in force before), there (its
    folder exists), documents, tokens, changed (the causes of the change from the subset before it).
    """
    periods = [(v, r) for v, r, before in _periods(instance) if v != before]
    if not periods:
        raise GripError("Nothing was curated in this data folder. Run `grip curate`.")
    rows: list[dict[str, Any]] = []
    seen, before = set[str](), None
    for version, record in periods:
        rows.append(
            {
                "version": version,
                "at": record.timestamp,
                "run_id": record.run_id,
                "in_force": False,
                "rollback": version in seen,
                "there": store.has("subset", version),
                **_counted(store, version),
                "changed": causes(before, version, stages["subset"], stages, store) if before else [],
            }
        )
        seen.add(version)
        before = version
    rows[-1]["in_force"] = True
    return rows[::-1]


def _periods(instance: dg.DagsterInstance) -> Iterator[tuple[str, Record, str | None]]:
    """Materializations of the subset, the oldest first: version, record, version before it."""
    before = None
    for _, record in reversed(list(events(instance, dg.AssetKey("subset")))):
        yield record.version, record, before
        before = record.version


def _counted(store: ArtifactStore, version: str) -> dict[str, int | None]:
    if not store.knows("subset", version):
        return {"documents": None, "tokens": None}
    made = store.manifest("subset", version)
    return {"documents": made["tables"]["subset"]["rows"], "tokens": made["metrics"]["tokens_selected"]}


def changes_since(stage: Stage, before: str, after: str, store: ArtifactStore) -> dict[str, Any]:
    """Metadata on a change: documents that entered and left a subset, or budget that moved between clusters.

    Other stages have none.
    """
    if before == after or not store.has(stage.name, before) or stage.name not in MOVES:
        return {}
    return MOVES[stage.name](before, after, store)


def _budgets(before: str, after: str, store: ArtifactStore) -> dict[str, Any]:
    if not _same_clusters("budgets", before, after, store):
        return {"budget_moves": "the clusters have changed, so their budgets cannot be compared one by one"}
    tables = {name: store.parquet("budgets", v, "budgets") for name, v in (("before", before), ("after", after))}
    rows = query("changes/budgets", tables)
    names = cluster_names.of_artifact(store, "budgets", after)
    moves = [*rows.head(MOVED).to_dicts(), *rows.tail(MOVED).to_dicts()] if len(rows) > 2 * MOVED else rows.to_dicts()
    return {
        "budget_moved": float(rows["move"].abs().sum() / 2),
        "budget_moves": dg.MetadataValue.md(markdown_table(labelled(moves, names))),
    }


def _subset(before: str, after: str, store: ArtifactStore) -> dict[str, Any]:
    part = counts(store, before, after)
    return {
        "documents_entered": part["second"]["documents"],
        "documents_left": part["first"]["documents"],
        "documents_kept": part["both"]["documents"],
        "tokens_entered": part["second"]["tokens"],
        "tokens_left": part["first"]["tokens"],
    }


MOVES = {"budgets": _budgets, "subset": _subset}


def _same_clusters(stage: str, before: str, after: str, store: ArtifactStore) -> bool:
    one, other = (store.ancestors(stage, version)["clusters"]["version"] for version in (before, after))
    return one == other
