"""Gives libraries a folder for their caches if the user has none: a container's user without a name, a home that is
missing or read-only, a package that somebody else installed.
"""

import os
import pwd
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

# The hub's folder follows the last one.
CACHES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME")


def settle(environment: MutableMapping[str, str]) -> None:
    """Set variables for a cache folder and a user name, if the user has none. Variables that are set already stay."""
    if not _has_a_name():
        environment.setdefault("LOGNAME", f"uid-{os.getuid()}")  # libraries name folders by it
    home = os.path.expanduser("~")  # noqa: PTH111 (Path.home raises where there is none)
    if _can_write(Path(home) / ".cache") and os.path.isabs(home):  # noqa: PTH117
        return
    folder = _own_folder()
    if not os.path.isabs(home):  # noqa: PTH117
        environment["HOME"] = str(folder)
    for name in CACHES:
        environment.setdefault(name, str(folder))


def _has_a_name() -> bool:
    try:
        return bool(pwd.getpwuid(os.getuid()))
    except KeyError:
        return False


def _can_write(folder: Path) -> bool:
    """Whether this process can write into the folder, or could make it in the nearest folder above that exists."""
    nearest = next(f for f in (folder, *folder.parents) if f.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _own_folder() -> Path:
    """A temporary folder, the same for every process of this user. Another user's folder of that name is not used."""
    folder = Path(tempfile.gettempdir()) / f"grip-cache-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and not folder.is_symlink():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="grip-cache-"))
