"""Make an artifact: reuse it where its recipe was computed before, or compute and publish it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from grip_assets.engine.declarations import verify
from grip_assets.engine.stage import Log, Made, Settings, Stage, Work, known_version
from grip_assets.errors import GripError
from grip_assets.runtime import memory, variables
from grip_assets.settings import digest, effective
from grip_assets.store import disk
from grip_assets.store.artifacts import ArtifactStore


def versions_under(settings: Settings, work: Work) -> dict[str, str]:
    """Versions of the inputs of ``work``, had the settings been these. What is not there is computed; nothing is put
    in force. Inputs that the settings do not touch are those of ``work``."""
    versions: dict[str, str] = {}
    for stage in work.stages.values():
        if stage.name in work.inputs:
            inputs = {name: versions[name] for name in stage.inputs}
            touched = any(versions[name] != work.inputs[name] for name in stage.inputs)
            touched = touched or stage.values(settings) != stage.values(work.settings)
            touched = touched or bool(stage.why_unused(settings)) != bool(stage.why_unused(work.settings))
            versions[stage.name] = work.make(stage, settings, inputs).version if touched else work.inputs[stage.name]
    return versions


def make(
    stage: Stage,
    stages: Mapping[str, Stage],
    settings: Settings,
    inputs: Mapping[str, str],
    store: ArtifactStore,
    log: Log,
    run_id: str,
    inspect: Callable[[Work], dict[str, Any]],
    made_for: str | None = None,
) -> Made:
    """Reuse the artifact of a stage, or compute it.

    ``inspect`` looks at the finished draft (checks, pictures) and returns what the manifest keeps of it. ``made_for``
    names the report that wants to know what would be, of an artifact that nobody put in force.
    """
    variables.check(["run"])
    with disk.room(store.root, lambda: _last_bytes(stage.name, store)):
        return _make(stage, stages, settings, inputs, store, log, run_id, inspect, made_for)


def _make(
    stage: Stage,
    stages: Mapping[str, Stage],
    settings: Settings,
    inputs: Mapping[str, str],
    store: ArtifactStore,
    log: Log,
    run_id: str,
    inspect: Callable[[Work], dict[str, Any]],
    made_for: str | None,
) -> Made:
    started = time.monotonic()
    settings = effective(settings)
    if reason := stage.why_unused(settings):
        return _empty(stage, reason, settings, store, run_id, started)
    _consistent(stage, inputs, store)
    recipe = stage.recipe(settings, inputs, store.root)
    version = known_version(stage, settings, recipe, store)
    if version and store.has(stage.name, version):
        manifest = store.manifest(stage.name, version)
        store.keep(manifest)
        return Made(version, True, time.monotonic() - started, manifest)
    if version and (why := store.damaged(stage.name, version)):
        log(f"warning: {store.folder(stage.name, version)} is damaged ({why}) and is made again")
    gone = [name for name in stage.inputs if not store.has(name, inputs[name])]
    if gone:
        what = "is damaged" if store.damaged(gone[0], inputs[gone[0]]) else "was removed"
        raise GripError(
            f"{stage.name} cannot be made: {store.folder(gone[0], inputs[gone[0]])} {what}. Materialize {gone[0]}"
            " first, or run `grip curate`: it is computed again, and gets the same name."
        )

    wanted_by = stage.name

    def another(stage: Stage, settings: Settings, inputs: Mapping[str, str]) -> Made:
        return make(stage, stages, settings, inputs, store, log, run_id, inspect, made_for or wanted_by)

    manifest = {
        "stage": stage.name,
        "code_version": stage.code_version,
        "inputs": dict(inputs),
        "settings": stage.values(settings),
        "run_id": run_id,
        "computed_at": time.time(),
        "made_for": made_for,
    }
    with store.publish(stage.name, manifest) as draft:
        work = Work(stage, settings, inputs, store, draft, log, stages, another, run_id)
        memory.ran_out.clear()
        manifest["metrics"] = stage.compute(work)
        if memory.ran_out:
            manifest["metrics"]["memory_warning"] = f"{len(memory.ran_out)} times {memory.ran_out[-1]}"
            log(f"warning: {manifest['metrics']['memory_warning']}")
        manifest["shards"] = sorted(store.shards_used)
        verify(stage.name, stage.tables, draft)
        manifest |= inspect(work)
        named = digest([stage.code_version, dict(inputs), work.content])
        manifest["version"] = named if stage.named_by_content else recipe
        manifest["seconds"] = time.monotonic() - started
        unchanged = store.has(stage.name, manifest["version"])  # the pool was read again and is the same
    if stage.named_by_content and work.complete:
        store.set_alias(stage.name, recipe, manifest["version"])
    version = manifest["version"]
    return Made(version, unchanged, time.monotonic() - started, store.manifest(stage.name, version))


def _empty(stage: Stage, reason: str, settings: Settings, store: ArtifactStore, run_id: str, started: float) -> Made:
    """The artifact of a stage that the settings do not need: its tables without rows.

    Its recipe is the same whatever the reason, so ``Made.manifest`` has the reason of now.
    """
    version = stage.recipe(settings, {}, store.root)
    there = store.has(stage.name, version)
    if not there:
        manifest = {
            "stage": stage.name,
            "code_version": stage.code_version,
            "inputs": {},
            "settings": {},
            "run_id": run_id,
            "computed_at": time.time(),
            "made_for": None,
            "unused": reason,
            "metrics": {},
            "shards": [],
            "checks": [],
            "extremes": [],
            "version": version,
            "seconds": 0.0,
        }
        with store.publish(stage.name, manifest) as draft:
            for table in stage.tables:
                draft.write(table.name, table.empty())
    manifest = store.manifest(stage.name, version) | {"unused": reason}
    store.keep(manifest)
    return Made(version, there, time.monotonic() - started, manifest)


def _consistent(stage: Stage, inputs: Mapping[str, str], store: ArtifactStore) -> None:
    """Refuse inputs that were made from different versions of the same ancestor.

    Cluster 7 of one clustering is not cluster 7 of another; without this, materializing only some assets
    would join them.
    """
    seen: dict[str, tuple[str, str]] = {}

    def visit(name: str, version: str, reader: str) -> None:
        if name in seen and seen[name][0] != version:
            raise GripError(
                f"{stage.name} cannot be made: {reader} was made from another version of {name} than {seen[name][1]}."
                f" Materialize {reader if reader != stage.name else seen[name][1]} first, or run `curate`."
            )
        if name not in seen:
            seen[name] = (version, reader)
            for parent, parent_version in store.manifest(name, version)["inputs"].items():
                visit(parent, parent_version, name)

    for name, version in inputs.items():
        visit(name, version, stage.name)


def _last_bytes(stage: str, store: ArtifactStore) -> int | None:
    """Of the largest artifact of the stage so far."""
    return max((sum(t["bytes"] for t in m["tables"].values()) for m in store.ever_made(stage)), default=None)
