"""The pictures of the section Attribution, each with its table: fidelity, scores and their cost, clusters, gains."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from grip_assets.report import attribution
from grip_assets.report.attribution import KINDS, number, target_label
from grip_assets.report.page.context import AXIS, Context
from grip_assets.report.page.inert import label, wrapped
from grip_assets.report.page.mixing_figures import whiskers
from grip_assets.report.page.palette import LIGHT, SERIES
from grip_assets.report.page.parts import Choice, Column, Figure, Table, figure
from grip_assets.store.attributed import MEAN, Attributed

MOST = 30  # rows of a picture; its table has all
SCORES = 8  # other scores that a panel can show
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
ROLES = ("check", "calibration")


class ScoreColumn(Column):
    """A column of the names of scores, which are long."""

    @property
    def look(self) -> str:
        return "who"


def fidelity(found: Attributed, points: pl.DataFrame, target: str, size: int, number_of: int) -> Figure:
    """Predicted against measured utility of the trials of one size. ``points``: the table ``attribution_predictions``."""
    here = points.filter(target=target, size=size)
    own = found.chosen["configuration"]
    shown = here.filter(configuration=own)
    groups = [(kind, role) for kind in _in_order(shown["kind"]) for role in ROLES if len(_of(shown, kind, role))]
    traces = [_cloud(_of(shown, kind, role), kind, role) for kind, role in groups]
    drawn = go.Figure(traces)
    drawn.update_xaxes(title="predicted by the score", nticks=5, zeroline=False)
    drawn.update_yaxes(title="measured utility, bits per byte", zeroline=False)
    names = list(dict.fromkeys([own, *_additive(found), *_order(found)]))[: SCORES + 1]
    choices = [
        Choice(
            found.label(name),
            [_predicted(_of(shown, *group), here.filter(configuration=name)) for group in groups],
            _note(found, name, target, size),
        )
        for name in names
    ]
    several = points["size"].n_unique() > 1
    columns = [
        Column("subset_id", "Trial"),
        Column("role", "Role"),
        Column("kind", "Kind"),
        Column("predicted", "Predicted", ".4g"),
        Column("utility", "Measured", ".4f", "bits per byte; more is better"),
    ]
    table = Table("Trials", columns, shown.to_dicts(), folded=True)
    title = target_label(target) + (f", {size:,} tokens" if several else "")
    return figure(
        f"attribution-fidelity-{number_of}",
        title,
        "Each mark is a trial. Filled: it only checks. Open: it also chose the score. A good score ranks them as training does.",
        drawn,
        400,
        table=table,
        choices=choices,
        choose="Score",
    )  # fmt: skip


def _in_order(kinds: pl.Series) -> list[str]:
    there = kinds.unique().to_list()
    order = list(KINDS)
    return sorted(there, key=lambda kind: (order.index(kind) if kind in order else len(order), kind))


def _of(points: pl.DataFrame, kind: str, role: str) -> pl.DataFrame:
    return points.filter(kind=kind, role=role).sort("subset_id")


def _cloud(points: pl.DataFrame, kind: str, role: str) -> go.Scatter:
    place = list(KINDS).index(kind) if kind in KINDS else len(KINDS)
    symbol, open_ = SYMBOLS[place % len(SYMBOLS)], role == "calibration"
    return go.Scatter(
        x=points["predicted"].to_list(),
        y=points["utility"].to_list(),
        mode="markers",
        cliponaxis=False,
        name=KINDS.get(kind, kind),
        legendgroup=kind,
        showlegend=not open_,
        marker={"size": 9, "symbol": f"{symbol}-open" if open_ else symbol, "color": SERIES[place % len(SERIES)]},
        text=[f"{label(i)}, {role}" for i in points["subset_id"]],
        hovertemplate="%{text}: predicted %{x:.4g}, measured %{y:.4f}<extra>%{fullData.name}</extra>",
    )


def _predicted(trials: pl.DataFrame, of_score: pl.DataFrame) -> dict[str, list[float]]:
    """What another score predicts of these trials, in their order."""
    values = of_score.select("subset_id", other="predicted")  # none for a trial of the calibration, if it is a baseline
    return {"x": trials.join(values, on="subset_id", how="left", maintain_order="left")["other"].to_list()}


def _order(found: Attributed) -> list[str]:
    """All scores, the best on structured trials first."""
    return attribution.summary(found)["configuration"].unique(maintain_order=True).to_list()


def _additive(found: Attributed) -> list[str]:
    """The additive score of the chosen features."""
    same = found.choice.filter(source=found.chosen["source"], normalize=found.chosen["normalize"], gamma=0.0)
    return same["configuration"].to_list()


def _shown(found: Attributed) -> list[str]:
    """The scores of the picture: the chosen one, its additive one, all baselines, and the best of the others."""
    order = _order(found)
    baselines = found.fidelity.filter(what="baseline")["configuration"].unique(maintain_order=True).to_list()
    first = [found.chosen["configuration"], *_additive(found), *baselines]
    kept = list(dict.fromkeys([*first, *order]))[:MOST]
    return [name for name in order if name in kept]


def _note(found: Attributed, score: str, target: str, size: int) -> str:
    rows = found.fidelity.filter(configuration=score, target=target, size=size)
    said = [
        f"{attribution.group_label(row['kind'])}: ρ {number(row['spearman'])} ({number(row['low'])} to"
        f" {number(row['high'])}), ceiling {number(row['ceiling'])}"
        for kind in attribution.kinds(found)
        for row in rows.filter(kind=kind).iter_rows(named=True)
    ]
    return "; ".join(said) or "not measured"


def scores(found: Attributed) -> Figure:
    """Spearman of every configuration and baseline, one choice a target and size."""
    views = _views(found)
    order = _shown(found)
    y = _labels(found, order)
    kinds = attribution.kinds(found)
    many = found.fidelity["size"].n_unique() > 1
    changes = [[_marks(found, order, kind, target, size) for kind in kinds] for target, size in views]
    drawn = go.Figure(
        [
            go.Scatter(
                y=y,
                mode="markers",
                name=attribution.group_label(kind),
                marker={"size": 9, "color": SERIES[i % len(SERIES)], "symbol": SYMBOLS[i % len(SYMBOLS)]},
                hovertemplate="%{y}: %{x:.2f}<extra>%{fullData.name}</extra>",
                **changes[0][i],
            )
            for i, kind in enumerate(kinds)
        ]
    )
    drawn.update_xaxes(title="Spearman of predicted and measured utility", nticks=6)
    drawn.update_yaxes(type="category", categoryorder="array", categoryarray=y[::-1], tickfont={"size": 11})
    notes = [_ceilings(found, target, size) for target, size in views]
    choices = [
        Choice(target_label(target) + (f", {size:,} tokens" if many else ""), change, note)
        for (target, size), change, note in zip(views, changes, notes, strict=True)
    ]
    says = (
        "Each row is a score of subsets; the best on structured trials is at the top. Lines are 95% intervals over"
        " trials. Only trials that chose nothing are counted. 1 is a perfect ranking, 0 is a guess."
    )
    return figure(
        "attribution-scores",
        "Fidelity of every score",
        says,
        drawn,
        150 + 34 * len(order),
        table=cost_table(found),
        choices=choices,
        choose="Target",
    )  # fmt: skip


def _views(found: Attributed) -> list[tuple[str, int]]:
    """Targets and sizes, the mean of targets first."""
    rows = found.fidelity.select("target", "size").unique(maintain_order=True)
    return rows.sort(pl.col("target") != MEAN, maintain_order=True).rows()


def _labels(found: Attributed, order: Sequence[str]) -> list[str]:
    own = found.chosen["configuration"]
    return [wrapped(found.label(name) + (" (chosen)" if name == own else ""), AXIS) for name in order]


def _marks(found: Attributed, order: Sequence[str], kind: str, target: str, size: int) -> dict[str, object]:
    rows = pl.DataFrame({"configuration": order}).join(
        found.fidelity.filter(kind=kind, target=target, size=size), on="configuration", how="left", maintain_order="left"
    )  # fmt: skip
    colour = f"s{1 + attribution.kinds(found).index(kind) % 6}"
    return {"x": rows["spearman"].fill_nan(None).to_list(), "error_x": whiskers(rows, "spearman", colour)}


def _ceilings(found: Attributed, target: str, size: int) -> str:
    rows = found.fidelity.filter(target=target, size=size).drop_nulls("ceiling")
    said = [
        f"{attribution.group_label(kind)} {number(rows.filter(kind=kind)['ceiling'].first())}"
        for kind in attribution.kinds(found)
        if len(rows.filter(kind=kind))
    ]
    return f"Noise ceiling: {'; '.join(said)}." if said else "Noise ceiling: not measured."


def cost_table(found: Attributed) -> Table:
    """All configurations and baselines with fidelity by kind, for all targets together, and cost."""
    kinds, own = attribution.kinds(found), found.chosen["configuration"]
    many = found.fidelity["size"].n_unique() > 1
    wide: dict[tuple[str, int], dict[str, Any]] = {}
    for row in attribution.summary(found).iter_rows(named=True):
        name = found.label(row["configuration"]) + (" (chosen)" if row["configuration"] == own else "")
        one = wide.setdefault((row["configuration"], row["size"]), {**row, "name": name})
        one |= {f"{column}_{row['kind']}": row[column] for column in ("spearman", "low", "high", "ceiling", "words")}
    for one in wide.values():
        one["gigaflops"] = None if one["flops"] is None else one["flops"] / 1e9
        one["megabytes"] = None if one["bytes"] is None else one["bytes"] / 1e6
    columns = [ScoreColumn("name", "Score"), *([Column("size", "Tokens", ",d", "of a trial")] if many else [])]
    for kind in kinds:
        columns += [
            Column(f"spearman_{kind}", f"ρ, {kind}", ".2f", f"{attribution.group_label(kind)}: Spearman"),
            Column(f"low_{kind}", "95%, from", ".2f"),
            Column(f"high_{kind}", "to", ".2f"),
            Column(f"ceiling_{kind}", "Ceiling", ".2f", "Spearman of two trainings of the same trials"),
        ]
    columns += [
        Column("seconds", "Seconds", ",.1f", "to make its features and scores, here"),
        Column("gigaflops", "GFLOP", ",.1f", "operations of the models"),
        Column("megabytes", "MB", ",.1f", "that it keeps"),
        ScoreColumn(f"words_{kinds[0]}", "In words", hint=attribution.group_label(kinds[0])),
    ]
    return Table("Fidelity and cost of every score", columns, list(wide.values()))


def clusters(context: Context, rows: pl.DataFrame) -> Figure:
    """Share of pool and subset of each cluster, the best aligned first. ``rows``: alignment_by_cluster.sql."""
    targets = rows["target"].unique(maintain_order=True).to_list()
    drawn = go.Figure(
        [
            go.Scatter(
                mode="markers",
                cliponaxis=False,
                name="share of the pool",
                marker={"size": 10, "color": LIGHT["pool"], "symbol": "line-ns-open", "line": {"width": 3}},
                hovertemplate="%{y}: %{x:.1%}<extra>pool</extra>",
                **_shares(context, rows, targets[0], "pool_share"),
            ),
            go.Scatter(
                mode="markers",
                cliponaxis=False,
                name="share of the subset",
                marker={"size": 9, "color": LIGHT["s1"]},
                customdata=_first(rows, targets[0])["alignment"].to_list(),
                hovertemplate="%{y}: %{x:.1%}, alignment %{customdata:.4g}<extra>subset</extra>",
                **_shares(context, rows, targets[0], "subset_share"),
            ),
        ]
    )
    drawn.update_xaxes(title="share of the tokens", tickformat=".0%", rangemode="tozero")
    drawn.update_yaxes(type="category", tickfont={"size": 11}, autorange="reversed")
    choices = [
        Choice(
            target_label(target),
            [
                _shares(context, rows, target, "pool_share"),
                _shares(context, rows, target, "subset_share") | {"customdata": _first(rows, target)["alignment"].to_list()},
            ],
            f"from the cluster that is best aligned with {target_label(target)}, at the top, down",
        )
        for target in targets
    ]  # fmt: skip
    n = rows["cluster_id"].n_unique()
    says = "Each row is a cluster. The bar is its share of the pool, the dot its share of the subset." + (
        f" The {MOST} best aligned of {n:,} clusters." if n > MOST else ""
    )
    wide = rows.pivot("target", index=["cluster_id", "pool_share", "subset_share"], values="alignment")
    columns = [
        context.cluster_column(),
        *(Column(t, f"Alignment: {target_label(t)}", ".4g", "mean, weighted by tokens") for t in targets),
        Column("pool_share", "Pool", ".2%", "share of the tokens"),
        Column("subset_share", "Subset", ".2%", "share of the tokens; copies count"),
    ]
    table = Table("Alignment and shares by cluster", columns, wide.sort("cluster_id").to_dicts(), folded=True)
    height = 150 + max(context.rows(min(n, MOST)), 96)
    return figure(
        "attribution-clusters", "Alignment and share by cluster", says, drawn, height, table=table, choices=choices,
        choose="Order by",
    )  # fmt: skip


def _first(rows: pl.DataFrame, target: str) -> pl.DataFrame:
    return rows.filter(target=target).head(MOST)


def _shares(context: Context, rows: pl.DataFrame, target: str, name: str) -> dict[str, list]:
    some = _first(rows, target)
    return {"x": some[name].fill_nan(None).to_list(), "y": context.axis(some["cluster_id"])}


def gains(rows: pl.DataFrame) -> Figure:
    """Gain of the documents in the order in which they were taken. ``rows``: greedy_gains.sql."""
    traces = [
        go.Scatter(
            x=rows["rank"].to_list(),
            y=rows[name].to_list(),
            mode="lines",
            name=said,
            line={"color": LIGHT[colour], "width": 2, "dash": dash},
            hovertemplate="rank %{x}: %{y:.4g}<extra>" + said + "</extra>",
        )
        for name, said, colour, dash in (
            ("alignment", "alignment: worth by itself", "pool", "dot"),
            ("gain", "gain: worth when its turn came", "s1", "solid"),
        )
        if rows[name].count()
    ]
    drawn = go.Figure(traces)
    drawn.update_xaxes(title="rank of the document", rangemode="tozero")
    drawn.update_yaxes(title="score for each token")
    says = (
        "Documents in the order in which greedy took them. The distance between the lines is what earlier documents had"
        " covered."
    )
    columns = [
        Column("rank", "Rank", ",d"),
        Column("alignment", "Alignment", ".4g"),
        Column("covered", "Covered", ".4g"),
        Column("gain", "Gain", ".4g"),
    ]
    table = Table("Gains", columns, rows.to_dicts(), folded=True)
    return figure("attribution-gains", "What each document added", says, drawn, 340, table=table)
