"""Jobs that train small models on mixtures of domains, score them, and train DoReMi's proxy.

A mixture says how many windows of each domain a training reads. The trained model is kept in the table of its shard. So
another target is scored without a training. The tokens are in domain_tokens.py, and the loop is in small.py. Shapes: D
domains, N windows of a training, B windows of a step, C predicted tokens of a window.

Nested: under one seed, a mixture that reads more windows of a domain reads those of a mixture that reads fewer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.method.budget.allocation import largest_remainder
from grip_assets.method.sampling import keyed_order, keyed_uniform
from grip_assets.runtime import device, opened
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import digest
from grip_assets.store.shards import Placed
from grip_assets.store.tables import arrow
from grip_assets.training.domain_tokens import DomainTokens, opened_tokens
from grip_assets.training.recipe import Item, Shape, TrainingRecipe, pace
from grip_assets.training.runs import Encode, tokenizer_in

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from grip_assets.training.small import Batch

SETTINGS = "mixing"  # the group of settings that errors name
WORSE = 1.0  # nats: a training that ends this much above its beginning, or above guessing, has diverged


# ------------------------------------------------------------------------------------------ which windows are read


@dataclass(frozen=True)
class MixtureRun:
    """A shard of work: one training on a mixture.

    ``windows``: how many of each domain are read. ``limits``: how many of them are different. After that many, a new
    epoch of the same windows begins.
    """

    key: str
    seed: int
    windows: tuple[int, ...]
    limits: tuple[int, ...]


def mixture_run(
    weights_D: np.ndarray, limits_D: np.ndarray, seed: int, shape: Shape, recipe: TrainingRecipe
) -> MixtureRun:
    """The run on a mixture. ``weights_D``: float64, sum 1. ``limits_D``: int64, at least 1.

    The run is named by the windows that it reads. So a limit that is not reached changes no name.
    """
    steps, per_step = pace(shape, recipe)
    windows = tuple(windows_of(weights_D, steps * per_step).tolist())
    limits = tuple(min(int(limit), n) for limit, n in zip(limits_D, windows, strict=True))
    return MixtureRun(digest([seed, windows, limits]), seed, windows, limits)


def windows_of(weights_D: np.ndarray, n: int) -> np.ndarray:
    """``n`` windows, shared by weight and rounded by the largest remainder, int64 (D,). The sum is exact."""
    wanted_D = np.asarray(weights_D, np.float64) / np.sum(weights_D) * n
    return largest_remainder(wanted_D, np.full(len(wanted_D), n), n)


def reading(tokens: DomainTokens, run: MixtureRun, context: int) -> np.ndarray:
    """Positions of the windows that a run reads, in their order, int64 (N,).

    Each domain is spread evenly over the training: its j-th of n windows comes at (j + u) / n of the way, with a keyed
    u in (0, 1). So the shares hold in each part of the training, and not only at its end.
    """
    there_D = tokens.windows_D(context)
    places, found = [], []
    for d in np.flatnonzero(run.windows):
        n = run.windows[d]
        u_n = keyed_uniform(run.seed, f"places of domain {d}", list(map(str, range(n))))
        window_n = order_of(run.seed, int(d), int(there_D[d]), run.limits[d], n)
        places.append((np.arange(n) + u_n) / n)
        found.append(tokens.at(np.full(n, d), window_n, context))
    return np.concatenate(found)[np.argsort(np.concatenate(places), kind="stable")]


def order_of(seed: int, domain: int, there: int, limit: int, n: int) -> np.ndarray:
    """Numbers of the first ``n`` windows that are read of a domain of ``there`` windows, int64 (n,).

    The first epoch reads ``limit`` windows. All others read the same ones in new orders.
    """
    chosen = keyed_order(seed, f"windows of domain {domain}", there)[:limit]
    names = [f"windows of domain {domain} in epoch {epoch}" for epoch in range(1, -(-n // len(chosen)))]
    return np.concatenate([chosen, *(chosen[keyed_order(seed, name, len(chosen))] for name in names)])[:n]


@dataclass
class Reader:
    """Yields the batches of a training, and counts the tokens of each domain that were really read."""

    tokens: DomainTokens
    context: int
    read_D: np.ndarray

    @classmethod
    def of(cls, tokens: DomainTokens, context: int) -> "Reader":
        return cls(tokens, context, np.zeros(len(tokens.tokens_D), np.int64))

    def batches(self, at_N: np.ndarray, per_step: int) -> Iterator["Batch"]:
        from grip_assets.training.small import Batch  # torch

        for at_B in at_N.reshape(-1, per_step):
            domain_B = self.tokens.domain_of(at_B)
            self.read_D += np.bincount(domain_B, minlength=len(self.read_D)) * self.context
            yield Batch(self.tokens.read(at_B, self.context), domain_B)

    @property
    def achieved(self) -> list[float]:
        """Share of each domain among the predicted tokens."""
        return (self.read_D / self.read_D.sum()).tolist()


# -------------------------------------------------------------------------------------------------- models are trained


@dataclass(frozen=True)
class TrainMixture:
    """The job: train one model on a mixture. Its unit of progress is a token.

    The table has one row: ``model`` (safetensors), ``achieved`` (share of each domain among the tokens that were read),
    ``curve`` (loss of each tenth, nats per token), and ``failed``: null, or why there is no model.
    """

    tokens: DomainTokens
    shape: Shape
    recipe: TrainingRecipe

    def run(self, shard: MixtureRun) -> pa.Table:
        from grip_assets.training.small import Diverged, by_tenths, loop, new_model, packed  # torch

        tokens = ready_to_train(self.tokens, self.recipe)
        steps, per_step = pace(self.shape, self.recipe)
        reader = Reader.of(tokens, self.shape.context)
        batches = reader.batches(reading(tokens, shard, self.shape.context), per_step)
        with device.turn(self.recipe.device):
            model = new_model(self.shape, shard.seed, SETTINGS)
            try:
                losses = loop(model, batches, self.recipe, steps, advance=worked)
            except Diverged as error:
                return _trained(shard.key, failed=reason(str(error)))
        curve = by_tenths(losses)
        if failed := worse_than_guessing(curve, self.shape.vocabulary):
            return _trained(shard.key, curve=curve, failed=failed)
        return _trained(shard.key, packed(model), reader.achieved, curve)


def _trained(
    key: str,
    model: bytes | None = None,
    achieved: list[float] | None = None,
    curve: list[float] | None = None,
    failed: str | None = None,
) -> pa.Table:
    row = {"key": key, "model": model, "achieved": achieved, "curve": curve, "failed": failed}
    return pa.Table.from_pylist([row], TRAINED)


TRAINED = pa.schema(
    [
        ("key", pa.large_string()),
        ("model", pa.large_binary()),
        ("achieved", pa.large_list(pa.float64())),
        ("curve", pa.large_list(pa.float64())),
        ("failed", pa.large_string()),
    ]
)
"""Columns of the table of ``TrainMixture``."""


def reason(what: str, settings: str = SETTINGS) -> str:
    """Why a training has no model, with what to do."""
    return f"The training diverged: {what}. Lower settings/{settings}.learning_rate."


def worse_than_guessing(curve: Sequence[float], vocabulary: int, settings: str = SETTINGS) -> str | None:
    """Why a training whose losses are finite has diverged all the same; None if it has not."""
    if curve[-1] <= max(curve[0], log(vocabulary)) + WORSE:
        return None
    return reason(
        f"its loss ends at {curve[-1]:.1f} nats a token, from {curve[0]:.1f}, and a guess has {log(vocabulary):.1f}",
        settings,
    )


def ready_to_train(tokens: DomainTokens, recipe: TrainingRecipe) -> DomainTokens:
    """The opened tokens; this thread and the device are set up for a training."""
    device.one_thread()
    device.note(recipe.device)
    return opened_tokens(tokens)


def to_train(job: TrainMixture, runs: Sequence[MixtureRun], missing: pl.Series) -> ToDo:
    """The runs whose keys are ``missing``, as work for ``Shards``."""
    wanted = set(missing)
    left = [run for run in {run.key: run for run in runs}.values() if run.key in wanted]
    steps, per_step = pace(job.shape, job.recipe)
    return ToDo(job, left, "training", len(left) * steps * per_step * job.shape.context, "tokens")


# ----------------------------------------------------------------------------------------------------- models are kept


@dataclass(frozen=True)
class KeptModel:
    """A model in a shard of ``TrainMixture``: the row ``key`` of a file."""

    file: Path
    key: str

    def bytes(self) -> bytes:
        (model,) = pq.read_table(self.file, columns=["model"], filters=[("key", "==", self.key)])["model"].to_pylist()
        return model


def kept_models(keys: Sequence[str], placed: Placed) -> dict[str, KeptModel]:
    """Key to model, for the ``keys`` whose places are ``placed``, in the same order. One that failed has no bytes."""
    return {key: KeptModel(placed.files[file], key) for key, file in zip(keys, placed.at["file"], strict=True)}


# ---------------------------------------------------------------------------------------------------- models are scored


@dataclass(frozen=True)
class Scored:
    """A shard of work: a kept model, and the targets on whose items it is scored, as (key of the rows, target)."""

    model: KeptModel
    targets: tuple[tuple[str, str], ...]


TargetItems = Mapping[str, Mapping[str, Item]]
"""Target to item_id to the item."""
Wanted = Mapping[str, tuple[str, str]]
"""Key of the scores to (key of the run, target)."""


def contents(items: pl.DataFrame) -> dict[str, str]:
    """Target to a digest of its items. ``items``: columns item_id, target, prompt and text."""
    by_target = items.group_by("target", maintain_order=True)
    return {str(name): digest(rows.select("item_id", "prompt", "text").rows()) for (name,), rows in by_target}


def score_key(run: str, target: str, items: str) -> str:
    """The key of the scores of the model of a run. ``items``: digest of the target's items."""
    return digest([run, target, items])


