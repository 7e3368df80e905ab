"""trainings: one small model per strategy and seed, trained from scratch, and the bits that it needs for every item.

Each training is one shard, named by the documents that it reads. So a run that was killed continues with the next
training, adding a strategy trains only its own models, and two strategies that select the same documents share theirs.
The training loop is in training/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime import device
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import Progress, reported_to
from grip_assets.settings import Evaluation, digest, field_names, hashed_values
from grip_assets.stages.curation.predicted import learned_tokenizer
from grip_assets.store.shards import Shards
from grip_assets.store.writing import put_once
from grip_assets.training.recipe import Shape, TrainingRecipe
from grip_assets.training.runs import Run, Selected, TrainModels, run_on, to_train, tokenizer_in, trained_on

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DEVICE = "settings/evaluation.device"
MODEL, TRAINING = field_names(Evaluation, "model"), field_names(Evaluation, "training")


def compute(work: Work) -> dict[str, Any]:
    settings = Evaluation.of(work.settings)
    files = work.files("strategies")
    runs = {
        (strategy, seed): run_on(Selected(files, (("strategy", strategy), ("seed", seed))), rows, seed)
        for (strategy, seed), rows in work.frame("strategies").group_by("strategy", "seed", maintain_order=True)
    }
    rows, fresh = trained(work, settings, job_of(work, settings), list(runs.values()))
    keys = pl.DataFrame(
        [(strategy, seed, run.key) for (strategy, seed), run in runs.items()],
        {"strategy": pl.String, "seed": pl.Int64, "key": pl.String},
        orient="row",
    )
    found = keys.join(rows, on="key", how="left")
    curves = found.filter(pl.col("item_id").is_null())
    work.draft.write("trainings", found.filter(pl.col("item_id").is_not_null()).drop("key", "part", "loss"))
    work.draft.write("training_curves", curves.select("strategy", "seed", "part", "loss"))
    return {"models_trained_now": fresh, "models": len({run.key for run in runs.values()})}


def trained(work: Work, settings: Evaluation, job: TrainModels, runs: Sequence[Run]) -> tuple[pl.DataFrame, int]:
    """The rows of these trainings, each of which is made once, and how many were made now.

    ``settings``: those of ``job``. Each training is a shard of the stage `trainings`, so all stages share them.
    """
    fresh = 0

    def missing_ones(missing: pl.Series) -> ToDo:
        nonlocal fresh
        fresh = len(missing)
        device.must_be_there(job.recipe.device, DEVICE)
        device.note(job.recipe.device)  # the models may be trained in other processes
        return to_train(job, runs, missing)

    different = list(dict.fromkeys(run.key for run in runs))
    shards = Shards(work.store, stage.name, shards_of(work, settings))
    return pl.DataFrame(shards.completed(different, missing_ones, work.executor, work.log)), fresh


def shards_of(work: Work, settings: Evaluation) -> str:
    """The name of the shards: what a training depends on beside its documents and its seed."""
    items = work.frame("evaluation_set").select("item_id", "prompt", "text").rows()
    predicted = digest([work.frame("tokenizer")["json"][0], items])
    return digest([stage.code_version, hashed_values(settings, stage.reads["evaluation"]), predicted])


def job_of(work: Work, settings: Evaluation) -> TrainModels:
    """The job that trains models on selected documents, and measures them on the evaluation set."""
    tokenizer = tokenizer_in(work.files("tokenizer"))
    tables = (work.files("corpus"), work.files("tokenizer"), work.files("evaluation_set"))
    return TrainModels(*tables, *_shape_and_recipe(settings, tokenizer), settings.pass_at_1)


def _shape_and_recipe(settings: Evaluation, tokenizer: "Tokenizer") -> tuple[Shape, TrainingRecipe]:
    values = settings.model_dump(include=set(MODEL)) | {"vocabulary": tokenizer.get_vocab_size()}
    recipe = settings.model_dump(include=set(TRAINING)) | {"device": device.for_training(settings.device)}
    return Shape(**values), TrainingRecipe(**recipe)


def proxy_of_our_own(work: Work) -> Path:
    """Folder of a model trained on random documents of the pool, with settings/evaluation.

    It is the second proxy if the user names no other. It is trained once and kept in the data folder.
    """
    from transformers import PreTrainedTokenizerFast  # heavy

    from grip_assets.training.small import END

    settings = Evaluation.of(work.settings)
    made_from = [stage.code_version, hashed_values(settings, (*MODEL, *TRAINING, "seed")), work.version_of("corpus")]
    folder = work.store.root / ".models" / f"trained-here-{digest(made_from)}"
    if folder.exists():
        return folder
    tokenizer = learned_tokenizer(work.files("corpus"), settings.vocabulary, settings.seed)
    documents = pl.read_parquet(work.files("corpus"), columns=["doc_id", "n_tokens"])
    u = pl.Series("u", keyed_uniform(settings.seed, "own proxy", documents["doc_id"]))
    enough = pl.col("n_tokens").cum_sum().shift(1, fill_value=0) < settings.tokens
    selected = documents.with_columns(u, repeats=1).sort("u").filter(enough)
    device.must_be_there(device.for_training(settings.device), DEVICE)
    progress = Progress("training a proxy", settings.tokens, "tokens", work.log)
    how = _shape_and_recipe(settings, tokenizer)
    with reported_to(progress.advance):
        model, _ = trained_on(work.files("corpus"), tokenizer, selected, *how, settings.seed)
    progress.finish()
    with work.store.scratch() as scratch:
        model.cpu().save_pretrained(scratch / "model")
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(scratch / "model")
        put_once(scratch / "model", folder)
    return folder


TABLES = (
    Table(
        "trainings",
        (
            Column("strategy", pl.String, "Strategy that selected the training documents.", ("strategies.strategy",)),
            Column("seed", pl.Int64, "Seed of draw, initialisation and order.", ("strategies.seed",)),
            Column("item_id", pl.String, "Item that the model predicts.", ("evaluation_set.item_id",)),
            Column(
                "bits",
                pl.Float64,
                "Bits that the model needs for the item.",
                ("strategies.doc_id", "corpus.text", "evaluation_set.text"),
            ),
            Column(
                "solved",
                pl.Boolean,
                "Whether the model's program passes the problem's test. Null if it was not run.",
                ("strategies.doc_id", "corpus.text"),
            ),
        ),
    ),
    Table(
        "training_curves",
        (
            Column("strategy", pl.String, "Strategy that selected the training documents.", ("strategies.strategy",)),
            Column("seed", pl.Int64, "Seed of draw, initialisation and order.", ("strategies.seed",)),
            Column("part", pl.Int64, "Tenth of the training, from 0.", ("strategies.doc_id",)),
            Column(
                "loss",
                pl.Float64,
                "Mean training loss in that tenth, in nats per token.",
                ("strategies.doc_id", "corpus.text"),
            ),
        ),
    ),
)
CHECKS = (Check("complete", True, "Every strategy and seed has finite bits above 0 for every item."),)

stage = Stage(
    name="trainings",
    code_version="2",
    compute=compute,
    description="A small language model is trained from scratch on the selection of each strategy, under each seed. The"
    " table has the bits that it needs for every item of the evaluation set. `training_curves` has the training loss in"
    " each tenth of the training.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "strategies", "evaluation_set"),
    reads={"evaluation": (*MODEL, *TRAINING, "pass_at_1")},
    group="evaluation",
    otherwise="code or files changed",
)
