"""Writes the page if its contents have changed: to a temporary file first, which is then renamed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grip_assets.engine.stage import Settings
from grip_assets.report.compare import latest
from grip_assets.settings import digest, flat
from grip_assets.store import cluster_names, disk
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import shown_in_force
from grip_assets.store.writing import put

DIGEST = re.compile(r'<meta name="grip-digest" content="([0-9a-f]*)">')
HEAD_CHARS = 4000


@dataclass(frozen=True)
class Written:
    path: Path
    digest: str
    reused: bool
    sections: int
    bytes: int


def page_path(root: Path) -> Path:
    return root / "report" / "index.html"


def write(store: ArtifactStore, in_force: Mapping[str, str], settings: Settings, code_version: str) -> Written:
    """Write the page of a data folder. ``in_force``: versions of the stages, which must be those in the catalog."""
    from grip_assets.report.page.build import SECTIONS, build

    path, name = page_path(store.root), named(store, in_force, settings, code_version)
    if digest_of_page(path) == name:
        return Written(path, name, True, len(SECTIONS), path.stat().st_size)
    html, sections = build(store.root, name)
    with disk.room(store.root), store.scratch() as folder:
        path.parent.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(html, encoding="utf-8", newline="\n")
        put(folder / "index.html", path)
    return Written(path, name, False, len(sections), path.stat().st_size)


def named(store: ArtifactStore, in_force: Mapping[str, str], settings: Settings, code_version: str) -> str:
    """A digest of all that the page shows: tables in force, the subsets and probes to compare with, names, settings.

    No curation makes mixture_check or evaluation, so they are not in ``in_force``; the catalog says which ones are.
    """
    from grip_assets.report.page.runs import MOST

    subsets = [m["version"] for m in latest(store, MOST)]
    probes = sorted(m["version"] for m in store.manifests("adaptation_deltas"))
    names = cluster_names.versions(store)
    made = shown_in_force(store.root)
    checked = [made[name] for name in ("mixture_check", "evaluation") if name in made]
    shown = [code_version, dict(in_force), subsets, probes, names, flat(settings)]
    return digest([*shown, *checked])


def digest_of_page(path: Path) -> str | None:
    """The digest in the page. None if there is no page, or if it is incomplete."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        found = DIGEST.search(file.read(HEAD_CHARS).decode(errors="replace"))
        file.seek(max(path.stat().st_size - 20, 0))
        whole = b"</html>" in file.read()
    return found[1] if found and whole else None
