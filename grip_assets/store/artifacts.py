"""Immutable artifacts at ``<root>/<stage>/<version>/``: written aside, synced, then published by one rename.

An artifact is a folder of tables (``<table>/part-00000.parquet`` ...) and a ``manifest.json`` that says what made
it. A version is a recipe: it is known before the artifact is computed, so "is it there?" is one look, a crash
leaves nothing half-made, and two runs that make the same thing cannot clash.
"""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.store.tables import TableWriter

REPOSITORY = Path(__file__).parents[2]


def data_root() -> Path:
    """``GRIP_DATA`` (default ``data``); a relative one is relative to the repository, from wherever it is asked."""
    return (REPOSITORY / (os.environ.get("GRIP_DATA") or "data")).resolve()


class Draft:
    """An artifact being made. Nothing of it is visible before it is published."""

    def __init__(self, folder: Path):
        self.folder = folder

    def writer(self, table: str, schema: pa.Schema) -> TableWriter:
        """For a table that is larger than memory: ``with draft.writer(...) as w: w.write(batch)``."""
        (self.folder / table).mkdir()
        return TableWriter(self.folder / table / "part-00000.parquet", schema)

    def write(self, table: str, frame: pl.DataFrame | pa.Table) -> None:
        arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest()) if isinstance(frame, pl.DataFrame) else frame
        self.write_blocks(table, [arrow])

    def write_blocks(self, table: str, blocks: Iterable[pa.Table]) -> None:
        """Write blocks one after the other; the first one has the schema."""
        rest = iter(blocks)
        first = next(rest)
        with self.writer(table, first.schema) as writer:
            for block in chain([first], rest):
                writer.write(block)

    def parquet(self, table: str) -> str:
        return str(self.folder / table / "*.parquet")


class ArtifactStore:
    """All artifacts of one data folder."""

    def __init__(self, root: Path):
        self.root = root

    def folder(self, stage: str, version: str) -> Path:
        return self.root / stage / version

    def has(self, stage: str, version: str) -> bool:
        return (self.folder(stage, version) / "manifest.json").exists()

    def manifest(self, stage: str, version: str) -> dict[str, Any]:
        """What made an artifact, also where its folder was removed."""
        for file in (self.folder(stage, version) / "manifest.json", self._kept(stage, version)):
            with suppress(FileNotFoundError):
                return json.loads(file.read_text())
        raise GripError(
            f"{self.folder(stage, version)} is not there, though a run recorded it. Materialize {stage} again:"
            f" it is computed from its inputs and gets the same name."
        )

    def knows(self, stage: str, version: str) -> bool:
        """Whether there is a manifest of this artifact; its folder may be gone."""
        return self.has(stage, version) or self._kept(stage, version).exists()

    def keep(self, manifest: dict[str, Any]) -> None:
        """Keep a manifest where the removal of its artifact's folder does not reach it."""
        file = self._kept(manifest["stage"], manifest["version"])
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with self.scratch() as scratch:
                (scratch / "manifest").write_text(json.dumps(manifest, indent=1))
                (scratch / "manifest").rename(file)

    def _kept(self, stage: str, version: str) -> Path:
        return self.root / ".manifests" / stage / f"{version}.json"

    def ever_made(self, stage: str) -> Iterator[dict[str, Any]]:
        """Manifests of all artifacts of a stage, also of those whose folder was removed, by name."""
        kept = {file.stem for file in (self.root / ".manifests" / stage).glob("*.json")}
        there = {file.parent.name for file in self.root.glob(f"{stage}/*/manifest.json")}
        yield from (self.manifest(stage, version) for version in sorted(kept | there))

    def lineage(self, stage: str, version: str) -> dict[str, dict[str, Any]]:
        """Manifests of an artifact and of all that it was made from, by stage; what it was made from comes first."""
        manifest = self.manifest(stage, version)
        found: dict[str, dict[str, Any]] = {}
        for name, made_from in manifest["inputs"].items():
            found |= self.lineage(name, made_from)
        return found | {stage: manifest}

    def parquet(self, stage: str, version: str, table: str) -> str:
        """The files of a table, as a glob for DuckDB or polars; their order is the order of the rows."""
        return str(self.folder(stage, version) / table / "*.parquet")

    def manifests(self, stage: str = "[!.]*") -> Iterator[dict[str, Any]]:
        """Manifests of all artifacts (of one stage), in the order of their names."""
        for file in sorted(self.root.glob(f"{stage}/*/manifest.json")):
            yield json.loads(file.read_text())

    def alias(self, stage: str, recipe: str) -> str | None:
        """The version that ``recipe`` led to, for a stage that is named by its content; None: not made yet."""
        file = self.root / stage / ".aliases" / recipe
        return file.read_text() if file.exists() else None

    def set_alias(self, stage: str, recipe: str, version: str) -> None:
        file = self.root / stage / ".aliases" / recipe
        file.parent.mkdir(parents=True, exist_ok=True)
        with self.scratch() as scratch:
            (scratch / "alias").write_text(version)
            (scratch / "alias").rename(file)

    @contextmanager
    def publish(self, stage: str, manifest: dict[str, Any]) -> Iterator[Draft]:
        """Yield a draft; when the block ends well it becomes the artifact, otherwise it goes.

        ``manifest`` may be added to inside the block; it is written last, and its ``version`` is the name.
        """
        with self.scratch() as folder:
            yield Draft(folder)
            manifest["tables"] = {t.name: describe(t) for t in sorted(folder.iterdir()) if t.is_dir()}
            (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
            sync(folder)
            self.keep(manifest)
            final = self.folder(stage, manifest["version"])
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(final)
            except OSError:
                if not self.has(stage, manifest["version"]):  # otherwise another run was first with the same thing
                    raise

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the same file system that is gone afterwards, at the latest when the next one is asked for.

        A lock is held while its owner lives, so the leftovers of a killed process are told from work going on.
        """
        root = self.root / ".scratch"
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        folder = root / uuid.uuid4().hex
        with _locked(folder.with_suffix(".lock")):
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def describe(table: Path) -> dict[str, Any]:
    """Rows, bytes and columns of a table's files, from their footers."""
    import pyarrow.parquet as pq

    parts = [pq.ParquetFile(part) for part in sorted(table.glob("*.parquet"))]
    return {
        "rows": sum(p.metadata.num_rows for p in parts),
        "bytes": sum(part.stat().st_size for part in table.glob("*.parquet")),
        "columns": {field.name: str(field.type) for field in parts[0].schema_arrow},
    }


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _sweep(root: Path) -> None:
    for lock in root.glob("*.lock"):
        with suppress(FileNotFoundError, BlockingIOError), lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Bring all that is in a folder to the disk."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
