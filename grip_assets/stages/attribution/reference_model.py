"""reference_model: the model at which gradients are taken, and from which models are retrained.

By default it is a small model, trained here on a random subset. settings/attribution.reference may name another one.
Other stages open it by ``opened_reference``. Jobs that open it in their own process carry ``reference_of``.
"""

import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.models.files import ModelFiles, content_hash, locate, weights_in
from grip_assets.runtime import device
from grip_assets.settings import Attribution, digest, field_names, hashed_values
from grip_assets.stages.curation.needed import no_reference
from grip_assets.store.shards import Shards
from grip_assets.training.recipe import Shape, TrainingRecipe, parameters
from grip_assets.training.retraining import (
    REFERENCE,
    Files,
    Reference,
    SmallModel,
    Start,
    Train,
    opened_start,
    to_train,
)
from grip_assets.training.runs import Selected, run_on, tokenizer_in

NAME = "reference_model"
VERSION = "1"  # of the kept model; raise it when it changes for the same inputs
DEVICE = "settings/attribution.device"
PACKAGED_PROXY = "SmolLM2-135M"
MODEL, TRAINING = field_names(Attribution, "model"), field_names(Attribution, "training")


def compute(work: Work) -> dict[str, Any]:
    settings = Attribution.of(work.settings)
    if settings.reference is not None:
        return _named(work, settings)
    documents = _documents(work, settings)
    work.draft.write("reference_documents", documents)
    start = new_small_model(work, settings)
    recipe = recipe_of(settings, settings.tokens)
    run = run_on(Selected(work.files("reference_documents")), documents, settings.seed)
    job = Train(work.files("corpus"), start, recipe, epoch=False)
    made_now = []

    def missing_one(missing: pl.Series) -> Any:
        made_now.append(True)
        device.must_be_there(recipe.device, DEVICE)
        device.note(recipe.device)  # the model may be trained in another process
        work.log(f"training the reference on {len(documents):,} documents, {settings.tokens:,} tokens")
        return to_train(job, {run.key: run}, missing, settings.tokens, "training the reference")

    shards = Shards(work.store, NAME, digest([VERSION, start.name, hashed_values(settings, (*TRAINING, "tokens"))]))
    row = pl.DataFrame(shards.completed([run.key], missing_one, work.executor, work.log)).row(0, named=True)
    if row["failed"]:
        raise GripError(f"There is no reference model. {row['failed']}")
    found = {"source": "here", "name": digest([start.name, hashlib.sha256(row["model"]).hexdigest()])}
    _write(work, found | {"tokens": row["tokens"], "loss": row["curve"][-1], "model": row["model"]})
    return {
        "documents": len(documents),
        "tokens_trained_now": row["tokens"] if made_now else 0,
        "trainings_made_now": len(made_now),
        "loss": row["curve"][-1],
    }


def _named(work: Work, settings: Attribution) -> dict[str, Any]:
    """The model that the settings name is opened once, so that a wrong one is refused here."""
    start = _files(work, settings)
    start.model(0)
    work.draft.write("reference_documents", stage.table("reference_documents").empty())
    files = start.files
    source = "proxy" if settings.reference == "proxy" else "path"
    _write(
        work, {"source": source, "path": files.name, "name": start.name, "tokens": None, "loss": None, "model": None}
    )
    return {"documents": 0, "tokens_trained_now": 0, "trainings_made_now": 0}


def _write(work: Work, row: dict[str, Any]) -> None:
    """Columns that ``row`` leaves out are null."""
    work.draft.write("reference", pl.DataFrame([row], schema=stage.schema("reference")))


def _documents(work: Work, settings: Attribution) -> pl.DataFrame:
    """doc_id and repeats of a random subset, with about as many tokens as the training reads."""
    corpus = pl.read_parquet(work.files("corpus"), columns=["doc_id", "n_tokens"]).filter(pl.col("n_tokens") > 0)
    u_N = keyed_uniform(settings.seed, "attribution: reference", corpus["doc_id"])
    drawn = corpus.with_columns(u=pl.Series(u_N)).sort("u")
    before = pl.col("n_tokens").cum_sum() - pl.col("n_tokens")
    found = drawn.filter(before < settings.tokens)
    if found["n_tokens"].sum() < settings.tokens:
        work.log(f"the pool has fewer than {settings.tokens:,} tokens, so the reference reads some of them again")
    return found.select("doc_id", repeats=pl.lit(1, pl.Int64)).sort("doc_id")


