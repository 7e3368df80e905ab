"""Finds and removes artifacts and shards that nothing in force needs. No Dagster: the caller knows what is in force.

Never removed are: artifacts in force and all that they were made from; the same for the latest subsets that are kept;
answers that were paid for (``.judge``); and manifests (``.manifests``). So the settings and history of removed
artifacts stay known, and they can be computed again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.store.artifacts import ArtifactStore


@dataclass(frozen=True)
class Removable:
    """``kind``: artifact, damaged artifact or shards. ``shown``: its path or address, as people name it. ``made``: when
    it was computed, in seconds since 1970. ``seconds``: how long that took. Both are None if not known."""

    kind: str
    stage: str
    path: Path
    shown: str
    n_bytes: int
    made: float | None = None
    seconds: float | None = None


def removable(
    store: ArtifactStore, in_force: Mapping[str, str], keep: int = 0, also: Iterable[tuple[str, str]] = ()
) -> list[Removable]:
    """All that can be removed, by stage.

    ``in_force``: the version of each stage. ``keep``: number of latest subsets that stay too, with all that they were
    made from. ``also``: further artifacts that stay, as (stage, version).
    """
    kept = needed(store, in_force, keep) | set(also)
    found = []
    for folder in store.folders():
        stage, version = folder.parent.name, folder.name
        if (stage, version) not in kept:
            found.append(_artifact(store, stage, version))
    return [*found, *_shards(store, kept)]


def needed(store: ArtifactStore, in_force: Mapping[str, str], keep: int) -> set[tuple[str, str]]:
    """(stage, version) of all artifacts that stay."""
    subsets = sorted(store.manifests("subset"), key=lambda m: m["computed_at"], reverse=True)
    chosen = [m for m in subsets if m["version"] != in_force.get("subset") and not m.get("made_for")][:keep]
    roots = [*in_force.items(), *(("subset", m["version"]) for m in chosen)]
    found: set[tuple[str, str]] = set()
    for stage, version in roots:
        _with_ancestors(store, stage, version, found)
    return found


def _with_ancestors(store: ArtifactStore, stage: str, version: str, found: set[tuple[str, str]]) -> None:
    if (stage, version) in found:
        return
    found.add((stage, version))
    try:
        manifest = store.manifest(stage, version)
    except GripError:
        return  # its folder and its manifest are gone, so nothing says from what it was made
    found.update((name, kept) for name, kept in manifest.get("keeps", []))  # without their own inputs
    for name, made_from in manifest["inputs"].items():
        _with_ancestors(store, name, made_from, found)


def _artifact(store: ArtifactStore, stage: str, version: str) -> Removable:
    folder = store.folder(stage, version)
    kind = "damaged artifact" if store.damaged(stage, version) else "artifact"
    try:
        manifest = store.own_manifest(stage, version)
    except (OSError, ValueError):
        manifest = {}
    about = (store.shown(folder), store.bytes_of(folder), manifest.get("computed_at"), manifest.get("seconds"))
    return Removable(kind, stage, folder, *about)


def _shards(store: ArtifactStore, kept: Iterable[tuple[str, str]]) -> Iterator[Removable]:
    """Folders of shards that no kept artifact used.

    A stage without kept artifacts keeps its shards, since a run of it may be unfinished. So does a stage with an old
    manifest that does not name its shards.
    """
    manifests = [store.manifest(stage, version) for stage, version in kept if store.knows(stage, version)]
    used = {name for m in manifests for name in m.get("shards", [])}
    certain = {m["stage"] for m in manifests} - {m["stage"] for m in manifests if "shards" not in m}
    for folder in store.shard_folders():
        stage = folder.parent.parent.name
        if stage in certain and folder.name not in used:
            yield Removable("shards", stage, folder, store.shown(folder), store.bytes_of(folder))


def remove(store: ArtifactStore, items: Iterable[Removable]) -> int:
    """Remove the items. Returns the number of bytes that were freed."""
    freed = 0
    for item in items:
        if item.kind == "artifact":
            store.keep(store.own_manifest(item.path.parent.name, item.path.name))
        store.discard(item.path)
        freed += item.n_bytes
    return freed
