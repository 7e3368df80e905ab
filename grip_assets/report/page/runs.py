"""The section Comparison of runs: any two of the latest subsets. The page contains all pairs; two lists choose one."""

from itertools import combinations
from typing import Any

from grip_assets.report import compare
from grip_assets.report.page.context import Context
from grip_assets.report.page.parts import Section, Special, say

MOST = 6
CLUSTERS = 25  # of a pair's budgets


def section(context: Context) -> Section:
    runs = compared(context)
    if len(runs) < 2:
        text = "{n} subset so far. Change a setting and curate again, and the two can be compared here."
        return Section("runs", "Comparison of runs", [say(text, n=len(runs) or "No")])
    intro = say(
        "The last {n} subsets, newest first. Choose two to see which settings differ, how budgets moved, and which"
        " documents came in and went out. Examples are drawn by hash, not picked."
        " <code>grip compare</code> prints the same for any two subsets.",
        n=len(runs),
    )
    pairs = [compare.between(context.store, *pair) for pair in combinations(runs, 2)]
    compare.add_examples(context.store, pairs)
    data = {"runs": [_run(r, runs) for r in runs], "pairs": [_pair(p) for p in pairs]}
    in_force = _in_force(context)
    before = next(r["version"] for r in runs if r["version"] != in_force)
    shown = {"payload": data, "in_force": in_force, "before": before}
    return Section("runs", "Comparison of runs", [intro, Special("compare", shown)])


def compared(context: Context) -> list[dict[str, Any]]:
    """The latest subsets, and the one in force if it is older than these."""
    latest = compare.latest(context.store, MOST)
    if (version := _in_force(context)) not in {m["version"] for m in latest}:
        latest = [*latest[: MOST - 1], *([context.store.manifest("subset", version)] if version else [])]
    return [compare.described(context.store, m) for m in latest]


def _in_force(context: Context) -> str | None:
    if "artifacts" not in context.views:
        return None
    rows = context.ask("report/run").filter(asset="subset")["version"]
    return rows[0] if len(rows) else None


def _run(run: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A run, and the settings in which it differs from the others."""
    names = sorted({n for r in runs for n in r["settings"] if r["settings"][n] != run["settings"].get(n)})
    read = compare.groups_in(run["settings"])
    by_group = [(n.partition(".")[0], n) for n in names]
    values = (
        f"{n} {run['settings'].get(n)}" if group in read else f"{group} {compare.NOT_USED}" for group, n in by_group
    )
    said = ", ".join(list(dict.fromkeys(values))[:4])
    return {n: run[n] for n in ("version", "computed", "documents", "tokens")} | {"said": said}


def _pair(pair: dict[str, Any]) -> dict[str, Any]:
    rows = pair["budgets"]
    kept = {name: pair[name] for name in ("settings", "both", "in", "out")}
    kept["left"], kept["right"] = pair["left"]["version"], pair["right"]["version"]
    kept["budgets"] = None if rows is None else [r for r in rows if r["change"]][:CLUSTERS]
    return kept
