"""What a run would compute and reuse, and why, without running it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grip_assets.engine.stage import Settings, Stage, known_version
from grip_assets.store.artifacts import ArtifactStore


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


def _last_seconds(stage: str, store: ArtifactStore) -> float | None:
    made = list(store.ever_made(stage))
    return max(made, key=lambda m: m["computed_at"])["seconds"] if made else None
