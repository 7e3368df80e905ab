"""Dagster's home and the data folder belong together: the event log of one says what is in force in the other.

With ``GRIP_DATA`` alone the home is inside of the data folder (``.dagster``), so that one variable names both. The data
folder carries the identity of its home, and the home the place of its data folder; two that do not belong together are
refused, for settings and history would be those of another pool.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from grip_assets import variables
from grip_assets.errors import GripError
from grip_assets.store.artifacts import REPOSITORY, data_root

if TYPE_CHECKING:
    import dagster as dg

IN_DATA, MARK = ".dagster", ".home.json"  # in the data folder
OF_HOME = "grip_data.json"  # in the home


def home_folder() -> Path:
    """``DAGSTER_HOME``, relative to the repository; without it ``.dagster`` in ``GRIP_DATA``; without that
    ``dagster_home``."""
    if stated := variables.value("DAGSTER_HOME"):
        return (REPOSITORY / stated).resolve()
    if variables.value("GRIP_DATA"):
        return data_root() / IN_DATA
    return (REPOSITORY / "dagster_home").resolve()


def make_home() -> Path:
    """The home, made where it is not there, with the settings of this project's instance."""
    home = home_folder()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():  # otherwise Dagster sends telemetry and keeps its defaults
        shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", home)
    return home


def belong_together(instance: "dg.DagsterInstance", home: Path) -> None:
    """GripError where data folder and home are each other's strangers."""
    data, mark = data_root(), _read(data_root() / MARK)
    if mark:
        if mark["id"] != _identity(instance, home):
            raise GripError(
                f"The data folder {data} belongs to DAGSTER_HOME {mark['home']}, and DAGSTER_HOME is {home}: settings"
                f" and history there are those of another folder. Set DAGSTER_HOME={mark['home']}, or name another"
                f" GRIP_DATA. (If that home is lost for good, remove {data / MARK}.)"
            )
        return
    other = Path(_read(home / OF_HOME).get("data", data))
    if other != data and _read(other / MARK).get("id") == _identity(instance, home):
        raise GripError(
            f"DAGSTER_HOME {home} belongs to the data folder {other}, and GRIP_DATA is {data}. Set GRIP_DATA={other},"
            " or leave DAGSTER_HOME out: a data folder of its own then has a home of its own."
        )


def bind(instance: "dg.DagsterInstance", home: Path) -> None:
    """Write down that the data folder and the home belong together."""
    data = data_root()
    data.mkdir(parents=True, exist_ok=True)
    mark = {"id": _identity(instance, home), "home": str(home)}
    for file, content in ((data / MARK, mark), (home / OF_HOME, {"data": str(data)})):
        if _read(file) != content:
            beside = file.with_suffix(".new")
            beside.write_text(json.dumps(content))
            beside.replace(file)


def _identity(instance: "dg.DagsterInstance", home: Path) -> str:
    """Of the event log, wherever it is: a team shares one on a server, and each of them has a home."""
    of_storage = getattr(instance.run_storage, "get_run_storage_id", None)
    return of_storage() if of_storage else str(home)


def _read(file: Path) -> dict[str, str]:
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
