"""The plan of a run: which stages it would compute or reuse, and why. Nothing is run.

Seconds and disk of a plan are forecast in stages/costs.py. Making artifacts is in make.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from grip_assets.engine.stage import Settings, Stage, known_version, turned_since
from grip_assets.store.artifacts import ArtifactStore


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    asset: str
    action: str  # "compute", "reuse" or "unused"
    why: str
    seconds: float | None  # of its last computation
    version: str | None
    in_force: bool = False  # the artifact exists and is the one in force


def plan(
    stages: Mapping[str, Stage], settings: Settings, in_force: Mapping[str, str], store: ArtifactStore
) -> list[Step]:
    """One step per stage, in the order of ``stages``: what a run with ``settings`` would do with it.

    ``in_force`` maps each materialized asset to its version in force.
    """
    versions: dict[str, str | None] = {}
    steps = []
    for stage in stages.values():
        version = versions[stage.name] = _version(stage, settings, versions, store)
        there = version is not None and store.has(stage.name, version)
        current = there and in_force.get(stage.name) == version
        if reason := stage.why_unused(settings):
            action, why = "unused", f"not used: {reason}"
        elif there:
            action, why = "reuse", "in force" if current else "computed before"
        else:
            action, why = "compute", _why(stage, settings, in_force, versions, store)
        steps.append(Step(stage.name, action, why, _last_seconds(stage.name, store), version, current))
    return steps


def _version(stage: Stage, settings: Settings, versions: Mapping[str, str | None], store: ArtifactStore) -> str | None:
    """The version that the stage would make of these versions of its inputs; None if only a run can tell."""
    needed = stage.inputs_under(settings)
    inputs = {name: version for name in needed if (version := versions[name]) is not None}
    if len(inputs) < len(needed) and not stage.why_unused(settings):
        return None
    return known_version(stage, settings, stage.recipe(settings, inputs, store.root), store)


def _why(
    stage: Stage,
    settings: Settings,
    in_force: Mapping[str, str],
    versions: Mapping[str, str | None],
    store: ArtifactStore,
) -> str:
    """What differs from the artifact in force: its settings, its inputs, or facts outside of both."""
    if stage.name not in in_force or not store.knows(stage.name, in_force[stage.name]):
        return "never computed in this data folder"
    manifest = store.manifest(stage.name, in_force[stage.name])
    if "unused" in manifest:
        return "it was not used before"
    changed = list(turned_since(stage, manifest, settings, store.root))
    needed = stage.inputs_under(settings)
    moved = [name for name in needed if versions[name] is None or versions[name] != in_force.get(name)]
    damaged = store.damaged(stage.name, in_force[stage.name])
    reasons = [f"damaged: {damaged}"] if damaged else []
    reasons += changed + [f"{name} changes" for name in moved]
    removed = "its folder was removed" if not store.has(stage.name, in_force[stage.name]) else stage.otherwise
    return ", ".join(reasons) or removed


def _last_seconds(stage: str, store: ArtifactStore) -> float | None:
    made = [manifest for manifest in store.ever_made(stage) if "unused" not in manifest]
    return max(made, key=lambda m: m["computed_at"])["seconds"] if made else None
