"""closed_loop: the model's own checkpoints are the proxy, the budget follows them, and the training goes on.

This is the paper's central idea. A training has four parts. After each of the first three, the checkpoint replaces the
proxy of settings/adaptation: drops are measured again, budgets and selection of the profile grip follow, and the next
part reads newly selected documents. Two strategies are trained under each seed:
- `grip_rounds`: with that loop.
- `grip_steady`: the same parts and the same number of tokens, all from the first selection. It is what `grip_rounds` is
  compared with: both read whole documents, and read none again while there are others.

The first part is the same for both. Parts are trained in training/closed_loop.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.method.sampling import keyed_uniform
from grip_assets.profiles import ROUNDS
from grip_assets.runtime import device
from grip_assets.runtime.executors import ToDo
from grip_assets.settings import Adaptation, Evaluation
from grip_assets.stages.curation import source_weights
from grip_assets.stages.curation.headers import no_header
from grip_assets.stages.curation.needed import READ_TO_SELECT
from grip_assets.stages.evaluation import strategies
from grip_assets.stages.evaluation.strategies import (
    COSTS,
    KEPT,
    LIMITS,
    RUNGS,
    Strategy,
    Taken,
    cost,
    strategy,
    take,
)
from grip_assets.stages.evaluation.trainings import DEVICE, MODEL, TRAINING, job_of, shards_of
from grip_assets.stages.evaluation.trainings import stage as trainings
from grip_assets.store.shards import Shards
from grip_assets.store.writing import put_once
from grip_assets.training.closed_loop import (
    PARTS,
    Part,
    TrainParts,
    lengths_by,
    model_at,
    next_documents,
    part_of,
    tokens_of,
)
from grip_assets.training.runs import tokenizer_in

STEADY = "grip_steady"
GRIP = RUNGS[-1]


@dataclass
class Loop:
    """One training. ``taken``: the selection in force. ``read``: documents that were read so far."""

    name: str
    seed: int
    taken: Taken
    part: Part | None = None
    state: bytes | None = None
    read: set[str] = field(default_factory=set)
    seconds: float = 0.0
    proxy_tokens: int = 0


def compute(work: Work) -> dict[str, Any]:
    settings = Evaluation.of(work.settings)
    start = strategy(GRIP, work.settings)
    seeds = settings.seeds_of(ROUNDS)
    first = take(work, start, seeds)
    tokenizer = tokenizer_in(work.files("tokenizer"))
    own = lengths_by(work.files("corpus"), tokenizer, first.documents["doc_id"])
    job, shards = _job(work, settings), _shards(work, settings)
    loops = [Loop(name, seed, first) for name in (STEADY, ROUNDS) for seed in seeds]
    rounds: list[pl.DataFrame] = []
    twice = 0
    for number in range(PARTS):
        if number:
            rounds += [_measure_again(work, start, job, loop, number) for loop in loops if loop.name == ROUNDS]
        for loop in loops:
            twice += _next_part(loop, number, own, tokens_of(number, job.shape, job.recipe))
        rows = _trained(work, settings, shards, job, [loop.part for loop in loops if loop.part])
        for loop in loops:
            assert loop.part is not None
            loop.state = rows.filter(key=loop.part.key)["state"][0] if number + 1 < PARTS else None
    if twice:
        work.log(
            f"{twice} parts read documents a second time: the selection has too few tokens for settings/evaluation"
        )
    work.draft.write("closed_loop", pl.concat([_bits(loop, rows) for loop in loops]))
    work.draft.write("closed_loop_rounds", pl.concat(rounds))
    costs = [_cost(work, start, [loop for loop in loops if loop.name == name]) for name in (STEADY, ROUNDS)]
    work.draft.write("closed_loop_costs", pl.DataFrame(costs, COSTS))
    return {"trainings": len(loops), "parts_that_read_again": twice}


def _job(work: Work, settings: Evaluation) -> TrainParts:
    whole = job_of(work, settings)
    return TrainParts(whole.corpus, whole.tokenizer, whole.items, whole.shape, whole.recipe)


def _shards(work: Work, settings: Evaluation) -> Shards:
    return Shards(work.store, stage.name, f"{shards_of(work, settings)}-{stage.code_version}")


def _next_part(loop: Loop, number: int, own: pl.Series, tokens: int) -> bool:
    """Set the next part of a training. Returns whether it reads documents again."""
    documents = loop.taken.documents
    chosen = pl.Series(loop.taken.draws[loop.seed] > 0)
    key = keyed_uniform(loop.seed, "order", documents["doc_id"])
    order = documents.select("doc_id", "n_tokens").with_columns(own=own, key=pl.Series(key)).filter(chosen).sort("key")
    found, again = next_documents(order, loop.read, tokens, order["own"])
    loop.part = part_of(loop.seed, number, found, loop.part, loop.state)
    loop.read |= set(found)
    return again


def _trained(work: Work, settings: Evaluation, shards: Shards, job: TrainParts, parts: Sequence[Part]) -> pl.DataFrame:
    """The rows of these parts. Two trainings that have read the same share a part."""
    different = {part.key: part for part in parts}

    def missing_ones(missing: pl.Series) -> ToDo:
        device.must_be_there(job.recipe.device, DEVICE)
        device.note(job.recipe.device)
        left = [different[key] for key in missing]
        return ToDo(job, left, "training", len(left) * job.recipe.tokens // PARTS, "tokens")

    return pl.DataFrame(shards.completed(list(different), missing_ones, work.executor, work.log))


def _measure_again(work: Work, start: Strategy, job: TrainParts, loop: Loop, number: int) -> pl.DataFrame:
    """Measure drops with the checkpoint, and select by them. Returns the rows of ``closed_loop_rounds``."""
    proxy = _checkpoint(work, job, loop)
    adaptation = Adaptation.of(start.settings).model_copy(update={"proxy": str(proxy)})
    now = Strategy(ROUNDS, "loop", {**start.settings, "adaptation": adaptation}, start.needs)
    loop.taken = take(work, now, range(loop.seed, loop.seed + 1))
    version = loop.taken.versions["adaptation_deltas"]
    loop.seconds += work.store.manifest("adaptation_deltas", version)["seconds"] + loop.taken.seconds
    deltas = pl.read_parquet(work.store.parquet("adaptation_deltas", version, "adaptation_deltas"))
    loop.proxy_tokens += int(deltas["n_tokens"].sum()) * adaptation.passes
    work.log(f"seed {loop.seed}: drops measured by the model itself after part {number} of {PARTS}")
    documents = loop.taken.documents.with_columns(repeats=pl.Series(loop.taken.draws[loop.seed]))
    taken = documents.group_by("cluster_id").agg(n_tokens=(pl.col("repeats") * pl.col("n_tokens")).sum())
    rows = taken.join(deltas.select("cluster_id", "delta"), on="cluster_id", how="left").sort("cluster_id")
    return rows.select(
        pl.lit(loop.seed, pl.Int64).alias("seed"), pl.lit(number, pl.Int64).alias("round"),
        "cluster_id", "delta", "n_tokens",
    )  # fmt: skip


def _checkpoint(work: Work, job: TrainParts, loop: Loop) -> Path:
    """A folder with the model at the end of the part, as a proxy is opened. It is kept in the data folder."""
    from transformers import PreTrainedTokenizerFast  # heavy

    from grip_assets.training.small import END  # torch

    assert loop.part is not None and loop.state is not None
    folder = work.store.root / ".models" / f"round-{loop.part.key}"
    if folder.exists():
        return folder
    model = model_at(loop.state, job.shape)
    with work.store.scratch() as scratch:
        model.save_pretrained(scratch / "model")
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer_in(job.tokenizer), eos_token=END)
        tokenizer.save_pretrained(scratch / "model")
        put_once(scratch / "model", folder)
    return folder


def _bits(loop: Loop, rows: pl.DataFrame) -> pl.DataFrame:
    assert loop.part is not None
    found = rows.filter(pl.col("key") == loop.part.key)
    return found.select(
        pl.lit(loop.name).alias("strategy"), pl.lit(loop.seed, pl.Int64).alias("seed"), "item_id", "bits"
    )


def _cost(work: Work, start: Strategy, loops: Sequence[Loop]) -> dict[str, Any]:
    """One row of ``closed_loop_costs``: the cost of grip, and for the loop what its rounds took, mean over seeds."""
    first = loops[0]
    taken = Taken(
        first.taken.versions, first.taken.documents, {loop.seed: loop.taken.draws[loop.seed] for loop in loops}
    )
    row = cost(work, start, [], taken)
    further = {
        "seconds": row["seconds"] + sum(loop.seconds for loop in loops) / len(loops),
        "proxy_tokens": row["proxy_tokens"] + sum(loop.proxy_tokens for loop in loops) // len(loops),
    }
    previous = STEADY if first.name == ROUNDS else GRIP
    return row | {"strategy": first.name, "kind": "loop", "previous": previous} | further


def no_rounds(settings: Settings) -> str:
    """Why no loop is trained; "" if one is."""
    listed = ROUNDS in Evaluation.of(settings).strategies
    return "" if listed else f"settings/evaluation.strategies has no {ROUNDS}"


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    return {"profile": strategies.counted(GRIP), **source_weights.facts(settings)}


SELECTED = ("clusters.doc_id", "adaptation_deltas.delta", "cluster_quality.quality", "sigma_k.sigma")
TABLES = (
    Table(
        "closed_loop",
        (
            Column("strategy", pl.String, "grip_rounds: with the loop. grip_steady: the same parts without it."),
            Column("seed", pl.Int64, "Seed of draw, initialisation and order."),
            Column("item_id", pl.String, "Item that the model predicts.", ("evaluation_set.item_id",)),
            Column(
                "bits",
                pl.Float64,
                "Bits that the model needs for the item.",
                (*SELECTED, "corpus.text", "evaluation_set.text"),
            ),
        ),
    ),
    Table(
        "closed_loop_rounds",
        (
            Column("seed", pl.Int64, "Seed of the training."),
            Column("round", pl.Int64, "Number of the checkpoint, from 1."),
            Column("cluster_id", pl.Int32, "Cluster.", ("clusters.cluster_id",)),
            Column("delta", pl.Float64, "Drop of the cluster, measured with the checkpoint.", ("corpus.text",)),
            Column("n_tokens", pl.Int64, "Tokens of the cluster that are selected by it.", SELECTED),
        ),
    ),
    Table(
        "closed_loop_costs",
        tuple(
            Column(name, dtype, f"As in strategy_costs: {name}. proxy_tokens and seconds have those of the rounds.")
            for name, dtype in COSTS.items()
        ),
    ),
)
CHECKS = (Check("complete", True, "Every strategy and seed has finite bits above 0 for every item."),)

stage = Stage(
    name="closed_loop",
    code_version="1",
    compute=compute,
    description="The loop of the paper: at a quarter, half and three quarters of a training, the model itself is the"
    " proxy. Budgets and selection of the profile grip follow its drops, and the training goes on with newly selected"
    " documents. `grip_steady` reads the same tokens from the first selection. The table has the bits that the models"
    " need for every item, `closed_loop_rounds` the drops and what was selected by them.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=(
        *READ_TO_SELECT,
        "evaluation_set",
    ),
    left_out={"headers": no_header},
    reads={
        "clustering": strategies.stage.reads["clustering"],
        "probe": None,
        "quality": None,
        "adaptation": None,
        "budget": KEPT,
        "selection": LIMITS,
        "evaluation": (*MODEL, *TRAINING, "seeds", "main", "main_seeds", "seed"),
    },
    unused_by=("embedding",),
    facts=facts,
    group="evaluation",
    unused=no_rounds,
    otherwise=trainings.otherwise,
)
