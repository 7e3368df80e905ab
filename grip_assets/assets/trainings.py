"""trainings: a model from nothing for each strategy and seed, and the bits it needs for every item to predict.

A training is one shard, named by what is selected: killed, it goes on with the next; a strategy more trains its own
models only, and two strategies that select the same documents share theirs.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from grip_assets.assets.evaluation_set import items_of, learned_tokenizer, tokenizer_of
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.parallel import map_shards
from grip_assets.progress import Progress
from grip_assets.recompute import Stage, Work
from grip_assets.settings import Evaluation, digest, hashed_values
from grip_assets.store.shards import Shards
from grip_assets.store.tables import texts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from grip_assets.models.small import Item, Recipe, Shape

SHAPE = ("vocabulary", "hidden", "layers", "heads", "context")
RECIPE = ("tokens", "batch_tokens", "learning_rate", "dtype", "device")
READS = (*SHAPE, *RECIPE, "pass_at_1")


def compute(work: Work) -> dict[str, Any]:
    settings = work.settings["evaluation"]
    assert isinstance(settings, Evaluation)
    items = work.frame("evaluation_set").select("item_id", "prompt", "text").rows()
    predicted = digest([work.frame("tokenizer")["json"][0], items])
    shards = Shards(work.store, stage.name, digest([stage.code_version, hashed_values(settings, READS), predicted]))
    selections = {
        (strategy, seed): rows
        for (strategy, seed), rows in work.frame("strategies").group_by("strategy", "seed", maintain_order=True)
    }
    names = {at: digest([at[1], rows.select("doc_id", "repeats").rows()]) for at, rows in selections.items()}
    have = shards.index()
    missing = {name: (at[1], selections[at]) for at, name in names.items() if name not in have}
    if missing:
        _train(work, settings, shards, missing)
    index = shards.index()
    named = pl.DataFrame(
        [(strategy, seed, key) for (strategy, seed), key in names.items()],
        {"strategy": pl.String, "seed": pl.Int64, "key": pl.String},
        orient="row",
    )
    found = named.join(pl.DataFrame(shards.read(list(dict.fromkeys(names.values())), index)), on="key", how="left")
    curves = found.filter(pl.col("item_id").is_null())
    work.draft.write("trainings", found.filter(pl.col("item_id").is_not_null()).drop("key", "part", "loss"))
    work.draft.write("training_curves", curves.select("strategy", "seed", "part", "loss"))
    return {"models_trained_now": len(missing), "models": len(set(names.values()))}


def _train(work: Work, settings: Evaluation, shards: Shards, missing: dict[str, tuple[int, pl.DataFrame]]) -> None:
    import torch

    device_must_be_there(settings)
    torch.set_num_threads(1)
    progress = Progress("training", len(missing) * settings.tokens, "tokens", work.log)
    tokenizer = tokenizer_of(work)
    trained = partial(_trained, work, settings, tokenizer, items_of(work, tokenizer), progress)
    workers = 1 if settings.device == "cuda" else None
    for rows in map_shards(lambda each: trained(*each), ((key, *what) for key, what in missing.items()), workers):
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


def _trained(
    work: Work,
    settings: Evaluation,
    tokenizer: "Tokenizer",
    items: dict[str, "Item"],
    progress: Progress,
    key: str,
    seed: int,
    selected: pl.DataFrame,
) -> pl.DataFrame:
    """Rows of one shard: bits of each item, then the loss of each tenth of the training (``item_id`` NULL)."""
    from grip_assets.models.small import bits, new_model, train

    shape, recipe = shape_and_recipe(settings, tokenizer)
    documents = list(in_order(work, tokenizer, selected, seed))
    model = new_model(shape, seed)
    losses = train(model, documents, shape, recipe, seed, progress.advance)
    found = pl.DataFrame({"item_id": list(items), "bits": bits(model, list(items.values()), shape, recipe)})
    if settings.pass_at_1:
        from grip_assets.models.solving import solved

        found = found.join(solved(model, tokenizer, recipe.device), on="item_id", how="left")
    else:
        found = found.with_columns(solved=pl.lit(None, pl.Boolean))
    curve = pl.DataFrame({"part": range(len(losses)), "loss": losses})
    return pl.concat([found, curve], how="diagonal").with_columns(pl.lit(key).alias("key"))


def shape_and_recipe(settings: Evaluation, tokenizer: "Tokenizer") -> tuple["Shape", "Recipe"]:
    from grip_assets.models.small import Recipe, Shape

    values = settings.model_dump(include=set(SHAPE)) | {"vocabulary": tokenizer.get_vocab_size()}
    return Shape(**values), Recipe(**settings.model_dump(include=set(RECIPE)))


def in_order(work: Work, tokenizer: "Tokenizer", selected: pl.DataFrame, seed: int) -> Iterator[np.ndarray]:
    """Tokens of each copy of each selected document, in an order that ``seed`` names."""
    from grip_assets.models.small import encode

    repeats = dict(selected.select("doc_id", "repeats").iter_rows())
    tokens = {
        doc: np.array(encode(tokenizer, [text])[0], np.uint32) for doc, text in texts(work.files("corpus"), repeats)
    }
    copies = [(doc, copy) for doc in sorted(repeats) for copy in range(repeats[doc])]
    order = np.argsort(keyed_uniform(seed, "order", [f"{doc}:{copy}" for doc, copy in copies]), kind="stable")
    return (tokens[copies[i][0]] for i in order)


def proxy_of_our_own(work: Work) -> Path:
    """Folder of a model trained on random documents of the pool with settings/evaluation: a second proxy, where there
    is no other. Made once."""
    import torch
    from transformers import PreTrainedTokenizerFast

    from grip_assets.models.small import END, new_model, train

    settings = work.settings["evaluation"]
    assert isinstance(settings, Evaluation)
    made_from = [stage.code_version, hashed_values(settings, (*SHAPE, *RECIPE, "seed")), work.inputs["corpus"]]
    folder = work.store.root / ".models" / f"trained-here-{digest(made_from)}"
    if folder.exists():
        return folder
    tokenizer = learned_tokenizer(work, settings)
    shape, recipe = shape_and_recipe(settings, tokenizer)
    documents = pl.read_parquet(work.files("corpus"), columns=["doc_id", "n_tokens"])
    u = pl.Series("u", keyed_uniform(settings.seed, "own proxy", documents["doc_id"]))
    enough = pl.col("n_tokens").cum_sum().shift(1, fill_value=0) < settings.tokens
    selected = documents.with_columns(u, repeats=1).sort("u").filter(enough)
    torch.set_num_threads(1)
    progress = Progress("training a proxy", settings.tokens, "tokens", work.log)
    model = new_model(shape, settings.seed)
    train(
        model, list(in_order(work, tokenizer, selected, settings.seed)), shape, recipe, settings.seed, progress.advance
    )
    progress.finish()
    with work.store.scratch() as scratch:
        model.cpu().save_pretrained(scratch / "model")
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(scratch / "model")
        folder.parent.mkdir(exist_ok=True)
        with suppress(OSError):  # another run was first, with the same
            (scratch / "model").rename(folder)
    return folder


stage = Stage(
    name="trainings",
    code_version="2",
    compute=compute,
    description="A small language model trained from nothing on what each strategy selects, under each seed: the bits"
    " that it needs for every item of the evaluation set. `training_curves` has the training loss by tenths.",
    tables=("trainings", "training_curves"),
    inputs=("corpus", "strategies", "evaluation_set"),
    reads={"evaluation": READS},
    group="evaluation",
    otherwise="code or files changed",
)
