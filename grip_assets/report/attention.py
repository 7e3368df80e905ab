"""Findings that a person should look at after a curation, such as missed budgets and warnings of checks.

`grip curate` prints them at its end. They are also at the top of the report and in the metadata of the asset `report`.
Only findings belong here. The sections of the report explain what a number means in general.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb

from grip_assets.report.page.inert import visible
from grip_assets.stages import STAGES
from grip_assets.stages.curation.densities import NEAR_COPY
from grip_assets.store import cluster_names
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.cluster_names import NONE, ClusterNames
from grip_assets.store.query import sql_text

SHORT_BY = 0.01  # of the budget
LOW, HIGH = 0.5, 1.5  # of a cluster's budget
LOST = 0.5  # of a language's share
SEEN = 0.005  # of the pool's tokens; languages with a smaller share are not mentioned
NEAR_COPIES = 0.05  # of the documents
SHOWN = 5
LONGEST = 10  # documents of questions/longest.sql; a smaller subset is all long documents


@dataclass(frozen=True)
class Finding:
    """One finding. ``text``: one or two sentences. ``details``: a few lines below them."""

    key: str
    text: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """The input of the findings. ``ask``: runs a query of sql/. ``manifests``: those of the assets in force."""

    ask: Callable[[str], list[dict[str, Any]]]
    manifests: dict[str, dict[str, Any]]
    names: ClusterNames = NONE


def findings(connection: duckdb.DuckDBPyConnection, store: ArtifactStore) -> list[Finding]:
    """All findings, the most serious first. The catalog must have the tables up to ``subset``."""

    @cache  # several findings ask the same query
    def ask(name: str) -> list[dict[str, Any]]:
        return connection.sql(sql_text(name)).pl().to_dicts()

    in_force = connection.execute("SELECT asset, version FROM artifacts WHERE in_force ORDER BY asset").fetchall()
    manifests = {asset: store.manifest(asset, version) for asset, version in in_force}
    facts = Facts(ask, manifests, cluster_names.in_force(connection, store.root))
    return [found for look in LOOKS for found in look(facts)]


def _short_of_the_budget(facts: Facts) -> Iterator[Finding]:
    t = facts.ask("questions/totals")[0]
    drawn = t["tokens_selected"] if t["unit"] == "tokens" else t["documents_selected"]
    drawn = (drawn or 0) - (t.get("tokens_of_background" if t["unit"] == "tokens" else "documents_of_background") or 0)
    if (drawn or 0) < (1 - SHORT_BY) * t["budget"]:
        yield Finding(
            "short",
            f"The subset has {drawn or 0:,} of the {t['budget']:,} {t['unit']} of the budget: no further document fits"
            " into its cluster's budget. Raise budget.total, or look at the longest documents of the pool.",
        )


def _far_from_their_budget(facts: Facts) -> Iterator[Finding]:
    if facts.ask("questions/totals")[0].get("of_the_pool"):
        return  # the selection has one budget for all clusters
    rows = [
        r
        for r in facts.ask("questions/share_by_cluster")
        if not LOW * r["allocated"] <= r["drawn"] <= HIGH * r["allocated"]
    ]
    if rows:
        rows.sort(key=lambda r: (-abs(r["drawn"] - r["allocated"]), r["cluster_id"]))
        yield Finding(
            "budgets",
            f"{_clusters(len(rows))} got less than half or more than one and a half times the budget. Documents that"
            " are longer than a cluster's budget cannot be drawn. Other clusters get what is left of the budget.",
            _cut(
                [
                    f"cluster {visible(facts.names.label(r['cluster_id']))}: {r['drawn']:,} of {r['allocated']:,}"
                    for r in rows
                ]
            ),
        )


def _passed_over(facts: Facts) -> Iterator[Finding]:
    if n := facts.manifests["subset"]["metrics"].get("documents_passed_over"):
        yield Finding(
            "passed_over",
            f"{n:,} document{'s were' if n > 1 else ' was'} passed over: longer than the budget of the cluster.",
            ('grip sql "FROM selection_thresholds WHERE passed_over > 0" lists these clusters and their tokens',),
        )


def _lost_languages(facts: Facts) -> Iterator[Finding]:
    rows = [
        r
        for r in facts.ask("questions/share_by_language")
        if r["pool_share"] >= SEEN and (r["subset_share"] or 0) < LOST * r["pool_share"]
    ]
    if rows:
        yield Finding(
            "languages",
            f"{len(rows)} language{'s' * (len(rows) > 1)} lost more than half of the share of tokens. A few very"
            " long documents, which fit no budget, may hold most of a language.",
            _cut([f"{visible(r['language'])}: {r['pool_share']:.1%} → {r['subset_share'] or 0:.1%}" for r in rows]),
        )


def _longest_documents(facts: Facts) -> Iterator[Finding]:
    rows = facts.ask("questions/longest")
    if len(rows) == LONGEST:
        share = sum(r["share"] for r in rows)
        yield Finding(
            "longest",
            f"The {len(rows)} longest documents hold {share:.1%} of the subset's tokens.",
            _cut([f"{r['n_tokens']:,} tokens ({r['share']:.1%}): {visible(r['source'])}" for r in rows], 3),
        )


def _merged_clusters(facts: Facts) -> Iterator[Finding]:
    metrics = facts.manifests["clusters"]["metrics"]
    asked, left = metrics.get("clusters_before_merging", 0), metrics["clusters"]
    if left < asked / 2:
        advice = " With so few clusters the method hardly differs from a random draw." if left <= 4 else ""
        yield Finding(
            "merged",
            f"Of {asked:,} clusters, {left:,} {'is' if left == 1 else 'are'} left, because small clusters were"
            f" dissolved.{advice} Lower clustering.min_cluster_docs, or curate a larger pool.",
        )


def _near_copies(facts: Facts) -> Iterator[Finding]:
    n = facts.manifests["densities"]["metrics"].get("documents_with_a_near_copy")
    others = facts.manifests["clusters"]["metrics"].get("documents_without_a_vector", 0)
    removed = facts.manifests.get("near_duplicates", {"metrics": {}})["metrics"].get("near_copies")
    total = facts.manifests["corpus"]["tables"]["corpus"]["rows"] - (removed or 0) - others
    pool = "embedded sample" if others else "pool"
    if n and n > NEAR_COPIES * total:
        yield Finding(
            "copies",
            f"{n:,} documents ({n / total:.0%} of the {pool}) have a near copy in their cluster (a cosine of"
            f" {NEAR_COPY} or more). "
            + (
                "Fewer of their words are the same than near_duplicates.threshold asks for."
                if removed is not None
                else "Only exact copies are removed. near_duplicates.threshold=0.8 leaves near copies out, too."
            ),
        )


def _parts_not_embedded(facts: Facts) -> Iterator[Finding]:
    t = facts.ask("questions/totals")[0]
    if n := t["documents_with_windows_left_out"]:
        yield Finding(
            "windows",
            f"{n:,} long documents ({n / t['documents']:.0%}) are embedded from only some of their windows. Raise"
            " embedding.max_windows to read more of each.",
        )


def _warnings_of_checks(facts: Facts) -> Iterator[Finding]:
    says = {(s.name, check.name): check.description for s in STAGES.values() for check in s.checks}
    rows = [
        f"{asset}: expected: {says.get((asset, outcome['name']), outcome['name'])}"
        f" ({outcome['violations']:,} exception{'s' * (outcome['violations'] > 1)})"
        for asset, manifest in facts.manifests.items()
        for outcome in manifest["checks"]
        if outcome["violations"]
    ]
    if rows:
        yield Finding("checks", f"{len(rows)} check{'s' * (len(rows) > 1)} found something.", _cut(rows))


LOOKS = (
    _short_of_the_budget,
    _far_from_their_budget,
    _passed_over,
    _lost_languages,
    _merged_clusters,
    _longest_documents,
    _near_copies,
    _parts_not_embedded,
    _warnings_of_checks,
)


def _clusters(n: int) -> str:
    return f"{n:,} cluster{'s' * (n > 1)}"


def _cut(lines: list[str], shown: int = SHOWN) -> tuple[str, ...]:
    """The first lines, and how many more there are."""
    more = len(lines) - shown
    return (*lines[:shown], f"and {more:,} more") if more > 0 else tuple(lines)


def as_text(found: list[Finding]) -> list[str]:
    """Lines for a terminal."""
    if not found:
        return []
    lines = ["Look at this:"]
    for finding in found:
        lines += [f"  - {finding.text}", *(f"      {detail}" for detail in finding.details)]
    return lines


def as_markdown(found: list[Finding]) -> str:
    """A list for the metadata of an asset."""
    from grip_assets.export.card import plain  # escapes Markdown and HTML

    lines = []
    for finding in found:
        lines += [f"- {plain(finding.text)}", *(f"    - {plain(detail)}" for detail in finding.details)]
    return "\n".join(lines) or "Nothing stands out."
