"""The student's figures, in the section Clusters: how well it labels the documents that were not embedded."""

from grip_assets.report.page.context import Context
from grip_assets.report.page.parts import Block, Column, Table, say

COLUMNS = [
    Column("n_labelled", "Labelled by the student", ",d"),
    Column("n_embedded", "Embedded", ",d"),
    Column("n_learned", "Learned from", ",d"),
    Column("n_held_out", "Held out", ",d"),
    Column("agreement", "Agreement", ".1%", "share of the held-out documents that it labels as their vectors do"),
    Column("low", "Low", ".1%", "lower end of the 95% interval"),
    Column("high", "High", ".1%", "upper end of the 95% interval"),
    Column("agreement_top", "Of the clearest", ".1%", "agreement on held-out documents of high influence"),
    Column("macro_f1", "Macro F1", ".3f", "mean over clusters"),
    Column("largest_class", "Largest cluster", ".1%", "agreement of one who always names the largest cluster"),
    Column("mass_distance", "Distance of shares", ".1%", "of the clusters' shares, between student and teacher"),
    Column("documents_per_second", "Labelled per second", ",.0f"),
    Column("embedding_documents_per_second", "Embedded per second", ",.1f"),
]


def blocks(context: Context) -> list[Block]:
    """One sentence and a table; nothing if every document has a vector."""
    rows = context.table("student", "n_labelled").to_dicts() if "student" in context.views else []
    if not rows:
        return []
    (row,) = rows
    agreement = "not known" if row["agreement"] is None else f"{row['agreement']:.0%}"
    words = say(
        "{embedded} of {all} documents are embedded. A student labels the others by their texts. On documents that it"
        " never saw, it agrees with the vectors in {agreement} of the cases; always naming the largest cluster would"
        " agree in {largest}.",
        embedded=f"{row['n_embedded']:,}",
        all=f"{row['n_embedded'] + row['n_labelled']:,}",
        agreement=agreement,
        largest=f"{row['largest_class']:.0%}",
    )
    return [words, Table("The student", COLUMNS, rows)]
