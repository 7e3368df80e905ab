"""Finds the files and rows with the data, in data sets that Hugging Face `datasets` saved or cached.

A folder that ``save_to_disk`` wrote names its data files in state.json. Older versions also name a file of indices
there. The library's own cache has dataset_info.json, which names the splits. Other Arrow files beside these are caches
of ``map``, ``filter`` and the like.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.sources.listing import Entry

STATE, INFO = "state.json", "dataset_info.json"


@dataclass
class Saved:
    """``data``: files with the data. ``about``: files that name the data; a change of these changes the pool.
    ``indexed``: for each data set with indices, its data files and its files of indices."""

    data: list[Entry] = field(default_factory=list)
    about: list[Entry] = field(default_factory=list)
    indexed: list[tuple[list[Entry], list[Entry]]] = field(default_factory=list)

    @cached_property
    def picked(self) -> dict[str, np.ndarray]:
        """The rows to read, by the name of a file. A file without an entry is read whole."""
        return {name: rows for data, indices in self.indexed for name, rows in picks(data, indices).items()}


def saved(entries: list[Entry]) -> Saved:
    """Finds the data in the files of a pool. Raises GripError if a file that state.json names is missing."""
    by_folder: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        path = PurePosixPath(entry.name)
        by_folder[str(path.parent)][path.name] = entry
    found = Saved()
    for files in by_folder.values():
        _add_folder(files, found)
    found.data.sort(key=lambda e: e.name)
    return found


def _add_folder(files: dict[str, Entry], found: Saved) -> None:
    state = _json(files.get(STATE))
    arrow = [e for name, e in files.items() if name.endswith(".arrow") and not name.startswith("cache-")]
    if "_data_files" in state:
        data = _named(files, state["_data_files"])
        indices = _named(files, state.get("_indices_data_files") or state.get("_indices_files") or [])
        found.data += data
        found.about += [files[STATE], *indices]
        if indices:
            found.indexed.append((data, indices))
        return
    splits = _json(files.get(INFO)).get("splits")
    if isinstance(splits, dict) and splits:
        names = "|".join(map(re.escape, splits))
        of_split = re.compile(rf"(?:.*-)?(?:{names})(?:-\d+-of-\d+)?\.arrow")
        named = [e for e in arrow if of_split.fullmatch(PurePosixPath(e.name).name)]
        found.about += [files[INFO]] if named else []
        arrow = named or arrow
    found.data += arrow


def _named(files: dict[str, Entry], said: list[dict[str, str]]) -> list[Entry]:
    names = [file["filename"] for file in said]
    missing = [name for name in names if name not in files]
    if missing:
        raise GripError(
            f"{files[STATE].name} names {missing[0]}, which is not there: the data set was saved or copied in part."
            " Save it again."
        )
    return [files[name] for name in names]


def _json(entry: Entry | None) -> dict[str, Any]:
    """The object in a JSON file. Empty if there is no file, or if it holds no JSON object."""
    if entry is None:
        return {}
    try:
        with entry.open() as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def batches(entry: Entry) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Schema and batches of an Arrow file of either kind: a stream, or with a footer."""
    with ExitStack() as stack:
        raw = stack.enter_context(entry.open())
        footer = raw.read(6) == b"ARROW1"
        raw.seek(0)
        if footer:
            file = stack.enter_context(pa.ipc.open_file(raw))
            yield file.schema, map(file.get_batch, range(file.num_record_batches))
        else:
            stream = stack.enter_context(pa.ipc.open_stream(raw))
            yield stream.schema, iter(stream)


def picks(data: list[Entry], indices: list[Entry]) -> dict[str, np.ndarray]:
    """The rows of each file that the indices of the data set name, in the order of the file."""
    wanted = np.sort(np.concatenate([_indices(entry) for entry in indices]))
    found, start = {}, 0
    for entry in data:
        end = start + _rows(entry)
        found[entry.name] = wanted[(wanted >= start) & (wanted < end)] - start
        start = end
    return found


def _indices(entry: Entry) -> np.ndarray:
    with batches(entry) as (_, rows):
        return np.concatenate([b.column(0).to_numpy().astype(np.int64) for b in rows] or [np.empty(0, np.int64)])


def _rows(entry: Entry) -> int:
    with batches(entry) as (_, rows):
        return sum(b.num_rows for b in rows)
