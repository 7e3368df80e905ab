"""Training runs as a job: each trains one small model on a selection of documents, under a seed.

A run is one shard of work, named by the selected documents and the seed. The folder of the shards is named by the
training recipe and the items. So no run is made twice, and two strategies that select the same documents share one. The
training loop is in small.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime import device, opened
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import digest
from grip_assets.store.tables import arrow, texts
from grip_assets.training.recipe import Item, Shape, TrainingRecipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer


Encode = Callable[[list[str]], list[list[int]]]
"""Texts to the token ids of each."""


@dataclass(frozen=True)
class Selected:
    """The rows (doc_id, repeats) of a table of selections whose columns have the values ``where``."""

    files: str
    where: tuple[tuple[str, str | float], ...] = ()

    def frame(self) -> pl.DataFrame:
        rows = pl.scan_parquet(self.files)
        for name, value in self.where:
            rows = rows.filter(pl.col(name) == value)
        return rows.select("doc_id", "repeats").collect()


@dataclass(frozen=True)
class Run:
    """One model to train."""

    key: str
    seed: int
    selected: Selected


def run_on(selected: Selected, rows: pl.DataFrame, seed: int) -> Run:
    """The run on ``selected``, whose rows are ``rows``.

    It is named by the rows and the seed; their order is ignored.
    """
    return Run(digest([seed, rows.select("doc_id", "repeats").sort("doc_id").rows()]), seed, selected)


@dataclass(frozen=True)
class TrainModels:
    """The job: train one model, and measure it. Its unit of progress is a token.

    ``corpus``, ``tokenizer`` and ``items`` are globs of tables. The table of a run has a row per item, with its bits
    and, with ``solve``, whether the problem is solved. Then come rows with the loss of each tenth of the training,
    whose
    ``item_id`` is null.
    """

    corpus: str
    tokenizer: str
    items: str
    shape: Shape
    recipe: TrainingRecipe
    solve: bool = False

    def run(self, shard: Run) -> pa.Table:
        from grip_assets.training.small import bits  # torch
        from grip_assets.training.solving import solved

        tokenizer = opened.get(("tokenizer", self.tokenizer), partial(tokenizer_in, self.tokenizer))
        items = opened.get(("items", self.items, self.tokenizer), partial(items_in, self.items, tokenizer))
        with device.turn(self.recipe.device):
            model, losses = trained_on(
                self.corpus, tokenizer, shard.selected.frame(), self.shape, self.recipe, shard.seed
            )
            needed = bits(model, list(items.values()), self.shape, self.recipe)
            tried = solved(model, tokenizer, self.recipe.device, items if self.solve else ())
        found = pl.DataFrame({"item_id": list(items), "bits": needed})
        found = found.join(tried, on="item_id", how="left", maintain_order="left")
        curve = pl.DataFrame({"part": range(len(losses)), "loss": losses})
        return arrow(pl.concat([found, curve], how="diagonal").with_columns(pl.lit(shard.key).alias("key")))


def to_train(job: TrainModels, runs: Sequence[Run], missing: pl.Series) -> ToDo:
    """The runs whose keys are ``missing``, as work for ``Shards``."""
    wanted = set(missing)
    left = [run for run in {run.key: run for run in runs}.values() if run.key in wanted]
    return ToDo(job, left, "training", len(left) * job.recipe.tokens, "tokens")


def trained_on(
    corpus: str, tokenizer: "Tokenizer", selected: pl.DataFrame, shape: Shape, recipe: TrainingRecipe, seed: int
) -> tuple[Any, list[float]]:
    """A model trained on ``selected`` (doc_id, repeats), and its training loss by tenths."""
    from grip_assets.training.small import encode, new_model, train  # torch

    device.one_thread()
    device.note(recipe.device)
    model = new_model(shape, seed)
    return model, train(
        model, in_order(corpus, partial(encode, tokenizer), selected, seed), shape, recipe, seed, worked
    )


def in_order(corpus: str, encode: Encode, selected: pl.DataFrame, seed: int) -> list[np.ndarray]:
    """Tokens of each copy of each document of ``selected`` (doc_id, repeats), in a random order by ``seed``."""
    repeats = dict(selected.select("doc_id", "repeats").iter_rows())
    tokens = {doc: np.array(encode([text])[0], np.uint32) for doc, text in texts(corpus, repeats)}
    copies = [(doc, copy) for doc in sorted(repeats) for copy in range(repeats[doc])]
    order = np.argsort(keyed_uniform(seed, "order", [f"{doc}:{copy}" for doc, copy in copies]), kind="stable")
    return [tokens[copies[i][0]] for i in order]


def tokenizer_in(files: str) -> "Tokenizer":
    """The tokenizer in the table ``tokenizer``."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(pl.read_parquet(files)["json"][0])


def items_in(files: str, tokenizer: "Tokenizer") -> dict[str, Item]:
    """item_id to the item, for the table ``evaluation_set``."""
    from grip_assets.training.small import encode  # torch

    rows = pl.read_parquet(files)
    pairs = zip(*(encode(tokenizer, rows[column].to_list()) for column in ("prompt", "text")), strict=True)
    return {item: Item(*pair) for item, pair in zip(rows["item_id"], pairs, strict=True)}
