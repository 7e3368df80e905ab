"""trainings: a model from nothing for each strategy and seed, and the bits it needs for every item to predict.

A training is one shard, named by what is selected: killed, it goes on with the next; a strategy more trains its own
models only, and two strategies that select the same documents share theirs.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime import threads
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Evaluation, digest, field_names, hashed_values
from grip_assets.stages.evaluation.evaluation_set import items_of, learned_tokenizer, tokenizer_of
from grip_assets.store.shards import Shards
from grip_assets.store.tables import texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from grip_assets.training.small import Recipe, Shape

MODEL, TRAINING = field_names(Evaluation, "model"), field_names(Evaluation, "training")


def compute(work: Work) -> dict[str, Any]:
    settings = Evaluation.of(work.settings)
    items = work.frame("evaluation_set").select("item_id", "prompt", "text").rows()
    predicted = digest([work.frame("tokenizer")["json"][0], items])
    shards = Shards(
        work.store,
        stage.name,
        digest([stage.code_version, hashed_values(settings, stage.reads["evaluation"]), predicted]),
    )
    selections = {
        (strategy, seed): rows
        for (strategy, seed), rows in work.frame("strategies").group_by("strategy", "seed", maintain_order=True)
    }
    named = {at: digest([at[1], rows.select("doc_id", "repeats").rows()]) for at, rows in selections.items()}
    different = {key: (at[1], selections[at]) for at, key in named.items()}
    trained_now: list[str] = []

    def train(missing: list[str]) -> None:
        trained_now.extend(missing)
        _train(work, settings, shards, {key: different[key] for key in missing})

    rows = pl.DataFrame(shards.completed(list(different), train))
    keys = pl.DataFrame(
        [(strategy, seed, key) for (strategy, seed), key in named.items()],
        {"strategy": pl.String, "seed": pl.Int64, "key": pl.String},
        orient="row",
    )
    found = keys.join(rows, on="key", how="left")
    curves = found.filter(pl.col("item_id").is_null())
    work.draft.write("trainings", found.filter(pl.col("item_id").is_not_null()).drop("key", "part", "loss"))
    work.draft.write("training_curves", curves.select("strategy", "seed", "part", "loss"))
    return {"models_trained_now": len(trained_now), "models": len(different)}


def _train(work: Work, settings: Evaluation, shards: Shards, missing: dict[str, tuple[int, pl.DataFrame]]) -> None:
    """Write a shard for each of ``missing`` (key to seed and selection): bits of each item, then the loss of each tenth
    of the training (``item_id`` NULL)."""
    import torch

    from grip_assets.training.small import bits
    from grip_assets.training.solving import solved

    device_must_be_there(settings)
    torch.set_num_threads(1)
    progress = Progress("training", len(missing) * settings.tokens, "tokens", work.log)
    tokenizer = tokenizer_of(work)
    items = items_of(work, tokenizer)

    def trained(key: str) -> pl.DataFrame:
        seed, selected = missing[key]
        model, losses = _model(work, settings, tokenizer, selected, seed, progress.advance)
        needed = bits(model, list(items.values()), *_shape_and_recipe(settings, tokenizer))
        tried = solved(model, tokenizer, settings.device, items if settings.pass_at_1 else ())
        found = pl.DataFrame({"item_id": list(items), "bits": needed}).join(
            tried, on="item_id", how="left", maintain_order="left"
        )
        curve = pl.DataFrame({"part": range(len(losses)), "loss": losses})
        return pl.concat([found, curve], how="diagonal").with_columns(pl.lit(key).alias("key"))

    workers = 1 if settings.device == "cuda" else None
    for rows in threads.each(trained, missing, workers):
        shards.write(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
    progress.finish()


def device_must_be_there(settings: Evaluation) -> None:
    if settings.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise GripError(
                f"settings/evaluation.device is 'cuda', and torch {torch.__version__} sees no GPU. Set it to 'cpu', or"
                " install a build of torch for CUDA."
            )


def _model(
    work: Work,
    settings: Evaluation,
    tokenizer: "Tokenizer",
    selected: pl.DataFrame,
    seed: int,
    advance: Callable[[int], None],
) -> tuple[Any, list[float]]:
    """A model trained on ``selected`` (doc_id, repeats), and its training loss by tenths."""
    from grip_assets.training.small import new_model, train

    shape, recipe = _shape_and_recipe(settings, tokenizer)
    model = new_model(shape, seed)
    return model, train(model, _in_order(work, tokenizer, selected, seed), shape, recipe, seed, advance)


def _shape_and_recipe(settings: Evaluation, tokenizer: "Tokenizer") -> tuple["Shape", "Recipe"]:
    from grip_assets.training.small import Recipe, Shape

    values = settings.model_dump(include=set(MODEL)) | {"vocabulary": tokenizer.get_vocab_size()}
    return Shape(**values), Recipe(**settings.model_dump(include=set(TRAINING)))


def _in_order(work: Work, tokenizer: "Tokenizer", selected: pl.DataFrame, seed: int) -> list[np.ndarray]:
    """Tokens of each copy of each selected document, in an order that ``seed`` names."""
    from grip_assets.training.small import encode

    repeats = dict(selected.select("doc_id", "repeats").iter_rows())
    tokens = {
        doc: np.array(encode(tokenizer, [text])[0], np.uint32) for doc, text in texts(work.files("corpus"), repeats)
    }
    copies = [(doc, copy) for doc in sorted(repeats) for copy in range(repeats[doc])]
    order = np.argsort(keyed_uniform(seed, "order", [f"{doc}:{copy}" for doc, copy in copies]), kind="stable")
    return [tokens[copies[i][0]] for i in order]


def proxy_of_our_own(work: Work) -> Path:
    """Folder of a model trained on random documents of the pool with settings/evaluation: a second proxy, where there
    is no other. Made once."""
    import torch
    from transformers import PreTrainedTokenizerFast

    from grip_assets.training.small import END

    settings = Evaluation.of(work.settings)
    made_from = [stage.code_version, hashed_values(settings, (*MODEL, *TRAINING, "seed")), work.inputs["corpus"]]
    folder = work.store.root / ".models" / f"trained-here-{digest(made_from)}"
    if folder.exists():
        return folder
    tokenizer = learned_tokenizer(work, settings)
    documents = pl.read_parquet(work.files("corpus"), columns=["doc_id", "n_tokens"])
    u = pl.Series("u", keyed_uniform(settings.seed, "own proxy", documents["doc_id"]))
    enough = pl.col("n_tokens").cum_sum().shift(1, fill_value=0) < settings.tokens
    selected = documents.with_columns(u, repeats=1).sort("u").filter(enough)
    device_must_be_there(settings)
    torch.set_num_threads(1)
    progress = Progress("training a proxy", settings.tokens, "tokens", work.log)
    model, _ = _model(work, settings, tokenizer, selected, settings.seed, progress.advance)
    progress.finish()
    with work.store.scratch() as scratch:
        model.cpu().save_pretrained(scratch / "model")
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(scratch / "model")
        folder.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # another run was first, with the same
            (scratch / "model").rename(folder)
    return folder


TABLES = (
    Table(
        "trainings",
        (
            Column("strategy", pl.String, "What selected the training documents.", ("strategies.strategy",)),
            Column("seed", pl.Int64, "Seed of draw, initialisation and order.", ("strategies.seed",)),
            Column("item_id", pl.String, "What is predicted.", ("evaluation_set.item_id",)),
            Column(
                "bits",
                pl.Float64,
                "Bits that the model needs for it.",
                ("strategies.doc_id", "corpus.text", "evaluation_set.text"),
            ),
            Column(
                "solved",
                pl.Boolean,
                "Whether what the model writes passes the problem's test; null where it was not run.",
                ("strategies.doc_id", "corpus.text"),
            ),
        ),
    ),
    Table(
        "training_curves",
        (
            Column("strategy", pl.String, "What selected the training documents.", ("strategies.strategy",)),
            Column("seed", pl.Int64, "Seed of draw, initialisation and order.", ("strategies.seed",)),
            Column("part", pl.Int64, "Tenth of the training, from 0.", ("strategies.doc_id",)),
            Column("loss", pl.Float64, "Mean training loss there, nats a token.", ("strategies.doc_id", "corpus.text")),
        ),
    ),
)
CHECKS = (Check("complete", True, "Every strategy and seed has finite bits above 0 for every item."),)

stage = Stage(
    name="trainings",
    code_version="2",
    compute=compute,
    description="A small language model trained from nothing on what each strategy selects, under each seed: the bits"
    " that it needs for every item of the evaluation set. `training_curves` has the training loss by tenths.",
    tables=TABLES,
    checks=CHECKS,
    inputs=("corpus", "strategies", "evaluation_set"),
    reads={"evaluation": (*MODEL, *TRAINING, "pass_at_1")},
    group="evaluation",
    otherwise="code or files changed",
)
