"""A forecast of the seconds and the disk that a run will take, for each asset.

A stage that was computed in this data folder has a measured cost. For another pool this cost is scaled by its driver
(bytes read, tokens embedded, documents, documents with and without a vector, tokens probed, tokens times parameters
trained). A stage that was never computed, or only on a tiny pool, has a guess: rates that were measured once on two
cores.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grip_assets.engine.in_force import Record
from grip_assets.engine.plan import Step
from grip_assets.engine.stage import Settings, Stage, setting_changes
from grip_assets.errors import GripError
from grip_assets.runtime import device
from grip_assets.settings import (
    OF_A_MODEL,
    Adaptation,
    Attribution,
    Clustering,
    Corpus,
    Embedding,
    Mixing,
    NearDuplicates,
    Probe,
    field_names,
)
from grip_assets.stages.attribution.counterfactuals import tokens_to_train
from grip_assets.stages.attribution.reference_model import number_of_parameters
from grip_assets.stages.attribution.sources.gradients import PASSES
from grip_assets.stages.curation.corpus import pool
from grip_assets.stages.curation.near_duplicates import not_asked_for, recall_in_words
from grip_assets.stages.mixing.mixture_runs import number_of_mixtures
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.disk import existing
from grip_assets.training.recipe import Shape, parameters

MAPPED = 3_000  # documents of the map at most
WINDOW = 256  # tokens of a window of the packaged encoder
BYTES_A_TOKEN, BYTES_A_ROW = 3.5, 4_000  # of source code and prose; of a row of a table
FAR = 4  # a measurement of fewer than TELLING documents is mostly start-up: it is scaled by this factor at most
TELLING = 1_000
GUESS = "guess"


@dataclass(frozen=True)
class Size:
    """The size of a pool. ``known``: whether the pool was read before; if not, its files were only listed.
    ``embedded``: documents with a vector; None: all."""

    documents: int
    tokens: int
    n_bytes: int
    known: bool
    embedded: int | None = None

    @property
    def vectors(self) -> int:
        return self.documents if self.embedded is None else self.embedded


@dataclass(frozen=True)
class Rate:
    """Seconds and bytes on the disk: a fixed part, and a part for each unit of the ``driver``."""

    driver: str
    fixed: float
    each: float
    fixed_bytes: int = 5_000
    bytes_each: float = 0.0


# From `make run` on two idle cores (an AMD EPYC) and, for clusters and subset, from the million documents of
# docs/performance.md; vectors of 384 dimensions, texts compressed to about a third.
RATES = {
    "corpus": Rate("bytes", 3, 1 / 3.5e6, bytes_each=0.25),
    "headers": Rate("bytes", 1, 1 / 4e6, bytes_each=0.002),
    "near_duplicates": Rate("bytes", 3, 1 / 8e6, bytes_each=0.4),  # signatures, and the documents that go on
    "embeddings": Rate("embedded", 3, 1 / 6_200, bytes_each=0.5),  # artifact and shards: 1.6 kB a document
    "partition": Rate("vectors", 6, 4e-5),
    "student": Rate("labelled", 8, 1 / 3_000, bytes_each=45),
    "clusters": Rate("documents", 2, 1.5e-5, bytes_each=860),
    "taxonomy": Rate("documents", 3, 3e-4, bytes_each=90),
    "corpus_map": Rate("mapped", 3, 5e-3, bytes_each=30),
    "cluster_report": Rate("documents", 3, 1e-4),
    "balance": Rate("documents", 8, 4e-4),
    "sigma_k": Rate("documents", 0.3, 1e-5),
    "probe_set": Rate("documents", 0.5, 1e-4, bytes_each=760),
    "adaptation_deltas": Rate("probed", 8, 1 / 800),
    "quality_scores": Rate("judged", 1, 1 / 90, bytes_each=150),
    "mixture_domains": Rate("bytes", 6, 1 / 2e6, bytes_each=0.02),
    "mixture_runs": Rate("trained", 15, 1e-10),  # 0.56 million parameters: 12,900 tokens a second on one core
    "attribution_targets": Rate("bytes", 6, 1 / 2e6, bytes_each=0.01),
    "reference_model": Rate("referenced", 8, 1.4e-10),  # one training, so one core
    "counterfactuals": Rate("retrained", 20, 1e-10),
    "densities": Rate("vectors", 2, 1e-5, bytes_each=60),
    "subset": Rate("documents", 1, 2e-6, bytes_each=80),
    "knobs": Rate("documents", 1, 2e-5),
    "stability": Rate("documents", 1, 2e-5),
    "report": Rate("documents", 6, 1e-4, fixed_bytes=5_000_000),
}
# Seconds a byte of the steps that settings/corpus turns on, on one core; measured on 904 files of source code.
STEPS = {"personal_data": 1.2e-7, "secrets": 6.8e-8, "licences": 2.4e-8, "prose": 1.4e-7, "code": 1.2e-6}
GEM = Rate("documents", 6, 1.5e-3)  # the stage partition with clustering.method=gem, 24 components and three starts
ON_A_GPU = 2e-13  # seconds for a token and parameter that is trained on a GPU; not measured
TRAINED = ("trained", "referenced", "retrained")  # drivers: tokens times parameters that are trained
SKETCHES = Rate("tokens", 6, 0)  # and SKETCHED seconds for each operation, and COUNTED for each token of unigram
SKETCHED, COUNTED = 2.5e-11, 1.5e-6
NAMED = 135e6  # weights of a reference that settings name: those of the packaged one
OTHER = Rate("documents", 1, 1e-6)
A_RUN = Rate("documents", 8, 0, fixed_bytes=1_000_000)  # starting, the event log, checks


@dataclass(frozen=True)
class Cost:
    """The forecast of one asset.

    ``basis``: where the figures come from, "measured here", "scaled from N documents" or "guess"; "" if the asset is
    reused or unused, which costs nothing.
    """

    asset: str
    action: str
    why: str
    version: str | None
    seconds: float
    n_bytes: int
    basis: str


@dataclass(frozen=True)
class Forecast:
    """``costs``: of the stages, then of the page, then of the run itself. ``notes``: sentences about the settings."""

    costs: list[Cost]
    size: Size | None
    free_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(cost.seconds for cost in self.costs)

    @property
    def n_bytes(self) -> int:
        return sum(cost.n_bytes for cost in self.costs)

    @property
    def to_compute(self) -> list[Cost]:
        return [cost for cost in self.costs if cost.action == "compute"]


def forecast(
    steps: Sequence[Step],
    stages: Mapping[str, Stage],
    settings: Settings,
    store: ArtifactStore,
    records: Mapping[str, Record],
) -> Forecast:
    """The cost of the ``steps`` of a plan. ``records``: the latest materializations; the page's own has its seconds."""
    free = shutil.disk_usage(existing(store.root)).free
    if all(step.action != "compute" for step in steps):
        return Forecast([_free(step) for step in steps], None, free)
    size = pool_size(settings, steps, store)
    drivers = _drivers(settings, size)
    versions = {step.asset: step.version for step in steps}
    drivers["trained"] -= _kept_trainings(stages, settings, store, versions) * _of_one_training(Mixing.of(settings))
    drivers |= _to_attribute(stages, settings, store, versions)
    costs = [
        _cost(step, stages[step.asset], settings, store, size, drivers) if step.action == "compute" else _free(step)
        for step in steps
    ]
    return Forecast([*costs, _page(records, size), *_run_itself()], size, free, _notes(settings))


