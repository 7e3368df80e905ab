"""The folders that the documents of a cluster come from, as words of its name: ``pandas tests``.

A source is a path in the pool, or a file and a row. Folders that nearly all documents of the pool share say nothing.
"""

import re
from collections import Counter

import polars as pl

from grip_assets.naming import inert
from grip_assets.naming.words import BETWEEN, SEPARATOR

COMMON = 0.5  # least share of a cluster's documents that are in the folder
EVERYWHERE = 0.9  # a folder of more of the pool says nothing
TELLING = 0.1  # least share of the cluster, times the share of the rest of the pool that is elsewhere
LONGEST = 18  # characters of a folder's name
ROW = re.compile(r":\d+$")
NAMELESS = {  # folders of every project
    *("dist-packages", "home", "include", "lib", "lib64", "libs", "main", "packages", "python", "site-packages"),
    *("src", "usr"),
}


def folders(sources: pl.DataFrame) -> pl.DataFrame:
    """Documents by cluster and folder: cluster_id, folder, n. ``sources``: cluster_id and source of each document.

    The folder of a row of a file is the file, without its ending.
    """
    path = pl.col("source").str.replace(r":\d+$", "").str.replace_all("\\", "/", literal=True)
    is_row = pl.col("source").str.contains(r":\d+$")
    folder = pl.when(is_row).then(path.str.replace(r"\.[^/]*$", "")).otherwise(path.str.replace(r"/?[^/]*$", ""))
    return sources.group_by("cluster_id", folder=folder).agg(n=pl.len()).sort("cluster_id", "folder")


def title(source: str | None) -> str:
    """The name of the file without its folders and its ending; "" for a row of a file."""
    name = (source or "").replace("\\", "/").rpartition("/")[2]
    return "" if ROW.search(name) else name.partition(".")[0]


def places(folders: pl.DataFrame) -> dict[int, str]:
    """The words for the folders of each cluster, at most two; "" if its documents come from everywhere.

    First comes the outermost folder that tells anything, such as a package, then the most telling one inside of it.
    """
    n_pool, of_pool = int(folders["n"].sum()), Counter[str]()
    of_cluster: dict[int, Counter[str]] = {}
    rows = [(cluster, _parts(folder), n) for cluster, folder, n in folders.iter_rows()]
    for _, parts, n in rows:
        of_pool.update(dict.fromkeys(set(parts), n))
    telling = {part for part, n in of_pool.items() if n <= EVERYWHERE * n_pool}
    outermost: dict[int, Counter[str]] = {}
    sizes = Counter[int]()
    for cluster, parts, n in rows:
        inside = [part for part in parts if part in telling]
        sizes[cluster] += n
        of_cluster.setdefault(cluster, Counter()).update(dict.fromkeys(set(inside), n))
        outermost.setdefault(cluster, Counter()).update(dict.fromkeys(inside[:1], n))
    return {
        cluster: _words(outermost[cluster], found, sizes[cluster], {p: of_pool[p] / n_pool for p in found})
        for cluster, found in of_cluster.items()
    }


def _parts(folder: str) -> list[str]:
    return [part for part in folder.split("/") if part and part.lower() not in NAMELESS and _shown(part)]


def _words(first: Counter[str], found: Counter[str], n: int, pool: dict[str, float]) -> str:
    common = sorted((part for part in found if found[part] >= COMMON * n), key=lambda part: (-found[part], part))
    package = [part for part in common if first[part] >= COMMON * n][:1]
    gain = {part: found[part] / n * (1 - pool[part]) for part in common}
    more = [part for part in sorted(gain, key=lambda p: (-gain[p], p)) if part not in package and gain[part] >= TELLING]
    return " ".join(dict.fromkeys(map(_shown, [*package, *more[:1]])))


def _shown(part: str) -> str:
    """A folder's name as words of a name: ``_linear_model`` is ``linear model``."""
    return inert.name(" ".join(filter(None, map(_split, SEPARATOR.split(part)))).lower(), LONGEST)


def _split(word: str) -> str:
    """The sub-words of a word, or the whole word if one of them would be a single letter: ``ATen``, ``i18n``."""
    parts = [part for part in BETWEEN.split(word) if part]
    return word if any(len(part) == 1 for part in parts) else " ".join(parts)
