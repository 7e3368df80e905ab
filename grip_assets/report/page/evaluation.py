"""The section Does it help: what the evaluation recommends, gain against cost, worth in random tokens, who wins where.

The sentences come from the table `recommendation`; nothing is measured or decided here.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from grip_assets.report.page.context import Context
from grip_assets.report.page.palette import LIGHT
from grip_assets.report.page.parts import Block, Column, Figure, Panels, Prose, Section, Table, figure, say

TITLE = "Does it help? Models trained on what each strategy selects"
RANDOM = "random"
ASK = (
    "<strong>Not measured yet</strong>: whether models trained on this subset are better. <code>grip evaluate --plan"
    "</code> says how long it takes, <code>grip evaluate</code> trains them. It needs documents that were set aside"
    " (<code>corpus.held_out</code>)."
)
SETS = {"held_out": "held-out projects", "humaneval": "HumanEval", "target": "your target set"}
SIDES = ("top center", "middle right", "bottom center", "middle left")  # of a mark, for its name
FEWEST_SECONDS = 1.0  # where a strategy that costs less is drawn


def section(context: Context) -> Section:
    if context.lacks("recommendation", "ladder", "worth", "random_losses"):
        return Section("evaluation", TITLE, [Prose(say(ASK).text, "missing")])
    found, ladder = context.table("recommendation", 'decides DESC, "set"'), context.table("ladder", '"set", strategy')
    worths, curve = context.table("worth", '"set", strategy'), context.table("random_losses", '"set", multiple, seed')
    if found.is_empty():
        return Section("evaluation", TITLE, [Prose(say(ASK).text, "missing")])
    sets = found["set"].to_list()
    blocks: list[Block] = [say("<strong>{words}</strong>", words=found["words"][0]), _how(ladder, sets[0])]
    blocks += [say("{set}: {words}", set=_called(row["set"]), words=row["words"]) for row in found.to_dicts()[1:]]
    blocks.append(Panels([_pareto(ladder.filter(set=name), name) for name in sets]))
    if len(worths):
        blocks.append(Panels([_worth(worths.filter(set=n), curve.filter(set=n), n) for n in sets]))
    blocks += [_who_wins(ladder, sets), _costs(ladder.filter(set=sets[0]))]
    return Section("evaluation", TITLE, blocks)


def _called(name: str) -> str:
    return SETS.get(name, name)


def _how(ladder: pl.DataFrame, decides: str) -> Block:
    n = ladder["strategy"].n_unique() - 1
    return say(
        "Each strategy selects the same number of tokens, and the same small model is trained on it under several seeds."
        " The measure is bits per byte on {set}. Intervals are Student's over seeds, paired with random. Of {n}"
        " comparisons, {chance} would leave 0 out by luck alone.",
        set=_called(decides),
        n=n,
        chance=f"about {n / 20:.1g}",
    )


def gains(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` of the ladder with the gain over random, its interval, all as shares of random's loss."""
    base = pl.col("bits_per_byte") - pl.col("to_random")
    return rows.filter(pl.col("strategy") != RANDOM, pl.col("to_random").is_not_null()).with_columns(
        gain=-pl.col("to_random") / base, low=-pl.col("to_random_high") / base, high=-pl.col("to_random_low") / base
    )


def front(rows: pl.DataFrame) -> pl.DataFrame:
    """The strategies that no other beats at the same cost or less (by the mean), the cheapest first; random begins.

    ``rows``: with the columns seconds and gain.
    """
    ordered = rows.sort("seconds", "gain", descending=[False, True])
    best = pl.col("gain").cum_max().shift(1).fill_null(0.0).clip(0.0)
    return ordered.filter(pl.col("gain") > best)


def _pareto(rows: pl.DataFrame, name: str) -> Figure:
    shown = gains(rows).sort("seconds", "strategy")
    x = shown["seconds"].clip(FEWEST_SECONDS) / 60
    ahead = front(shown)
    line_x = [FEWEST_SECONDS / 60, *(ahead["seconds"].clip(FEWEST_SECONDS) / 60).to_list()]
    drawn = go.Figure(
        [
            go.Scatter(
                x=line_x,
                y=[0.0, *ahead["gain"].to_list()],
                mode="lines",
                line={"shape": "hv", "color": LIGHT["s2"], "dash": "dot"},
                name="the most gain for the cost",
                hoverinfo="skip",
            ),
            go.Scatter(
                x=x.to_list(),
                y=shown["gain"].to_list(),
                error_y=_interval(shown, "gain", "low", "high", LIGHT["pool"]),
                **marks_with_names(shown, "seconds", "gain", _worth_a_name(shown, ahead)),
                name="a strategy, with its 95% interval",
                hovertemplate="%{hovertext}: %{y:.1%} for %{x:.1f} min<extra></extra>",
            ),
        ]
    )
    drawn.add_hline(y=0, line={"color": LIGHT["line"]})
    drawn.update_xaxes(type="log", title="minutes of the selection on this machine")
    drawn.update_yaxes(title="gain over random", tickformat=".1%")
    best = ", ".join(ahead["strategy"]) or "none"
    says = (
        f"Higher is better, left is cheaper. Nothing gains more for less, by the mean, than: {best}. Marks without a name"
        " cannot be told from random."
    )
    return figure(f"pareto-{name}", f"Gain against cost: {_called(name)}", says, drawn, 420, table=_table_of(shown))


def _interval(rows: pl.DataFrame, value: str, low: str, high: str, color: str) -> dict[str, Any]:
    """The bars of an interval, for ``error_x`` or ``error_y``. Nothing is drawn where there is no interval."""
    above, below = rows[high] - rows[value], rows[value] - rows[low]
    ends = {"array": above.fill_null(0).to_list(), "arrayminus": below.fill_null(0).to_list()}
    return {**ends, "color": color, "thickness": 1.5, "width": 0}


