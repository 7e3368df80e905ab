"""evaluation: does the subset train a better model?

For each strategy: bits per byte of its models with intervals over seeds, paired differences to a random subset and to
the rung before, a verdict in words, the cost, and what it is worth in random tokens. Then, for each set of texts, what
to use. The sentences are made in advice.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.statistics import mean, verdict
from grip_assets.method.worth import Worth, worth
from grip_assets.profiles import ROUNDS
from grip_assets.stages.curation.predicted import COPIED
from grip_assets.stages.evaluation.advice import RANDOM, Advice, advice
from grip_assets.stages.evaluation.closed_loop import STEADY, no_rounds
from grip_assets.stages.evaluation.random_curve import no_curve
from grip_assets.store.query import query

PRECEDENCE = {"target": 0, "held_out": 1}  # the set that decides what to use: yours, if you named one
FEWEST = 5  # a slice with fewer items is left out
SLICES = ("language", "quality_band", "length_band")


def compute(work: Work) -> dict[str, Any]:
    items = work.frame("evaluation_set").filter(pl.col("in_pool") <= COPIED)
    items = items.select("item_id", "set", "n_bytes", *SLICES)
    loop = "closed_loop" in work.inputs
    trained = [work.frame("trainings"), *([work.frame("closed_loop")] if loop else [])]
    measured = pl.concat(trained, how="diagonal").join(items, on="item_id")
    every_cost = [work.frame("strategy_costs"), *([work.frame("closed_loop_costs")] if loop else [])]
    costs = pl.concat(every_cost, how="diagonal_relaxed")
    before = {
        strategy: previous or ("grip" if kind in ("ablation", "yours") else None)
        for strategy, kind, previous in costs.select("strategy", "kind", "previous").iter_rows()
    }
    rows = [row for part in _parts(measured) for row in _compared(part, before)]
    work.draft.write("evaluation", pl.DataFrame(rows, stage.schema("evaluation")))
    curve = work.frame("random_curve").join(items, on="item_id") if "random_curve" in work.inputs else None
    worths, found = _decided(work, measured, curve, dict(costs.select("strategy", "seconds").iter_rows()))
    tables: dict[str, str | pl.DataFrame] = {"evaluation": work.files("evaluation"), "costs": costs, "worth": worths}
    work.draft.write("ladder", query("stages/ladder", tables))
    whole = [row for row in rows if row["slice_by"] == "all" and row["measure"] == "bits_per_byte"]
    decides = found[0]
    work.log(decides.words)
    return (
        {f"{row['set']}_{row['strategy']}": row["value"] for row in whole}
        | {f"verdict_{row['set']}": f"grip: {row['verdict']}" for row in whole if row["strategy"] == "grip"}
        | {"recommendation": decides.words, "seeds_for_one_percent": decides.seeds_needed}
    )


def _decided(
    work: Work, measured: pl.DataFrame, curve: pl.DataFrame | None, seconds: dict[str, float]
) -> tuple[pl.DataFrame, list[Advice]]:
    """Write the tables about worth and advice. Returns ``worth``, and the advice by set: first what decides."""
    usable = [name for name in seconds if name not in (ROUNDS, STEADY)]
    sets = sorted(measured["set"].unique().to_list(), key=lambda name: (PRECEDENCE.get(name, len(PRECEDENCE)), name))
    worths, rows, said = [], [], []
    for name in sets:
        losses = losses_of(measured.filter(set=name), "strategy")
        of_random = losses_of(curve.filter(set=name), "multiple") if curve is not None else {}
        worth_of = {s: worth(of_random | {1.0: losses[RANDOM]}, losses[s]) for s in losses} if of_random else {}
        worths += [_worth_row(name, s, len(losses[s]), found) for s, found in worth_of.items() if s != RANDOM]
        advised = advice(losses, seconds, worth_of, usable)
        said.append(advised)
        rows.append({"set": name, "decides": name == sets[0], **advised.columns()})
    table = pl.DataFrame(worths, stage.schema("worth"))
    work.draft.write("worth", table)
    work.draft.write("recommendation", pl.DataFrame(rows, stage.schema("recommendation")))
    work.draft.write("random_losses", _random_losses(measured, curve))
    return table, said


def losses_of(measured: pl.DataFrame, by: str) -> dict[Any, dict[int, float]]:
    """Bits per byte by ``by`` and seed."""
    found = measured.group_by(by, "seed", maintain_order=True).agg(value=pl.sum("bits") / pl.sum("n_bytes"))
    return {
        key: dict(rows.select("seed", "value").iter_rows()) for (key,), rows in found.group_by(by, maintain_order=True)
    }


def _worth_row(of: str, strategy: str, seeds: int, found: Worth) -> dict[str, Any]:
    values = zip(("worth", "worth_low", "worth_high"), (found.value, found.low, found.high), strict=True)
    return {
        "set": of,
        "strategy": strategy,
        "seeds": seeds,
        **{name: found.within(value) for name, value in values},
        "words": str(found),
    }


def _random_losses(measured: pl.DataFrame, curve: pl.DataFrame | None) -> pl.DataFrame:
    """The curve of random by set, multiple and seed. Without a curve it has only the multiple 1."""
    at_one = measured.filter(strategy=RANDOM).with_columns(multiple=pl.lit(1.0))
    parts = [at_one, *([curve] if curve is not None else [])]
    columns = ["set", "multiple", "seed", "bits", "n_bytes"]
    found = pl.concat([part.select(columns) for part in parts])
    return (
        found.group_by("set", "multiple", "seed")
        .agg(bits_per_byte=pl.sum("bits") / pl.sum("n_bytes"))
        .sort("set", "multiple", "seed")
    )


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
    shared = [seed for seed in values[strategy] if seed in base]
    difference = mean([values[strategy][seed] - base[seed] for seed in shared])
    said = verdict(difference, mean([base[seed] for seed in shared]).value, other, less)
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
WORTH = (
    Column(
        "worth",
        pl.Float64,
        "Multiple of random tokens with the same loss, cut off at the ends of the curve. Null without a curve.",
        ("trainings.bits", "random_curve.bits"),
        added=True,
    ),
    Column(
        "worth_low",
        pl.Float64,
        "Lower end of its 95% interval: multiples that a paired Student's test does not refute.",
        ("trainings.bits", "random_curve.bits"),
        added=True,
    ),
    Column("worth_high", pl.Float64, "Upper end of it.", ("trainings.bits", "random_curve.bits"), added=True),
    Column(
        "worth_words",
        pl.String,
        "Worth in words, as more than 4.",
        ("trainings.bits", "random_curve.bits"),
        added=True,
    ),
)
"""Columns of ``ladder``, and but for the last of ``worth``."""
TABLES = (
    Table(
        "evaluation",
        (
            Column("strategy", pl.String, "Strategy that selected the training documents.", ("trainings.strategy",)),
            Column(
                "set",
                pl.String,
                "Set of items: humaneval, held_out, target, or one of evaluation.targets.",
                ("evaluation_set.set",),
            ),
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
            Column(
                "set",
                pl.String,
                "Set of items: humaneval, held_out, target, or one of evaluation.targets.",
                ("evaluation_set.set",),
            ),
            Column("strategy", pl.String, "Strategy that selected the training documents.", ("trainings.strategy",)),
            Column(
                "kind",
                pl.String,
                "Kind: rung (of Panel B), yours (your settings in force), baseline, ablation (grip without one part,"
                " or with another one), or loop.",
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
            Column(
                "trained_tokens",
                pl.Int64,
                "Tokens on which small models were trained for the selection.",
                ("strategy_costs.trained_tokens",),
                added=True,
            ),
            *WORTH,
        ),
    ),
    Table(
        "worth",
        (
            Column("set", pl.String, "Set of items.", ("evaluation_set.set",)),
            Column("strategy", pl.String, "Strategy.", ("trainings.strategy",)),
            Column("seeds", pl.Int64, "Number of seeds.", ("trainings.seed",)),
            *(replace(column, added=False) for column in WORTH if column.name != "worth_words"),
            Column("words", pl.String, "The same in words.", ("trainings.bits", "random_curve.bits")),
        ),
    ),
    Table(
        "random_losses",
        (
            Column("set", pl.String, "Set of items.", ("evaluation_set.set",)),
            Column("multiple", pl.Float64, "Multiple of the tokens.", ("random_curve.multiple",)),
            Column("seed", pl.Int64, "Seed.", ("trainings.seed",)),
            Column("bits_per_byte", pl.Float64, "Loss on random documents.", ("trainings.bits", "random_curve.bits")),
        ),
    ),
    Table(
        "recommendation",
        (
            Column("set", pl.String, "Set of items.", ("evaluation_set.set",)),
            Column(
                "decides", pl.Boolean, "Whether this set decides: your target set, otherwise the held-out projects."
            ),
            Column(
                "variant",
                pl.String,
                "one: a single best strategy. several: some cannot be told apart, and the cheapest is named. nothing:"
                " none is measurably better than random. too_few_seeds: nor would a difference of 1% have shown.",
                ("trainings.bits",),
            ),
            Column("strategy", pl.String, "Strategy to use.", ("trainings.bits", "strategy_costs.seconds")),
            Column(
                "words", pl.String, "The recommendation as a sentence.", ("trainings.bits", "strategy_costs.seconds")
            ),
            Column("better", pl.Float64, "Its paired gain over random, a share of random's loss.", ("trainings.bits",)),
            Column("better_low", pl.Float64, "Lower end of its 95% interval (Student's t).", ("trainings.bits",)),
            Column("better_high", pl.Float64, "Upper end of its 95% interval.", ("trainings.bits",)),
            Column(
                "as_good", pl.String, "Strategies that cannot be told apart, the cheapest first.", ("trainings.bits",)
            ),
            Column("seeds", pl.Int64, "Number of seeds of the strategy.", ("trainings.seed",)),
            Column(
                "seeds_needed",
                pl.Int64,
                "Seeds that show a difference of 1% (paired, 95%, power 80%). Null: not known, or above 1,000.",
                ("trainings.bits",),
            ),
        ),
    ),
)
CHECKS = (Check("in_their_intervals", True, "Every mean lies in its interval, and verdicts agree with the intervals."),)

stage = Stage(
    name="evaluation",
    code_version="5",
    compute=compute,
    description="Does the subset train a better model? The table has bits per byte (and pass@1, with"
    " evaluation.pass_at_1) of the models of each strategy on benchmark solutions, held-out documents and your target"
    " set: means and 95% intervals over seeds, and paired differences to `random` and to the rung before (for your"
    " settings and for an ablation: to `grip`), with a verdict. `ladder` has one row per strategy and set, with the"
    " cost of the selection. `worth` has the multiple of random tokens that reaches the same loss, `recommendation`"
    " what to use on this pool.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    inputs=("strategies", "trainings", "random_curve", "closed_loop", "evaluation_set"),
    left_out={"random_curve": no_curve, "closed_loop": no_rounds},
    unused_by=("evaluation",),
    group="evaluation",
)
