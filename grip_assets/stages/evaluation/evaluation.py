"""evaluation: does the subset train a better model? Bits per byte of each strategy's models, with intervals over seeds,
the paired difference to a random subset and to the rung before, and a verdict in words beside the cost."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.statistics import mean, verdict
from grip_assets.stages.evaluation.evaluation_set import COPIED
from grip_assets.store.query import query

FEWEST = 5  # items of a slice that is shown
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
    """One row a strategy and seed: what was measured on a set, and on each slice of the held-out documents."""
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
    """The difference to another strategy, seed by seed; nothing where there is none to compare with."""
    if other == strategy or other not in values:
        return {}
    base = values[other]
    difference = mean([value - base[seed] for seed, value in values[strategy].items()])
    said = verdict(difference, mean(list(base.values())).value, other, less)
    return difference.columns(column, f"{column}_low", f"{column}_high") | {words: said}


TABLES = (
    Table(
        "evaluation",
        (
            Column("strategy", pl.String, "What selected the training documents.", ("trainings.strategy",)),
            Column("set", pl.String, "humaneval, held_out or target.", ("evaluation_set.set",)),
            Column(
                "slice_by",
                pl.String,
                "all, language, quality_band or length_band.",
                ("evaluation_set.language", "evaluation_set.quality_band", "evaluation_set.length_band"),
            ),
            Column(
                "slice",
                pl.String,
                "Its value.",
                ("evaluation_set.language", "evaluation_set.quality_band", "evaluation_set.length_band"),
            ),
            Column("measure", pl.String, "bits_per_byte (less is better) or pass_at_1 (more is).", ("trainings.bits",)),
            Column("n_items", pl.Int64, "Items.", ("evaluation_set.item_id",)),
            Column("n_bytes", pl.Int64, "Bytes.", ("evaluation_set.n_bytes",)),
            Column("seeds", pl.Int64, "Seeds.", ("trainings.seed",)),
            Column("value", pl.Float64, "Mean over seeds.", ("trainings.bits", "evaluation_set.n_bytes")),
            Column("low", pl.Float64, "Its 95% interval, Student's.", ("trainings.bits",)),
            Column("high", pl.Float64, "Its 95% interval, Student's.", ("trainings.bits",)),
            Column("to_random", pl.Float64, "Mean over seeds of the difference to random.", ("trainings.bits",)),
            Column("to_random_low", pl.Float64, "Its interval.", ("trainings.bits",)),
            Column("to_random_high", pl.Float64, "Its interval.", ("trainings.bits",)),
            Column("verdict", pl.String, "The same in words.", ("trainings.bits",)),
            Column("compared_with", pl.String, "The rung before; of an ablation, grip.", ("strategy_costs.previous",)),
            Column("to_previous", pl.Float64, "Mean over seeds of the difference to that.", ("trainings.bits",)),
            Column("to_previous_low", pl.Float64, "Its interval.", ("trainings.bits",)),
            Column("to_previous_high", pl.Float64, "Its interval.", ("trainings.bits",)),
            Column("previous_verdict", pl.String, "The same in words.", ("trainings.bits",)),
        ),
    ),
    Table(
        "ladder",
        (
            Column("set", pl.String, "humaneval, held_out or target.", ("evaluation_set.set",)),
            Column("strategy", pl.String, "What selected the training documents.", ("trainings.strategy",)),
            Column(
                "kind",
                pl.String,
                "rung (of Panel B), yours (your settings in force), baseline or ablation (grip without one part).",
                ("strategy_costs.kind",),
            ),
            Column("seeds", pl.Int64, "Seeds.", ("trainings.seed",)),
            Column("bits_per_byte", pl.Float64, "Mean over seeds.", ("trainings.bits", "evaluation_set.n_bytes")),
            Column("low", pl.Float64, "Its 95% interval, Student's.", ("trainings.bits",)),
            Column("high", pl.Float64, "Its 95% interval, Student's.", ("trainings.bits",)),
            Column("to_random", pl.Float64, "Mean over seeds of the difference to random.", ("trainings.bits",)),
            Column("to_random_low", pl.Float64, "Its interval.", ("trainings.bits",)),
            Column("to_random_high", pl.Float64, "Its interval.", ("trainings.bits",)),
            Column("verdict", pl.String, "The same in words.", ("trainings.bits",)),
            Column("compared_with", pl.String, "The rung before; of an ablation, grip.", ("strategy_costs.previous",)),
            Column("to_previous", pl.Float64, "Mean over seeds of the difference to that.", ("trainings.bits",)),
            Column("to_previous_low", pl.Float64, "Its interval.", ("trainings.bits",)),
            Column("to_previous_high", pl.Float64, "Its interval.", ("trainings.bits",)),
            Column("previous_verdict", pl.String, "The same in words.", ("trainings.bits",)),
            Column(
                "n_docs", pl.Float64, "Documents selected, copies counted, mean over seeds.", ("strategy_costs.n_docs",)
            ),
            Column("n_tokens", pl.Float64, "Tokens selected.", ("strategy_costs.n_tokens",)),
            Column("mean_tokens", pl.Float64, "Tokens of a document.", ("strategy_costs.mean_tokens",)),
            Column(
                "seconds",
                pl.Float64,
                "What the selection took, with the stages that it needs.",
                ("strategy_costs.seconds",),
            ),
            Column("encoder_tokens", pl.Int64, "Tokens through the encoder.", ("strategy_costs.encoder_tokens",)),
            Column(
                "proxy_tokens",
                pl.Int64,
                "Tokens of the probe, times its steps and seeds.",
                ("strategy_costs.proxy_tokens",),
            ),
            Column("judged_documents", pl.Int64, "Documents that were judged.", ("strategy_costs.judged_documents",)),
        ),
    ),
)
CHECKS = (Check("in_their_intervals", True, "Every mean lies in its interval; verdicts are what these say."),)

stage = Stage(
    name="evaluation",
    code_version="4",
    compute=compute,
    description="Does the subset train a better model? Bits per byte (and pass@1 where asked for) of the models of each"
    " strategy on benchmark solutions, held-out documents and your target set: mean and 95% interval over seeds, paired"
    " differences to `random` and to the rung before (of your settings and of an ablation: to `grip`), and a verdict."
    " `ladder` has one row a strategy and set, with the cost of the selection.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("strategies", "trainings", "evaluation_set"),
    group="evaluation",
)
