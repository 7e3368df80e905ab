"""Dagster's home and the data folder belong together.

The event log in the home says which artifacts and settings of the data folder are in force.

If only ``GRIP_DATA`` is set, the home is the folder ``.dagster`` in the data folder. The data folder has a file with
the identity of its home, and the home has a file with the path of its data folder. A home and a data folder that do not
belong together are refused, because their settings and history would be those of another pool.
"""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from grip_assets.errors import GripError, Unfinished
from grip_assets.runtime.folders import data_root, home_folder, shipped, shown_data
from grip_assets.store.behind import behind
from grip_assets.store.places import NotThere, Place

if TYPE_CHECKING:
    import dagster as dg

MARK = ".home.json"  # in the data folder
OF_HOME = "grip_data.json"  # in the home


def make_home() -> Path:
    """The home. If it is missing, it is created, with this project's dagster.yaml."""
    home = home_folder()
    if not home.exists():
        must_write()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():  # without this file Dagster uses its defaults and sends telemetry
        shutil.copy(shipped("dagster_home") / "dagster.yaml", home)
    return home


def belong_together(instance: "dg.DagsterInstance", home: Path) -> None:
    """GripError if the data folder or the home belongs to another one."""
    data, mark = shown_data(), _mark()
    if mark:
        if mark["id"] != _identity(instance, home):
            raise GripError(
                f"The data folder {data} belongs to DAGSTER_HOME {mark['home']}, and DAGSTER_HOME is {home}, which has"
                f" the settings and history of another data folder. Set DAGSTER_HOME={mark['home']}, or name another"
                f" GRIP_DATA. (If that home is lost for good, remove {data}/{MARK}.)"
            )
        return
    other = _read(home / OF_HOME).get("data", data)
    if other != data and _mark_of(other).get("id") == _identity(instance, home):
        raise GripError(
            f"DAGSTER_HOME {home} belongs to the data folder {other}, and GRIP_DATA is {data}. Set GRIP_DATA={other},"
            " or unset DAGSTER_HOME: each data folder then has its own home."
        )


def bind(instance: "dg.DagsterInstance", home: Path) -> None:
    """Record, in both folders, that the data folder and the home belong together."""
    data = data_root()
    data.mkdir(parents=True, exist_ok=True)
    mark = {"id": _identity(instance, home), "home": str(home)}
    if (store := behind(data)) and _mark() != mark:
        store.set_text(MARK, json.dumps(mark))
    for file, content in ((data / MARK, mark), (home / OF_HOME, {"data": shown_data()})):
        if _read(file) != content:
            beside = file.with_suffix(".new")
            beside.write_text(json.dumps(content), encoding="utf-8")
            beside.replace(file)


def _mark() -> dict[str, str]:
    """The mark of the data folder; of an object store, the one that lies there, for all machines."""
    store = behind(data_root())
    return _parsed(store.text(MARK) or "") if store else _read(data_root() / MARK)


def _mark_of(data: str) -> dict[str, str]:
    """The mark of another data folder or object store; empty if it has none."""
    if "://" not in data:
        return _read(Path(data) / MARK)
    with suppress(NotThere):
        return _parsed(Place(data).read(MARK).decode(errors="replace"))
    return {}


def _parsed(text: str) -> dict[str, str]:
    try:
        return json.loads(text)
    except ValueError:
        return {}


def _identity(instance: "dg.DagsterInstance", home: Path) -> str:
    """The identity of the event log. A team may share one on a server, where each member has a home of their own."""
    of_storage = getattr(instance.run_storage, "get_run_storage_id", None)
    return of_storage() if of_storage else str(home)


def _read(file: Path) -> dict[str, str]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


def may_write(home: Path) -> bool:
    """Whether this user may write to the home and its event log. Files that do not exist are not looked at."""
    folders = [home, home / "history", home / "history" / "runs"]
    there = [*folders, *home.glob("history/*.db"), *home.glob("history/runs/index.db")]
    return all(os.access(path, os.W_OK) for path in there if path.exists())


def must_write() -> None:
    """GripError if this user may not write to the data folder or its home."""
    home = home_folder()
    for folder in (data_root(), home):
        nearest = next(f for f in (folder, *folder.parents) if f.exists())
        if not os.access(nearest, os.W_OK) or (folder == home and not may_write(folder)):
            raise Unfinished(
                f"This user may read {folder} and not write to it. Ask its owner for the right to write, or set"
                " GRIP_DATA to a folder of your own. Commands that only read still work: status, plan, sql, explain,"
                " history, compare, and export to another place."
            )


@contextmanager
def readers_copy(home: Path) -> Iterator[Path]:
    """Yield a temporary copy of the event log of a home that this user may only read.

    The copy is needed because SQLite writes files beside a database to read it. The copy is read-only, so that nobody
    writes into it and loses what they wrote.
    """
    with tempfile.TemporaryDirectory(prefix="grip-reader-") as place:
        copy = Path(place)
        shutil.copy(home / "dagster.yaml", copy)
        for file in (*home.glob("history/runs.db"), *home.glob("history/runs/index.db"), *home.glob("schedules/*.db")):
            target = copy / file.relative_to(home)
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy_database(file, target)
        yield copy


def _copy_database(file: Path, target: Path) -> None:
    """Copy a database with its write-ahead log into one file. Repeats if a writer changed it during the copy."""
    sources = [file, file.with_name(file.name + "-wal")]

    def state() -> list[tuple[int, int]]:
        return [(s.stat().st_mtime_ns, s.stat().st_size) for s in sources if s.exists()]

    for _ in range(5):
        before = state()
        for source in sources:
            if source.exists():
                shutil.copyfile(source, target.with_name(source.name))
        if state() == before:
            break
    with closing(sqlite3.connect(target)) as database:
        database.execute("PRAGMA journal_mode = DELETE")  # moves the log's content into the file
    target.chmod(0o444)
