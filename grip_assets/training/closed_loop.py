"""A training in parts: each part goes on where the one before ended, on documents that were selected in between.

The learning rate, the steps and the first weights are those of one whole training (small.py). A part is a job of its
own, whose result has weights and state of the optimizer. So a run that was killed goes on with the next part, and the
result is the same bit for bit. Which documents a part reads is decided in stages/evaluation/closed_loop.py.
"""

import io
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.runtime import device, opened
from grip_assets.runtime.progress import worked
from grip_assets.settings import digest
from grip_assets.store.tables import arrow
from grip_assets.training.recipe import Shape, TrainingRecipe, pace
from grip_assets.training.runs import in_order, items_in, tokenizer_in

PARTS = 4  # the checkpoints are at a quarter, half and three quarters


@dataclass(frozen=True)
class Part:
    """Part ``number`` (from 0) of a training. ``documents``: what it reads, in this order.

    ``before``: weights and state of the optimizer at the end of the part before; None for the first.
    """

    key: str
    seed: int
    number: int
    documents: tuple[str, ...]
    before: bytes | None = field(default=None, repr=False)


def part_of(seed: int, number: int, documents: tuple[str, ...], after: Part | None, state: bytes | None) -> Part:
    """A part, named by what it reads and by the parts before it."""
    return Part(digest([seed, number, documents, after.key if after else ""]), seed, number, documents, state)


def steps_of(number: int, steps: int) -> range:
    """The steps of a part of a training of so many steps."""
    return range(number * steps // PARTS, (number + 1) * steps // PARTS)


def tokens_of(number: int, shape: Shape, recipe: TrainingRecipe) -> int:
    """Tokens that a part reads."""
    steps, windows = pace(shape, recipe)
    return len(steps_of(number, steps)) * windows * shape.context


def next_documents(
    order: pl.DataFrame, already: set[str], tokens: int, tokens_each: pl.Series
) -> tuple[tuple[str, ...], bool]:
    """The documents that a part reads, and whether it reads some for a second time.

    ``order``: the selected documents (doc_id, n_tokens), in the order in which they are read. Those that were read
    before come last. ``tokens_each``: tokens of each by the models' own tokenizer.
    """
    was_read = order["doc_id"].is_in(list(already))
    placed = order.with_columns(own=tokens_each, was_read=was_read).sort("was_read", maintain_order=True)
    before = placed["own"].cum_sum().shift(1, fill_value=0)
    taken = placed.filter(before < tokens)
    return tuple(taken["doc_id"]), bool(taken["was_read"].any())


@dataclass(frozen=True)
class TrainParts:
    """The job: train one part. Its unit of progress is a token.

    ``corpus``, ``tokenizer`` and ``items`` are globs of tables. The table of a part has a row with the ``state`` at its
    end; after the last part, rows with the bits of each item instead.
    """

    corpus: str
    tokenizer: str
    items: str
    shape: Shape
    recipe: TrainingRecipe

    def run(self, shard: Part) -> pa.Table:
        from grip_assets.training.small import bits  # torch

        tokenizer = opened.get(("tokenizer", self.tokenizer), partial(tokenizer_in, self.tokenizer))
        items = opened.get(("items", self.items, self.tokenizer), partial(items_in, self.items, tokenizer))
        with device.turn(self.recipe.device):
            model, state = self._trained(shard, tokenizer)
            last = shard.number == PARTS - 1
            needed = bits(model, list(items.values()), self.shape, self.recipe) if last else None
        schema = {"item_id": pl.String, "bits": pl.Float64, "state": pl.Binary}
        found: dict[str, Any] = {"item_id": [None], "bits": [None], "state": [state]}
        if needed is not None:
            found = {"item_id": list(items), "bits": needed, "state": [None] * len(items)}
        return arrow(pl.DataFrame(found, schema).with_columns(pl.lit(shard.key).alias("key")))

    def _trained(self, shard: Part, tokenizer: Any) -> tuple[Any, bytes]:
        import torch  # heavy

        from grip_assets.training.small import encode, epochs, new_model, optimizer_of, pack, run_steps

        device.one_thread()
        device.note(self.recipe.device)
        model = new_model(self.shape, shard.seed)
        optimizer = optimizer_of(model, self.recipe)
        if shard.before is not None:
            found = torch.load(io.BytesIO(shard.before), weights_only=True, map_location=self.recipe.device)
            model.load_state_dict(found["model"])
            optimizer.load_state_dict(found["optimizer"])
        steps, per_step = pace(self.shape, self.recipe)
        some = steps_of(shard.number, steps)
        selected = pl.DataFrame({"doc_id": shard.documents, "repeats": 1})
        texts = in_order(self.corpus, partial(encode, tokenizer), selected, shard.seed)
        batches = epochs(pack(texts, self.shape.context), per_step, len(some), shard.seed)
        losses_T = torch.zeros(steps, dtype=torch.float64, device=self.recipe.device)
        run_steps(model, optimizer, batches, self.recipe, steps, some, losses_T, advance=worked)
        kept = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, kept)
        return model, kept.getvalue()


def model_at(state: bytes, shape: Shape) -> Any:
    """The model at the end of a part, from its ``state``."""
    import torch  # heavy

    from grip_assets.training.small import new_model

    model = new_model(shape, 0)
    model.load_state_dict(torch.load(io.BytesIO(state), weights_only=True, map_location="cpu")["model"])
    return model


def lengths_by(corpus: str, tokenizer: Any, doc_ids: pl.Series, at_once: int = 512) -> pl.Series:
    """Tokens of each document by the models' own tokenizer, Int64, in the order of ``doc_ids``."""
    from grip_assets.store.tables import texts
    from grip_assets.training.small import encode  # torch

    found: dict[str, int] = {}
    held: list[tuple[str, str]] = []

    def count() -> None:
        found.update(
            zip([doc for doc, _ in held], map(len, encode(tokenizer, [text for _, text in held])), strict=True)
        )
        held.clear()

    for doc_and_text in texts(corpus, set(doc_ids)):
        held.append(doc_and_text)
        if len(held) == at_once:
            count()
    count()
    return pl.Series("own", np.array([found[doc] for doc in doc_ids], np.int64))
