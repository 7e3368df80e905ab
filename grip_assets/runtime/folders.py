"""Finds files that come with the program, and the folders in which it keeps the user's data.

``sql/`` and ``dagster_home/`` are at the top of the repository. The build of the wheel copies them into the package
(pyproject.toml says how), so they are looked up here and nowhere else. Paths in settings: settings/places.py.
"""

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


def data_root() -> Path:
    """``GRIP_DATA``, by default ``data``."""
    return (base_folder() / (variables.value("GRIP_DATA") or "data")).resolve()


def home_folder() -> Path:
    """Dagster's home: ``DAGSTER_HOME``. Without it ``.dagster`` in the data folder; only a checkout without
    ``GRIP_DATA`` uses its own ``dagster_home``."""
    if stated := variables.value("DAGSTER_HOME"):
        return (base_folder() / stated).resolve()
    if INSTALLED or variables.value("GRIP_DATA"):
        return data_root() / IN_DATA
    return (REPOSITORY / "dagster_home").resolve()