def recipe_of(settings: Attribution, tokens: int) -> TrainingRecipe:
    """How models are trained on ``tokens``."""
    values = settings.model_dump(include=set(TRAINING)) | {"device": device.for_training(settings.device)}
    return TrainingRecipe(tokens, **values)


def new_small_model(work: Work, settings: Attribution) -> SmallModel:
    """A new model of the settings' shape, with the pool's tokenizer. Nothing of it depends on the targets."""
    files = work.files("attribution_tokenizer")
    tokenizer = tokenizer_in(files)
    shape = Shape(**settings.model_dump(include=set(MODEL)) | {"vocabulary": tokenizer.get_vocab_size()})
    name = digest([tokenizer.to_str(), hashed_values(settings, MODEL)])
    return SmallModel(name, shape, files)


def number_of_parameters(settings: Attribution, anew: bool = False) -> int:
    """Parameters of the reference or, with ``anew``, of a new small model."""
    if settings.reference is None or anew:
        return parameters(Shape(**settings.model_dump(include=set(MODEL))))
    return weights_in(_located(settings))


def reference_of(work: Work) -> Start:
    """The reference, by the names of its files: a job carries it, and opens it in its own process.

    ``work`` is of a stage with the inputs attribution_targets and reference_model. ``name`` is of its content.
    """
    settings = Attribution.of(work.settings)
    if settings.reference is not None:
        return _files(work, settings)
    made = new_small_model(work, settings)
    table = work.files("reference")
    name = pl.read_parquet(table, columns=["name"])["name"][0]
    return SmallModel(name, made.shape, made.tokenizer, table)


def opened_reference(work: Work) -> Reference:
    """The reference model with its tokenizer; see ``reference_of``."""
    return opened_start(reference_of(work))


def _files(work: Work, settings: Attribution) -> Files:
    from grip_assets.models.proxy import converted  # torch

    found = _located(settings)
    name = digest([content_hash(found, work.store.root), settings.context])
    return Files(name, converted(found, work.store.root, work.log), settings.context)


def _located(settings: Attribution) -> ModelFiles:
    name = settings.reference or ""
    return locate(PACKAGED_PROXY if name == "proxy" else name, REFERENCE)


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    attribution = Attribution.of(settings)
    return {} if attribution.reference is None else {"model": content_hash(_located(attribution), root)}


TRAINED_ON = ("reference_documents.doc_id", "corpus.text", "attribution_tokenizer.json")
TABLES = (
    Table(
        "reference",
        (
            Column("source", pl.String, "here (trained here), proxy (the packaged model), or path."),
            Column("path", pl.String, "Name or path of the model. Null if it was trained here."),
            Column("name", pl.String, "Digest of its content.", TRAINED_ON),
            Column("tokens", pl.Int64, "Tokens that it was trained on here. Null if it was not.", TRAINED_ON),
            Column("loss", pl.Float64, "Loss at the end of this training, in nats per token.", TRAINED_ON),
            Column("model", pl.Binary, "Its weights as safetensors. Null if it was not trained here.", TRAINED_ON),
        ),
    ),
    Table(
        "reference_documents",
        (
            Column("doc_id", pl.String, "Document of the random subset that it was trained on.", ("corpus.doc_id",)),
            Column("repeats", pl.Int64, "How often the subset has it.", ("corpus.doc_id",)),
        ),
    ),
)
CHECKS = (
    Check("one_model", True, "There is one reference, with its weights or its path."),
    Check("learned", False, "A reference that was trained here is better than a guess."),
)

stage = Stage(
    name=NAME,
    code_version="1",
    compute=compute,
    description="The model at which gradients of documents are taken, and from which models are retrained on subsets:"
    " a small one that is trained here on a random subset (`reference_documents`), or the one that"
    " settings/attribution.reference names. Not used unless a source is computed by a model, or models are retrained"
    " from it.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "attribution_targets"),
    reads={"attribution": (*field_names(Attribution, "reference", "model", "training"), "seed")},
    facts=facts,
    group="attribution",
    unused=no_reference,
    unused_by=("budget", "selection"),
    otherwise="code or the model's files changed",
)
