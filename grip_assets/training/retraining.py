"""Trainings that start at a given model, and the scores of what comes out: the reference model, and retrainings on
subsets from it.

A start names a model without opening it, so that a job can carry it: a ``SmallModel`` of this pool, or a model in
``Files``. The loop is in small.py. Kept models and keys of scores are as in mixtures.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.models.files import ModelFiles
from grip_assets.runtime import device, opened
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.training.mixtures import KeptModel, TargetItems, encoded, reason, scores, worse_than_guessing
from grip_assets.training.recipe import Shape, TrainingRecipe, pace
from grip_assets.training.runs import Encode, Run, in_order, tokenizer_in

SETTINGS = "attribution"  # the group of settings that errors name
REFERENCE = f"settings/{SETTINGS}.reference"

# --------------------------------------------------------------------------------------------- where a training starts


class Start(Protocol):
    """A model, named by its files.

    ``name``: a digest of all that it depends on. ``context``: tokens per window. ``parameters``: their number.
    """

    @property
    def name(self) -> str: ...
    @property
    def context(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...

    def model(self, seed: int) -> Any:
        """The model, in float32 on the CPU. ``seed``: of a new one."""

    def restored(self, weights: bytes) -> Any:
        """A model of this architecture with other weights, as ``small.packed`` made them."""

    def encoding(self) -> tuple[Encode, int]:
        """Its tokenizer, and the token that ends a document."""


@dataclass(frozen=True)
class SmallModel:
    """A model of ``shape``. ``table``: glob of the table ``reference`` that has its weights; None: a new model.

    ``tokenizer``: glob of a table with its tokenizer.
    """

    name: str
    shape: Shape
    tokenizer: str
    table: str | None = None

    @property
    def context(self) -> int:
        return self.shape.context

    @property
    def vocabulary(self) -> int:
        return self.shape.vocabulary

    def model(self, seed: int) -> Any:
        from grip_assets.training.small import new_model  # torch

        if self.table is None:
            return new_model(self.shape, seed, SETTINGS)
        return self.restored(pl.read_parquet(self.table, columns=["model"])["model"][0])

    def restored(self, weights: bytes) -> Any:
        from grip_assets.training.small import unpacked  # torch

        return unpacked(weights, self.shape)

    def encoding(self) -> tuple[Encode, int]:
        from grip_assets.training.small import encode  # torch

        return partial(encode, tokenizer_in(self.tokenizer)), 0


@dataclass(frozen=True)
class Files:
    """A model of the user, or the packaged one. ``files``: safetensors, a GGUF already converted."""

    name: str
    files: ModelFiles
    context: int

    @property
    def vocabulary(self) -> int:
        return int(self._config().vocab_size)

    def _config(self) -> Any:
        import transformers  # heavy

        from grip_assets.models.loading import from_pretrained

        return from_pretrained(transformers.AutoConfig, self.files, REFERENCE)

    def model(self, seed: int) -> Any:
        import torch  # heavy
        import transformers

        from grip_assets.models.loading import from_pretrained

        most = getattr(self._config(), "max_position_embeddings", None) or self.context
        if most < self.context:
            raise GripError(
                f"settings/{SETTINGS}.context is {self.context:,}, and {REFERENCE} '{self.files.name}' reads at most"
                f" {most:,} tokens. Lower it."
            )
        return from_pretrained(
            transformers.AutoModelForCausalLM, self.files, REFERENCE, dtype=torch.float32, use_safetensors=True
        )

    def restored(self, weights: bytes) -> Any:
        from grip_assets.training.small import with_weights  # torch

        return with_weights(self.model(0), weights)

    def encoding(self) -> tuple[Encode, int]:
        from grip_assets.models.tokenizers import tokenize, tokenizer_of

        tokenizer = tokenizer_of(self.files, REFERENCE)
        ends = (tokenizer.eos_token_id, tokenizer.bos_token_id, 0)
        return partial(tokenize, tokenizer), next(token for token in ends if token is not None)


@dataclass(frozen=True)
class Reference:
    """An opened model. ``encode``: texts to token ids. ``context``: tokens per window. ``end``: the token before, after
    and between documents."""

    model: Any
    encode: Encode
    vocabulary: int
    context: int
    end: int


def opened_start(start: Start) -> Reference:
    """The model of a start with its tokenizer."""
    encode, end = start.encoding()
    return Reference(start.model(0), encode, start.vocabulary, start.context, end)


def _encoding(start: Start) -> tuple[Encode, int]:
    return opened.get(("encoding", start.name), start.encoding)


# ------------------------------------------------------------------------------------------------ models are trained


@dataclass(frozen=True)
class Train:
    """The job: train a model on the documents of a run. Its unit of progress is a token.

    ``epoch``: whether the documents are read once. If not, the training has as many tokens as the recipe says. The
    table has one row: ``model`` (safetensors), ``tokens`` (predicted ones), ``curve`` (loss of each tenth, nats per
    token), and ``failed``: null, or why there is no model.
    """

    corpus: str
    start: Start
    recipe: TrainingRecipe
    epoch: bool

    def run(self, shard: Run) -> pa.Table:
        from grip_assets.training.small import Diverged, by_tenths, epochs, loop, one_epoch, pack, packed  # torch

        device.one_thread()
        device.note(self.recipe.device)
        encode, end = _encoding(self.start)
        documents = in_order(self.corpus, encode, shard.selected.frame(), shard.seed)
        windows_WC = pack(documents, self.start.context, end)
        steps, per_step = self._pace(len(windows_WC))
        if self.epoch:
            batches = one_epoch(windows_WC, per_step, shard.seed)
        else:
            batches = epochs(windows_WC, per_step, steps, shard.seed)
        with device.turn(self.recipe.device):
            model = self.start.model(shard.seed)
            model.train()
            try:
                losses = loop(model, batches, self.recipe, steps, advance=worked)
            except Diverged as error:
                return _trained(shard.key, failed=reason(str(error), SETTINGS))
        curve = by_tenths(losses)
        if failed := worse_than_guessing(curve, self.start.vocabulary, SETTINGS):
            return _trained(shard.key, curve=curve, failed=failed)
        tokens = (len(windows_WC) if self.epoch else steps * per_step) * self.start.context
        return _trained(shard.key, packed(model), tokens, curve)

    def _pace(self, windows: int) -> tuple[int, int]:
        """(steps, windows of a step)."""
        steps, per_step = pace(Shape(0, 0, 0, 0, self.start.context), self.recipe)
        return (-(-windows // per_step), per_step) if self.epoch else (steps, per_step)


def _trained(
    key: str,
    model: bytes | None = None,
    tokens: int | None = None,
    curve: list[float] | None = None,
    failed: str | None = None,
) -> pa.Table:
    row = {"key": key, "model": model, "tokens": tokens, "curve": curve, "failed": failed}
    return pa.Table.from_pylist([row], TRAINED)


TRAINED = pa.schema(
    [
        ("key", pa.large_string()),
        ("model", pa.large_binary()),
        ("tokens", pa.int64()),
        ("curve", pa.large_list(pa.float64())),
        ("failed", pa.large_string()),
    ]
)
"""Columns of the table of ``Train``."""


def to_train(job: Train, runs: Mapping[str, Run], missing: pl.Series, tokens: int, label: str) -> ToDo:
    """The runs whose keys are ``missing``, as work for ``Shards``. ``tokens``: of all of them, about."""
    return ToDo(job, [runs[key] for key in missing], label, tokens, "tokens")


# ------------------------------------------------------------------------------------------------- models are scored


@dataclass(frozen=True)
class Scored:
    """A shard of work: a model, and the targets on whose items it is scored, as (key of the rows, target).

    ``model``: a kept one; None: the start itself, which ``seed`` initialises if it is a new model.
    """

    model: KeptModel | None
    seed: int
    targets: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Score:
    """The job: bits that models need for the items of targets. The table has key, item_id and bits.

    ``items``: glob of the table ``attribution_items``. Items above ``copied``, and those that shape a target, are left
    out. Each target is scored by itself, so another target changes no bit. Its unit of progress is a model and target.
    """

    items: str
    start: Start
    recipe: TrainingRecipe
    copied: float

    def run(self, shard: Scored) -> pa.Table:
        device.one_thread()
        device.note(self.recipe.device)
        encode, end = _encoding(self.start)
        shape = Shape(0, 0, 0, 0, self.start.context)
        of_target = opened.get(
            ("measured", self.items, self.start.name, self.copied),
            partial(measured_in, self.items, encode, self.copied),
        )
        with device.turn(self.recipe.device):
            model = self.start.restored(shard.model.bytes()) if shard.model else self.start.model(shard.seed)
            return scores(model.to(self.recipe.device), shard.targets, of_target, shape, self.recipe, end)


def measured_in(files: str, encode: Encode, copied: float) -> TargetItems:
    """The items of ``attribution_items`` on which utilities are measured."""
    items = pl.read_parquet(files)
    return encoded(items.filter((pl.col("in_pool") <= copied) & (pl.col("half") == "measure")), encode)
