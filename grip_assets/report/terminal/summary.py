"""The summary of a run for the terminal: input, output, the clusters that moved most and why, and what was reused."""

from pathlib import Path
from typing import Any

import duckdb

from grip_assets.engine.in_force import Run
from grip_assets.report import attention
from grip_assets.report.page.inert import visible
from grip_assets.report.terminal import attribution, mixing, sources
from grip_assets.report.terminal.next_steps import next_steps
from grip_assets.runtime.folders import data_address
from grip_assets.stages.curation.adaptation_deltas import how_sure
from grip_assets.store import attributed, cluster_names, learned_mixture
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.catalog import catalog_path, connect
from grip_assets.store.cluster_names import ClusterNames
from grip_assets.store.query import sql_text

MOVED = 5
NAME = 40  # characters of a cluster's name
WHY = {  # by settings/budget.base
    "neyman": "  Why: a cluster's budget grows with (size x spread)^tau, with its quality and its boost. A tau below 1 takes"
    " from\n  large clusters and gives to small ones.",
    "proportional": "  Why: a cluster's budget is its share of the pool, times its boost.",
    "given": "  Why: a cluster's budget is its weight in budget.weights, times its boost.",
    "uniform": "  Why: each cluster has the same budget, times its boost.",
    "tempered": "  Why: a cluster's budget is a power of its share of the pool (budget.exponent), times its boost.",
    "unimax": "  Why: each cluster has the same budget, as far as it is read at most budget.max_epochs times, times its boost.",
    "chameleon": "  Why: a cluster that is like many others has a larger budget; its boost multiplies it.",
    "mixture": "  Why: a cluster's budget is its learned weight (settings/mixing), times its boost.",
    "grasp": "  Why: a cluster's budget is its weight in the mean of clusters that fits the targets best"
    " (settings/attribution),\n  times its boost.",
}
LEGEND = (
    " quality: the judge's score, 0 to 1. drop: how far a small model's loss\n"
    "  falls on the cluster; a small drop gives a large boost. spread: how different its documents are."
)


def summary(root: Path, run: Run) -> str:
    with connect(root) as connection:
        totals = connection.sql(sql_text("questions/totals")).pl().to_dicts()[0]
        copies = connection.sql(sql_text("questions/near_copies")).pl().to_dicts()
        by_source = connection.sql(sql_text("questions/by_source")).pl().to_dicts()
        shares = connection.sql(sql_text("questions/share_by_cluster")).pl().to_dicts()
        names = cluster_names.in_force(connection, root)
        described = names.described(connection)
        found = attention.findings(connection, ArtifactStore(root))
        learned = learned_mixture.in_force(connection, ArtifactStore(root), names)
        scored = attributed.in_force(connection, ArtifactStore(root))
        metrics = _metrics_of_subset(connection, ArtifactStore(root))
    grew = [s for s in shares if s["gain"] > 0][:MOVED]
    shrank = [s for s in reversed(shares) if s["gain"] < 0][:MOVED]
    width = max([len("cluster"), *(len(visible(names.label(r["cluster_id"], NAME))) for r in grew + shrank)])
    return "\n".join(
        [
            "",
            *_totals(totals, copies, by_source),
            "",
            f"Clusters that gained most of the {totals['unit']}, in points of their share:",
            *_clusters(grew, width, names, described),
            "Clusters that lost most:",
            *_clusters(shrank, width, names, described),
            _why(totals) + LEGEND,
            "",
            *mixing.as_lines(learned),
            *attribution.as_lines(scored, metrics),
            *attention.as_text(found),
            "",
            *what_ran(run),
            tables_line(root),
            *(f"{'next:' if i == 0 else '':<9} {line}" for i, line in enumerate(next_steps(root))),
        ]
    )


def tables_line(root: Path) -> str:
    """Where the tables are. The catalog of an object store reads only what its cache has, so it is not named."""
    query = 'grip sql "SELECT * FROM budgets"'
    if address := data_address():
        return f"tables:   {address}   ({query})"
    return f"tables:   {catalog_path(root)}   (any DuckDB client, or: {query})"


def _why(totals: dict[str, Any]) -> str:
    if totals["of_the_pool"]:
        what = (
            "for what they add to the targets" if totals["rule"] == "greedy" else f"by selection.rule={totals['rule']}"
        )
        return f"  Why: documents were taken {what}, from the whole pool and whatever the budget of their cluster."
    return WHY.get(totals["base"], WHY["neyman"])


def _metrics_of_subset(connection: duckdb.DuckDBPyConnection, store: ArtifactStore) -> dict[str, Any]:
    rows = connection.execute("SELECT version FROM artifacts WHERE asset = 'subset' AND in_force").fetchall()
    return store.manifest("subset", rows[0][0])["metrics"] if rows else {}


def what_ran(run: Run) -> list[str]:
    """Which stages were computed and reused, and which the settings do not need."""
    lines = [f"computed: {', '.join(run.computed) or 'nothing'}", f"reused:   {', '.join(run.reused) or 'nothing'}"]
    return [*lines, f"not used: {', '.join(run.unused)}"] if run.unused else lines


