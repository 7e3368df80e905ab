"""The treemap of families and their clusters, in the section Corpus map: areas are tokens, before and after selection."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from grip_assets.report.page.context import Context, missing
from grip_assets.report.page.inert import label, wrapped
from grip_assets.report.page.palette import CATEGORIES, LIGHT
from grip_assets.report.page.parts import Block, Choice, Column, Table, figure, say

MOST = 300  # tiles of clusters; the smallest clusters of a family share one
LINE = 16  # characters of a line on a tile
SIDES = {"pool": "Before: the pool", "subset": "After: the subset"}


@dataclass(frozen=True)
class Tile:
    """A rectangle. ``id``: its place in the tree, unique. ``parent``: the id of the rectangle around it."""

    id: str
    parent: str
    name: str
    pool: int
    subset: int
    color: str

    def share(self, side: str, total: int) -> float:
        return getattr(self, side) / max(total, 1)


def treemap(context: Context) -> list[Block]:
    if needed := context.lacks("clusters", "subset"):
        return [*needed]
    if not any(name.family is not None for name in context.names.names.values()):
        return [say("<strong>Families of clusters.</strong> The clusters have no names yet."), missing("taxonomy")]
    rows = [row | context.names.said(row["cluster_id"]) for row in context.ask("report/families").to_dicts()]
    tiles = tiles_of(rows, context)
    totals = {side: tiles[0].pool if side == "pool" else tiles[0].subset for side in SIDES}
    choices = [Choice(said, [_values(tiles, side, totals)], _note(side, totals[side])) for side, said in SIDES.items()]
    drawn = go.Figure(
        go.Treemap(
            ids=[tile.id for tile in tiles],
            parents=[tile.parent for tile in tiles],
            labels=[_wrapped(tile) for tile in tiles],
            branchvalues="total",
            sort=False,
            hovertemplate="<b>%{label}</b><br>%{customdata}<extra></extra>",
            texttemplate="%{label}<br>%{text}",
            marker={"colors": [tile.color for tile in tiles], "line": {"width": 1, "color": LIGHT["card"]}},
            tiling={"pad": 2},
            pathbar={"visible": False},
            **_values(tiles, "pool", totals),
        )
    )
    small = {"minsize": 9, "mode": "hide"}  # a text that would be smaller is left out
    drawn.update_layout(margin={"l": 4, "r": 4, "t": 4, "b": 4}, uniformtext=small)
    families = len({row["family"] for row in rows})
    says = (
        f"{len(rows):,} clusters in {families:,} families of related clusters. The area of a cluster is its number of"
        " tokens. A click on a family opens it, and a click on its title goes back."
    )
    made = figure(
        "families",
        "Families and clusters",
        says,
        drawn,
        height=460,
        table=_table(context, rows, totals),
        choices=choices,
        choose="Area",
    )
    return [made]


def tiles_of(rows: Sequence[dict[str, Any]], context: Context) -> list[Tile]:
    """The whole, then each family with its clusters. The parts of a rectangle sum to it, on both sides."""
    whole = Tile("all", "", "all clusters", *_sums(rows), LIGHT["card"])
    by_family: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        by_family.setdefault(row["family"], []).append(row)
    ranked = sorted(by_family.items(), key=lambda item: (-_sums(item[1])[0], str(item[0])))
    smallest = sorted((max(r["pool"], r["subset"]) for r in rows), reverse=True)[:MOST][-1]
    return [whole, *(tile for i, item in enumerate(ranked) for tile in _family(i, *item, smallest, context))]


def _family(
    place: int, family: int | None, rows: list[dict[str, Any]], smallest: int, context: Context
) -> Iterable[Tile]:
    color, id = CATEGORIES[place % len(CATEGORIES)], f"family {family}"
    yield Tile(id, "all", rows[0]["family_name"] or "without a family", *_sums(rows), color)
    rows = sorted(rows, key=lambda r: (-r["pool"], r["cluster_id"]))
    small = [r for r in rows if max(r["pool"], r["subset"]) < smallest]
    for r in rows if len(small) < 2 else [r for r in rows if r not in small]:
        yield Tile(
            f"cluster {r['cluster_id']}", id, context.names.label(r["cluster_id"]), r["pool"], r["subset"], color
        )
    if len(small) > 1:
        yield Tile(f"{id}, rest", id, f"{len(small):,} smaller clusters", *_sums(small), color)


def _wrapped(tile: Tile) -> str:
    """The label of a tile. That of a cluster is broken into short lines, since tiles are narrow on a phone."""
    return wrapped(tile.name, LINE, 9) if tile.id.startswith("cluster ") else label(tile.name)


def _sums(rows: Iterable[dict[str, Any]]) -> tuple[int, int]:
    rows = list(rows)
    return sum(r["pool"] for r in rows), sum(r["subset"] for r in rows)


def _values(tiles: Sequence[Tile], side: str, totals: dict[str, int]) -> dict[str, Any]:
    """What a choice of ``side`` changes: areas, and what is written on the tiles."""
    return {
        "values": [getattr(tile, side) for tile in tiles],
        "text": [f"{tile.share(side, totals[side]):.1%}" for tile in tiles],
        "customdata": [
            f"{tile.pool:,} tokens in the pool ({tile.share('pool', totals['pool']):.1%})<br>"
            f"{tile.subset:,} in the subset ({tile.share('subset', totals['subset']):.1%})"
            for tile in tiles
        ],
    }


def _note(side: str, tokens: int) -> str:
    return f"{tokens:,} tokens of the {side}; a family has one colour, and families may share one"


def _table(context: Context, rows: Sequence[dict[str, Any]], totals: dict[str, int]) -> Table:
    shown = [
        row | {f"{side}_share": row[side] / max(totals[side], 1) for side in SIDES} | {"family": row["family_name"]}
        for row in sorted(rows, key=lambda r: (r["family_name"] or "", r["cluster_id"]))
    ]
    columns = [
        Column("family", "Family"),
        context.cluster_column(),
        Column("n_docs", "Documents", ",d"),
        Column("pool", "Tokens, pool", ",d"),
        Column("pool_share", "Share", ".1%"),
        Column("subset", "Tokens, subset", ",d"),
        Column("subset_share", "Share of the subset", ".1%"),
    ]
    return Table("Families and clusters", columns, shown, folded=True)
