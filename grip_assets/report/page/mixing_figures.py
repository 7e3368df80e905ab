"""The pictures of the section Mixing, each with its table: weights, predicted and measured losses, steps, the swarm."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
import polars as pl

from grip_assets.report.mixing import MIXERS, REGRESSORS, share
from grip_assets.report.page.context import AXIS, Context
from grip_assets.report.page.inert import wrapped
from grip_assets.report.page.palette import LIGHT, SERIES
from grip_assets.report.page.parts import Choice, Column, Figure, Table, figure
from grip_assets.store.learned_mixture import Mixture

MOST = 30  # domains in a picture; its table has all
LINES = 6  # domains of DoReMi with a colour of their own
POINTS = 120  # of a line; more are not seen
AXES = 5  # domains that the horizontal axis of the swarm can show
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
KINDS = {
    "swarm": ("mixtures of the swarm", "s1", "circle"),
    "natural": ("natural shares", "s2", "square"),
    "upsampled": ("one domain read more often", "s1", "circle"),
    "reference": ("reference", "s2", "square"),
}


@dataclass(frozen=True)
class DomainColumn(Column):
    """A column of domains: shows their labels, sorts by number."""

    name: str = "domain"
    label: str = "Domain"
    format: str = "d"
    labels: Mapping[int, str] = field(default_factory=dict)

    def cell(self, row: Mapping[str, Any]) -> str:
        value = row.get(self.name)
        return self.labels[value] if value is not None and value in self.labels else super().cell(row)

    @property
    def look(self) -> str:
        return "who"


def domain_column(found: Mixture, label: str = "") -> DomainColumn:
    clusters = found.settings.get("domains") == "clusters"
    return DomainColumn(label=label or ("Cluster" if clusters else "Domain"), labels=found.labels)


def axis(found: Mixture, domains: Iterable[int], width: int = AXIS) -> list[str]:
    """Labels at an axis. No two are equal, also where long labels differ only in what was cut off."""
    drawn: list[str] = []
    for domain in domains:
        text = wrapped(found.label(domain), width)
        drawn.append(text if text not in drawn else wrapped(f"({domain}) {found.label(domain)}", width))
    return drawn


def whiskers(rows: pl.DataFrame, value: str, colour: str = "pool") -> dict[str, Any]:
    """Horizontal error bars from the columns low and high. A row without an interval has none."""
    up = (rows["high"] - rows[value]).fill_null(0).clip(0)
    down = (rows[value] - rows["low"]).fill_null(0).clip(0)
    return {"array": up.to_list(), "arrayminus": down.to_list(), "color": LIGHT[colour], "thickness": 2, "width": 0}


def weights(context: Context, found: Mixture) -> Figure:
    """Natural share and learned weight of each domain, with the interval of the weight."""
    rows = found.moved()
    shown = rows.head(MOST).sort("change", "domain")
    y = axis(found, shown["domain"])
    drawn = go.Figure(
        [
            go.Scatter(
                x=shown["natural_share"].to_list(),
                y=y,
                mode="markers",
                cliponaxis=False,
                name="before: natural share",
                marker={"size": 10, "color": LIGHT["pool"], "symbol": "line-ns-open", "line": {"width": 3}},
                hovertemplate="%{y}: %{x:.1%}<extra>before</extra>",
            ),
            go.Scatter(
                x=shown["weight"].to_list(),
                y=y,
                mode="markers",
                cliponaxis=False,
                name="after: learned weight" + (", with its 95% interval" if shown["low"].count() else ""),
                marker={"size": 9, "color": LIGHT["s1"]},
                error_x=whiskers(shown, "weight", "s1"),
                hovertemplate="%{y}: %{x:.1%}<extra>after</extra>",
            ),
        ]
    )
    drawn.update_xaxes(title="share of the tokens", tickformat=".0%", rangemode="tozero")
    drawn.update_yaxes(type="category", tickfont={"size": 11})
    says = (
        "Each row is a domain; the one that gains most is at the top. The bar is its share before, the dot after."
        + (f" The {MOST} of {len(rows):,} domains that change most." if len(rows) > MOST else "")
    )
    columns = [
        domain_column(found),
        Column("natural_share", "Before", ".2%", "natural share of the tokens"),
        Column("weight", "After", ".2%", "learned weight"),
        Column("low", "95%, from", ".2%"),
        Column("high", "to", ".2%"),
        Column("change", "Change", "+.2%"),
        Column("most", "Cap", ".2%", "the largest weight that the guards allow"),
    ]
    if "effect" in rows.columns:
        columns.append(Column("effect", "Loss for 1 point more", "+.4f", "predicted, bits per byte; less is better"))
    table = Table("Weights before and after", columns, rows.sort("domain").to_dicts(), folded=True)
    height = 150 + max(context.rows(len(shown)), 29 * len(shown), 96)
    return figure("mixing-weights", "Weights, before and after", says, drawn, height, table=table)


def predicted(
    rows: pl.DataFrame, measured: pl.DataFrame | None = None, verdicts: Sequence[Mapping[str, Any]] = ()
) -> Figure:
    """The objective of each mixer, as predicted and as measured. ``measured``: columns mixer, seed and value."""
    means = None if measured is None else measured.group_by("mixer").agg(pl.mean("value"), seeds=pl.len())
    order = _mixers(rows, means)
    traces = [_predicted(rows.drop_nulls("predicted"))] if rows["predicted"].count() else []
    if measured is not None and means is not None:
        traces += [_measured(measured), _means(means, order)]
    drawn = go.Figure(traces)
    drawn.update_xaxes(title="bits per byte; less is better", nticks=5)
    drawn.update_yaxes(
        type="category", categoryorder="array", categoryarray=[_said(mixer) for mixer in reversed(order)]
    )
    says = (
        "Each row is a way to set the weights; the least objective is at the top. Diamonds are predictions, made before"
        " these models were trained. Dots are measured: a small one for each seed, a large one for their mean."
        if measured is not None
        else "Each row is a way to set the weights; the least predicted objective is at the top. Nothing is measured yet."
    )
    if measured is not None and not rows["predicted"].count():
        says = (
            "Each row is a way to set the weights; the least objective is at the top. A small dot is one seed, a large"
            " one their mean. This method predicts no losses."
        )
    return figure(
        "mixing-predicted",
        "Predicted and measured" if measured is not None else "Predicted",
        says,
        drawn,
        160 + 34 * len(order),
        table=_predicted_table(rows, means, verdicts, order),
    )


def _mixers(rows: pl.DataFrame, means: pl.DataFrame | None) -> list[str]:
    """All mixers, the one with the least loss first, as measured or else as predicted."""
    value = dict(rows.select("mixer", "predicted").iter_rows())
    value |= {} if means is None else dict(means.select("mixer", "value").iter_rows())
    return sorted(value, key=lambda mixer: (value[mixer] is None, value[mixer] or 0, mixer))


def _said(mixer: str) -> str:
    return wrapped(MIXERS.get(mixer, mixer), AXIS)


def _measured(rows: pl.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=rows["value"].to_list(),
        y=[_said(mixer) for mixer in rows["mixer"]],
        mode="markers",
        name="measured, each seed",
        marker={"size": 5, "color": LIGHT["pool"]},
        text=[f"seed {seed}" for seed in rows["seed"]],
        hovertemplate="%{y}: %{x:.4f}, %{text}<extra></extra>",
    )


def _means(rows: pl.DataFrame, order: Sequence[str]) -> go.Scatter:
    value = dict(rows.select("mixer", "value").iter_rows())
    shown = [mixer for mixer in order if mixer in value]
    return go.Scatter(
        x=[value[mixer] for mixer in shown],
        y=[_said(mixer) for mixer in shown],
        mode="markers",
        name="measured, mean",
        marker={"size": 10, "color": LIGHT["s1"]},
        hovertemplate="%{y}: %{x:.4f}<extra>measured</extra>",
    )


def _predicted(rows: pl.DataFrame) -> go.Scatter:
    whole = any(rows[name].count() for name in ("low", "high"))
    return go.Scatter(
        x=rows["predicted"].to_list(),
        y=[_said(mixer) for mixer in rows["mixer"]],
        mode="markers",
        name="predicted" + (", with its 95% interval" if whole else ""),
        marker={"size": 10, "color": LIGHT["s2"], "symbol": "diamond-open", "line": {"width": 2}},
        error_x=whiskers(rows, "predicted", "s2"),
        hovertemplate="%{y}: %{x:.4f}<extra>predicted</extra>",
    )


def _predicted_table(
    rows: pl.DataFrame, means: pl.DataFrame | None, verdicts: Sequence[Mapping[str, Any]], order: Sequence[str]
) -> Table:
    by = {row["mixer"]: row for row in rows.to_dicts()}
    measured = {} if means is None else {row["mixer"]: row for row in means.to_dicts()}
    verdict = {row["mixer"]: row for row in verdicts}
    shown = [
        {
            "mixer": MIXERS.get(mixer, mixer),
            **{name: by.get(mixer, {}).get(name) for name in ("predicted", "low", "high")},
            "value": measured.get(mixer, {}).get("value"),
            **{f"{name}_to_natural": verdict.get(mixer, {}).get(name) for name in ("mean", "low", "high")},
            "words": verdict.get(mixer, {}).get("words"),
        }
        for mixer in order
    ]
    columns = [
        Column("mixer", "Weights"),
        Column("predicted", "Predicted", ".4f"),
        Column("low", "95%, from", ".4f"),
        Column("high", "to", ".4f"),
    ]
    if measured:
        columns += [
            Column("value", "Measured", ".4f", "mean over seeds"),
            Column("mean_to_natural", "Minus natural", "+.4f", "measured, paired by seed"),
            Column("low_to_natural", "95%, from", "+.4f"),
            Column("high_to_natural", "to", "+.4f"),
            Column("words", "In words"),
        ]
    return Table("Objective of each mixer, bits per byte", columns, shown)


def predictability(rows: pl.DataFrame) -> Figure:
    """Medians and quartiles of the rank correlations over the splits, by regressor."""
    y = [REGRESSORS.get(name, name) for name in rows["regressor"].reverse()]
    traces = []
    for name, said, colour, symbol in (
        ("spearman_best", "among the best quarter", "s2", "diamond"),
        ("spearman", "over all held-out mixtures", "s1", "circle"),
    ):
        some = rows.reverse().select(
            value=pl.col(f"{name}_median").fill_nan(None), low=f"{name}_low", high=f"{name}_high"
        )
        traces.append(
            go.Scatter(
                x=some["value"].to_list(),
                y=y,
                mode="markers",
                name=said,
                marker={"size": 10, "color": LIGHT[colour], "symbol": symbol},
                error_x=whiskers(some, "value", colour),
                hovertemplate="%{y}: %{x:.2f}<extra>" + said + "</extra>",
            )
        )
    drawn = go.Figure(traces)
    drawn.update_xaxes(title="Spearman's rank correlation", nticks=6)
    drawn.update_yaxes(type="category")
    says = (
        "How well each regressor ranks mixtures that it was not fitted on. A mark is the median over the splits, its"
        " line runs from the first to the third quartile. 1 is a perfect ranking, 0 is a guess."
    )
    columns = [
        Column("name", "Regressor"),
        Column("splits", "Splits", "d"),
        Column("n_train", "Fitted on", "d", "mixtures"),
        *(
            Column(f"spearman{of}_{name}", said, ".3f")
            for of, what in (("", "All"), ("_best", "Best quarter"))
            for name, said in (("median", f"{what}, median"), ("low", "quartile 1"), ("high", "quartile 3"))
        ),
        Column(
            "regret_median", "Regret", ".2f", "of the best five, in standard deviations of the loss; less is better"
        ),
        Column("spread", "Spread", ".4f", "of the losses of the swarm, bits per byte"),
    ]
    named = rows.with_columns(name=pl.col("regressor").replace(REGRESSORS))
    table = Table("How predictable a mixture is", columns, named.to_dicts(), folded=True)
    return figure("mixing-fit", "Predictability by regressor", says, drawn, 150 + 44 * len(rows), table=table)


def history(found: Mixture, steps: pl.DataFrame) -> Figure:
    """The weights over the steps of DoReMi, as means over seeds. Grey: domains that are not among the heaviest."""
    mean = steps.group_by("domain", "step").agg(pl.mean("weight", "excess_loss")).sort("domain", "step")
    order = found.weights.sort("weight", "domain", descending=[True, False])["domain"].to_list()
    marked = {domain: place for place, domain in enumerate(order[:LINES])}
    drawn = go.Figure([_line(found, mean, domain, marked.get(domain)) for domain in reversed(order)])
    drawn.update_xaxes(title="step", rangemode="tozero")
    drawn.update_yaxes(title="weight", tickformat=".0%", rangemode="tozero")
    seeds = steps["seed"].n_unique()
    says = (
        f"Each line is a domain: its weight in each step{', as a mean over seeds' if seeds > 1 else ''}. The"
        f" {min(LINES, len(order))} heaviest have a colour. The weights that count are the means over all steps."
    )
    last = mean.group_by("domain", maintain_order=True).agg(
        first=pl.first("weight"), last=pl.last("weight"), mean=pl.mean("weight"), excess=pl.mean("excess_loss")
    )
    columns = [
        domain_column(found),
        Column("first", "First step", ".2%"),
        Column("last", "Last step", ".2%"),
        Column("mean", "Mean", ".2%"),
        Column("excess", "Excess loss", ".4f", "mean over the steps, nats per token"),
    ]
    table = Table("Weights of DoReMi", columns, last.sort("domain").to_dicts(), folded=True)
    return figure("mixing-history", "Weights over the steps", says, drawn, 420, table=table)


def _line(found: Mixture, mean: pl.DataFrame, domain: int, place: int | None) -> go.Scatter:
    rows = mean.filter(domain=domain)
    rows = rows.gather_every(max(len(rows) // POINTS, 1))
    colour = LIGHT["pool"] if place is None else SERIES[place % len(SERIES)]
    return go.Scatter(
        x=rows["step"].to_list(),
        y=rows["weight"].to_list(),
        mode="lines",
        name=wrapped(found.label(domain), AXIS),
        legendrank=1000 + (place or 0),
        showlegend=place is not None,
        opacity=0.45 if place is None else 1,
        line={"color": colour, "width": 1.1 if place is None else 2.4, "dash": DASHES[(place or 0) % len(DASHES)]},
        hovertemplate="step %{x}: %{y:.1%}<extra>%{fullData.name}</extra>",
    )


def swarm(found: Mixture, mixtures: pl.DataFrame, rows: pl.DataFrame, learned: float | None, measured: bool) -> Figure:
    """The objective of each trained mixture over its distance to the natural shares, or over the share of a domain.

    ``learned``: the objective of the learned weights, ``measured`` or predicted; None: neither.
    """
    shown = {kind: rows.filter(kind=kind).drop_nulls("value") for kind in KINDS}
    shown = {kind: some for kind, some in shown.items() if len(some)}
    traces = [_cloud(kind, some) for kind, some in shown.items()]
    if learned is not None:
        traces.append(_learned(found, learned, measured))
    drawn = go.Figure(traces)
    drawn.update_xaxes(tickformat=".0%", rangemode="tozero")
    drawn.update_yaxes(title="bits per byte; less is better")
    far = Choice(
        "distance to the natural shares", [{}] * len(traces), "horizontal: total variation to the natural shares"
    )
    top = found.moved()["domain"].head(AXES).to_list()
    choices = [far, *(_over(found, mixtures, list(shown.values()), domain) for domain in top)]
    columns = [
        Column("mixture_id", "Mixture", "d"),
        Column("kind", "Kind"),
        Column("distance", "Distance", ".1%", "total variation to the natural shares"),
        Column("value", "Objective", ".4f", "bits per byte, mean over seeds"),
        domain_column(found, "Most of"),
        Column("weight", "Its share", ".1%"),
        Column("failed", "Failed"),
    ]
    says = (
        "Each point is a trained mixture. A cloud without a slope means that the shares hardly matter to models of this"
        " size."
    )
    table = Table("Trained mixtures", columns, rows.to_dicts(), folded=True)
    return figure(
        "mixing-swarm", "What was trained", says, drawn, 400, table=table, choices=choices, choose="Horizontal axis"
    )


def _cloud(kind: str, rows: pl.DataFrame) -> go.Scatter:
    said, colour, symbol = KINDS[kind]
    big = symbol == "square"
    return go.Scatter(
        x=rows["distance"].to_list(),
        y=rows["value"].to_list(),
        mode="markers",
        cliponaxis=False,
        name=said,
        marker={"size": 11 if big else 7, "color": LIGHT[colour], "symbol": symbol, "opacity": 1 if big else 0.7},
        text=[f"mixture {i}" for i in rows["mixture_id"]],
        hovertemplate="%{text}: %{y:.4f} at %{x:.1%}<extra></extra>",
    )


def _learned(found: Mixture, value: float, measured: bool) -> go.Scatter:
    far = float((found.weights["weight"] - found.weights["natural_share"]).abs().sum() / 2)
    return go.Scatter(
        x=[far],
        y=[value],
        mode="markers",
        cliponaxis=False,
        name=f"the learned weights, {'measured' if measured else 'predicted'}",
        marker={
            "size": 12,
            "color": LIGHT["s3"],
            "symbol": "diamond" if measured else "diamond-open",
            "line": {"width": 2},
        },
        hovertemplate="%{fullData.name}: %{y:.4f} at %{x:.1%}<extra></extra>",
    )


def _over(found: Mixture, mixtures: pl.DataFrame, shown: Sequence[pl.DataFrame], domain: int) -> Choice:
    """The share of one domain as the horizontal axis."""
    of = mixtures.filter(domain=domain).select("mixture_id", of="weight")
    changes = [
        {"x": some.join(of, on="mixture_id", how="left", maintain_order="left")["of"].to_list()} for some in shown
    ]
    now = found.weights.filter(domain=domain).row(0, named=True)
    before, after = share(now["natural_share"]), share(now["weight"])
    note = f"horizontal: share of {found.label(domain)}, before {before}, after {after}"
    return Choice(f"share of {found.label(domain)}", [*changes, {"x": [now["weight"]]}], note)
