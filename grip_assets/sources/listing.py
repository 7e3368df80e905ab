"""Lists the files of a pool, and says which files are no part of it and why.

A folder of this machine is read directly, every other address through fsspec. Both become the same entries. Left out
are hidden files, files that .gitignore names inside a checkout, GRIP's own folders and GRIP's exports. Links are
followed. Each real file is listed once, so a folder that links to itself does no harm. A file or folder that cannot be
opened is a rejected row.
"""

import errno
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from grip_assets.errors import GripError
from grip_assets.runtime.credentials import without_credentials
from grip_assets.runtime.folders import data_root, home_folder
from grip_assets.sources import hub
from grip_assets.sources.documents import Reason, Rejected, readable
from grip_assets.store.marks import read_card

SKIPPED = {"__pycache__", "node_modules"}  # besides everything that begins with a dot
CATALOG = "grip.duckdb"
MANIFEST, CARD = "grip_export.json", ".card.md"  # of an export: in its folder, or beside its file
MADE_WITH, CARD_BYTES = b"Made with grip-assets", 1 << 20  # every card says so
SHOWN = 3
DRIVERS = {  # what to install, by scheme; fsspec says it for all others
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "http": "aiohttp requests", "https": "aiohttp requests", "sftp": "paramiko", "ssh": "paramiko",
}  # fmt: skip

HIDDEN = "hidden"
IGNORED = "named by .gitignore"
OWN = "of GRIP's own data"
EXPORTED = "exported by GRIP"
SPECIAL = "neither file nor folder"
AGAIN = "links to what is listed already"


@dataclass(frozen=True)
class Entry:
    """A file of the pool. ``name``: relative to the pool. ``size``: in bytes. ``stamp``: changes if the content does.

    ``fs``: the fsspec file system that ``path`` belongs to. None: this machine's; no path is taken for a pattern there.
    """

    name: str
    path: str
    size: int
    stamp: str
    fs: Any = field(default=None, compare=False, repr=False)

    def open(self) -> IO[bytes]:
        return self.fs.open(self.path, "rb") if self.fs else Path(self.path).open("rb")

    def is_hole(self) -> bool:
        """Whether this is a sparse file without data. All of it is zero bytes, and reading it could take minutes."""
        if self.fs or not self.size:
            return False
        try:
            with self.open() as file:
                os.lseek(file.fileno(), 0, os.SEEK_DATA)
        except OSError as error:
            return error.errno == errno.ENXIO
        return False


@dataclass
class Listing:
    """``entries``: sorted by name. ``one_file``: the path is that of a file. ``rejected``: what could not be opened."""

    path: str
    entries: list[Entry] = field(default_factory=list)
    one_file: bool = False
    rejected: list[Rejected] = field(default_factory=list)
    followed: int = 0
    said: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def leave_out(self, why: str, name: str) -> None:
        self.left_out[why] += 1
        if len(self.examples[why]) < SHOWN:
            self.examples[why].append(name)

    def notes(self) -> list[str]:
        """Lines for the user: the files left out, the links followed, the files that cannot be opened."""
        lines = list(self.said)
        for why, n in sorted(self.left_out.items()):
            names = sorted(self.examples[why])
            lines.append(f"left out of the pool, {why}: {n:,} ({', '.join(names)}{', ...' if n > len(names) else ''})")
        if self.followed:
            lines.append(f"followed links that lead out of the folder: {self.followed:,}")
        return lines + [f"cannot be opened: {r.source} ({r.detail})" for r in self.rejected[:SHOWN]]

    def sorted(self) -> "Listing":
        self.entries.sort(key=lambda e: e.name)
        self.rejected.sort(key=lambda r: r.source)
        if not self.entries and not self.rejected:
            said = "".join(f" {line.capitalize()}." for line in self.notes())
            raise GripError(
                f"settings/corpus.path '{self.path}' holds no files. Nothing was read. Check the path.{said}"
            )
        return self


def list_files(path: str) -> list[Entry]:
    """All files of the pool at ``path``, sorted by relative name. Raises GripError if there are none."""
    return look(path).entries


def look(path: str) -> Listing:
    """The listing of a local path or a URL."""
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    if hub.is_hub(path):
        return _look_on_the_hub(path)
    if "://" in path:
        return _look_remote(path)
    return _look_local(Path(path).expanduser())


