"""environment: the default pool, which is the source code on this machine after installation.

It has the interpreter's standard library as 'stdlib/...', and the installed packages as 'site-packages/...'. Two
environments with the same packages give the same documents, wherever they are installed. So files that contain paths or
install times are left out: this package itself, .pth files and finders of editable installs, and the files that
installers write into *.dist-info.

Two packages hold most of the files (headers of torch, models of transformers). To leave room for others, a package
gives at most ``PACKAGE_FILES`` files, chosen by keyed hash.
"""

import os
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from grip_assets.method.sampling import keyed_uniform
from grip_assets.sources.languages import language_of
from grip_assets.sources.licences import is_licence_file
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.base import Files
from grip_assets.sources.readers.folder import Folder

PACKAGE_FILES = 600
LEFT_OUT = ("grip_assets", "__editable__", "_virtualenv", "distutils-precedence", "config-", "_sysconfigdata")
SKIPPED = ("__pycache__", "node_modules")
PACKAGING = (".dist-info", ".egg-info", ".data")
DATA = {"csv", "svg", "xml", "jupyter"}  # test data of packages rather than source code


class Environment(Folder):
    name = "environment"
    described = ""  # no path is of this format

    def choose(self, chosen: list[Entry], listing: list[Entry]) -> Files:
        return self._with_licences(files(), licence_files())


def files() -> list[Entry]:
    """The files of the pool, sorted by name."""
    by_package: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for label, root in roots().items():
        for name in _below(root, _is_source):
            package, inside, _ = name.partition("/")
            by_package[f"{label}/{package}" if inside else label].append((f"{label}/{name}", f"{root}/{name}"))
    chosen = sorted(file for found in by_package.values() for file in _at_most(PACKAGE_FILES, found))
    return [_entry(*file) for file in chosen]


def licence_files() -> Iterator[Entry]:
    """The licences of the standard library and of packages. One that a package left beside others is of no project."""
    for label, root in roots().items():
        for name in _below(root, is_licence_file):
            if label == "stdlib" or "/" in name:
                yield _entry(f"{label}/{name}", f"{root}/{name}")


def _entry(name: str, path: str) -> Entry:
    stat = os.stat(path)  # noqa: PTH116  (twice as fast as Path, for thousands of files)
    return Entry(name, path, stat.st_size, str(stat.st_mtime_ns))


def _below(root: Path, wanted: Callable[[str], bool]) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        inside = "" if folder == str(root) else folder[len(str(root)) + 1 :] + "/"
        folders[:] = [
            f for f in folders if not (f in SKIPPED or f.startswith((".", *LEFT_OUT)) or f.endswith(PACKAGING))
        ]
        if not inside:
            folders[:] = [f for f in folders if f != "site-packages"]
        yield from (inside + f for f in files if not f.startswith((".", *LEFT_OUT)) and wanted(f))


def roots() -> dict[str, Path]:
    return {
        "stdlib": Path(sysconfig.get_path("stdlib")),
        "site-packages": Path(sysconfig.get_path("purelib")),
    }


def _is_source(file: str) -> bool:
    language = language_of(file)
    return language is not None and language not in DATA


def _at_most(n: int, files: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(files) <= n:
        return files
    u = keyed_uniform(0, "environment", [name for name, _ in files])
    return [files[i] for i in u.argsort(kind="stable")[:n]]
