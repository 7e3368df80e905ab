"""What a data folder holds that nothing in force needs, and its removal. Names no Dagster: versions come from outside.

Never touched: what is in force and all that it was made from, the same of the latest subsets that are kept, answers
that were paid for (``.judge``), and manifests (``.manifests``): settings and history of what is removed stay known, and
it can be computed again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.store.artifacts import ArtifactStore, read_manifest


@dataclass(frozen=True)
class Removable:
    """``kind``: artifact, damaged artifact, shards. ``seconds``: what computing it took, where that is known."""

    kind: str
    stage: str
    path: Path
    n_bytes: int
    seconds: float | None = None


def removable(
    store: ArtifactStore, in_force: Mapping[str, str], keep: int = 0, also: Iterable[tuple[str, str]] = ()
) -> list[Removable]:
    """What can go, by stage. ``in_force``: version of each stage; ``keep``: how many of the latest subsets stay
    besides, with all that they were made from; ``also``: further artifacts (stage, version) that stay."""
    kept = needed(store, in_force, keep) | set(also)
    found = []
    for folder in store.folders():
        stage, version = folder.parent.name, folder.name
        if (stage, version) not in kept:
            found.append(_artifact(store, stage, version))
    return [*found, *_shards(store, kept)]


def needed(store: ArtifactStore, in_force: Mapping[str, str], keep: int) -> set[tuple[str, str]]:
    """(stage, version) of all that stays."""
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
        return  # gone, and its manifest too: nothing says what it was made from
    found.update((name, kept) for name, kept in manifest.get("keeps", []))  # these alone, not what they were made from
    for name, made_from in manifest["inputs"].items():
        _with_ancestors(store, name, made_from, found)


def _artifact(store: ArtifactStore, stage: str, version: str) -> Removable:
    folder = store.folder(stage, version)
    kind = "damaged artifact" if store.damaged(stage, version) else "artifact"
    try:
        seconds = read_manifest(folder / "manifest.json").get("seconds")
    except (OSError, ValueError):
        seconds = None
    return Removable(kind, stage, folder, _bytes(folder), seconds)


def _shards(store: ArtifactStore, kept: Iterable[tuple[str, str]]) -> Iterator[Removable]:
    """Folders of shards that no kept artifact was made with. A stage of which nothing is kept keeps its shards (it may
    be going on), and so does one whose manifests do not name them (they are older than that)."""
    manifests = [store.manifest(stage, version) for stage, version in kept if store.knows(stage, version)]
    used = {name for m in manifests for name in m.get("shards", [])}
    certain = {m["stage"] for m in manifests} - {m["stage"] for m in manifests if "shards" not in m}
    for folder in sorted(store.root.glob("[!.]*/.shards/*")):
        stage = folder.parent.parent.name
        if stage in certain and folder.name not in used:
            yield Removable("shards", stage, folder, _bytes(folder))


def remove(store: ArtifactStore, items: Iterable[Removable]) -> int:
    """Bytes that were freed."""
    freed = 0
    for item in items:
        if item.kind == "artifact":
            store.keep(read_manifest(item.path / "manifest.json"))
        store.discard(item.path)
        freed += item.n_bytes
    return freed


def _bytes(folder: Path) -> int:
    """On the disk; a file that has other names (a part that several versions share) frees nothing by itself."""
    found = [file.stat() for file in folder.rglob("*") if file.is_file()]
    return sum(stat.st_size for stat in found if stat.st_nlink == 1)
