"""The disk that a stage will need, estimated before it is computed. store/disk.py recognises a disk that is full."""

import shutil
from collections.abc import Mapping
from typing import Any

from grip_assets.engine.stage import Log, Stage
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.disk import existing, size, too_small


def must_fit(stage: Stage, inputs: Mapping[str, str], store: ArtifactStore, log: Log) -> None:
    """Log the estimate. DiskFull, before anything is written, if the stage declares what it needs (``Stage.disk``) and
    there is not as much.

    An estimate from earlier artifacts is only logged: other settings may have needed more.
    """
    declared = _declared(stage, inputs, store)
    needed = _as_before(stage, inputs, store) if declared is None else declared
    if needed is None:
        return
    free = shutil.disk_usage(existing(store.root)).free
    log(f"{stage.name}: about {size(needed)} of disk, {size(free)} are free")
    if declared is not None and declared > free:
        raise too_small(store.root, stage.name, declared)


def _declared(stage: Stage, inputs: Mapping[str, str], store: ArtifactStore) -> int | None:
    if stage.disk is None:
        return None
    tables = {
        table: said
        for name, version in inputs.items()
        for table, said in store.manifest(name, version)["tables"].items()
    }
    return stage.disk(tables)


def _as_before(stage: Stage, inputs: Mapping[str, str], store: ArtifactStore) -> int | None:
    """Bytes of the latest artifact, in proportion to the bytes of its inputs; None if there is none with inputs."""
    found = [m for m in store.ever_made(stage.name) if "unused" not in m and m["inputs"]]
    if not found:
        return None
    latest = max(found, key=lambda manifest: manifest["computed_at"])
    if any(not store.knows(*each) for each in latest["inputs"].items()):
        return None
    before = sum(_bytes(store.manifest(*each)) for each in latest["inputs"].items())
    now = sum(_bytes(store.manifest(*each)) for each in inputs.items())
    return round(_bytes(latest) * now / max(before, 1))


def _bytes(manifest: Mapping[str, Any]) -> int:
    return sum(table["bytes"] for table in manifest["tables"].values())
