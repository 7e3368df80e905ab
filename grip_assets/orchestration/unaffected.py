"""Assets that a change leaves as they are stay synced without a run of their own.

Dagster calls an asset unsynced as soon as something that it depends on has a new version. Two kinds of assets are
not touched by that:

- A stage that the settings do not use. Its tables are empty, whatever its inputs are.
- A stage that looks at a settings group only to know whether it is used (``Stage.unused_by``), if it is used as before.

So whoever puts a new version in force calls ``unaffected``, and logs what that returns: each such asset once more, with
the versions that its inputs have now.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import get_input_data_version_tag, get_input_event_pointer_tag

from grip_assets.engine.make import Chain
from grip_assets.engine.stage import Settings, Stage
from grip_assets.orchestration.event_log import DATA_VERSION, Look, settings_key
from grip_assets.orchestration.metadata import metadata
from grip_assets.settings import GROUPS
from grip_assets.store.artifacts import ArtifactStore

ALWAYS_USED = Stage.__dataclass_fields__["unused"].default
NOBODY: Collection[dg.AssetKey] = ()


def dependencies(stage: Stage) -> list[dg.AssetKey]:
    """What the asset of a stage depends on: its inputs, and the groups of settings that it reads or looks at."""
    return [*map(dg.AssetKey, stage.inputs), *map(settings_key, stage.groups)]


def unaffected(
    instance: dg.DagsterInstance,
    changed: dg.AssetKey,
    stages: Mapping[str, Stage],
    store: ArtifactStore,
    will_run: Collection[dg.AssetKey] = NOBODY,
) -> Iterator[dg.AssetMaterialization]:
    """Materializations of the assets that the new version of ``changed`` leaves as they are.

    ``changed`` has its new version in the event log already. ``will_run``: assets for which the run has a step.
    A stage that is not used any more comes into force without rows. Assets that were never made are left out.
    """
    candidates = [dg.AssetKey(stage.name) for stage in stages.values() if _may_stay(stage, changed)]
    candidates = [key for key in candidates if key not in will_run]
    if not candidates or not Look(instance, candidates).events:
        return
    look = Look(instance, {*map(dg.AssetKey, stages), *map(settings_key, GROUPS)})
    settings = {group: look.settings(group) for group in GROUPS}
    moved = {changed: look.versions[changed]}
    for stage in stages.values():
        key = dg.AssetKey(stage.name)
        touched = [dep for dep in dependencies(stage) if dep in moved]
        if not touched or key in will_run or key not in look.events:
            continue
        if stage.why_unused(settings):
            version, said = _without_rows(stage, settings, look, store)
            if version != look.versions[key]:
                moved[key] = version
            touched = [dep for dep in dependencies(stage) if dep in look.versions]
        elif _only_looked_at(touched, stage, settings, look, store):
            version, said = look.versions[key], _as_said(look, key)
        else:
            continue
        before = look.tags(key)
        after = {get_input_data_version_tag(dep): moved.get(dep, look.versions[dep]) for dep in touched}
        after[DATA_VERSION] = version
        if not after.items() <= before.items():
            seen = {get_input_event_pointer_tag(dep): str(look.storage_ids[dep]) for dep in touched}
            yield dg.AssetMaterialization(key, metadata=said, tags=before | after | seen)


def _may_stay(stage: Stage, changed: dg.AssetKey) -> bool:
    """Whether there are settings that leave the stage as it is when ``changed`` has a new version."""
    return changed in dependencies(stage) and (stage.unused is not ALWAYS_USED or changed in _looked_at(stage))


def _looked_at(stage: Stage) -> set[dg.AssetKey]:
    """Groups of settings that the stage does not read, and that say whether it is used."""
    return {settings_key(group) for group in stage.unused_by if group not in stage.reads}


def _without_rows(stage: Stage, settings: Settings, look: Look, store: ArtifactStore) -> tuple[str, dict[str, Any]]:
    """The version of the unused stage, and the metadata of its materialization."""
    made = Chain({stage.name: stage}, store, print).make(stage, settings, {})
    before = look.versions[dg.AssetKey(stage.name)]
    changed = "nothing" if made.version == before else f"- {stage.name}: not used now"
    return made.version, {**metadata(made, stage, store), "changed": dg.MetadataValue.md(changed)}


def _as_said(look: Look, key: dg.AssetKey) -> dict[str, Any]:
    """The metadata of the latest materialization, which stays in force."""
    made = look.events[key].asset_materialization
    assert made is not None
    return {**made.metadata, "reused": True, "changed": dg.MetadataValue.md("nothing")}


def _only_looked_at(
    touched: Collection[dg.AssetKey], stage: Stage, settings: Settings, look: Look, store: ArtifactStore
) -> bool:
    """Whether the stage reads nothing of what is ``touched``, and has the same inputs as when it was made."""
    version = look.versions[dg.AssetKey(stage.name)]
    reads, inputs = stage.reads_under(settings), stage.inputs_under(settings)
    if not _looked_at(stage).issuperset(touched) or not store.knows(stage.name, version):
        return False
    made = store.manifest(stage.name, version)
    return "unused" not in made and set(made["inputs"]) == set(inputs) and set(made["settings"]) == set(reads)


def stay(context: dg.AssetExecutionContext, stages: Mapping[str, Stage], store: ArtifactStore) -> None:
    """Log what the materialization that a step has just yielded leaves as it is."""
    will_run = context.job_def.asset_layer.selected_asset_keys
    for made in unaffected(context.instance, context.asset_key, stages, store, will_run):
        context.log_event(made)