def hidden(name: str) -> bool:
    return name.startswith(".") or name in SKIPPED


def own_folders() -> dict[str, str]:
    """The names of GRIP's data folder and of Dagster's home folder, by their real paths."""
    return {
        os.path.realpath(data_root()): "GRIP's data folder",
        os.path.realpath(home_folder()): "Dagster's home folder",
    }


def _marked(names: set[str]) -> str | None:
    """Why a folder with files of these names is no part of a pool. None if it may be a part."""
    if CATALOG in names or {"dagster.yaml", "history"} <= names:
        return OWN
    return EXPORTED if MANIFEST in names else None


# --- this machine


def _look_local(root: Path) -> Listing:
    listing = Listing(str(root))
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        raise GripError(f"settings/corpus.path '{root}' is not there. Check the path.") from None
    except OSError as error:
        raise GripError(f"settings/corpus.path '{root}' cannot be looked at: {error.strerror}.") from None
    if stat.S_ISREG(mode):
        listing.one_file = True
        listing.entries = [_entry(root.name, str(root), root.stat())]
        return listing
    if not stat.S_ISDIR(mode):
        raise GripError(f"settings/corpus.path '{root}' is neither a file nor a folder. Name one of them.")
    root = _snapshot(root)
    _refuse_own(root)
    _Walk(root, listing).go()
    _leave_exports_out(listing)
    return listing.sorted()


def _entry(name: str, path: str, info: os.stat_result) -> Entry:
    return Entry(readable(name), path, info.st_size, str(info.st_mtime_ns))


def _refuse_own(root: Path) -> None:
    own = own_folders().get(os.path.realpath(root))
    if own or os.path.exists(root / CATALOG):  # noqa: PTH110
        raise GripError(
            f"settings/corpus.path '{root}' is {own or 'a data folder of GRIP'}: what is in it was made from a pool,"
            " and is none. Name the folder of your documents."
        )


def _snapshot(root: Path) -> Path:
    """The folder of one revision, if ``root`` is a data set in the local cache of a hub. Otherwise ``root``."""
    if not all(os.path.isdir(root / name) for name in ("blobs", "refs", "snapshots")):  # noqa: PTH112  (never raises)
        return root
    revisions = sorted(p.name for p in (root / "snapshots").iterdir())
    main = root / "refs" / "main"
    named = main.read_text(encoding="utf-8").strip() if main.exists() else ""
    if named in revisions or len(revisions) == 1:
        return root / "snapshots" / (named if named in revisions else revisions[0])
    raise GripError(f"{root} is a hub's cache of {len(revisions)} revisions. Name one of its folders in snapshots.")


