"""Make an artifact: reuse it if its recipe was computed before, otherwise compute and publish it.

A stage and its recipe are in stage.py. What a run would make, without making it, is in plan.py.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from grip_assets.engine import room
from grip_assets.engine.declarations import DeclaredDraft, verify
from grip_assets.engine.stage import LOCAL, Log, Made, Result, Settings, Stage, Work, known_version
from grip_assets.errors import Unfinished
from grip_assets.runtime import device, memory, variables
from grip_assets.runtime.executors import Executor
from grip_assets.settings import digest, effective
from grip_assets.store import disk
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.behind import in_use

Inspect = Callable[[Work], dict[str, Any]]


def look_at_nothing(work: Work) -> dict[str, Any]:
    """The default ``inspect``: runs no checks and draws no picture."""
    return {"checks": [], "extremes": []}


@dataclass(frozen=True)
class Chain:
    """The stages of one run, and the data folder that it works in.

    ``inspect`` is called with the finished draft. It runs checks, draws the picture, and returns keys for the manifest.
    ``made_for`` names the report that tries other settings. Its artifacts are never put in force.
    """

    stages: Mapping[str, Stage]
    store: ArtifactStore
    log: Log
    run_id: str = ""
    inspect: Inspect = look_at_nothing
    executor: Executor = LOCAL
    made_for: str | None = None

    def make(self, stage: Stage, settings: Settings, inputs: Mapping[str, str]) -> Made:
        """Reuse or compute the artifact that ``stage`` makes of these settings and versions of its inputs.

        Unfinished if two inputs were made from different versions of one ancestor, or if an input was removed.
        """
        variables.check(["run"])
        started, settings = time.monotonic(), effective(settings)
        with in_use(), disk.room(self.store.root, lambda: _last_bytes(stage.name, self.store)):
            if reason := stage.why_unused(settings):
                made = self._empty(stage, reason, settings)
            else:
                inputs = {name: inputs[name] for name in stage.inputs_under(settings)}
                _consistent(stage, inputs, self.store)
                recipe = stage.recipe(settings, inputs, self.store.root)
                reused = self._reused(stage, known_version(stage, settings, recipe, self.store))
                made = reused or self._computed(stage, settings, inputs, recipe)
        return replace(made, seconds=time.monotonic() - started)

    def made_for_a_report(self, report: str) -> "Chain":
        """The same chain, with artifacts marked as made for ``report``."""
        return replace(self, made_for=self.made_for or report)

    def _reused(self, stage: Stage, version: str | None) -> Made | None:
        """The stored artifact; None if it does not exist or is damaged."""
        if version is None:
            return None
        if self.store.has(stage.name, version):
            manifest = self.store.manifest(stage.name, version)
            self.store.keep(manifest)
            return Made(version, True, 0.0, manifest)
        if why := self.store.damaged(stage.name, version):
            folder = self.store.shown(self.store.folder(stage.name, version))
            self.log(f"warning: {folder} is damaged ({why}) and is made again")
        return None

    def _computed(self, stage: Stage, settings: Settings, inputs: Mapping[str, str], recipe: str) -> Made:
        _must_be_there(stage, inputs, self.store)
        room.must_fit(stage, inputs, self.store, self.log)
        started = time.monotonic()
        manifest = self._begun(stage, inputs, stage.values(settings))
        with device.watched() as devices, self.store.publish(stage.name, manifest) as draft:
            work = Work(self, stage, settings, inputs, DeclaredDraft(draft.folder, stage.tables))
            result = self._run(work)
            manifest["metrics"] = work.metrics = result.metrics
            manifest["shards"] = sorted(self.store.shards_used)
            manifest["devices"] = sorted(devices)
            manifest["executor"] = type(self.executor).__name__.lower()
            manifest["keeps"] = result.keeps
            verify(stage.name, stage.tables, draft)
            manifest |= self.inspect(work)
            version = manifest["version"] = _name(stage, inputs, recipe, result)
            manifest["seconds"] = time.monotonic() - started
            unchanged = self.store.has(stage.name, version)  # for example a pool that was read again and is the same
        if stage.named_by_content and result.complete:
            self.store.set_alias(stage.name, recipe, version)
        return Made(version, unchanged, 0.0, self.store.manifest(stage.name, version))

    def _run(self, work: Work) -> Result:
        """Compute. If memory ran out on the way, the metrics say so."""
        memory.ran_out.clear()
        returned = work.stage.compute(work)
        result = returned if isinstance(returned, Result) else Result(returned)
        if not memory.ran_out:
            return result
        warning = f"{len(memory.ran_out)} times {memory.ran_out[-1]}"
        self.log(f"warning: {warning}")
        return replace(result, metrics=result.metrics | {"memory_warning": warning})

    def _empty(self, stage: Stage, reason: str, settings: Settings) -> Made:
        """The artifact of a stage that the settings do not need: its tables without rows.

        All reasons share one artifact. ``Made.manifest`` has the reason of this run, not the stored one.
        """
        version = stage.recipe(settings, {}, self.store.root)
        there = self.store.has(stage.name, version)
        if not there:
            nothing = {"metrics": {}, "shards": [], "checks": [], "extremes": [], "seconds": 0.0, "made_for": None}
            manifest = self._begun(stage, {}, {}) | nothing | {"unused": reason, "version": version}
            with self.store.publish(stage.name, manifest) as draft:
                for table in stage.tables:
                    draft.write(table.name, table.empty())
        manifest = self.store.manifest(stage.name, version) | {"unused": reason}
        self.store.keep(manifest)
        return Made(version, there, 0.0, manifest)

    def _begun(self, stage: Stage, inputs: Mapping[str, str], values: dict[str, Any]) -> dict[str, Any]:
        """The keys of a manifest that are known before the stage is computed."""
        return {
            "stage": stage.name,
            "main": stage.tables[0].name if stage.tables else stage.name,
            "code_version": stage.code_version,
            "inputs": dict(inputs),
            "settings": values,
            "run_id": self.run_id,
            "computed_at": time.time(),
            "made_for": self.made_for,
        }


def _name(stage: Stage, inputs: Mapping[str, str], recipe: str, result: Result) -> str:
    """The artifact's version: its recipe or, for a stage named by its content, a digest of the content."""
    if stage.named_by_content != (result.content is not None):
        raise AssertionError(f"{stage.name}: `named_by_content` and the `content` of its result do not agree.")
    return recipe if result.content is None else digest([stage.code_version, dict(inputs), result.content])


