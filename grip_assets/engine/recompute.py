"""What a change touches: stages, recipes, and the plan that follows from them. No Dagster here.

A recipe names an artifact before it is computed: recipe = digest(stage, code version, versions of its inputs, the
settings it reads, facts about the outside world). Nothing else goes in, so batch sizes, thread counts and the
position of the data folder change no recipe. Two kinds of stages are named by their content instead, and their recipe
is an alias of that name: the root (a touched file with the same text changes nothing), and what an outside judge
answers (no recipe says what it will say, and what it did not answer is asked for again).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets import memory, variables
from grip_assets.errors import GripError
from grip_assets.settings import Group, digest, hashed_values
from grip_assets.store import disk
from grip_assets.store.artifacts import ArtifactStore, Draft

Settings = Mapping[str, Group]
Log = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """One asset of the chain.

    ``code_version`` is bumped when the stage's result changes for the same inputs; a golden test holds it to that.
    ``reads`` maps a settings group to the fields that the stage reads (None: all of them).
    ``facts`` are what a result depends on outside of settings and inputs: content of model files, the pool.
    ``compute`` fills the draft and returns the numbers that are plotted over time. A stage ``named_by_content`` says
    in ``work.content`` what its name is made of, and in ``work.complete`` whether its recipe stands for it from now on.
    """

    name: str
    code_version: str
    compute: Callable[["Work"], dict[str, Any]]
    description: str
    tables: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    reads: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    facts: Callable[[Settings, Path], dict[str, Any]] = lambda settings, root: {}
    group: str = "curation"
    named_by_content: bool = False
    otherwise: str = "code, model or files changed"  # why it is computed when neither settings nor inputs say it

    def values(self, settings: Settings) -> dict[str, dict[str, Any]]:
        """The values that it reads, by group."""
        return {group: hashed_values(settings[group], fields) for group, fields in self.reads.items()}

    def recipe(self, settings: Settings, inputs: Mapping[str, str], root: Path) -> str:
        versions = {name: inputs[name] for name in self.inputs}
        return digest([self.name, self.code_version, versions, self.values(settings), self.facts(settings, root)])


class Work:
    """What a stage's ``compute`` is given: settings, input tables, a draft to fill, a log.

    ``make`` makes (or reuses) another artifact of the chain, for a report that compares: (stage, settings, inputs).
    """

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        inputs: Mapping[str, str],
        store: ArtifactStore,
        draft: Draft,
        log: Log,
        stages: Mapping[str, Stage],
        make: Callable[[Stage, Settings, Mapping[str, str]], "Made"],
        run_id: str = "",
    ):
        self.stage, self.settings, self.inputs = stage, settings, inputs
        self.store, self.draft, self.log, self.run_id = store, draft, log, run_id
        self.stages, self.make, self.owners = stages, make, owners(stages)
        self.content, self.complete = "", True

    def files(self, table: str) -> str:
        """Glob of a table of one of the inputs, or of the draft itself."""
        owner = self.owners[table]
        if owner == self.stage.name:
            return self.draft.parquet(table)
        return self.store.parquet(owner, self.inputs[owner], table)

    def frame(self, table: str) -> pl.DataFrame:
        return pl.read_parquet(self.files(table))

    def tables(self) -> dict[str, str]:
        """Globs of all tables of the inputs and of the draft, by name, for queries."""
        return {t: self.files(t) for t, owner in self.owners.items() if owner in (self.stage.name, *self.inputs)}

    def must_be_in_force(self) -> None:
        """GripError where an input was made with other settings than those in force: a what-if starts from them.

        What is named by its content may be the same with other settings, and is not asked.
        """
        for name, version in self.inputs.items():
            made_with = self.store.manifest(name, version)["settings"]
            stage = self.stages[name]
            if not stage.named_by_content and made_with != stage.values(self.settings):
                raise GripError(
                    f"{self.stage.name} asks what other settings would do, and {name} was not made with those in"
                    f" force. Materialize {name} first, or run `curate`."
                )


@dataclass(frozen=True)
class Made:
    """An artifact after a run of its stage."""

    version: str
    reused: bool
    seconds: float
    manifest: dict[str, Any]


def owners(stages: Mapping[str, Stage]) -> dict[str, str]:
    """Which stage makes each table."""
    return {table: stage.name for stage in stages.values() for table in stage.tables}


def versions_under(settings: Settings, work: Work) -> dict[str, str]:
    """Versions of the inputs of ``work``, had the settings been these. What is not there is computed; nothing is put
    in force. Inputs that the settings do not touch are those of ``work``."""
    versions: dict[str, str] = {}
    for stage in work.stages.values():
        if stage.name in work.inputs:
            inputs = {name: versions[name] for name in stage.inputs}
            touched = any(versions[name] != work.inputs[name] for name in stage.inputs)
            touched = touched or stage.values(settings) != stage.values(work.settings)
            versions[stage.name] = work.make(stage, settings, inputs).version if touched else work.inputs[stage.name]
    return versions


def known_version(stage: Stage, recipe: str, store: ArtifactStore) -> str | None:
    """The version of a recipe; None for one named by its content that was not made from it yet."""
    return store.alias(stage.name, recipe) if stage.named_by_content else recipe


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
    _consistent(stage, inputs, store)
    recipe = stage.recipe(settings, inputs, store.root)
    version = known_version(stage, recipe, store)
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
        manifest |= inspect(work)
        named = digest([stage.code_version, dict(inputs), work.content])
        manifest["version"] = named if stage.named_by_content else recipe
        manifest["seconds"] = time.monotonic() - started
        unchanged = store.has(stage.name, manifest["version"])  # the pool was read again and is the same
    if stage.named_by_content and work.complete:
        store.set_alias(stage.name, recipe, manifest["version"])
    version = manifest["version"]
    return Made(version, unchanged, time.monotonic() - started, store.manifest(stage.name, version))


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


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    asset: str
    action: str  # "compute" or "reuse"
    why: str
    seconds: float | None  # what it cost when it was last computed
    version: str | None


def plan(
    stages: Mapping[str, Stage], settings: Settings, in_force: Mapping[str, str], store: ArtifactStore
) -> list[Step]:
    """What a run with ``settings`` would compute and reuse, without running it.

    ``in_force`` maps each materialized asset to its version now.
    """
    versions: dict[str, str | None] = {}
    steps = []
    for stage in stages.values():
        inputs = {name: versions[name] for name in stage.inputs}
        ready = {name: v for name, v in inputs.items() if v is not None}
        known = len(ready) == len(inputs)
        version = known_version(stage, stage.recipe(settings, ready, store.root), store) if known else None
        versions[stage.name] = version
        if version is not None and store.has(stage.name, version):
            action, why = "reuse", "in force" if in_force.get(stage.name) == version else "computed before"
        else:
            action, why = "compute", _why(stage, settings, in_force, versions, store)
        steps.append(Step(stage.name, action, why, _last_seconds(stage.name, store), version))
    return steps


def _why(
    stage: Stage,
    settings: Settings,
    in_force: Mapping[str, str],
    versions: Mapping[str, str | None],
    store: ArtifactStore,
) -> str:
    """What differs from the artifact in force: settings it was made with, inputs, or the world outside."""
    if stage.name not in in_force or not store.knows(stage.name, in_force[stage.name]):
        return "never computed in this data folder"
    made_with = store.manifest(stage.name, in_force[stage.name])["settings"]
    changed = list(setting_changes(made_with, stage.values(settings)))
    moved = [name for name in stage.inputs if versions[name] is None or versions[name] != in_force.get(name)]
    damaged = store.damaged(stage.name, in_force[stage.name])
    reasons = [f"damaged: {damaged}"] if damaged else []
    reasons += changed + [f"{name} changes" for name in moved]
    removed = "its folder was removed" if not store.has(stage.name, in_force[stage.name]) else stage.otherwise
    return ", ".join(reasons) or removed


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value)  # as it is written in --set and in profiles


def setting_changes(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """``group.field: old → new`` for each that differs."""
    for group, values in new.items():
        for name, value in values.items():
            was = old.get(group, {}).get(name)
            if was != value:
                yield f"{group}.{name}: {_shown(was)} → {_shown(value)}"


def _last_bytes(stage: str, store: ArtifactStore) -> int | None:
    """Of the largest artifact of the stage so far."""
    return max((sum(t["bytes"] for t in m["tables"].values()) for m in store.ever_made(stage)), default=None)


def _last_seconds(stage: str, store: ArtifactStore) -> float | None:
    made = list(store.ever_made(stage))
    return max(made, key=lambda m: m["computed_at"])["seconds"] if made else None