class _Walk:
    """Visits every real folder once: first the folders of the pool, then the folders that links lead to, by name."""

    def __init__(self, root: Path, listing: Listing):
        self.root, self.listing, self.inside = root, listing, os.path.realpath(root)
        self.own = own_folders()
        self.visited: set[tuple[int, int]] = set()
        self.links: list[tuple[str, str]] = []
        self.files: dict[tuple[int, int], Entry] = {}  # that links lead to

    def go(self) -> None:
        direct: set[tuple[int, int]] = set()
        for name, path, info in self._below("", str(self.root)):
            self.listing.entries.append(_entry(name, path, info))
            direct.add((info.st_dev, info.st_ino))
        while self.links:
            links, self.links = sorted(self.links), []
            for name, path in links:
                for inner, place, info in self._behind(name, path):
                    key = (info.st_dev, info.st_ino)
                    if key in direct or key in self.files:
                        self.listing.leave_out(AGAIN, inner)
                    else:
                        self.files[key] = _entry(inner, place, info)
        self.listing.entries.extend(self.files.values())

    def _behind(self, name: str, path: str) -> Iterator[tuple[str, str, os.stat_result]]:
        """The files that a link leads to."""
        try:
            info = os.stat(path)  # noqa: PTH116  (as below: one call per file, for millions of files)
        except OSError as error:
            detail = "a link to nothing" if isinstance(error, FileNotFoundError) else str(error.strerror)
            self._reject(name, detail)
            return
        self.listing.followed += not os.path.realpath(path).startswith(f"{self.inside}/")
        if stat.S_ISDIR(info.st_mode):
            yield from self._below(f"{name}/", path)
        elif not stat.S_ISREG(info.st_mode):
            self.listing.leave_out(SPECIAL, name)
        elif any(os.path.realpath(path).startswith(f"{own}/") for own in self.own):
            self.listing.leave_out(OWN, name)
        else:
            yield name, path, info

    def _below(self, prefix: str, folder: str) -> Iterator[tuple[str, str, os.stat_result]]:
        """The files below a folder. Links are put aside in ``links``."""
        stack: list[tuple[str, str, _Ignored]] = [(prefix, folder, _Ignored())]
        while stack:
            prefix, folder, ignored = stack.pop()
            items = self._items(prefix, folder)
            ignored = ignored.within(prefix, folder, {item.name for item in items})
            for item in items:
                name = prefix + item.name
                is_folder = item.is_dir(follow_symlinks=False)
                if hidden(item.name):
                    self.listing.leave_out(HIDDEN, readable(name))
                elif ignored.has(name, is_folder):
                    self.listing.leave_out(IGNORED, readable(name))
                elif item.is_symlink():
                    self.links.append((name, item.path))
                elif is_folder:
                    stack.append((f"{name}/", item.path, ignored))
                elif item.is_file(follow_symlinks=False):
                    yield name, item.path, item.stat()
                else:
                    self.listing.leave_out(SPECIAL, readable(name))

    def _items(self, prefix: str, folder: str) -> list[os.DirEntry]:
        """The items of a folder. Empty if it is no part of the pool, was visited already or cannot be opened."""
        try:
            info = os.stat(folder)  # noqa: PTH116
            with os.scandir(folder) as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError as error:
            if not prefix:
                raise GripError(
                    f"settings/corpus.path '{folder}' cannot be opened: {error.strerror}. Check your rights to it."
                ) from None
            self._reject(prefix, f"the folder cannot be opened: {error.strerror}")
            return []
        key = (info.st_dev, info.st_ino)
        if key in self.visited:
            self.listing.leave_out(AGAIN, readable(prefix))
            return []
        self.visited.add(key)
        own = os.path.realpath(folder) in self.own
        why = OWN if own else _marked({item.name for item in items})
        if why and prefix:
            self.listing.leave_out(why, readable(prefix))
            return []
        return items

    def _reject(self, name: str, detail: str) -> None:
        self.listing.rejected.append(Rejected(readable(name), Reason.UNREADABLE, detail))