@dataclass(frozen=True)
class ScoreMixture:
    """The job: bits that kept models need for the items of targets. The table has key, item_id and bits.

    ``items``: glob of a table with item_id, target, prompt, text and in_pool. Each target is scored by itself, so
    another target changes no bit. Items whose ``in_pool`` is above ``copied`` are left out. Its unit of progress is a
    model and target.
    """

    items: str
    tokenizer: str
    shape: Shape
    recipe: TrainingRecipe
    copied: float = 1.0

    def run(self, shard: Scored) -> pa.Table:
        from grip_assets.training.small import unpacked  # torch

        device.one_thread()
        device.note(self.recipe.device)
        tokenizer = opened.get(("tokenizer", self.tokenizer), partial(tokenizer_in, self.tokenizer))
        of_target = opened.get(
            ("targets", self.items, self.tokenizer, self.copied),
            partial(targets_in, self.items, tokenizer, self.copied),
        )
        with device.turn(self.recipe.device):
            model = unpacked(shard.model.bytes(), self.shape).to(self.recipe.device)
            return scores(model, shard.targets, of_target, self.shape, self.recipe)


def targets_in(files: str, tokenizer: "Tokenizer", copied: float) -> TargetItems:
    """The items of the table ``mixture_items``, without those that are ``copied``."""
    from grip_assets.training.small import encode  # torch

    return encoded(pl.read_parquet(files).filter(pl.col("in_pool") <= copied), partial(encode, tokenizer))


