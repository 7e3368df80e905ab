"""mixture_runs: small models are trained on mixtures of the domains, and their losses are measured on every target.

- regmix: mixtures of a swarm, under each seed.
- perf: the natural shares, and for each domain a mixture with more of it.
- doremi: a reference on fixed weights, and a proxy whose weights follow its excess loss over it.

One training is one kept unit, named by the windows that it reads and its seed. So a killed run goes on with the next
training, more mixtures train only the new ones, and other targets train nothing: kept models are scored on them. The
trainings are in training/mixtures.py and training/doremi.py. mixture_check trains further mixtures by ``trained``.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.declarations import Check, Column, Table
from grip_assets.engine.stage import Stage, Work
from grip_assets.errors import GripError
from grip_assets.method.budget.allocation import resolve_total
from grip_assets.method.budget.base import normalised
from grip_assets.method.mixing.swarm import Swarm, draw
from grip_assets.runtime import device
from grip_assets.runtime.executors import ToDo
from grip_assets.settings import Budget, Mixing, digest, field_names, hashed_values
from grip_assets.stages.curation.needed import no_mixture
from grip_assets.stages.curation.predicted import COPIED
from grip_assets.store.shards import Shards
from grip_assets.training import domain_tokens, doremi, mixtures
from grip_assets.training.recipe import Shape, TrainingRecipe, pace
from grip_assets.training.runs import tokenizer_in

NAME = "mixture_runs"
DEVICE = "settings/mixing.device"
MODEL, RECIPE = field_names(Mixing, "model"), field_names(Mixing, "training")
TRAINING = (*MODEL, *RECIPE, "repetition", "seed")  # fields that a training depends on, beside its mixture
VERSION = "1"  # of the kept trainings; raise it when one of them changes for the same inputs
FEWEST = 8  # mixtures with a loss that a regression needs
FAILED = 1 / 3  # a larger share of failed trainings is no accident
LOSSES = pl.Schema(
    {"mixture": pl.Int32, "seed": pl.Int64, "target": pl.String, "loss": pl.Float64, "failed": pl.String}
)


@dataclass(frozen=True)
class Mixture:
    """``kind``: swarm, natural, upsampled or reference."""

    kind: str
    weight_D: np.ndarray


def compute(work: Work) -> dict[str, Any]:
    settings, started = Mixing.of(work.settings), time.monotonic()
    domains = work.frame("mixture_domains").sort("domain")
    wanted = mixtures_of(settings, domains["natural_share"].to_numpy())
    trainings = Trainings(work, settings)
    if settings.method == "regmix":
        trainings.must_differ(wanted)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    units = trainings.train([mixture.weight_D for mixture in wanted], seeds)
    _must_be_enough(units, settings)
    steps, failed = trainings.follow(units, seeds) if settings.method == "doremi" else (_no_steps(), [])
    losses = pl.concat([trainings.losses(units), pl.DataFrame(failed, LOSSES)]).rename({"mixture": "mixture_id"})
    clusters = domains.select("domain", "cluster_id")
    work.draft.write(
        "mixtures", _rows(wanted, units).join(clusters, on="domain", maintain_order="left").select(MIXTURES)
    )
    work.draft.write("mixture_losses", losses)
    work.draft.write("mixture_steps", steps.join(clusters, on="domain", maintain_order="left").select(STEPS))
    return {
        "trainings": len(units) + (len(seeds) if settings.method == "doremi" else 0),
        "trainings_made_now": trainings.made_now,
        "trainings_failed": int(units["failed"].is_not_null().sum()) + len(failed),
        "tokens_trained_now": trainings.made_now * trainings.tokens_each,
        "training_seconds": round(time.monotonic() - started, 3),
    }


def trained(work: Work, settings: Mixing, weights: Sequence[np.ndarray], seeds: Sequence[int]) -> pl.DataFrame:
    """The losses of models that are trained on the mixtures ``weights``, each float64 (D,), under each seed.

    ``work`` is of a stage that has corpus and mixture_domains among its inputs. A training that was made before is not
    made again. Columns: mixture (the place in ``weights``), seed, target, loss (bits per byte), and failed: null, or
    why there is no loss.
    """
    trainings = Trainings(work, settings)
    return trainings.losses(trainings.train(list(weights), seeds))


# ---------------------------------------------------------------------------------------------- which mixtures are made


def mixtures_of(settings: Mixing, natural_D: np.ndarray) -> list[Mixture]:
    """The mixtures that the method trains on, in the order of their ids."""
    if settings.method == "regmix":
        low, high = settings.strengths
        swarm = Swarm(settings.prior, (low, high), settings.max_ratio, settings.min_weight, settings.seed)
        return [Mixture("swarm", weight_D) for weight_D in draw(natural_D, settings.mixtures, swarm)]
    if settings.method == "perf":
        raised = [Mixture("upsampled", upsampled(natural_D, d, settings.factor)) for d in range(len(natural_D))]
        return [Mixture("natural", natural_D), *raised]
    exponent = {"natural": 1.0, "tempered": 0.5, "uniform": 0.0}[settings.reference]
    return [Mixture("reference", normalised(natural_D**exponent))]


def number_of_mixtures(settings: Mixing, domains: int) -> int:
    """How many mixtures ``mixtures_of`` has."""
    return {"regmix": settings.mixtures, "perf": domains + 1, "doremi": 1}[settings.method]


def upsampled(natural_D: np.ndarray, domain: int, factor: float) -> np.ndarray:
    """The natural shares with ``factor`` times as much of one domain, but at least half of the others."""
    share = natural_D[domain]
    weight = min(factor * share, (1 + share) / 2)
    found_D = natural_D * (1 - weight) / (1 - share)
    found_D[domain] = weight
    return found_D


def limits_of(natural_D: np.ndarray, pool_share: float, n: int) -> np.ndarray:
    """Different windows of each domain that a training of ``n`` windows may read, int64 (D,), at least 1.

    A training reads of each domain the share that it has of the subset. So it repeats a domain as often as a subset of
    ``pool_share`` of the pool would, with the same weights.
    """
    return np.maximum(np.floor(natural_D / pool_share * n), 1).astype(np.int64)


# -------------------------------------------------------------------------------------------------- they are trained


class Trainings:
    """The trainings of one pool, one model and one recipe: those that are kept, and those that are missing.

    ``made_now``: trainings that this run made. ``tokens_each``: tokens of each.
    """

    def __init__(self, work: Work, settings: Mixing):
        self.work, self.settings, self.made_now = work, settings, 0
        domains = work.frame("mixture_domains").sort("domain")
        self.shape, self.recipe = _shape_and_recipe(work, settings)
        steps, per_step = pace(self.shape, self.recipe)
        self.windows = steps * per_step
        self.tokens_each = self.windows * self.shape.context
        self.tokens = domain_tokens.ready(
            work.store,
            NAME,
            work.files("corpus"),
            work.frame("mixture_documents"),
            work.files("mixture_tokenizer"),
            self.tokens_each,
            settings.seed,
            work.executor,
            work.log,
        )
        domain_tokens.must_fill_windows(self.tokens, self.shape.context, domains["name"].to_list())
        self.limits_D = self._limits(domains)
        model = hashed_values(settings, (*MODEL, *RECIPE))
        self.how = digest([VERSION, self.tokens.folder.name, model])

    def _limits(self, domains: pl.DataFrame) -> np.ndarray:
        there_D = self.tokens.windows_D(self.shape.context)
        if self.settings.repetition == "free":
            return there_D
        budget = Budget.of(self.work.settings)
        size = int(domains["n_tokens" if budget.unit == "tokens" else "n_docs"].sum())
        pool_share = resolve_total(budget.total, size) / size
        return np.minimum(limits_of(domains["natural_share"].to_numpy(), pool_share, self.windows), there_D)

    def run_on(self, weight_D: np.ndarray, seed: int) -> mixtures.MixtureRun:
        return mixtures.mixture_run(weight_D, self.limits_D, seed, self.shape, self.recipe)

    def must_differ(self, wanted: Sequence[Mixture]) -> None:
        """GripError if all mixtures read the same windows. The log says how many do."""
        different = len({self.run_on(mixture.weight_D, 0).windows for mixture in wanted})
        if different < 2:
            raise GripError(
                f"All {len(wanted):,} mixtures are the same, so no weight can be learned from them. Widen"
                " settings/mixing.strengths, lower mixing.prior, or raise mixing.max_ratio or mixing.tokens. A small"
                " mixing.kl_to_natural bounds only the result."
            )
        if different < len(wanted):
            self.work.log(f"{len(wanted) - different:,} of {len(wanted):,} mixtures read the same windows as another")

    def train(self, weights: Sequence[np.ndarray], seeds: Sequence[int]) -> pl.DataFrame:
        """One row per mixture and seed: mixture, seed, key, achieved, failed."""
        self.runs = {(i, seed): self.run_on(weight_D, seed) for i, weight_D in enumerate(weights) for seed in seeds}
        keys = [run.key for run in self.runs.values()]
        job = mixtures.TrainMixture(self.tokens, self.shape, self.recipe)

        def missing_ones(missing: pl.Series) -> ToDo:
            self._starting(len(missing), len(set(keys)), "models")
            return mixtures.to_train(job, list(self.runs.values()), missing)

        shards = Shards(self.work.store, NAME, self.how)
        placed = shards.ready(keys, missing_ones, self.work.executor, self.work.log)
        found = pl.DataFrame(placed.read(columns=["key", "achieved", "failed"]))
        names = pl.DataFrame(list(self.runs), {"mixture": pl.Int32, "seed": pl.Int64}, orient="row")
        self.models = mixtures.kept_models(keys, placed)
        return pl.concat([names, found.cast({"key": pl.String, "failed": pl.String})], how="horizontal")

    def _starting(self, missing: int, of: int, what: str) -> None:
        self.made_now += missing
        device.must_be_there(self.recipe.device, DEVICE)
        device.note(self.recipe.device)  # the models may be trained in other processes
        self.work.log(f"training {missing:,} {what}, {self.tokens_each:,} tokens each; {of - missing:,} were kept")

    def losses(self, units: pl.DataFrame) -> pl.DataFrame:
        """The columns of ``LOSSES``: bits per byte of each of the ``units`` on each target, in their order. A training
        that failed has a row for each target, with the reason and no loss."""
        items = self.work.frame("mixture_items").filter(pl.col("in_pool") <= COPIED)
        of_target = mixtures.contents(items)
        went_well = units.filter(pl.col("failed").is_null())["key"].unique(maintain_order=True)
        wanted = {
            mixtures.score_key(key, target, content): (key, target)
            for key in went_well
            for target, content in of_target.items()
        }
        sums = self._scored(wanted, items)
        every = units.join(pl.DataFrame({"target": list(of_target)}), how="cross", maintain_order="left_right")
        return every.join(sums, on=["key", "target"], how="left", maintain_order="left").select(list(LOSSES))

    def _scored(self, wanted: mixtures.Wanted, items: pl.DataFrame) -> pl.DataFrame:
        """key (of the run), target, loss. Scores that are missing are made now, from the kept models."""
        job = mixtures.ScoreMixture(
            self.work.files("mixture_items"), self.work.files("mixture_tokenizer"), self.shape, self.recipe, COPIED
        )
        shards = Shards(self.work.store, NAME, digest([self.how, "scores"]))
        if not wanted:
            return pl.DataFrame(schema={"key": pl.String, "target": pl.String, "loss": pl.Float64})
        placed = shards.ready(
            list(wanted),
            lambda missing: mixtures.to_score(job, self.models, wanted, missing),
            self.work.executor,
            self.work.log,
        )
        return mixtures.losses(placed.read(), wanted, items).rename({"run": "key"})

    def follow(self, units: pl.DataFrame, seeds: Sequence[int]) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        """DoReMi's proxies, one for each seed, over the reference of that seed.

        The rows of ``mixture_steps``, and a row of ``LOSSES`` without a target for each proxy that failed. GripError if
        all of them did.
        """
        reference = dict(units.select("seed", "key").iter_rows())
        runs = {
            seed: doremi.proxy_run(self.models[reference[seed]], self.limits_D, seed, self.shape, self.recipe)
            for seed in seeds
        }
        eta, smoothing = self.settings.eta, self.settings.smoothing
        job = doremi.TrainProxy(self.tokens, self.shape, self.recipe, eta, smoothing)

        def missing_ones(missing: pl.Series) -> ToDo:
            self._starting(len(missing), len(runs), "proxies")
            return doremi.to_follow(job, list(runs.values()), missing)

        shards = Shards(self.work.store, NAME, digest([self.how, "proxies", eta, smoothing]))
        keys = [run.key for run in runs.values()]
        rows = pl.DataFrame(shards.completed(keys, missing_ones, self.work.executor, self.work.log))
        seed_of = pl.DataFrame({"key": keys, "seed": list(runs)}, {"key": pl.String, "seed": pl.Int64})
        rows = rows.cast({"key": pl.String, "failed": pl.String}).join(seed_of, on="key", maintain_order="left")
        failed = [
            {"mixture": 0, "seed": seed, "failed": f"The proxy: {why}"}
            for seed, why in rows.drop_nulls("failed").select("seed", "failed").iter_rows()
        ]
        if len(failed) == len(runs):
            raise GripError(f"All proxies of DoReMi failed. {failed[0]['failed']}")
        return rows.drop_nulls("step").select("seed", "step", "domain", "weight", "excess_loss"), failed


def _shape_and_recipe(work: Work, settings: Mixing) -> tuple[Shape, TrainingRecipe]:
    tokenizer = tokenizer_in(work.files("mixture_tokenizer"))
    values = settings.model_dump(include=set(MODEL)) | {"vocabulary": tokenizer.get_vocab_size()}
    recipe = settings.model_dump(include=set(RECIPE)) | {"device": device.for_training(settings.device)}
    return Shape(**values), TrainingRecipe(**recipe)


def _must_be_enough(units: pl.DataFrame, settings: Mixing) -> None:
    """GripError if more than a third of the trainings failed, or if too few mixtures are left for the method."""
    failed = units.drop_nulls("failed")
    if failed.is_empty():
        return
    left = units.filter(pl.col("failed").is_null())["mixture"].unique()
    enough = {
        "regmix": len(left) >= FEWEST,
        "perf": 0 in left and len(left) > 1,  # 0: the natural shares
        "doremi": 0 not in failed["mixture"],  # each proxy needs its reference
    }
    if len(failed) > FAILED * len(units) or not enough[settings.method]:
        raise GripError(
            f"{len(failed):,} of {len(units):,} trainings failed, and {settings.method} cannot go on with the others."
            f" {failed['failed'][0]} The trainings that went well are kept."
        )


def _no_steps() -> pl.DataFrame:
    return stage.table("mixture_steps").empty().drop("cluster_id")


def _rows(wanted: Sequence[Mixture], units: pl.DataFrame) -> pl.DataFrame:
    """mixture_id, domain, weight, achieved, kind. Trainings of a mixture read the same shares under each seed."""
    achieved = dict(
        units.drop_nulls("achieved").unique("mixture", keep="first").select("mixture", "achieved").iter_rows()
    )
    parts = [
        pl.DataFrame(
            {
                "mixture_id": i,
                "domain": range(len(mixture.weight_D)),
                "weight": mixture.weight_D,
                "achieved": pl.Series(achieved.get(i, [None] * len(mixture.weight_D)), dtype=pl.Float64),
                "kind": mixture.kind,
            },
            {
                "mixture_id": pl.Int32,
                "domain": pl.Int32,
                "weight": pl.Float64,
                "achieved": pl.Float64,
                "kind": pl.String,
            },
        )
        for i, mixture in enumerate(wanted)
    ]
    return pl.concat(parts)


READ = ("mixture_documents.domain", "corpus.text")
TABLES = (
    Table(
        "mixtures",
        (
            Column("mixture_id", pl.Int32, "Mixture, from 0."),
            Column("domain", pl.Int32, "Domain.", ("mixture_domains.domain",)),
            Column(
                "cluster_id",
                pl.Int32,
                "Its cluster. Null unless domains are clusters.",
                ("mixture_domains.cluster_id",),
            ),
            Column("weight", pl.Float64, "Weight that the domain should have.", ("mixture_domains.natural_share",)),
            Column(
                "achieved",
                pl.Float64,
                "Its share of the tokens that the training really read. Null if no training of the mixture went well.",
                READ,
            ),
            Column(
                "kind",
                pl.String,
                "swarm (regmix), natural or upsampled (perf), or reference (doremi).",
            ),
        ),
    ),
    Table(
        "mixture_losses",
        (
            Column("mixture_id", pl.Int32, "Mixture.", ("mixtures.mixture_id",)),
            Column("seed", pl.Int64, "Seed of initialisation and order."),
            Column(
                "target",
                pl.String,
                "What is measured: domain:NAME, a benchmark, or target. Null for a proxy of doremi that failed.",
                ("mixture_items.target",),
            ),
            Column(
                "loss",
                pl.Float64,
                "Loss on the target, in bits per byte. Null if the training failed.",
                (*READ, "mixture_items.text", "mixtures.achieved"),
            ),
            Column("failed", pl.String, "Why the training has no loss. Null if it went well.", READ),
        ),
    ),
    Table(
        "mixture_steps",
        (
            Column("seed", pl.Int64, "Seed of the proxy."),
            Column("step", pl.Int64, "Step of its training, from 0."),
            Column("domain", pl.Int32, "Domain.", ("mixture_domains.domain",)),
            Column(
                "cluster_id",
                pl.Int32,
                "Its cluster. Null unless domains are clusters.",
                ("mixture_domains.cluster_id",),
            ),
            Column("weight", pl.Float64, "Weight α of the domain after this step.", READ),
            Column(
                "excess_loss",
                pl.Float64,
                "Excess loss λ over the reference, in nats per token, at least 0. The last known one if the batch has"
                " no text of the domain.",
                READ,
            ),
        ),
    ),
)
CHECKS = (
    Check(
        "weights_sum_to_one",
        True,
        "The weights of each mixture, and of each step of a proxy, are at least 0 and sum to 1.",
    ),
    Check("as_wanted", True, "Each training read the wanted share of each domain, up to one window."),
    Check("every_loss", True, "Every mixture, seed and target has a finite loss above 0, or the reason why not."),
    Check("mixtures_differ", False, "No two mixtures read the same shares."),
    Check("none_failed", False, "No training failed."),
)
MIXTURES, STEPS = ([column.name for column in table.columns] for table in (TABLES[0], TABLES[2]))

stage = Stage(
    name=NAME,
    code_version="1",
    compute=compute,
    description="Small models, each trained from scratch on one mixture of the domains under one seed. `mixtures` has"
    " the wanted weights and the shares that were read, `mixture_losses` the loss on every target, `mixture_steps` the"
    " course of DoReMi's weights. Each training is kept. Not used unless settings/budget.base is mixture.",
    tables=TABLES,
    checks=CHECKS,
    picture=True,
    expensive=True,
    inputs=("corpus", "mixture_domains"),
    reads={
        "mixing": field_names(Mixing, "runs", "model", "training"),
        "budget": ("total", "unit"),
    },
    group="mixing",
    unused=no_mixture,
)
