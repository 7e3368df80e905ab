"""evaluation: does the subset train a better model?

For each strategy: bits per byte of its models with intervals over seeds, paired differences to a random subset and to
the rung before, a verdict in words, and the cost.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.statistics import mean, verdict
from grip_assets.stages.curation.predicted import COPIED
from grip_assets.store.query import query

FEWEST = 5  # a slice with fewer items is left out
SLICES = ("language", "quality_band", "length_band")


def compute(work: Work) -> dict[str, Any]:
    items = work.frame("evaluation_set").filter(pl.col("in_pool") <= COPIED)
    measured = work.frame("trainings").join(items.select("item_id", "set", "n_bytes", *SLICES), on="item_id")
    costs = work.frame("strategy_costs")
    before = {
        strategy: previous or ("grip" if kind in ("ablation", "yours") else None)
        for strategy, kind, previous in costs.select("strategy", "kind", "previous").iter_rows()
    }
    rows = [row for part in _parts(measured) for row in _compared(part, before)]
    work.draft.write("evaluation", pl.DataFrame(rows, stage.schema("evaluation")))
    work.draft.write("ladder", query("stages/ladder", {"evaluation": work.files("evaluation"), "costs": costs}))
    whole = [row for row in rows if row["slice_by"] == "all" and row["measure"] == "bits_per_byte"]
    return {f"{row['set']}_{row['strategy']}": row["value"] for row in whole} | {
        f"verdict_{row['set']}": f"grip: {row['verdict']}" for row in whole if row["strategy"] == "grip"
    }


def _parts(measured: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Frames with one row per strategy and seed: one frame per set, and one per slice of the held-out documents."""
    held_out = measured.filter(set="held_out")
    slices = [held_out.with_columns(slice_by=pl.lit(by), slice=pl.col(by)).drop_nulls("slice") for by in SLICES]
    whole = measured.with_columns(slice_by=pl.lit("all"), slice=pl.lit("all"))
    keys = ["set", "slice_by", "slice", "strategy", "seed"]
    for part in (whole, *slices):
        found = part.group_by(keys, maintain_order=True).agg(
            pl.len().cast(pl.Int64).alias("n_items"),
            pl.sum("n_bytes"),
            value=pl.sum("bits") / pl.sum("n_bytes"),
            measure=pl.lit("bits_per_byte").first(),
            solved=pl.col("solved").mean(),
        )
        shown = found.filter((pl.col("n_items") >= FEWEST) | (pl.col("slice_by") == "all"))
        yield from shown.partition_by("set", "slice_by", "slice", maintain_order=True)
        if solved := shown.filter(pl.col("solved").is_not_null() & (pl.col("slice_by") == "all")).partition_by("set"):
            yield from (rows.with_columns(value=pl.col("solved"), measure=pl.lit("pass_at_1")) for rows in solved)


def _compared(part: pl.DataFrame, before: dict[str, str | None]) -> Iterator[dict[str, Any]]:
    values = {
        strategy: dict(rows.select("seed", "value").iter_rows())
        for (strategy,), rows in part.group_by("strategy", maintain_order=True)
    }
    shared = part.row(0, named=True)
    less = shared["measure"] == "bits_per_byte"
    for strategy, by_seed in values.items():
        yield {
            **{name: shared[name] for name in ("set", "slice_by", "slice", "measure", "n_items", "n_bytes")},
            "strategy": strategy,
            "seeds": len(by_seed),
            **mean(list(by_seed.values())).columns("value"),
            **_paired(values, strategy, "random", "to_random", "verdict", less),
            "compared_with": before[strategy],
            **_paired(values, strategy, before[strategy], "to_previous", "previous_verdict", less),
        }


def _paired(
    values: dict[str, dict[int, float]], strategy: str, other: str | None, column: str, words: str, less: bool
) -> dict[str, Any]:
    """Columns of the difference to another strategy, paired by seed; empty if there is no other strategy."""
    if other == strategy or other not in values:
        return {}
    base = values[other]
    difference = mean([value - base[seed] for seed, value in values[strategy].items()])
    said = verdict(difference, mean(list(base.values())).value, other, less)
    return difference.columns(column, f"{column}_low", f"{column}_high") | {words: said}