def encoded(items: pl.DataFrame, encode: Encode) -> TargetItems:
    """``items``: columns item_id, target, prompt and text."""
    pairs = zip(*(encode(items[column].to_list()) for column in ("prompt", "text")), strict=True)
    found: dict[str, dict[str, Item]] = {}
    for target, item, pair in zip(items["target"], items["item_id"], pairs, strict=True):
        found.setdefault(target, {})[item] = Item(*pair)
    return found


def scores(
    model: Any,
    targets: Sequence[tuple[str, str]],
    of_target: TargetItems,
    shape: Shape,
    recipe: TrainingRecipe,
    end: int = 0,
) -> pa.Table:
    """Bits that the model needs for each item of the ``targets``, as (key of the rows, target): key, item_id, bits."""
    from grip_assets.training.small import bits  # torch

    found = []
    for key, target in targets:
        items = of_target[target]
        needed = bits(model, list(items.values()), shape, recipe, end)
        found.append(pl.DataFrame({"key": [key] * len(items), "item_id": list(items), "bits": needed}))
        worked(1)
    return arrow(pl.concat(found))


def to_score(job: ScoreMixture, models: Mapping[str, KeptModel], wanted: Wanted, missing: pl.Series) -> ToDo:
    """The scores whose keys are ``missing``."""
    left = [Scored(models[run], tuple(targets)) for run, targets in by_run(wanted, missing).items()]
    return ToDo(job, left, "scoring", len(missing), "models and targets")


def by_run(wanted: Wanted, missing: pl.Series) -> dict[str, list[tuple[str, str]]]:
    """Run to the scores of it that are ``missing``, as (key of the scores, target). So a model is opened once."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key in missing:
        run, target = wanted[key]
        found.setdefault(run, []).append((key, target))
    return found


def losses(rows: pa.Table, wanted: Wanted, items: pl.DataFrame) -> pl.DataFrame:
    """run, target, loss: bits per byte over the items of a target. ``rows``: of ``scores``. ``items``: columns item_id,
    target and n_bytes."""
    names = pl.DataFrame(
        [(score, *of) for score, of in wanted.items()],
        {"score": pl.String, "run": pl.String, "target": pl.String},
        orient="row",
    )
    bits = pl.DataFrame(rows).cast({"key": pl.String, "item_id": pl.String}).rename({"key": "score"})
    sizes = items.select("item_id", "target", "n_bytes")
    found = bits.join(names, on="score").join(sizes, on=["target", "item_id"])
    in_order = pl.col("bits").sort_by("item_id")  # the same sum on any number of threads
    return found.group_by("run", "target").agg(loss=in_order.sum() / pl.col("n_bytes").sum())