def _must_be_there(stage: Stage, inputs: Mapping[str, str], store: ArtifactStore) -> None:
    gone = [name for name, version in inputs.items() if not store.has(name, version)]
    if gone:
        what = "is damaged" if store.damaged(gone[0], inputs[gone[0]]) else "was removed"
        folder = store.shown(store.folder(gone[0], inputs[gone[0]]))
        raise Unfinished(
            f"{stage.name} cannot be made: {folder} {what}. Materialize {gone[0]} first, or run"
            " `grip curate`. Either computes it again, under the same name."
        )


def _consistent(stage: Stage, inputs: Mapping[str, str], store: ArtifactStore) -> None:
    """Refuse inputs that were made from different versions of the same ancestor.

    Cluster 7 of one clustering is not cluster 7 of another. Without this check, materializing only some of the assets
    could join the two. It is ``Unfinished``: no setting of this run is the reason, but another run at the same time, or
    a choice of assets.
    """
    seen: dict[str, tuple[str, str]] = {}

    def visit(name: str, version: str, reader: str) -> None:
        if name in seen and seen[name][0] != version:
            raise Unfinished(
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
    """Bytes of the largest artifact that the stage has made so far; None if it has made none."""
    return max((sum(t["bytes"] for t in m["tables"].values()) for m in store.ever_made(stage)), default=None)


def versions_under(settings: Settings, work: Work) -> dict[str, str]:
    """Versions that the inputs of ``work`` have under other ``settings``. Missing artifacts are computed.

    Nothing is put in force. An input that the settings do not touch keeps its version. ``work`` must have as inputs all
    stages that its inputs read.
    """
    versions: dict[str, str] = {}
    for stage in work.stages.values():
        if stage.name in work.inputs:
            inputs = {name: versions[name] for name in stage.inputs_under(settings)}
            touched = _touched(stage, settings, inputs, work)
            versions[stage.name] = work.make(stage, settings, inputs).version if touched else work.inputs[stage.name]
    return versions


def missing_under(settings: Settings, work: Work) -> list[str]:
    """The inputs that ``versions_under`` would compute. Nothing is computed here."""
    versions: dict[str, str | None] = {}
    for stage in work.stages.values():
        if stage.name in work.inputs:
            inputs = {name: versions[name] for name in stage.inputs_under(settings)}
            touched = _touched(stage, settings, inputs, work)
            versions[stage.name] = _made_before(stage, settings, inputs, work) if touched else work.inputs[stage.name]
    return [name for name, version in versions.items() if version is None]


def _touched(stage: Stage, settings: Settings, inputs: Mapping[str, str | None], work: Work) -> bool:
    """Whether other settings change an input of ``work``: by its inputs, by what it reads, or by whether it is used."""
    return (
        any(version != work.inputs[name] for name, version in inputs.items())
        or stage.values(settings) != stage.values(work.settings)
        or bool(stage.why_unused(settings)) != bool(stage.why_unused(work.settings))
    )


def _made_before(stage: Stage, settings: Settings, inputs: Mapping[str, str | None], work: Work) -> str | None:
    """The version under ``settings`` if the artifact exists or is unused, otherwise None."""
    if stage.why_unused(settings):
        return stage.recipe(settings, {}, work.store.root)
    known = {name: version for name, version in inputs.items() if version is not None}
    if len(known) < len(inputs):
        return None
    version = known_version(stage, settings, stage.recipe(settings, known, work.store.root), work.store)
    return version if version and work.store.has(stage.name, version) else None
