"""The section Attribution: which score of subsets was chosen, how well it predicts, and what it changed in the subset.

The pictures are in attribution_figures.py, the sentences that the terminal says too in report/attribution.py. The
alignment of documents is a colouring of the corpus map (corpus_map.py).
"""

from collections.abc import Mapping
from typing import Any

from grip_assets.report import attribution
from grip_assets.report.attribution import target_label
from grip_assets.report.page import attribution_figures as figures
from grip_assets.report.page.context import Context
from grip_assets.report.page.inert import visible
from grip_assets.report.page.parts import Block, Column, Panels, Section, Special, Table, say
from grip_assets.store import attributed
from grip_assets.store.attributed import Attributed

TITLE = "Attribution: what a whole subset is worth"
TABLES = ("attribution", "attribution_choice", "attribution_fidelity")
PANELS = 6  # targets and sizes with a panel of their own
PAIRS, SHOWN = 20, 4  # pairs of documents, and those that are not folded
INSTEAD = 50
CHARS = 400  # of a document


def section(context: Context) -> Section:
    needed = context.lacks(*TABLES)
    if needed:
        return Section("attribution", TITLE, needed)
    found = attributed.in_force(context.connection, context.store)
    if found is None:
        nothing = [say("No document was attributed to a target.")]
        return Section("attribution", TITLE, context.unused("attribution") or nothing)
    blocks = [
        *_how(context, found),
        *_fidelity(context, found),
        *_changed(context),
        *_gains(context),
        *_clusters(context),
    ]
    return Section("attribution", TITLE, blocks)


def _how(context: Context, found: Attributed) -> list[Block]:
    targets = context.table("attribution", "target").select("target").unique().sort("target")["target"]
    return [
        say(
            "<strong>The score</strong>: {score}. {why} It scores subsets for {targets}. Only the abstract of GRASP is"
            " public, so this is a reconstruction.",
            score=found.label(found.chosen["configuration"]),
            why=attribution.how_chosen(found),
            targets=_and([target_label(t) for t in targets]),
        )
    ]


def _and(said: list[str]) -> str:
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _fidelity(context: Context, found: Attributed) -> list[Block]:
    """How well scores predict what retraining measures."""
    if not found.measured:
        return [
            say(
                "<strong>Not measured</strong>: whether this score predicts training. With"
                " <code>attribution.choose=bootstrap</code>, small models are trained on some subsets, and the score is"
                " chosen and checked by them."
            )
        ]
    words, other = attribution.quadratic(found), attribution.best_other(found)
    said = say(
        "<strong>Does it predict training?</strong> {fidelity}. {quadratic} {other} No score can rank trials better than"
        " a second training does: that is the noise ceiling.",
        fidelity=attribution.in_words(found),
        quadratic=words,
        other=other,
    )
    return [said, *_panels(context, found), figures.scores(found)]


def _panels(context: Context, found: Attributed) -> list[Block]:
    if context.lacks("attribution_predictions"):
        return []
    points = context.ask("questions/fidelity_points")
    views = points.select("target", "size").unique(maintain_order=True).rows()
    shown = enumerate(views[:PANELS], 1)
    panels = [figures.fidelity(found, points, target, size, number) for number, (target, size) in shown]
    more = len(views) - PANELS
    rest = [say("{n} more targets are in the picture and the table below.", n=more)] if more > 0 else []
    return [Panels(panels), *rest] if panels else []


def _changed(context: Context) -> list[Block]:
    """Documents that additive scoring would have taken and greedy did not, and those that came instead."""
    if context.lacks("redundancy", "greedy_changes"):
        return []
    if unused := context.unused("redundancy"):
        return [*unused]
    counts = dict(context.table("greedy_changes", "change").group_by("change").len().iter_rows())
    left, instead = counts.get("left out", 0), counts.get("taken instead", 0)
    if not left + instead:
        return [
            say("<strong>What the quadratic term changed</strong>: nothing. Additive scores take the same documents.")
        ]
    said = say(
        "<strong>What the quadratic term changed</strong>: {left} documents would have been taken for their alignment"
        " alone, and were left out, because what they offer was covered. {instead} others were taken instead."
        "{certificate}",
        left=f"{left:,}",
        instead=f"{instead:,}",
        certificate=_certificate(context),
    )
    return [said, *_pairs(context), *_instead(context)]


def _certificate(context: Context) -> str:
    """How far the greedy selection is from the best that is possible, as a sentence; "" if it is not known."""
    versions = dict(context.ask("report/run").select("asset", "version").iter_rows())
    words = attribution.certificate(context.store.manifest("subset", versions["subset"])["metrics"])
    return f" {words}" if words else ""


def _pairs(context: Context) -> list[Block]:
    rows = context.ask("report/redundant", most=PAIRS).to_dicts()
    if not rows:
        return []
    heads = context.heads([row[name] for row in rows for name in ("doc_id", "nearest")], CHARS)
    pairs = [
        {
            "said": f"Left out, although it is number {row['place']:,} by its alignment",
            "because": f"Taken as number {row['rank']:,}: the nearest, cosine {row['similarity']:.2f}",
            "left": _head(heads, row["doc_id"], _still(row)),
            "right": _head(heads, row["nearest"]),
        }
        for row in rows
    ]
    title = "Left out, beside the nearest document that was taken"
    return [Special("pairs", {"title": title, "pairs": pairs, "shown": SHOWN})]


def _still(row: Mapping[str, Any]) -> str:
    """What the document would add to the subset, as a clause."""
    if row["gain"] is None or row["covered"] is None:
        return ""
    return (
        f"; alignment {_signed(row['alignment'])}, of which {_signed(row['covered'])} is covered: it would add"
        f" {_signed(row['gain'])}"
    )


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _head(heads: Mapping[str, Mapping[str, Any]], doc: str, more: str = "") -> dict[str, Any]:
    head = heads.get(doc, {})
    about = f"{head.get('language') or 'unknown language'}, {head.get('n_tokens') or 0:,} tokens"
    return {"source": head.get("source", doc), "head": head.get("head", ""), "about": visible(about) + more}


def _instead(context: Context) -> list[Block]:
    rows = context.ask("report/instead", most=INSTEAD)
    heads = context.heads(rows["doc_id"], 0)
    named = [row | {"source": heads.get(row["doc_id"], {}).get("source", row["doc_id"])} for row in rows.to_dicts()]
    columns = [
        Column("rank", "Taken as", ",d", "place in the greedy selection"),
        Column("source", "Document"),
        context.cluster_column(),
        Column("n_tokens", "Tokens", ",d"),
        Column("place", "By alignment", ",d", "place by alignment alone"),
        Column("alignment", "Alignment", ".4g"),
        Column("covered", "Covered", ".4g", "by documents that were taken before"),
        Column("gain", "Gain", ".4g"),
    ]
    return [Table(f"Taken instead: the first {len(rows)}", columns, named, folded=True)] if named else []


def _gains(context: Context) -> list[Block]:
    if context.lacks("subset") or "rank" not in context.connection.table("subset").columns:
        return []
    rows = context.ask("questions/greedy_gains")
    return [figures.gains(rows)] if len(rows) > 1 else []


def _clusters(context: Context) -> list[Block]:
    if context.lacks("selection_weights"):
        return []
    rows = context.ask("questions/alignment_by_cluster")
    return [figures.clusters(context, rows)] if len(rows) else []
