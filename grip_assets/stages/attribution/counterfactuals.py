"""counterfactuals: what subsets of the pool are worth to each target, measured by retraining.

A model is trained for one epoch on each subset, from the reference or from scratch. The utility of the subset for a
target is the loss of the start minus the loss of the retrained model, in bits per byte, on the items that measure the
target. On the calibration subsets a configuration is chosen. The check subsets measure how well utilities are
predicted, and no choice reads them. Some of these are retrained under one more seed: no prediction can be closer to a
training than another training is.

One training is one kept unit, named by its start, its documents and its seed. So a killed run goes on with the next
training, more subsets train only the new ones, and other targets train nothing: kept models are scored on them. Which
documents a subset has is in method/attribution/trials.py, and the training in training/retraining.py.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.attribution import trials
from grip_assets.method.attribution.trials import Pool, Trial, candidates, fitted, order
from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime import device
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Attribution, digest, field_names, hashed_values
from grip_assets.stages.attribution.attribution_targets import usable
from grip_assets.stages.attribution.reference_model import DEVICE, TRAINING, new_small_model, recipe_of, reference_of
from grip_assets.stages.curation.needed import no_trials
from grip_assets.stages.curation.predicted import COPIED
from grip_assets.store.shards import Shards
from grip_assets.store.tables import texts
from grip_assets.training.mixtures import KeptModel, Wanted, by_run, contents, kept_models, losses, score_key
from grip_assets.training.retraining import Score, Scored, Start, Train, to_train
from grip_assets.training.runs import Encode, Run, Selected, run_on

NAME = "counterfactuals"
VERSION = "1"  # of the kept trainings; raise it when one of them changes for the same inputs
SAMPLED = 256  # documents by which the model's tokens are compared with those of the corpus
AT_ONCE = 4096  # documents that are encoded at once
FAILED = 1 / 3  # a larger share of failed trainings is no accident
SUBSET = ["subset_id", "block", "role", "kind", "size"]


def compute(work: Work) -> dict[str, Any]:
    settings, started = Attribution.of(work.settings), time.monotonic()
    start = start_of(work, settings)
    subsets = _subsets(work, settings, start)
    work.draft.write("trial_subsets", subsets)
    retrainings = Retrainings(work, settings, start)
    units = retrainings.train(subsets, _seeds_of(subsets, settings))
    _must_be_enough(units)
    utilities = retrainings.utilities(units)
    work.draft.write("utilities", utilities.select(stage.schema("utilities").names()))
    return {
        "subsets": subsets["subset_id"].n_unique(),
        "trainings": len(units),
        "trainings_made_now": retrainings.made_now,
        "trainings_failed": units["failed"].count(),
        "tokens_trained_now": retrainings.tokens_now,
        "training_seconds": round(time.monotonic() - started, 3),
    }


def start_of(work: Work, settings: Attribution) -> Start:
    """Where retrainings start."""
    return reference_of(work) if settings.start == "continued" else new_small_model(work, settings)


def number_of_retrainings(settings: Attribution) -> int:
    """Retrainings on all subsets, under all seeds."""
    checks = settings.check_structured + settings.check_random
    subsets = settings.structured + settings.random + checks
    return len(settings.trial_tokens) * (subsets * settings.seeds + min(settings.repeated, checks))


def tokens_to_train(settings: Attribution) -> int:
    """Tokens of all retrainings together."""
    sizes = settings.trial_tokens
    return number_of_retrainings(settings) * sum(sizes) // len(sizes) if sizes else 0


# ---------------------------------------------------------------------------------------------- which subsets there are


def _subsets(work: Work, settings: Attribution, start: Start) -> pl.DataFrame:
    """The rows of ``trial_subsets``."""
    _must_fill_a_window(settings, start)
    encode, _ = start.encoding()
    documents = _documents(work)
    pool = _pool(work, documents, encode)
    _must_be_parts_of(pool, settings)
    wanted = list(_wanted(work, settings, pool))
    if not wanted:
        raise GripError(
            "settings/attribution asks for no subset to retrain on: structured, random, check_structured and"
            " check_random are all 0. Raise one, or set attribution.choose to none."
        )
    considered = []
    for trial in wanted:
        order_N, copies = order(pool, trial, settings.seed)
        considered.append((candidates(order_N, pool.tokens_N, copies, trial.size), copies))
    exact_N = _exact_tokens(work, pool, considered, encode)
    parts = [_rows(pool, trial, *of, exact_N, start) for trial, of in zip(wanted, considered, strict=True)]
    return pl.concat(parts).select(stage.schema("trial_subsets").names())


def _documents(work: Work) -> pl.DataFrame:
    """doc_id, n_tokens, language, cluster_id of the documents with tokens, by doc_id."""
    corpus = pl.read_parquet(work.files("corpus"), columns=["doc_id", "n_tokens", "language"])
    clusters = work.frame("clusters").select("doc_id", "cluster_id")
    return corpus.filter(pl.col("n_tokens") > 0).join(clusters, on="doc_id", how="left").sort("doc_id")


def _pool(work: Work, documents: pl.DataFrame, encode: Encode) -> Pool:
    """The documents, with estimates of the tokens that the model reads of each."""
    u = pl.Series("u", keyed_uniform(0, "trials: tokens", documents["doc_id"]))
    sample = documents.with_columns(u).sort("u").head(SAMPLED)
    read = _encoded(work, sample["doc_id"].to_list(), encode)
    share = sum(read.values()) / sample["n_tokens"].sum()
    numbers = {name: i for i, name in enumerate(sorted(documents["language"].drop_nulls().unique()))}
    language = documents["language"].replace_strict(numbers, default=None, return_dtype=pl.Int64)
    return Pool(
        documents["doc_id"],
        np.maximum(np.rint(documents["n_tokens"].to_numpy() * share), 1).astype(np.int64),
        documents["cluster_id"].fill_null(-1).to_numpy().astype(np.int64),
        language.fill_null(-1).to_numpy(),
    )


def _encoded(work: Work, ids: Sequence[str], encode: Encode) -> dict[str, int]:
    """Tokens that the model reads of each document: its own, and the one that ends it."""
    found = list(texts(work.files("corpus"), set(ids)))
    counts = map(len, encode([text for _, text in found]))
    return {doc: n + 1 for (doc, _), n in zip(found, counts, strict=True)}


def _exact_tokens(work: Work, pool: Pool, considered: Sequence[tuple[np.ndarray, int]], encode: Encode) -> np.ndarray:
    """Tokens that the model reads of each document that is considered, int64 (N,); 0 for the others."""
    rows = np.unique(np.concatenate([rows_M for rows_M, _ in considered]))
    progress = Progress("counting tokens of subsets", len(rows), "documents", work.log)
    exact_N = np.zeros(len(pool.ids), np.int64)
    for some in np.array_split(rows, max(-(-len(rows) // AT_ONCE), 1)):
        read = _encoded(work, pool.ids.gather(some).to_list(), encode)
        exact_N[some] = [read[doc] for doc in pool.ids.gather(some)]
        progress.advance(len(some))
    progress.finish()
    return exact_N


def _wanted(work: Work, settings: Attribution, pool: Pool) -> list[Trial]:
    """The subsets of the settings. The log says which kinds the pool cannot have."""
    possible = {size: trials.kinds(pool, size) for size in settings.trial_tokens}
    if settings.structured + settings.check_structured:
        missing = [(size, kind) for size in possible for kind in trials.STRUCTURED if kind not in possible[size]]
        for size, kind in missing:
            what = "languages with enough tokens" if kind == trials.LANGUAGE else "clusters"
            work.log(f"no subsets of {size:,} tokens of the kind {kind}: the pool has too few {what}")
    calibration, check = (settings.structured, settings.random), (settings.check_structured, settings.check_random)
    return list(trials.trials(possible, calibration, check, settings.blocks))


def _rows(pool: Pool, trial: Trial, rows_M: np.ndarray, copies: int, exact_N: np.ndarray, start: Start) -> pl.DataFrame:
    """The rows of one subset. GripError if no window can be filled."""
    tokens_M = exact_N[rows_M]
    taken_M = fitted(tokens_M, copies, trial.size)
    if tokens_M[taken_M].sum() * copies <= start.context:
        raise GripError(
            f"No {trial.kind} subset of {trial.size:,} tokens has documents for one window of"
            f" {start.context:,} tokens: documents are too long for it{_times(copies)}. Raise"
            " settings/attribution.trial_tokens."
        )
    return pl.DataFrame(
        {
            "subset_id": trial.name,
            "block": trial.block if trial.role == trials.CALIBRATION else None,
            "role": trial.role,
            "kind": trial.kind,
            "size": trial.size,
            "doc_id": pool.ids.gather(rows_M[taken_M]),
            "repeats": copies,
            "n_tokens": tokens_M[taken_M],
        },
        schema_overrides={"block": pl.Int32, "size": pl.Int64, "repeats": pl.Int64},
    ).sort("doc_id")


def _times(copies: int) -> str:
    return f", each {copies} times" if copies > 1 else ""


def _must_fill_a_window(settings: Attribution, start: Start) -> None:
    if (least := min(settings.trial_tokens)) <= start.context:
        raise GripError(
            f"settings/attribution.trial_tokens has {least:,}, and a training window has {start.context:,} tokens and"
            " the one before. Raise trial_tokens, or lower attribution.context."
        )


def _must_be_parts_of(pool: Pool, settings: Attribution) -> None:
    most, there = max(settings.trial_tokens), int(pool.tokens_N.sum())
    if most > trials.LARGEST_SHARE * there:
        raise GripError(
            f"settings/attribution.trial_tokens has {most:,}, and the pool has about {there:,} tokens. Subsets of more"
            f" than half of it are nearly the same. Set trial_tokens to at most {int(trials.LARGEST_SHARE * there):,}."
        )


# --------------------------------------------------------------------------------------------------- models are trained


def _seeds_of(subsets: pl.DataFrame, settings: Attribution) -> dict[str, list[int]]:
    """Subset to the seeds under which models are retrained on it."""
    named = subsets.select(SUBSET).unique(maintain_order=True)
    seeds = list(range(settings.seed, settings.seed + settings.seeds))
    found = {name: list(seeds) for name in named["subset_id"]}
    for _, rows in named.filter(role=trials.CHECK).group_by("size", maintain_order=True):
        for name in trials.repeated(rows["subset_id"].to_list(), settings.repeated, settings.seed):
            found[name].append(seeds[-1] + 1)
    return found


class Retrainings:
    """The retrainings from one start by one recipe: those that are kept, and those that are missing.

    ``made_now``, ``tokens_now``: trainings that this run made, and their tokens.
    """

    def __init__(self, work: Work, settings: Attribution, start: Start):
        self.work, self.settings, self.start = work, settings, start
        self.recipe = recipe_of(settings, max(settings.trial_tokens))
        self.how = digest([VERSION, start.name, hashed_values(settings, TRAINING)])
        self.made_now = self.tokens_now = 0

    def train(self, subsets: pl.DataFrame, seeds_of: dict[str, list[int]]) -> pl.DataFrame:
        """One row per subset and seed: subset_id, seed, key, tokens, failed."""
        files, runs, tokens = self.work.files("trial_subsets"), dict[tuple[str, int], Run](), dict[str, int]()
        for (name,), rows in subsets.group_by("subset_id", maintain_order=True):
            selected = Selected(files, (("subset_id", str(name)),))
            for seed in seeds_of[str(name)]:
                run = runs[str(name), seed] = run_on(selected, rows, seed)
                tokens[run.key] = int((rows["n_tokens"] * rows["repeats"]).sum())
        keys = [run.key for run in runs.values()]
        job = Train(self.work.files("corpus"), self.start, self.recipe, epoch=True)

        def missing_ones(missing: pl.Series) -> ToDo:
            left = sum(tokens[key] for key in missing)
            self._starting(len(missing), len(tokens), left)
            return to_train(job, {run.key: run for run in runs.values()}, missing, left, "retraining on subsets")

        placed = Shards(self.work.store, NAME, self.how).ready(keys, missing_ones, self.work.executor, self.work.log)
        found = pl.DataFrame(placed.read(columns=["key", "tokens", "failed"]))
        self.models = kept_models(keys, placed)
        names = pl.DataFrame(list(runs), {"subset_id": pl.String, "seed": pl.Int64}, orient="row")
        return pl.concat([names, found.cast({"key": pl.String, "failed": pl.String})], how="horizontal")

    def _starting(self, missing: int, of: int, tokens: int) -> None:
        self.made_now, self.tokens_now = missing, tokens
        device.must_be_there(self.recipe.device, DEVICE)
        device.note(self.recipe.device)  # the models may be trained in other processes
        self.work.log(f"retraining {missing:,} models on subsets, {tokens:,} tokens; {of - missing:,} were kept")

    def utilities(self, units: pl.DataFrame) -> pl.DataFrame:
        """subset_id, seed, target, utility, loss_start, loss, tokens, failed; in the order of the ``units``. A training
        that failed has a row for each target, with the reason and no loss."""
        items = usable(self.work.frame("attribution_items")).filter(half="measure")
        of_target = contents(items)
        went_well = units.filter(pl.col("failed").is_null())
        starts = went_well["seed"].unique().to_list()
        models: dict[str, tuple[KeptModel | None, int]] = {self._of_start(s): (None, s) for s in starts}
        models |= {key: (self.models[key], 0) for key in went_well["key"]}
        of_models = self._losses(models, of_target, items)
        of_start = of_models.rename({"run": "start", "loss": "loss_start"})
        every = units.with_columns(start=pl.Series([self._of_start(seed) for seed in units["seed"]], dtype=pl.String))
        every = every.join(pl.DataFrame({"target": list(of_target)}), how="cross", maintain_order="left_right")
        every = every.join(of_models.rename({"run": "key"}), on=["key", "target"], how="left", maintain_order="left")
        every = every.join(of_start, on=["start", "target"], how="left", maintain_order="left")
        return every.with_columns(utility=pl.col("loss_start") - pl.col("loss"))

    def _of_start(self, seed: int) -> str:
        """The name of the start among the models that are scored. A new model depends on the seed."""
        return f"start under seed {seed}" if self.settings.start == "scratch" else "start"

    def _losses(
        self, models: dict[str, tuple[KeptModel | None, int]], of_target: dict[str, str], items: pl.DataFrame
    ) -> pl.DataFrame:
        """run, target, loss (bits per byte) of each model. Scores that are missing are made now."""
        wanted = {score_key(run, target, of): (run, target) for run in models for target, of in of_target.items()}
        job = Score(self.work.files("attribution_items"), self.start, self.recipe, COPIED)
        shards = Shards(self.work.store, NAME, digest([self.how, "scores"]))
        placed = shards.ready(
            list(wanted), lambda missing: _to_score(job, models, wanted, missing), self.work.executor, self.work.log
        )
        return losses(placed.read(), wanted, items)


def _to_score(
    job: Score,
    models: dict[str, tuple[KeptModel | None, int]],
    wanted: Wanted,
    missing: pl.Series,
) -> ToDo:
    """The scores whose keys are ``missing``. ``models``: by the key of their run, or the name of their start."""
    left = [Scored(*models[run], tuple(targets)) for run, targets in by_run(wanted, missing).items()]
    return ToDo(job, left, "measuring utilities", len(missing), "models and targets")


def _must_be_enough(units: pl.DataFrame) -> None:
    """GripError if more than a third of the trainings failed."""
    failed = units["failed"].drop_nulls()
    if len(failed) > FAILED * len(units):
        raise GripError(
            f"{len(failed):,} of {len(units):,} retrainings failed. {failed[0]} The trainings that went well are kept."
        )


def starts_anew(settings: Settings) -> str:
    """Why retrainings need no reference; "" if they start at it."""
    start = Attribution.of(settings).start
    return "" if start == "continued" else f"settings/attribution.start is {start}"


MEMBERS = ("trial_subsets.doc_id", "trial_subsets.repeats", "corpus.text")
TABLES = (
    Table(
        "trial_subsets",
        (
            Column("subset_id", pl.String, "Subset: role, kind, size and number."),
            Column("block", pl.Int32, "Block of a calibration subset, from 0. Null for a check."),
            Column("role", pl.String, "calibration: a choice reads it. check: only fidelity is measured on it."),
            Column(
                "kind",
                pl.String,
                "uniform, or its structure: few_clusters, many_clusters, duplicates, length or language.",
            ),
            Column("size", pl.Int64, "Tokens that it should have."),
            Column(
                "doc_id",
                pl.String,
                "Document of the subset.",
                ("corpus.doc_id", "clusters.cluster_id", "corpus.language", "corpus.n_tokens"),
            ),
            Column("repeats", pl.Int64, "How often the subset has it."),
            Column(
                "n_tokens",
                pl.Int64,
                "Tokens that the model reads of it, with the one that ends it.",
                ("corpus.text", "attribution_tokenizer.json"),
            ),
        ),
    ),
    Table(
        "utilities",
        (
            Column("subset_id", pl.String, "Subset.", ("trial_subsets.subset_id",)),
            Column("seed", pl.Int64, "Seed of the order of documents and, from scratch, of the model."),
            Column("target", pl.String, "What is measured.", ("attribution_items.target",)),
            Column(
                "utility",
                pl.Float64,
                "loss_start minus loss: how much better the model became. Null if the training failed.",
                ("utilities.loss_start", "utilities.loss"),
            ),
            Column(
                "loss_start",
                pl.Float64,
                "Loss before, in bits per byte, on the items that measure the target.",
                ("reference.model", "attribution_items.text", "attribution_items.half"),
            ),
            Column(
                "loss",
                pl.Float64,
                "Loss after the retraining.",
                ("reference.model", *MEMBERS, "attribution_items.text", "attribution_items.half"),
            ),
            Column("tokens", pl.Int64, "Tokens that the retraining predicted. Null if it failed.", MEMBERS),
            Column("failed", pl.String, "Why the training has no loss. Null if it went well.", MEMBERS),
        ),
    ),
)
CHECKS = (
    Check("within_size", True, "No subset has more tokens than its size, and no document is there twice."),
    Check("every_utility", True, "Every subset, seed and target has a finite utility, or the reason why not."),
    Check("nearly_full", False, "Every subset has at least 90% of its size."),
    Check("roles_apart", False, "No subset of the check has the same documents as one of the calibration."),
    Check("none_failed", False, "No training failed."),
)

stage = Stage(
    name=NAME,
    code_version="2",
    compute=compute,
    description="Subsets of the pool (`trial_subsets`), and what each is worth to each target (`utilities`): a model is"
    " retrained on it, and its loss is compared with that of the start. Each training is kept. Not used unless"
    " settings/attribution.choose says that a configuration is chosen by retraining.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    inputs=("corpus", "clusters", "attribution_targets", "reference_model"),
    reads={"attribution": (*field_names(Attribution, "reference", "model", "training", "trials"), "blocks", "seed")},
    left_out={"reference_model": starts_anew},
    group="attribution",
    unused=no_trials,
    unused_by=("budget", "selection"),
)
