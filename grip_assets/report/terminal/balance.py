"""The table that `grip balance` prints: GEM over λ."""

from collections.abc import Iterator

from grip_assets.stages.reports.balance import COLUMNS, Sweep

FIGURES = {
    "effective": ("effective", ".1f"),
    "entropy": ("entropy", ".3f"),
    "largest": ("largest", ".1%"),
    "smallest": ("min x K", ".2f"),
    "gini": ("Gini", ".3f"),
    "light": ("light", ".0%"),
    "mean_cosine": ("cosine", ".4f"),
    **{
        f"{what}_{name}": (f"{said}, {name}", ".3f")
        for name in COLUMNS
        for what, said in (("nmi", "NMI"), ("small_recall", "small"))
    },
}


def as_text(sweep: Sweep, picture: str) -> Iterator[str]:
    names = "  ".join(f"{head:>{max(len(head), 7)}}" for head, _ in FIGURES.values())
    yield f"{'lambda':>7}  {'masses':<6}  {names}"
    for row in sweep.rows.iter_rows(named=True):
        cells = [
            f"{'-' if row[name] is None else format(row[name], how):>{max(len(head), 7)}}"
            for name, (head, how) in FIGURES.items()
        ]
        yield f"{row['balance']:>7g}  {row['masses']:<6}  {'  '.join(cells)}"
    yield (
        f"K = {sweep.k}. effective: as even as so many equal clusters. light: share of clusters below a tenth of an"
        " even mass. small: of the documents of groups smaller than an even cluster, the share in a cluster where"
        " their group is the commonest."
    )
    yield f"picture:  {picture}"
