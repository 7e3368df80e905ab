"""Write the subset's documents in a trainer's format, with a card that says where they come from.

The parts of an export are written beside its target one by one, so a stopped export continues after its last part. The
target appears by one rename.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.compute as pc

from grip_assets.errors import GripError
from grip_assets.export.card import card
from grip_assets.export.formats import Format, HuggingFace, Jsonl, JsonlGzip, JsonlZstd, Parquet
from grip_assets.export.lineage import Lineage, lineage
from grip_assets.export.rows import Rows
from grip_assets.export.targets import Target, held, target_of
from grip_assets.export.trainers import Mds, Megatron
from grip_assets.export.workplace import Workplace, workplace
from grip_assets.runtime.progress import Progress
from grip_assets.settings import digest
from grip_assets.store.catalog import connect
from grip_assets.store.marks import MANIFEST, contents, sealed

VERSION = 1  # raise it when the bytes of the same export change
FORMATS: dict[str, type[Format]] = {
    kind.name: kind for kind in (Parquet, Jsonl, JsonlGzip, JsonlZstd, HuggingFace, Mds, Megatron)
}
OTHERS = {  # endings of formats that an export cannot write
    "arrow", "avro", "bin", "bz2", "csv", "db", "duckdb", "feather", "gz", "h5", "hdf5", "idx", "ipc", "json", "lz4",
    "md", "msgpack", "ndjson", "npy", "npz", "orc", "pb", "pickle", "pkl", "pt", "sqlite", "snappy", "tar", "tgz",
    "tsv", "txt", "xlsx", "xml", "xz", "yaml", "yml", "zip", "zst",
}  # fmt: skip
PART_BYTES = 64 << 20  # of text; MosaicML's default size of a shard


@dataclass(frozen=True)
class Export:
    """Everything that the bytes of an export depend on, except the subset."""

    format: str
    expand: bool = False
    shuffle: int | None = None
    tokenizer: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def key(self, subset: str) -> str:
        return digest([VERSION, subset, PART_BYTES, asdict(self)])


def export(
    root: Path,
    path: Path | str,
    format: str | None = None,
    tokenizer: str | None = None,
    expand: bool = False,
    shuffle: int | None = None,
    log: Callable[[str], None] = print,
    force: bool = False,
) -> int:
    """Write the subset to ``path`` and return the number of rows written.

    ``path``: a file or folder, a pipe or device, ``-`` for standard output, or a URL that fsspec can open. ``expand``:
    write a document once for each of its repeats. ``shuffle``: a seed for random order; None: by cluster. ``force``:
    replace a file that was not made by an export.

    GripError if the format, the path or the tokenizer cannot be used, if there is no subset, or if the subset was made
    from tables that are no longer in force.
    """
    target = target_of(str(path))
    kind = FORMATS[_format(target, format)]
    with connect(root) as connection:
        made_from = lineage(connection, root)
        kept = held(connection, root)
        target.refuse(kind.directory, kept, force)
        if advice := target.advice(kept):
            log(advice)
        writer = kind(root, tokenizer, made_from.tokenizer)
        what = Export(kind.name, expand or kind.expands, shuffle, writer.tokenizer, writer.facts())
        with target.place() as place:
            with workplace(place, what.key(made_from.version)) as work:
                rows = Rows(connection, made_from.corpus, what.expand, shuffle, PART_BYTES, work.folder / "spilled")
                counts = _write_parts(rows, writer, work, log)
                log(f"exporting: putting {what.format} together, parts: {len(work.parts()):,}")
                writer.assemble(work.parts(), work.target())
                manifest = {"grip_export": VERSION, "subset": made_from.version, **asdict(what), **counts}
                _describe(connection, kind, made_from, manifest, place.name, work)
                target.refuse(kind.directory, kept, force)  # again: a file may have appeared since
                work.publish(kind.directory)
            target.deliver(place, kind.directory)
    return counts["rows"]


def _format(target: Target, format: str | None) -> str:
    """The named format, or that of the target's ending. GripError if the two differ or the ending is not known."""
    if format is not None and format not in FORMATS:
        raise GripError(f"There is no export format '{format}'. Choose one of: {', '.join(FORMATS)}.")
    said = {ending for name in target.names() if (ending := _ending(name))}
    known = {ending: FORMATS[ending].suffix for ending in said & FORMATS.keys()}
    for ending in sorted(said):
        if format and ending != format and (ending in FORMATS or ending in OTHERS):
            raise GripError(f"{target.shown} ends like {ending}, and --format is {format}. Change one of them.")
        if ending not in FORMATS and not (format and ending not in OTHERS):
            raise GripError(
                f"{target.shown} ends in .{ending}, which is not a format of an export. End it in"
                f" {', '.join(k.suffix for k in FORMATS.values() if k.suffix)}, or say --format"
                f" {', '.join(k.name for k in FORMATS.values() if k.directory)} for a folder."
            )
    if len(known) > 1:
        raise GripError(f"{target.shown} is a link to a file with the ending of another format. Rename one of them.")
    return format or next(iter(known), target.default)


def _ending(name: str) -> str:
    """The format of a name's ending. If no format has this ending, the ending itself; '' if there is none."""
    low = name.lower()
    ours = next((n for n, kind in FORMATS.items() if kind.suffix and low.endswith(kind.suffix)), None)
    return ours or Path(low).suffix.removeprefix(".")


def _write_parts(rows: Rows, writer: Format, work: Workplace, log: Callable[[str], None]) -> dict[str, int]:
    """Write the missing parts, and return the total rows and tokens of all parts."""
    missing = [part for part in rows.sizes if not work.has(part)]
    if there := len(rows.sizes) - len(missing):
        log(f"exporting: {there:,} of {len(rows.sizes):,} parts are there from an earlier export that was stopped")
    progress = Progress("exporting", sum(rows.sizes[part] for part in missing), "documents", log)
    for part, table in rows.of(missing):
        with work.part(part) as folder:
            note = {"rows": len(table), "tokens": pc.sum(pc.multiply(table["n_tokens"], table["repeats"])).as_py()}
            (folder / "part.json").write_text(json.dumps(note | writer.write(table, folder)), encoding="utf-8")
        progress.advance(len(table))
    progress.finish()
    notes = [json.loads((part / "part.json").read_text(encoding="utf-8")) for part in work.parts()]
    return {name: sum(note[name] for note in notes) for name in ("rows", "tokens")}


def _describe(
    connection: duckdb.DuckDBPyConnection,
    kind: type[Format],
    made_from: Lineage,
    manifest: dict[str, Any],
    name: str,
    work: Workplace,
) -> None:
    """Write the card, and the mark by which a later export recognizes this one."""
    text = card(connection, made_from, manifest, kind, name)
    if kind.directory:
        (work.target() / "README.md").write_text(text, encoding="utf-8")
        marked = manifest | {"files": contents(work.target())}
        (work.target() / MANIFEST).write_text(json.dumps(marked, indent=1), encoding="utf-8")
    else:
        work.card().write_text(sealed(text, name, work.target()), encoding="utf-8")
