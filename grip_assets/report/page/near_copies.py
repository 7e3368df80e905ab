"""Near copies, in the section at the top: how many are left out, and which documents stand for the most."""

from grip_assets.report.page.context import Context
from grip_assets.report.page.parts import Block, Column, Table, say

COLUMNS = [
    Column("source", "Document"),
    Column("near_copies", "Near copies", ",d", "documents for which it stands"),
    Column("tokens", "Their tokens", ",d"),
    Column("example", "For example", hint="the copy that is least like it"),
    Column("least", "Jaccard", ".2f", "share of the shingles that both have"),
]


def blocks(context: Context) -> list[Block]:
    """One sentence and a table; nothing if no near copies are left out."""
    if "near_duplicates" not in context.views:
        return []
    found = context.ask("report/run").filter(asset="near_duplicates")["version"]
    metrics = context.store.manifest("near_duplicates", found[0])["metrics"] if len(found) else {}
    if not metrics.get("near_copies"):
        return []
    of_held_out = metrics.get("near_copies_of_held_out", 0)
    words = say(
        "{copies} near copies with {tokens} tokens are left out. {standing} documents stand for them.{leaks} The search"
        " {finds}.",
        copies=f"{metrics['near_copies']:,}",
        tokens=f"{metrics['tokens_left_out']:,}",
        standing=f"{metrics['documents_with_copies']:,}",
        leaks=f" {of_held_out:,} are near copies of held-out documents." if of_held_out else "",
        finds=metrics["finds"],
    )
    rows = context.ask("questions/near_copies").to_dicts()
    return (
        [words, Table("Documents that stand for the most near copies", COLUMNS, rows, folded=True)] if rows else [words]
    )
