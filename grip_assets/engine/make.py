"""Make an artifact: reuse it where its recipe was computed before, or compute and publish it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from grip_assets.engine.declarations import DeclaredDraft, verify
from grip_assets.engine.stage import LOCAL, Log, Made, Result, Settings, Stage, Work, known_version
from grip_assets.errors import GripError
from grip_assets.runtime import device, memory, variables
from grip_assets.runtime.executors import Executor
from grip_assets.settings import digest, effective
from grip_assets.store import disk
from grip_assets.store.artifacts import ArtifactStore

Inspect = Callable[[Work], dict[str, Any]]


def look_at_nothing(work: Work) -> dict[str, Any]:
    """No checks and no picture, as if the stage had none."""
    return {"checks": [], "extremes": []}


@dataclass(frozen=True)
class Chain:
    """The stages of one run, and the data folder that it works in.

    ``inspect`` looks at the finished draft (checks, pictures) and returns what the manifest keeps of it.
    ``made_for`` names the report that asks what other settings would do: what it makes, nobody put in force.
    """

    stages: Mapping[str, Stage]
    store: ArtifactStore
    log: Log
    run_id: str = ""
    inspect: Inspect = look_at_nothing
    executor: Executor = LOCAL
    made_for: str | None = None

    def make(self, stage: Stage, settings: Settings, inputs: Mapping[str, str]) -> Made:
        """Reuse the artifact that ``stage`` makes of these settings and versions of its inputs, or compute it.

        GripError where the inputs do not belong together, or one of them is not there any more.
        """
        variables.check(["run"])
        started, settings = time.monotonic(), effective(settings)
        with disk.room(self.store.root, lambda: _last_bytes(stage.name, self.store)):
            if reason := stage.why_unused(settings):
                made = self._empty(stage, reason, settings)
            else:
                _consistent(stage, inputs, self.store)
                recipe = stage.recipe(settings, inputs, self.store.root)
                reused = self._reused(stage, known_version(stage, settings, recipe, self.store))
                made = reused or self._computed(stage, settings, inputs, recipe)
        return replace(made, seconds=time.monotonic() - started)

    def made_for_a_report(self, report: str) -> "Chain":
        """The same chain, for artifacts that ``report`` compares with."""
        return replace(self, made_for=self.made_for or report)

    def _reused(self, stage: Stage, version: str | None) -> Made | None:
        """The artifact, where it is there and whole."""
        if version is None:
            return None
        if self.store.has(stage.name, version):
            manifest = self.store.manifest(stage.name, version)
            self.store.keep(manifest)
            return Made(version, True, 0.0, manifest)
        if why := self.store.damaged(stage.name, version):
            self.log(f"warning: {self.store.folder(stage.name, version)} is damaged ({why}) and is made again")
        return None

    def _computed(self, stage: Stage, settings: Settings, inputs: Mapping[str, str], recipe: str) -> Made:
        _must_be_there(stage, inputs, self.store)
        started = time.monotonic()
        manifest = self._begun(stage, inputs, stage.values(settings))
        with device.watched() as devices, self.store.publish(stage.name, manifest) as draft:
            work = Work(self, stage, settings, inputs, DeclaredDraft(draft.folder, stage.tables))
            result = self._run(work)
            manifest["metrics"] = result.metrics
            manifest["shards"] = sorted(self.store.shards_used)
            manifest["devices"] = sorted(devices)
            manifest["keeps"] = result.keeps
            verify(stage.name, stage.tables, draft)
            manifest |= self.inspect(work)
            version = manifest["version"] = _name(stage, inputs, recipe, result)
            manifest["seconds"] = time.monotonic() - started
            unchanged = self.store.has(stage.name, version)  # the pool was read again and is the same
        if stage.named_by_content and result.complete:
            self.store.set_alias(stage.name, recipe, version)
        return Made(version, unchanged, 0.0, self.store.manifest(stage.name, version))

    def _run(self, work: Work) -> Result:
        """Compute; memory that ran out on the way is told in the metrics."""
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

        Its recipe is the same whatever the reason, so ``Made.manifest`` has the reason of now.
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
        """What a manifest says before anything is computed."""
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
    """The artifact's version: its recipe, or for a stage named by its content a digest of that."""
    if stage.named_by_content != (result.content is not None):
        raise AssertionError(f"{stage.name}: `named_by_content` and the `content` of its result do not agree.")
    return recipe if result.content is None else digest([stage.code_version, dict(inputs), result.content])


def _must_be_there(stage: Stage, inputs: Mapping[str, str], store: ArtifactStore) -> None:
    gone = [name for name in stage.inputs if not store.has(name, inputs[name])]
    if gone:
        what = "is damaged" if store.damaged(gone[0], inputs[gone[0]]) else "was removed"
        raise GripError(
            f"{stage.name} cannot be made: {store.folder(gone[0], inputs[gone[0]])} {what}. Materialize {gone[0]}"
            " first, or run `grip curate`: it is computed again, and gets the same name."
        )


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


def versions_under(settings: Settings, work: Work) -> dict[str, str]:
    """Versions that the inputs of ``work`` would have under other settings; missing ones are computed.

    Nothing is put in force. Inputs that the settings do not touch keep their version. ``work`` must read every stage
    that one of its inputs reads.
    """
    versions: dict[str, str] = {}
    for stage in work.stages.values():
        if stage.name in work.inputs:
            inputs = {name: versions[name] for name in stage.inputs}
            touched = any(versions[name] != work.inputs[name] for name in stage.inputs)
            touched = touched or stage.values(settings) != stage.values(work.settings)
            touched = touched or bool(stage.why_unused(settings)) != bool(stage.why_unused(work.settings))
            versions[stage.name] = work.make(stage, settings, inputs).version if touched else work.inputs[stage.name]
    return versions