COMPARED_WITH = "Other strategy to compare with: the rung before; for an ablation and for your settings, grip."
INTERVALS = (
    Column("low", pl.Float64, "Lower end of its 95% interval (Student's t).", ("trainings.bits",)),
    Column("high", pl.Float64, "Upper end of its 95% interval (Student's t).", ("trainings.bits",)),
    Column("to_random", pl.Float64, "Mean over seeds of the difference to random.", ("trainings.bits",)),
    Column("to_random_low", pl.Float64, "Lower end of its 95% interval.", ("trainings.bits",)),
    Column("to_random_high", pl.Float64, "Upper end of its 95% interval.", ("trainings.bits",)),
    Column("verdict", pl.String, "The difference to random in words.", ("trainings.bits",)),
    Column("compared_with", pl.String, COMPARED_WITH, ("strategy_costs.previous",)),
    Column("to_previous", pl.Float64, "Mean over seeds of the difference to it.", ("trainings.bits",)),
    Column("to_previous_low", pl.Float64, "Lower end of its 95% interval.", ("trainings.bits",)),
    Column("to_previous_high", pl.Float64, "Upper end of its 95% interval.", ("trainings.bits",)),
    Column("previous_verdict", pl.String, "This difference in words.", ("trainings.bits",)),
)
"""Columns of ``evaluation`` and ``ladder``: the intervals of a mean, and its differences to two other strategies."""
TABLES = (
    Table(
        "evaluation",
        (
            Column("strategy", pl.String, "Strategy that selected the training documents.", ("trainings.strategy",)),
            Column("set", pl.String, "Set of items: humaneval, held_out or target.", ("evaluation_set.set",)),
            Column(
                "slice_by",
                pl.String,
                "Property by which the set is sliced: all (no slices), language, quality_band or length_band.",
                ("evaluation_set.language", "evaluation_set.quality_band", "evaluation_set.length_band"),
            ),
            Column(
                "slice",
                pl.String,
                "Value of that property.",
                ("evaluation_set.language", "evaluation_set.quality_band", "evaluation_set.length_band"),
            ),
            Column(
                "measure",
                pl.String,
                "Measure: bits_per_byte (less is better) or pass_at_1 (more is better).",
                ("trainings.bits",),
            ),
            Column("n_items", pl.Int64, "Number of items.", ("evaluation_set.item_id",)),
            Column("n_bytes", pl.Int64, "Bytes of the items.", ("evaluation_set.n_bytes",)),
            Column("seeds", pl.Int64, "Number of seeds.", ("trainings.seed",)),
            Column(
                "value", pl.Float64, "Mean of the measure over seeds.", ("trainings.bits", "evaluation_set.n_bytes")
            ),
            *INTERVALS,
        ),
    ),
    Table(
        "ladder",
        (
            Column("set", pl.String, "Set of items: humaneval, held_out or target.", ("evaluation_set.set",)),
            Column("strategy", pl.String, "Strategy that selected the training documents.", ("trainings.strategy",)),
            Column(
                "kind",
                pl.String,
                "Kind: rung (of Panel B), yours (your settings in force), baseline, or ablation (grip without one"
                " part).",
                ("strategy_costs.kind",),
            ),
            Column("seeds", pl.Int64, "Number of seeds.", ("trainings.seed",)),
            Column(
                "bits_per_byte",
                pl.Float64,
                "Mean bits per byte over seeds.",
                ("trainings.bits", "evaluation_set.n_bytes"),
            ),
            *INTERVALS,
            Column(
                "n_docs",
                pl.Float64,
                "Documents selected, mean over seeds. Copies count.",
                ("strategy_costs.n_docs",),
            ),
            Column("n_tokens", pl.Float64, "Tokens selected, mean over seeds.", ("strategy_costs.n_tokens",)),
            Column("mean_tokens", pl.Float64, "Mean tokens of a selected document.", ("strategy_costs.mean_tokens",)),
            Column(
                "seconds",
                pl.Float64,
                "Time of the selection, with the stages that it needs.",
                ("strategy_costs.seconds",),
            ),
            Column("encoder_tokens", pl.Int64, "Tokens that the encoder read.", ("strategy_costs.encoder_tokens",)),
            Column(
                "proxy_tokens",
                pl.Int64,
                "Tokens that the proxy read, over all steps and seeds.",
                ("strategy_costs.proxy_tokens",),
            ),
            Column("judged_documents", pl.Int64, "Documents that were judged.", ("strategy_costs.judged_documents",)),
        ),
    ),
)
CHECKS = (Check("in_their_intervals", True, "Every mean lies in its interval, and verdicts agree with the intervals."),)

stage = Stage(
    name="evaluation",
    code_version="4",
    compute=compute,
    description="Does the subset train a better model? The table has bits per byte (and pass@1, with"
    " evaluation.pass_at_1) of the models of each strategy on benchmark solutions, held-out documents and your target"
    " set: means and 95% intervals over seeds, and paired differences to `random` and to the rung before (for your"
    " settings and for an ablation: to `grip`), with a verdict. `ladder` has one row per strategy and set, with the"
    " cost of the selection.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("strategies", "trainings", "evaluation_set"),
    group="evaluation",
)