def _worth_a_name(shown: pl.DataFrame, ahead: pl.DataFrame) -> set[str]:
    """The strategies with the most gain for the cost, and those whose interval leaves 0 out."""
    return {*ahead["strategy"], *shown.filter((pl.col("low") > 0) | (pl.col("high") < 0))["strategy"]}


def marks_with_names(rows: pl.DataFrame, x: str, y: str, named: Collection[str]) -> dict[str, Any]:
    """A mark for each strategy, and the names of those in ``named``. Marks in about one place share one name.

    Neighbours from left to right have their names on different sides, so that these can be read.
    """
    names: dict[tuple[float, float], str] = {}
    places = [(float(f"{at:.2g}"), float(f"{height:.3g}")) for at, height in rows.select(x, y).iter_rows()]
    for name, at in zip(rows["strategy"], places, strict=True):
        if name in named:
            names[at] = f"{names[at]}, {name}" if at in names else name
    side = dict(zip(sorted(names), itertools.cycle(SIDES), strict=False))
    return {
        "mode": "markers+text",
        "text": [names.get(at, "") if at not in places[:i] else "" for i, at in enumerate(places)],
        "hovertext": rows["strategy"].to_list(),
        "textposition": [side.get(at, SIDES[0]) for at in places],
        "textfont": {"size": 11},
        "cliponaxis": False,
        "marker": {"size": 9, "color": LIGHT["s1"]},
    }


def _table_of(shown: pl.DataFrame) -> Table:
    columns = [
        Column("strategy", "Strategy"),
        Column("gain", "Gain", "+.2%", "paired, as a share of the loss of random"),
        Column("low", "95%, from", "+.2%"),
        Column("high", "to", "+.2%"),
        Column("seeds", "Seeds", "d"),
        Column("seconds", "Seconds", ",.0f"),
        Column("worth_words", "Worth, in random tokens"),
    ]
    return Table("Gain and cost", columns, shown.sort("gain", descending=True).to_dicts(), folded=True)


def _worth(worths: pl.DataFrame, curve: pl.DataFrame, name: str) -> Figure:
    shown = worths.drop_nulls("worth").sort("worth", "strategy")
    ticks = curve["multiple"].unique().sort().to_list()
    drawn = go.Figure(
        go.Scatter(
            x=shown["worth"].to_list(),
            y=shown["strategy"].to_list(),
            error_x=_interval(shown, "worth", "worth_low", "worth_high", LIGHT["s1"]),
            mode="markers",
            marker={"size": 9, "color": LIGHT["s1"]},
            hovertemplate="%{y}: %{x:.2f} times<extra></extra>",
        )
    )
    drawn.add_vline(x=1, line={"color": LIGHT["s2"], "dash": "dot"})
    drawn.update_xaxes(
        type="log",
        title="random tokens, as a multiple",
        range=np.log10([0.95 * ticks[0], 1.05 * ticks[-1]]).tolist(),
        tickvals=ticks,
        ticktext=[f"{t:g}" for t in ticks],
    )
    drawn.update_yaxes(automargin=True)
    words = [Column("strategy", "Strategy"), Column("words", "Worth, in random tokens"), Column("seeds", "Seeds", "d")]
    says = (
        "At 2, a strategy has the loss of twice the random tokens; right of the dotted line it saves tokens. Lines are"
        f" 95% intervals. Random was trained from {ticks[0]:g} to {ticks[-1]:g} times the tokens: nothing beyond is known."
    )
    table = Table("Worth", words, worths.sort("worth", descending=True, nulls_last=True).to_dicts(), folded=True)
    height = 160 + 26 * max(len(shown), 4)
    return figure(f"worth-{name}", f"Worth in random tokens: {_called(name)}", says, drawn, height, table=table)


def wins(ladder: pl.DataFrame, sets: Sequence[str]) -> list[dict[str, Any]]:
    """One row a strategy: its gain over random on each set, with a star where the interval leaves 0 out."""
    rows: dict[str, dict[str, Any]] = {}
    most = int(ladder["seeds"].max() or 0)  # type: ignore[arg-type]
    for row in gains(ladder).to_dicts():
        fewer = f" ({row['seeds']} seeds)" if row["seeds"] < most else ""
        of = rows.setdefault(row["strategy"], {"strategy": row["strategy"] + fewer, "best": 0.0})
        sure = "*" if row["low"] is not None and (row["low"] > 0 or row["high"] < 0) else ""
        of[row["set"]] = f"{row['gain']:+.1%}{sure}".replace("-", "−")
        of["best"] = max(of["best"], row["gain"]) if row["set"] == sets[0] else of["best"]
    return sorted(rows.values(), key=lambda of: (-of["best"], of["strategy"]))


def _who_wins(ladder: pl.DataFrame, sets: Sequence[str]) -> Table:
    columns = [Column("strategy", "Strategy"), *(Column(name, _called(name)) for name in sets)]
    caption = "Who wins where, and at what price elsewhere: gain over random (*: the interval leaves 0 out)"
    return Table(caption, columns, wins(ladder, sets))


def _costs(rows: pl.DataFrame) -> Table:
    columns = [
        Column("strategy", "Strategy"),
        Column("seconds", "Seconds", ",.0f", "of the selection and of the stages that it needs, on this machine"),
        Column("encoder_tokens", "Tokens through the encoder", ",.0f"),
        Column("proxy_tokens", "through the proxy", ",.0f"),
        Column("trained_tokens", "trained on", ",.0f", "of small models, for a mixture or for attribution"),
        Column("judged_documents", "Documents judged", ",.0f"),
    ]
    return Table("What a selection costs", columns, rows.sort("seconds").to_dicts(), folded=True)
