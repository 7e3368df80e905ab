"""Compare any two subsets: settings, budgets, documents in and out. Both are artifacts of the store. Nothing is run."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grip_assets.errors import GripError
from grip_assets.report.page.inert import visible
from grip_assets.settings import GROUPS, default_of, trait
from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.query import query

EXAMPLES = 5
HEAD = 200
MOVED = 10  # clusters in the text
NOT_USED = "not used"  # a group of settings that a subset was not made from


def compare(root: Path, left: str, right: str) -> dict[str, Any]:
    """Compare two subsets. ``left`` and ``right``: versions, or unique beginnings of versions; GripError otherwise."""
    store = ArtifactStore(root)
    pair = [described(store, find(store, name)) for name in (left, right)]
    for side in pair:
        if not store.has("subset", side["version"]):
            raise GripError(
                f"The folder of subset {side['version']} was removed, so its documents are not known. Compute it again"
                f" (`grip rollback {side['version']}`), then compare."
            )
    found = between(store, *pair)
    add_examples(store, [found])
    return found


def find(store: ArtifactStore, name: str) -> dict[str, Any]:
    manifests = [m for m in store.ever_made("subset") if name and m["version"].startswith(name)]
    if len(manifests) == 1:
        return manifests[0]
    known = ", ".join(m["version"] for m in latest(store, 6)) or "none"
    many = f"{len(manifests)} subsets begin with" if manifests else "There is no subset"
    raise GripError(f"{many} '{name}'. The latest: {known} (`grip history` lists all)")


def latest(store: ArtifactStore, most: int) -> list[dict[str, Any]]:
    """The last subsets, newest first, without those that were made only to test other seeds."""
    mine = [m for m in store.manifests("subset") if not m.get("made_for")]
    return sorted(mine, key=lambda m: (-m["computed_at"], m["version"]))[:most]


def described(store: ArtifactStore, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A subset with the versions of all artifacts that it was made from, and every setting that they read."""
    versions: dict[str, str] = {"subset": manifest["version"]}
    settings: dict[str, Any] = {}
    open_ = [manifest]
    while open_:
        current = open_.pop()
        for group, values in current["settings"].items():
            settings |= {f"{group}.{name}": value for name, value in values.items()}
        for name, version in current["inputs"].items():
            if name not in versions and store.knows(name, version):
                versions[name] = version
                open_.append(store.manifest(name, version))
    groups = groups_in(settings)
    when = datetime.fromtimestamp(manifest["computed_at"], UTC)
    return {
        "version": manifest["version"],
        "computed": f"{when:%Y-%m-%d %H:%M} UTC",
        "documents": manifest["metrics"]["documents_selected"],
        "tokens": manifest["metrics"]["tokens_selected"],
        "versions": versions,
        "settings": _added_later(groups) | settings,
    }


def _added_later(groups: Iterable[str]) -> dict[str, Any]:
    """Defaults of the fields that an older manifest of these groups does not have."""
    return {
        f"{group}.{name}": default_of(field)
        for group in sorted(groups)
        if group in GROUPS
        for name, field in GROUPS[group].model_fields.items()
        if trait(field, "added") and trait(field, "hashed")
    }