class _Ignored:
    """The rules of the .gitignore files of a checkout.

    Outside of a checkout the rules are not followed. A pool that was collected from repositories has files that a rule
    names, but that their authors added all the same.
    """

    def __init__(self, rules: tuple[tuple[str, Any], ...] = (), checkout: bool = False):
        self.rules, self.checkout = rules, checkout

    def within(self, prefix: str, folder: str, names: set[str]) -> "_Ignored":
        """The rules that hold in a folder of the pool."""
        here = _Ignored(checkout=True) if ".git" in names else self
        if not here.checkout or ".gitignore" not in names:
            return here
        from pathspec import GitIgnoreSpec

        try:
            lines = (Path(folder) / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
            return _Ignored(((prefix, GitIgnoreSpec.from_lines(lines)), *here.rules), True)
        except (OSError, ValueError):
            return here

    def has(self, name: str, is_folder: bool) -> bool:
        """Whether a rule names a file or folder. The rules of the deepest folder that say anything about it decide."""
        for prefix, spec in self.rules:
            said = spec.check_file(name.removeprefix(prefix) + ("/" if is_folder else "")).include
            if said is not None:
                return bool(said)
        return False


# --- elsewhere


def _look_remote(path: str) -> Listing:
    fs, root = _file_system(path)
    listing = Listing(path)
    with _said_in_a_sentence(path):
        if not fs.exists(root):
            raise GripError(f"settings/corpus.path '{path}' is not there. Check the address and your access to it.")
        listing.one_file = bool(fs.isfile(root))
        found = fs.find(root, detail=True)
    base = "" if listing.one_file else root.rstrip("/") + "/"
    names = {file: file.removeprefix(base) if base else PurePosixPath(file).name for file in found}
    marked = _marked_folders(names.values())
    for file, info in found.items():
        name = names[file]
        parts = PurePosixPath(name).parts
        why = next((marked[f] for f in _folders_of(name) if f in marked), None)
        if any(map(hidden, parts)):
            listing.leave_out(HIDDEN, name)
        elif why:
            listing.leave_out(why, name)
        else:
            listing.entries.append(Entry(readable(name), file, int(info["size"] or 0), str(fs.ukey(file)), fs))
    _leave_exports_out(listing)
    return listing.sorted()


def _look_on_the_hub(path: str) -> Listing:
    found = hub.found(path)
    base = f"{found.folder}/" if found.folder else ""
    one_file = len(found.listed) == 1 and found.listed[0].path == found.folder
    listing = Listing(path, one_file=one_file, said=[found.said])
    for file in found.listed:
        name = PurePosixPath(file.path).name if one_file else file.path.removeprefix(base)
        if any(map(hidden, PurePosixPath(name).parts)):
            listing.leave_out(HIDDEN, name)
        else:
            listing.entries.append(Entry(readable(name), file.path, file.size, file.content, found.files))
    return listing.sorted()


def _marked_folders(names: Iterable[str]) -> dict[str, str]:
    """The folders below the root that are left out, each with the reason: GRIP's own data, or an export."""
    inside: dict[str, set[str]] = defaultdict(set)
    for name in names:
        path = PurePosixPath(name)
        if path.name in (CATALOG, MANIFEST):
            inside[str(path.parent)].add(path.name)
    return {folder: why for folder, found in inside.items() if folder != "." and (why := _marked(found))}


def _folders_of(name: str) -> list[str]:
    return [str(p) for p in PurePosixPath(name).parents][:-1]


def _file_system(path: str) -> tuple[Any, str]:
    """fsspec's file system of a URL. Raises GripError if the scheme is unknown or its driver is not installed."""
    import fsspec
    from fsspec.registry import known_implementations

    scheme = path.partition("://")[0].rpartition("::")[2]
    try:
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        said = str(known_implementations.get(scheme, {}).get("err") or error).rstrip(".")
        remedy = f"Install it: pip install {DRIVERS[scheme]}" if scheme in DRIVERS else said
        raise GripError(
            f"settings/corpus.path begins with {scheme}://, whose driver is not installed. {remedy}."
        ) from None
    except ValueError as error:
        if "rotocol not known" not in str(error):
            raise GripError(f"settings/corpus.path '{path}' cannot be opened: {error}") from None
        raise GripError(
            f"settings/corpus.path begins with {scheme}://, which is no known kind of address."
            " Known are a path on this machine, s3://, gs://, az://, hf://, https:// and other schemes of fsspec."
        ) from None
    except Exception as error:
        raise _no_access(path, error) from None


class _said_in_a_sentence:
    """Turns a driver's error into one sentence, since drivers raise the errors of their libraries."""

    def __init__(self, path: str):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ImportError):
            raise GripError(f"settings/corpus.path '{self.path}' needs a driver: {error}.") from None
        if isinstance(error, Exception) and not isinstance(error, GripError):
            raise _no_access(self.path, error) from None


def _no_access(path: str, error: Exception) -> GripError:
    said = without_credentials(str(error))[:200]
    return GripError(
        f"settings/corpus.path '{without_credentials(path)}' cannot be listed ({type(error).__name__}: {said})."
        " Check the address, and what its driver needs to let you in."
    )


# --- what GRIP exported


def _leave_exports_out(listing: Listing) -> None:
    """Takes out every card that GRIP wrote, and the exported file beside it."""
    names = {e.name for e in listing.entries}
    gone = set()
    for card in listing.entries:
        of = card.name.removesuffix(CARD)
        if of != card.name and _is_ours(card):
            gone |= {of, card.name}
            listing.leave_out(EXPORTED, of if of in names else card.name)
    listing.entries = [e for e in listing.entries if e.name not in gone]


def _is_ours(card: Entry) -> bool:
    """Whether GRIP wrote a card. It has a mark (store/marks.py), or, from earlier versions, only certain words."""
    try:
        with card.open() as file:
            text = file.read(CARD_BYTES)
    except OSError:
        return False
    return MADE_WITH in text or read_card(text.decode(errors="replace")) is not None
