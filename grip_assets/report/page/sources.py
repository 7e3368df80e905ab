"""What came of each source, in the section at the top. Nothing for a pool at one path."""

from grip_assets.report.page.context import Context
from grip_assets.report.page.parts import Block, Column, Table

COLUMNS = [
    Column("source", "Source"),
    Column("role", "Role", hint="select: to a budget; keep: all of it, in no budget"),
    Column("n_read", "Read", ",d", "documents"),
    Column("n_rejected", "Rejected", ",d"),
    Column("reasons", "Reasons"),
    Column("n_held_out", "Held out", ",d"),
    Column("near_copies", "Near copies", ",d", "left out"),
    Column("n_docs", "Documents", ",d", "that can be selected"),
    Column("tokens", "Tokens", ",d"),
    Column("n_selected", "Selected", ",d", "documents"),
    Column("tokens_selected", "Tokens selected", ",d"),
    Column("share_of_subset", "Share of the subset", ".1%", "of its tokens"),
]


def blocks(context: Context) -> list[Block]:
    rows = context.ask("questions/by_source").to_dicts()
    return [Table("What came of each source", COLUMNS, rows)] if rows else []
