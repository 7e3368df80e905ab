"""Finds files that come with the program, and the folders in which it keeps the user's data.

``sql/`` and ``dagster_home/`` are at the top of the repository. The build of the wheel copies them into the package
(pyproject.toml says how), so they are looked up here and nowhere else. Paths in settings: settings/places.py.
"""

import hashlib
import os
import re
from pathlib import Path

from grip_assets.runtime import variables

PACKAGE = Path(__file__).parents[1]
REPOSITORY = PACKAGE.parent  # site-packages, if the program was installed from a wheel: nothing of ours is there
INSTALLED = (PACKAGE / "sql").is_dir()  # from a wheel; a checkout has this folder one level up

IN_DATA = ".dagster"  # Dagster's home in a data folder


def shipped(name: str) -> Path:
    """A folder that comes with the program: ``sql`` or ``dagster_home``."""
    return (PACKAGE if INSTALLED else REPOSITORY) / name


def docs_page(name: str) -> Path | None:
    """A page of the documentation; None in an installed package, which has none."""
    page = REPOSITORY / "docs" / f"{name}.md"
    return page if not INSTALLED and page.exists() else None


def base_folder() -> Path:
    """The folder to which relative ones are relative: the repository in a checkout, otherwise the working directory."""
    return Path.cwd() if INSTALLED else REPOSITORY


def data_address() -> str | None:
    """``GRIP_DATA``, if that is an address of an object store; None if it is a folder."""
    stated = variables.value("GRIP_DATA")
    return stated if isinstance(stated, str) else None


def data_root() -> Path:
    """``GRIP_DATA``, by default ``data``. If it is an address, its cache on this machine (store/behind.py)."""
    if address := data_address():
        return data_caches() / _name_of(address)
    return (base_folder() / (variables.value("GRIP_DATA") or "data")).resolve()


def data_caches() -> Path:
    """The folder of the caches of object stores: ``GRIP_DATA_CACHE``, by default ``stores`` in the user's cache."""
    if stated := variables.value("GRIP_DATA_CACHE"):
        return (base_folder() / stated).resolve()
    return (variables.value("GRIP_CACHE") or _of_user("XDG_CACHE_HOME", ".cache") / "grip").resolve() / "stores"


def stated_data() -> dict[str, str]:
    """The variables with which another process of this or another machine finds the same data folder."""
    if address := data_address():
        return {"GRIP_DATA": address, "GRIP_DATA_CACHE": str(data_caches())}
    return {"GRIP_DATA": str(data_root())}


def shown_data() -> str:
    """The data folder as people name it: its address, if it is an object store."""
    return data_address() or str(data_root())


def _name_of(address: str) -> str:
    """A name for files of an address: readable, and another one for each address."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", address)[-40:].strip("-.")
    return f"{readable}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _of_user(variable: str, usual: str) -> Path:
    stated = os.environ.get(variable, "")
    return Path(stated) if os.path.isabs(stated) else Path(os.path.expanduser("~")) / usual  # noqa: PTH111, PTH117


def home_folder() -> Path:
    """Dagster's home: ``DAGSTER_HOME``. Without it ``.dagster`` in the data folder; only a checkout without
    ``GRIP_DATA`` uses its own ``dagster_home``. The home of an object store is a folder of this user, and no cache."""
    if stated := variables.value("DAGSTER_HOME"):
        return (base_folder() / stated).resolve()
    if address := data_address():
        return _of_user("XDG_DATA_HOME", ".local/share") / "grip" / _name_of(address) / IN_DATA
    if INSTALLED or variables.value("GRIP_DATA"):
        return data_root() / IN_DATA
    return (REPOSITORY / "dagster_home").resolve()