def _notes(settings: Settings) -> tuple[str, ...]:
    if not_asked_for(settings):
        return ()
    return (f"near_duplicates {recall_in_words(NearDuplicates.of(settings).effective())}",)


def pool_size(settings: Settings, steps: Sequence[Step], store: ArtifactStore) -> Size:
    """The size of the pool of these settings: as it was read before, or estimated from the listing of its files."""
    size = _size(settings, steps, store)
    embedding = Embedding.of(settings).effective()
    return size if embedding.embeds_all else replace(size, embedded=embedding.n_embedded(size.documents))


def _size(settings: Settings, steps: Sequence[Step], store: ArtifactStore) -> Size:
    version = {step.asset: step.version for step in steps}
    if (of := version.get("corpus")) and store.knows("corpus", of):
        distinct = version.get("near_duplicates")
        known = (
            store.manifest("near_duplicates", distinct)
            if distinct and store.knows("near_duplicates", distinct)
            else None
        )
        return _size_of(store.manifest("corpus", of), known)
    corpus, listed = Corpus.of(settings), pool(settings)
    n_bytes = listed.size()
    documents = listed.n_listed or max(n_bytes // BYTES_A_ROW, 1)
    if corpus.max_documents and not listed.n_listed:
        n_bytes = round(n_bytes * min(corpus.max_documents / documents, 1))
    documents = min(documents, corpus.max_documents or documents)
    return Size(documents, round(n_bytes / BYTES_A_TOKEN), n_bytes, False)


def _size_of(corpus: Mapping[str, Any], distinct: Mapping[str, Any] | None = None) -> Size:
    """The size of the table ``corpus``, without near copies if ``distinct`` is the manifest of near_duplicates."""
    if distinct is not None and "unused" not in distinct:
        documents, tokens = distinct["metrics"]["documents"], distinct["metrics"]["tokens"]
    else:
        documents, tokens = int(corpus["tables"]["corpus"]["rows"]), int(corpus["metrics"].get("tokens", 0))
    return Size(documents, tokens, round(tokens * BYTES_A_TOKEN), True)


def _drivers(settings: Settings, size: Size) -> dict[str, float]:
    clusters = Clustering.of(settings).k or min(max(round(math.sqrt(size.documents)), 16), 1024, size.documents)
    probed = min(clusters * (Adaptation.of(settings).tokens_per_cluster or size.tokens), size.tokens)
    probe = Probe.of(settings)
    embedded = _embedded(size, Embedding.of(settings).model_dump()) * size.vectors / max(size.documents, 1)
    mixing = Mixing.of(settings)
    return {
        "trained": number_of_trainings(mixing, clusters) * _of_one_training(mixing),
        "documents": size.documents,
        "tokens": size.tokens,
        "bytes": size.n_bytes,
        "embedded": embedded,
        "vectors": size.vectors,
        "labelled": size.documents - size.vectors,
        "probed": probed,
        "mapped": min(size.documents, MAPPED),
        "judged": min(max(size.documents * probe.fraction, clusters * probe.min_per_cluster), size.documents),
    }


def number_of_trainings(mixing: Mixing, domains: int) -> int:
    """Small models that mixture_runs trains: of mixtures and, for doremi, of a reference and a proxy."""
    return number_of_mixtures(mixing, domains) * mixing.seeds * (2 if mixing.method == "doremi" else 1)


def _of_one_training(mixing: Mixing) -> float:
    return mixing.tokens * parameters(Shape(**mixing.model_dump(include=set(field_names(Mixing, "model")))))


def _kept_trainings(
    stages: Mapping[str, Stage], settings: Settings, store: ArtifactStore, versions: Mapping[str, str | None]
) -> int:
    """Trainings of this plan that an earlier mixture_runs made: on the same domains, but of fewer mixtures or seeds."""
    stage, found = stages.get("mixture_runs"), 0
    if stage is None or stage.why_unused(settings):
        return 0
    for manifest in store.ever_made(stage.name):
        changes = {change.partition(":")[0] for change in setting_changes(manifest["settings"], stage.values(settings))}
        same = all(versions.get(name) == version for name, version in manifest["inputs"].items())
        if "unused" not in manifest and same and changes <= {"mixing.mixtures", "mixing.seeds"}:
            found = max(found, _shared(manifest, Mixing.of(settings)))
    return found


def _shared(manifest: Mapping[str, Any], now: Mixing) -> int:
    """Trainings that an earlier mixture_runs has in common with one that differs in mixtures or seeds only."""
    then, made = Mixing(**manifest["settings"]["mixing"]), manifest["metrics"].get("trainings", 0)
    shared = min(then.mixtures, now.mixtures) / then.mixtures if now.method == "regmix" else 1
    return round(made * shared * min(then.seeds, now.seeds) / then.seeds)


def _to_attribute(
    stages: Mapping[str, Stage], settings: Settings, store: ArtifactStore, versions: Mapping[str, str | None]
) -> dict[str, float]:
    """Tokens times parameters that reference_model and counterfactuals have yet to train.

    The models of an earlier computation are kept. They depend on the pool, the clusters and the settings of models and
    trainings, not on targets.
    """
    now, found = Attribution.of(settings), {"referenced": 0.0, "retrained": 0.0}
    if (stage := stages.get("reference_model")) and not stage.why_unused(settings) and now.reference is None:
        is_kept = any(_same_models(m, stage, settings, versions) for m in store.ever_made(stage.name))
        found["referenced"] = 0.0 if is_kept else float(now.tokens * number_of_parameters(now))
    if (stage := stages.get("counterfactuals")) and not stage.why_unused(settings):
        earlier = (m for m in store.ever_made(stage.name) if _same_models(m, stage, settings, versions, SUBSETS))
        kept = max((tokens_to_train(_in_common(m, now)) for m in earlier), default=0)
        found["retrained"] = float((tokens_to_train(now) - kept) * number_of_parameters(now, now.start == "scratch"))
    return found


SUBSETS = ("structured", "random", "check_structured", "check_random", "trial_tokens", "seeds", "repeated", "blocks")


def _same_models(
    manifest: Mapping[str, Any],
    stage: Stage,
    settings: Settings,
    versions: Mapping[str, str | None],
    but: Sequence[str] = (),
) -> bool:
    """Whether an earlier computation trained models from the same documents and settings, ``but`` these."""
    changes = {change.partition(":")[0] for change in setting_changes(manifest["settings"], stage.values(settings))}
    of_pool = {
        name: version
        for name, version in manifest["inputs"].items()
        if name in ("corpus", "near_duplicates", "clusters")
    }
    same = all(versions.get(name) == version for name, version in of_pool.items())
    return "unused" not in manifest and same and changes <= {f"attribution.{name}" for name in but}


def _in_common(manifest: Mapping[str, Any], now: Attribution) -> Attribution:
    """Settings whose subsets both an earlier computation and these settings have."""
    then = Attribution(**manifest["settings"]["attribution"])
    least = {name: min(getattr(then, name), getattr(now, name)) for name in SUBSETS if name != "trial_tokens"}
    return now.model_copy(update=least | {"trial_tokens": [n for n in now.trial_tokens if n in then.trial_tokens]})


def _embedded(size: Size, embedding: Mapping[str, Any]) -> int:
    """Tokens that the encoder reads: all of them, or fewer if the settings limit the windows of a document."""
    if embedding["max_windows"] is None:
        return size.tokens
    return min(size.tokens, size.documents * embedding["max_windows"] * (embedding["window"] or WINDOW))


def _cost(
    step: Step, stage: Stage, settings: Settings, store: ArtifactStore, size: Size, drivers: Mapping[str, float]
) -> Cost:
    rate = _rate(stage, settings)
    units = drivers[rate.driver]
    seconds, n_bytes, basis = rate.fixed + rate.each * units, rate.fixed_bytes + rate.bytes_each * units, GUESS
    before = _nearest(stage, settings, store, size)
    if before:
        manifest, at = before
        times = units / max(_measured_units(rate, manifest, at), 1)
        bytes_then = sum(table["bytes"] for table in manifest["tables"].values())
        if times <= FAR or at.documents >= TELLING or rate.driver in TRAINED:
            start = min(rate.fixed, manifest["seconds"] / 2)
            seconds = start + (manifest["seconds"] - start) * times
            n_bytes = bytes_then * max(times, 0.01)
            if stage.name == "corpus":
                then = Corpus(**manifest["settings"]["corpus"])
                seconds += max(_of_steps(Corpus.of(settings)) - _of_steps(then), 0) * units
            same = at.known and (at.documents, at.tokens, at.vectors) == (size.documents, size.tokens, size.vectors)
            basis = "measured here" if same else f"scaled from {at.documents:,} documents"
            if rate.driver in TRAINED:
                made = manifest["metrics"]["trainings_made_now"]
                basis = "measured here" if times == 1 else f"scaled from {made:,} trainings"
    if stage.name == "sketches" and basis == GUESS:
        attribution = Attribution.of(settings).effective()
        n_bytes += 6 * attribution.dim * len(attribution.sources) * size.documents  # the table, and what is kept
    n_bytes += 4 * units / _tokens_of_one(rate.driver, settings)  # the models are kept
    return Cost(step.asset, "compute", step.why, step.version, seconds, round(n_bytes), basis)


def _tokens_of_one(driver: str, settings: Settings) -> float:
    """Tokens of one training of the driver; infinite for a driver that is no training."""
    attribution = Attribution.of(settings)
    tokens = {
        "trained": Mixing.of(settings).tokens,
        "referenced": attribution.tokens,
        "retrained": sum(attribution.trial_tokens) / len(attribution.trial_tokens),
    }
    return tokens.get(driver, math.inf)


def _rate(stage: Stage, settings: Settings) -> Rate:
    if stage.name == "corpus":
        return replace(RATES["corpus"], each=RATES["corpus"].each + _of_steps(Corpus.of(settings)))
    if stage.name == "partition" and Clustering.of(settings).effective().method == "gem":
        return GEM
    if stage.name == "sketches":
        return _sketching(Attribution.of(settings).effective())
    rate = RATES.get(stage.name, OTHER)
    trainer = Mixing.of(settings) if rate.driver == "trained" else Attribution.of(settings)
    if rate.driver in TRAINED and device.for_training(trainer.device) == device.CUDA:
        return replace(rate, fixed=30, each=ON_A_GPU)
    return rate


def _of_steps(corpus: Corpus) -> float:
    """Seconds a byte of the steps that are off by default."""
    asked = {
        "personal_data": corpus.personal_data != "off",
        "secrets": corpus.secrets != "off",
        "licences": corpus.licences,
        "prose": corpus.detect_languages in ("prose", "all"),
        "code": corpus.detect_languages in ("code", "all"),
    }
    return sum(STEPS[name] for name, is_on in asked.items() if is_on)


def _sketching(attribution: Attribution) -> Rate:
    """Sketches by tokens: how much each costs depends on the sources and on the weights of the reference."""
    shape = Shape(**attribution.model_dump(include=set(field_names(Attribution, "model"))))
    weights = parameters(shape) if attribution.reference is None else NAMED
    passes = sum(PASSES.get(source, 6) for source in attribution.sources if source in OF_A_MODEL)
    each = SKETCHED * passes * weights + COUNTED * bool({"unigram", "cross_entropy"} & {*attribution.sources})
    return replace(SKETCHES, each=each)


def _measured_units(rate: Rate, manifest: Mapping[str, Any], at: Size) -> float:
    """Units of the driver in an earlier computation. Documents that were not embedded then do not count."""
    metrics = manifest["metrics"]
    if rate.driver == "trained":
        return metrics["trainings_made_now"] * _of_one_training(Mixing(**manifest["settings"]["mixing"]))
    if rate.driver in TRAINED:
        then = Attribution(**manifest["settings"]["attribution"])
        return metrics["tokens_trained_now"] * number_of_parameters(then, then.start == "scratch")
    if rate.driver == "probed":
        return metrics.get("probe_tokens") or 1
    if rate.driver == "judged":
        return metrics.get("documents_judged") or 1
    if rate.driver == "labelled":
        return metrics.get("documents_labelled_now") or 1
    if rate.driver == "mapped":
        return min(at.documents, MAPPED)
    if rate.driver == "embedded":
        units = _embedded(at, manifest["settings"]["embedding"])
    else:
        sizes = {"documents": at.documents, "tokens": at.tokens, "bytes": at.n_bytes, "vectors": at.vectors}
        units = sizes[rate.driver]
    made_now = metrics.get("documents_embedded_now", metrics.get("documents_sketched_now", at.documents))
    return units * made_now / at.documents


def _nearest(stage: Stage, settings: Settings, store: ArtifactStore, size: Size) -> tuple[dict[str, Any], Size] | None:
    """The best earlier computation to scale from, and its pool: same settings first, then the nearest size."""
    found = []
    for manifest in store.ever_made(stage.name):
        if (
            "unused" in manifest
            or manifest["metrics"].get("documents_embedded_now") == 0
            or manifest["metrics"].get("documents_sketched_now") == 0
            or manifest["metrics"].get("trainings_made_now") == 0
            or not manifest.get("seconds")
        ):
            continue
        try:
            above = store.ancestors(stage.name, manifest["version"])
            at = _size_of(above["corpus"], above.get("near_duplicates"))
            if rows := above.get("embeddings", {}).get("tables", {}).get("embeddings"):
                at = replace(at, embedded=rows["rows"])
        except (GripError, KeyError):
            continue
        other = stage.name != "corpus" and any(setting_changes(manifest["settings"], stage.values(settings)))
        if other and stage.name == "sketches":  # another source may cost a hundred times as much
            continue
        far = abs(math.log(max(size.tokens, 1) / max(at.tokens, 1)))
        found.append((other, far, -manifest["computed_at"], manifest, at))
    best = min(found, key=lambda row: row[:3], default=None)
    return (best[3], best[4]) if best else None


def _page(records: Mapping[str, Record], size: Size) -> Cost:
    rate, record = RATES["report"], records.get("report")
    took = record.metadata.get("seconds") if record else None
    seconds = took or rate.fixed + rate.each * size.documents
    basis = "measured here" if took else GUESS
    return Cost("report", "compute", "shows what is in force", None, float(seconds), rate.fixed_bytes, basis)


def _run_itself() -> list[Cost]:
    return [Cost("the run itself", "compute", "start, checks, log", None, A_RUN.fixed, A_RUN.fixed_bytes, GUESS)]


def _free(step: Step) -> Cost:
    return Cost(step.asset, step.action, step.why, step.version, 0.0, 0, "")
