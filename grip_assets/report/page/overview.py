"""The section at the top: numbers of the pool and the subset, and findings."""

from datetime import UTC, datetime
from typing import Any

from grip_assets.report import attention
from grip_assets.report.page import near_copies, sources
from grip_assets.report.page.context import Context
from grip_assets.report.page.parts import Block, Section, Special, say
from grip_assets.report.terminal.summary import probed_with


def section(context: Context) -> Section:
    needed = context.lacks("corpus", "embeddings", "clusters", "probe_set", "budgets", "subset")
    if needed:
        return Section("overview", "What this run did", needed)
    t = context.ask("questions/totals").to_dicts()[0]
    shares = context.ask("questions/share_by_cluster")
    path = context.ask("report/run").filter(asset="subset")["version"][0]
    made = datetime.fromtimestamp(context.store.manifest("subset", path)["computed_at"], UTC)
    moved = float(shares["gain"].clip(0).sum())
    tiles = [
        ("Documents in", f"{t['documents']:,}", _left_out(t)),
        ("Tokens in", short(t["tokens"]), f"{t['tokens']:,}"),
        (
            "Documents out",
            f"{t['documents_selected']:,}",
            f"{t['documents_selected'] / t['documents']:.1%} of those in",
        ),
        ("Tokens out", short(t["tokens_selected"]), f"{t['tokens_selected'] / max(t['tokens'], 1):.1%} of those in"),
        ("Budget", short(t["budget"]), f"{t['budget']:,} {t['unit']}"),
        ("Clusters", f"{t['clusters']:,}", probed_with(t["probe_documents"])),
    ]
    top, bottom = shares.row(0, named=True), shares.row(-1, named=True)
    blocks: list[Block] = [
        say(
            "Subset <code>{version}</code>, computed {when} UTC.", version=path, when=f"{made.day} {made:%B %Y, %H:%M}"
        ),
        Special("tiles", {"tiles": tiles}),
        Special("look", {"findings": attention.findings(context.connection, context.store)}),
        say(
            "{moved} of the subset's {unit} come from other clusters than in a random subset of the same size."
            " Cluster <strong>{top}</strong> gained most, from {top_pool} to {top_subset};"
            " cluster <strong>{bottom}</strong> lost most, from {bottom_pool} to {bottom_subset}. The sections below say why.",
            moved=f"{moved:.0%}",
            unit=t["unit"],
            top=context.names.label(top["cluster_id"]),
            top_pool=f"{top['pool_share']:.1%}",
            top_subset=f"{top['subset_share']:.1%}",
            bottom=context.names.label(bottom["cluster_id"]),
            bottom_pool=f"{bottom['pool_share']:.1%}",
            bottom_subset=f"{bottom['subset_share']:.1%}",
        ),
    ]
    return Section("overview", "What this run did", [*blocks, *sources.blocks(context), *near_copies.blocks(context)])


def _left_out(t: dict[str, Any]) -> str:
    rejected = f"{t['rejected']:,} rejected, {t['duplicates']:,} of them duplicates"
    return rejected + (f"; {t['near_copies']:,} near copies left out" if t["near_copies"] else "")


def title(context: Context) -> str:
    return str(context.setting("corpus", "title") or "")


def short(n: float) -> str:
    """4,321,000 as 4.32 M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if n >= size:
            return f"{n / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{n:,.0f}"