def as_data(root: Path, run: Run) -> dict[str, Any]:
    """The same as data: run, stages computed and reused, totals, findings, and name and shares of every cluster."""
    with connect(root) as connection:
        totals = connection.sql(sql_text("questions/totals")).pl().to_dicts()[0]
        shares = connection.sql(sql_text("questions/share_by_cluster")).pl().to_dicts()
        version = connection.execute("SELECT version FROM artifacts WHERE asset = 'subset' AND in_force").fetchone()
        names = cluster_names.in_force(connection, root)
        found = [vars(finding) for finding in attention.findings(connection, ArtifactStore(root))]
        learned = mixing.as_data(learned_mixture.in_force(connection, ArtifactStore(root), names))
        scored = attribution.as_data(attributed.in_force(connection, ArtifactStore(root)))
    subset = version[0] if version else None
    clusters = [share | names.said(share["cluster_id"]) for share in shares]
    made = {**vars(run), "subset": subset, "totals": totals, "look_at": found, "clusters": clusters}
    return {**made, "mixture": learned, "attribution": scored}


def _totals(t: dict[str, Any], copies: list[dict[str, Any]], by_source: list[dict[str, Any]]) -> list[str]:
    sampled = f" (a sample of {t['listed']:,})" if t["listed"] > t["read"] else ""
    title = f"{t['title']}: " if t["title"] else ""
    return [
        f"in        {title}{t['read']:,} documents read{sampled}; {t['rejected']:,} rejected ({t['duplicates']:,} duplicates,"
        f" {t['contaminated']:,} contaminated); {t['held_out']:,} held out;"
        f" {t['documents']:,} documents with {t['tokens']:,} tokens",
        *sources.found(by_source),
        *_near_copies(t["near_copies"], t["near_copies_of_held_out"], copies),
        f"clusters  {t['clusters']:,}, {probed_with(t['probe_documents'])}{_embedded(t)}",
        f"probe     {how_sure(t['draw_to_draw'], t['with_unigram']) if t['drops_measured'] else 'not used'}",
        f"budget    {t['budget']:,} {t['unit']}{_background(t)}",
        f"out       {t['documents_selected']:,} documents with {t['tokens_selected']:,} tokens"
        f" ({t['tokens_selected'] / t['tokens']:.1%} of the tokens)",
    ]


def _near_copies(n: int, of_held_out: int, families: list[dict[str, Any]]) -> list[str]:
    """The number of near copies that are left out, and an example. ``families``: rows of questions/near_copies."""
    if not n:
        return []
    leaks = f", {of_held_out:,} of them near copies of held-out documents" if of_held_out else ""
    most = families[0] if families else None
    example = (
        f"; {visible(most['source'])} stands for {most['near_copies']:,} of them,"
        f" such as {visible(most['example'])} (Jaccard {most['least']:.2f})"
        if most
        else ""
    )
    return [f"copies    {n:,} near copies are left out{leaks}{example}"]


def _background(t: dict[str, Any]) -> str:
    """With sources of the role keep: what is in the subset beside the budget."""
    if not t["documents_of_background"]:
        return ""
    n, tokens = t["documents_of_background"], t["tokens_of_background"]
    return f"; beside it the background, {n:,} documents with {tokens:,} tokens"


def _embedded(t: dict[str, Any]) -> str:
    """With settings/embedding.sample: the number of documents with a vector."""
    if t["documents_embedded"] == t["documents"]:
        return ""
    return f"; {t['documents_embedded']:,} documents are embedded, the others labelled by their texts"


def probed_with(documents: int) -> str:
    """The size of the probe set in words. The settings may need no probe."""
    return f"probed with {documents:,} documents" if documents else "not probed: the budget reads no measurement"


def _clusters(
    rows: list[dict[str, Any]], width: int, names: ClusterNames, described: dict[int, dict[str, Any]]
) -> list[str]:
    """A heading and one line per cluster. ``width``: of the first column, which has number and name."""
    if not rows:
        return ["  none"]
    labels = [visible(names.label(r["cluster_id"], NAME)) for r in rows]
    head = f"  {'cluster':<{width}}  {'pool':>6}  {'subset':>6}  {'change':>6}  {'quality':>7}  {'drop':>6}  {'spread':>6}  {'boost':>5}  typical document"
    return [head] + [
        f"  {label:<{width}}  {_cluster(r, described[r['cluster_id']])}" for label, r in zip(labels, rows, strict=True)
    ]


def _cluster(r: dict[str, Any], about: dict[str, Any]) -> str:
    delta = f"{r['delta']:.4f}" if r["delta"] is not None else "-"
    quality = f"{r['quality']:.3f}" if r["quality"] is not None else "-"
    return (
        f"{r['pool_share']:>6.1%}  {r['subset_share']:>6.1%}  {r['gain']:>+6.1%}"
        f"  {quality:>7}  {delta:>6}  {r['sigma']:>6.3f}  {r['replay_multiplier']:>5.2f}"
        f"  {visible(about['typical'])} ({visible(about['language'] or 'no language')})"
    )