def between(store: ArtifactStore, left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The comparison without the texts of the examples; see ``add_examples``."""
    tables = {
        name: store.parquet("subset", side["version"], "subset") for name, side in (("first", left), ("second", right))
    }
    part = counts(store, left["version"], right["version"])
    turned = {"first": tables["second"], "second": tables["first"]}
    return {
        "left": left,
        "right": right,
        "settings": _settings(left["settings"], right["settings"]),
        "budgets": _budgets(store, left["versions"], right["versions"]),
        "both": part["both"],
        "out": part["first"] | {"examples": query("report/compare_examples", tables, most=EXAMPLES).to_dicts()},
        "in": part["second"] | {"examples": query("report/compare_examples", turned, most=EXAMPLES).to_dicts()},
    }


def counts(store: ArtifactStore, first: str, second: str) -> dict[str, dict[str, int]]:
    """Documents and tokens that are in the ``first`` subset only, in the ``second`` only, and in ``both``."""
    tables = {name: store.parquet("subset", v, "subset") for name, v in (("first", first), ("second", second))}
    counted = {row["part"]: row for row in query("report/compare_counts", tables).iter_rows(named=True)}
    tokens = {"first": "tokens_first", "second": "tokens_second", "both": "tokens_second"}
    return {
        part: {"documents": counted[part]["documents"], "tokens": counted[part][column]}
        if part in counted
        else {"documents": 0, "tokens": 0}
        for part, column in tokens.items()
    }


def _settings(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings in which the subsets differ, in the order of their names.

    A group that only one of them read has one row for itself, and one for each of its values that is not the default.
    """
    rows: list[dict[str, Any]] = []
    for group in sorted(groups_in(left) | groups_in(right)):
        there = {name for name in {*left, *right} if name.partition(".")[0] == group}
        if group in groups_in(left) & groups_in(right):
            rows += [_row(n, left.get(n), right.get(n)) for n in sorted(there) if left.get(n) != right.get(n)]
            continue
        sides = [group in groups_in(side) for side in (left, right)]
        rows.append(_row(group, *("used" if read else NOT_USED for read in sides)))
        turned = [n for n in sorted(there) if {**left, **right}[n] != _default(n)]
        rows += [_row(n, left.get(n, NOT_USED), right.get(n, NOT_USED)) for n in turned]
    return rows


def groups_in(settings: Mapping[str, Any]) -> set[str]:
    """Groups of settings that a subset was made from, of the names ``group.field``."""
    return {name.partition(".")[0] for name in settings}


def _row(name: str, left: Any, right: Any) -> dict[str, Any]:
    return {"name": name, "symbol": _symbol(name), "left": left, "right": right}


def _default(name: str) -> Any:
    group, _, field = name.partition(".")
    known = GROUPS[group].model_fields.get(field) if group in GROUPS else None
    return default_of(known) if known else None


def _symbol(name: str) -> str:
    group, _, field = name.partition(".")
    known = GROUPS[group].model_fields if group in GROUPS else {}
    return trait(known[field], "symbol") if field in known else ""


def _budgets(store: ArtifactStore, left: Mapping[str, str], right: Mapping[str, str]) -> list[dict[str, Any]] | None:
    """Budgets by cluster, largest change of share first. None if the clusters differ or a table of budgets is missing."""
    there = all("budgets" in side and store.has("budgets", side["budgets"]) for side in (left, right))
    if left.get("clusters") != right.get("clusters") or not there:
        return None
    tables = {n: store.parquet("budgets", v["budgets"], "budgets") for n, v in (("first", left), ("second", right))}
    names = cluster_names.of_clusters(store, left["clusters"])
    rows = query("report/compare_budgets", tables).to_dicts()
    return [row | {"label": names.label(row["cluster_id"])} for row in rows]


def add_examples(store: ArtifactStore, found: Sequence[Mapping[str, Any]]) -> None:
    """Add source, language and first characters to all examples, in one pass over each corpus."""
    wanted: dict[str, list[dict[str, Any]]] = {}
    for pair in found:
        for side, part in (("left", "out"), ("right", "in")):
            wanted.setdefault(pair[side]["versions"].get("corpus", ""), []).extend(pair[part]["examples"])
    for version, examples in wanted.items():
        heads = _heads(store, version, examples) if version and store.has("corpus", version) else {}
        for example in examples:
            head = heads.get(example["doc_id"], {"source": "", "language": None, "head": ""})
            example |= {name: head[name] for name in ("source", "language", "head")}


def _heads(store: ArtifactStore, version: str, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ids = sorted({example["doc_id"] for example in examples})
    rows = query("report/heads", {"corpus": store.parquet("corpus", version, "corpus")}, ids=ids, chars=HEAD)
    return {row["doc_id"]: row for row in rows.iter_rows(named=True)}


def as_text(found: Mapping[str, Any]) -> str:
    """The comparison for a terminal."""
    left, right = found["left"], found["right"]
    lines = [_side("from", left), _side("to", right), "", "settings"]
    lines += [f"  {s['name']:<32} {_value(s['left'])} → {_value(s['right'])}" for s in found["settings"]]
    lines += [] if found["settings"] else ["  none differs"]
    total = found["both"]["documents"] + found["out"]["documents"]
    share = f" ({found['both']['documents'] / total:.1%} of the first)" if total else ""
    lines += ["", f"both      {_count(found['both'])}{share}"]
    for part, sign in (("in", "+"), ("out", "−")):
        lines += [f"{part:<9} {_count(found[part])}"]
        lines += [f"  {sign} {visible(e['source'])}  ({e['n_tokens']:,} tokens)" for e in found[part]["examples"]]
    return "\n".join([*lines, "", *_budget_lines(found["budgets"])])


def _value(value: Any) -> str:
    return value if value in ("used", NOT_USED) else json.dumps(value)


def _side(name: str, side: Mapping[str, Any]) -> str:
    return (
        f"{name:<9} {side['version']}  {side['computed']}  {side['documents']:,} documents, {side['tokens']:,} tokens"
    )


def _count(part: Mapping[str, int]) -> str:
    return f"{part['documents']:,} documents, {part['tokens']:,} tokens"


def _budget_lines(rows: list[dict[str, Any]] | None) -> list[str]:
    if rows is None:
        return ["budgets   the clusters differ, so budgets cannot be compared cluster by cluster"]
    moved = [row for row in rows if row["change"]][:MOVED]
    if not moved:
        return ["budgets   the same in every cluster"]
    head = f"budgets   the {len(moved)} clusters whose share moved most"
    labels = [visible(r["label"]) for r in moved]
    width = max(map(len, labels))
    return [head] + [
        f"  cluster {label:<{width}}  {r['first']:>12,} → {r['second']:>12,}  ({r['share_first']:.1%} → {r['share_second']:.1%})"
        for label, r in zip(labels, moved, strict=True)
    ]
