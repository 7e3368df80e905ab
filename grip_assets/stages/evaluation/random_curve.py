"""random_curve: models trained on random documents at multiples of the tokens, for the worth of a selection.

At a multiple m, the subset and the training both have m times the tokens, so that a training reads as little twice as
at 1. It is the same draw under each seed: the subset of a smaller multiple is part of that of a larger one. At 1 the
curve is the strategy `random`, which is among the trainings. How worth is read off the curve is in method/worth.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.method.selection.base import Budgets, Documents
from grip_assets.method.selection.baselines import random
from grip_assets.settings import Evaluation, Selection
from grip_assets.stages.curation import source_weights
from grip_assets.stages.curation.subset import Densities, background, longest
from grip_assets.stages.evaluation.strategies import KEPT, LIMITS, RUNGS, budget_of_all
from grip_assets.stages.evaluation.trainings import MODEL, TRAINING, job_of, trained
from grip_assets.stages.evaluation.trainings import stage as trainings
from grip_assets.training.runs import Selected, run_on


def compute(work: Work) -> dict[str, Any]:
    settings = Evaluation.of(work.settings)
    clusters = source_weights.weighted(work.frame("clusters"), work.settings)
    documents = clusters.select("doc_id", "n_tokens", pl.col(f"^(role|{source_weights.COLUMN})$"))
    kept_N = background(documents)
    total = budget_of_all(work.settings, int(documents["n_tokens"].to_numpy()[~kept_N].sum()))
    most = longest(Selection.of(work.settings), total)  # at each multiple, so that the subsets lie in each other
    seeds, rows = settings.seeds_of(RUNGS[0]), []
    for multiple in settings.multiples:
        for seed in seeds:
            taken = documents.filter(pl.Series(taken_at(documents, kept_N, round(multiple * total), seed, most)))
            rows.append(taken.select(pl.lit(multiple).alias("multiple"), pl.lit(seed).alias("seed"), "doc_id"))
    chosen = pl.concat(rows).with_columns(pl.col("seed").cast(pl.Int64), repeats=pl.lit(1, pl.Int64))
    work.draft.write("random_draws", chosen)
    found, fresh = [], 0
    for multiple in settings.multiples:
        losses, now = _trained_at(work, settings, multiple, chosen.filter(multiple=multiple))
        found.append(losses.select(pl.lit(multiple).alias("multiple"), "seed", "item_id", "bits"))
        fresh += now
    work.draft.write("random_curve", pl.concat(found))
    sizes = chosen.join(documents, on="doc_id").group_by("multiple", "seed").agg(pl.sum("n_tokens"))
    short = sizes.filter(pl.col("n_tokens") < 0.95 * pl.col("multiple") * total)["multiple"].unique().sort()
    if len(short):
        work.log(f"the pool has no {short[0]:g} times the budget, so these models read documents more than once")
    return {"models_trained_now": fresh, "models": len(settings.multiples) * len(seeds)}


def taken_at(
    documents: pl.DataFrame, kept_N: np.ndarray, tokens: int, seed: int, most: int | None = None
) -> np.ndarray:
    """The random documents of so many tokens as a mask (N,), or all that there are: those of the rule `random`.

    ``documents``: doc_id and n_tokens. Those in ``kept_N`` are always in, beside the tokens. Of the others, none is
    longer than ``most``.
    """
    free = documents.filter(pl.Series(~kept_N))
    lengths_N = free["n_tokens"].to_numpy()
    whole = np.array([min(tokens, int(lengths_N.sum()))])
    weight_N = source_weights.in_rows(free)
    pool = Documents(free["doc_id"], lengths_N, np.array([len(free)]), "tokens", most, weight_N)
    found = random(pool, Budgets(whole, np.ones(1)), Densities(free), Selection(seed=seed))
    mask_N = kept_N.copy()
    mask_N[~kept_N] = found.repeats_N > 0
    return mask_N


def _trained_at(work: Work, settings: Evaluation, multiple: float, rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Bits of the models at one multiple (seed, item_id, bits), and how many were trained now."""
    job = job_of(work, settings)
    job = replace(job, recipe=replace(job.recipe, tokens=round(multiple * settings.tokens)), solve=False)
    longer = settings.model_copy(update={"tokens": job.recipe.tokens, "pass_at_1": False})
    files = work.files("random_draws")
    runs = {
        seed: run_on(Selected(files, (("multiple", multiple), ("seed", seed))), of_seed, seed)
        for (seed,), of_seed in rows.group_by("seed", maintain_order=True)
    }
    found, fresh = trained(work, longer, job, list(runs.values()))
    keys = pl.DataFrame({"seed": list(runs), "key": [run.key for run in runs.values()]})
    measured = keys.join(found, on="key", how="left", maintain_order="left_right")
    return measured.filter(pl.col("item_id").is_not_null()), fresh


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The weights of the sources, which the draw follows."""
    return source_weights.facts(settings)


def no_curve(settings: Settings) -> str:
    """Why no curve is trained; "" if one is."""
    return "" if Evaluation.of(settings).multiples else "settings/evaluation.multiples is empty"


TABLES = (
    Table(
        "random_curve",
        (
            Column("multiple", pl.Float64, "Multiple of the budget and of the tokens of a training."),
            Column("seed", pl.Int64, "Seed of draw, initialisation and order."),
            Column("item_id", pl.String, "Item that the model predicts.", ("evaluation_set.item_id",)),
            Column(
                "bits",
                pl.Float64,
                "Bits that the model needs for the item.",
                ("random_draws.doc_id", "corpus.text", "evaluation_set.text"),
            ),
        ),
    ),
    Table(
        "random_draws",
        (
            Column("multiple", pl.Float64, "Multiple of the budget."),
            Column("seed", pl.Int64, "Seed of the draw."),
            Column("doc_id", pl.String, "Document that is in the subset.", ("clusters.doc_id",)),
            Column("repeats", pl.Int64, "Copies of the document.", ("clusters.doc_id",)),
        ),
    ),
)
CHECKS = (Check("complete", True, "Every multiple and seed has finite bits above 0 for every item."),)

stage = Stage(
    name="random_curve",
    code_version="1",
    compute=compute,
    description="Models trained on random documents at settings/evaluation.multiples of the tokens, under each seed."
    " The table has the bits that they need for every item. With the strategy random, it says how many random tokens"
    " reach the loss of any other strategy. `random_draws` has the documents.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "clusters", "evaluation_set"),
    reads={
        "budget": KEPT,
        "selection": LIMITS,
        "evaluation": (*MODEL, *TRAINING, "multiples", "seeds", "main", "main_seeds", "seed"),
    },
    facts=facts,
    group="evaluation",
    unused=no_curve,
    otherwise=trainings.otherwise,
)
