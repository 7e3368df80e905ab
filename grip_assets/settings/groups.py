"""Every hyperparameter, one group per stage: symbol in the paper, unit, range, default, effect.

Only values and their validation belong here; orchestration/settings_assets.py makes each group a Dagster asset.
Names of spec/grip.md that differ are given as its decision numbers (A1 to A29).

Two kinds of fields are special. ``hashed=False``: how the work is done, not what comes out (batch sizes,
titles); such a value is in no version. ``given=True``: what the user has (pool, models, size of the budget);
a profile is a method and leaves these alone.
"""

import difflib
import hashlib
import json
import re
import types
import typing
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator

from grip_assets.errors import UsageMistake

Strategy = Literal[
    "random",
    "static",
    "quality_replay",
    "loss_replay",
    "diversity",
    "grip",
    "in_force",
    "proportional",
    "by_cluster",
    "by_language",
    "top_quality",
    "semdedup",
    "d4",
    "dsir",
    "longest",
    "shortest",
    "no_sigma",
    "no_quality",
    "no_replay",
    "no_gate",
    "no_density",
    "no_length",
]


def knob(
    default: Any, description: str, symbol: str = "", hashed: bool = True, given: bool = False, **bounds: Any
) -> Any:
    """A pydantic field that knows its symbol in the paper, whether it is hashed and whether it is the user's."""
    extra: dict[str, Any] = {"symbol": symbol, "hashed": hashed, "given": given}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


SIZE = re.compile(r"([+-]?\d+(?:\.\d*)?|\.\d+)\s*(%|[kKMGBT]?)(B?)")
UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}


def size(value: str, annotation: Any, of_bytes: bool) -> Any:
    """The number that ``500M``, ``2B``, ``1.5T`` or ``10%`` stands for; what is none stays as it is. A share is no
    whole number; bytes may be written ``10MB``, and there ``B`` is a byte."""
    match = SIZE.fullmatch(value.strip())
    if match is None:
        return value
    number, unit, byte = match.groups()
    if unit == "%":
        if float not in (annotation, *typing.get_args(annotation)):
            raise ValueError("a share is not possible here, only a number such as 500, 20k or 2M")
        if float(number) > 100:
            raise ValueError("a share is at most 100%")
        return value if byte else float(number) / 100
    if of_bytes and unit == "B":
        unit = ""
    elif byte and not of_bytes:
        return value
    exact = Fraction(number) * UNITS[unit]
    whole = exact.denominator == 1 and (unit or "." not in number)
    return int(exact) if whole else float(exact)


class Group(BaseModel):
    """A settings group. Unknown names, values out of range, infinity and what is no number are refused. Numbers may
    be written as sizes: ``500M``, ``2B``, ``10%``; the values are numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def sizes(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        kinds = {field.annotation, *typing.get_args(field.annotation)}
        if not isinstance(value, str) or not kinds & {int, float}:
            return value
        return size(value, field.annotation, str(info.field_name).endswith("bytes"))

    @classmethod
    def of(cls, settings: Mapping[str, "Group"]) -> Self:
        """This group among the settings of all groups."""
        found = settings[cls.__name__.lower()]
        assert isinstance(found, cls)
        return found


class Corpus(Group):
    """Which documents are in the pool."""

    path: str | None = knob(
        None,
        "Folder, file or URL of the pool; null: the source code installed on this machine.",
        "D",
        given=True,
    )
    format: str | None = knob(
        None,
        "Format: folder, jsonl, parquet, huggingface or environment; null: seen from the path.",
        given=True,
    )
    text_field: str | None = knob(None, "Column of the text; null: text, content or code.", given=True)
    id_field: str | None = knob(None, "Column that names a document; null: file and line.", given=True)
    max_bytes: int = knob(10_000_000, "Longer documents are rejected, with the reason.", gt=0)
    max_documents: int | None = knob(None, "Random sample of the pool; null: all of it.", "N", gt=0)
    tokenizer: str = knob("SmolLM2-135M", "Model whose tokenizer counts n_tokens (the proxy's).", given=True)
    seed: int = knob(0, "Seed of the sample and of what is held out.", ge=0)
    held_out: float = knob(
        0.0, "Share of the projects set aside for evaluation, out of the pool.", given=True, ge=0, lt=1
    )
    project_depth: int = knob(2, "Folders of a file's path that name its project.", given=True, ge=1)
    project_field: str | None = knob(None, "Column of the project; null: a row is a project of its own.", given=True)
    language_field: str | None = knob(
        None, "Column of the language; null: language, lang or programming_language.", given=True
    )
    keep: list[str] = knob([], "Columns of tables that are kept through to the export; '*': all.", given=True)
    benchmarks: list[Literal["humaneval"]] = knob(
        ["humaneval"], "Benchmarks whose problems must not be in the pool.", given=True
    )
    title: str = knob("", "Name of the pool in reports.", hashed=False, given=True)

    @field_validator("path")
    @classmethod
    def no_password(cls, value: str | None) -> str | None:
        if value and urlsplit(value).password:  # it would stand in the event log, in tags and in reports
            raise ValueError("holds a password; leave it out, and give it to the driver as FSSPEC_<PROTOCOL>_PASSWORD")
        return value


NOT_OF_A_POOL = {"path", "tokenizer", "held_out", "benchmarks"}


def pool_fields() -> list[str]:
    """Fields of settings/corpus that describe one pool (its columns, its format, its title) and go with it: all that
    the user has, but the pool itself and what is asked of any pool."""
    fields = Corpus.model_fields.items()
    return [name for name, field in fields if trait(field, "given") and name not in NOT_OF_A_POOL]


class Embedding(Group):
    """How a document becomes a vector: the encoder and its windows; e(x) in the paper [2.2]."""

    model: str = knob(
        "all-MiniLM-L6-v2",
        "Encoder: a packaged name, a local path or a hub name; column: the pool brings its own vectors.",
        "f_θ",
        given=True,
    )
    column: str | None = knob(
        None, "Column of the pool with vectors (lists of numbers), for model: column.", given=True
    )
    pooling: Literal["mean", "cls", "last"] | None = knob(None, "Token vectors to one; null: as the model says.")
    window: int | None = knob(None, "Tokens of a window; null: the model's own.", gt=2)
    max_windows: int | None = knob(None, "Windows embedded of one document, evenly spaced, recorded; null: all.", gt=0)
    dtype: Literal["float32", "bfloat16"] = knob("float32", "Number format of the forward pass.")
    batch_windows: int = knob(1, "Windows of one forward pass; more than 1 pays on a GPU.", hashed=False, gt=0)


class Clustering(Group):
    """How documents are grouped: spherical k-means, and the spread of each cluster [paper eq. 3]."""

    k: int | None = knob(None, "Clusters before merging; null: √N, from 16 to 1,024.", "K", gt=0)
    iterations: int = knob(20, "Lloyd iterations.", gt=0)
    seeds: int = knob(3, "Initialisations; the one with the highest mean cosine is kept.", gt=0)
    min_cluster_docs: int = knob(50, "Smaller clusters are merged into the nearest.", ge=1)
    fit_sample: int = knob(262_144, "Documents that the centroids are fitted on, at most.", gt=0)
    seed: int = knob(0, "First seed of the initialisations and of the sample.", ge=0)
    sigma_center: Literal["unit", "mean"] = knob("unit", "Centre that σ_k is measured from.", "μ_k")


class Probe(Group):
    """How large the sample is that stands for each cluster: the probe set, by Neyman's allocation [paper eq. 4]."""

    fraction: float = knob(0.005, "Size of the probe set as a share of the documents.", "|P|/N", gt=0, le=1)
    min_per_cluster: int = knob(8, "Documents of a cluster at least (or all it has).", ge=1)
    min_for_adaptation: int = knob(
        40,
        "Documents of a cluster that the proxy reads at least (or all it has). Those beyond the probe are not judged.",
        ge=1,
    )
    seed: int = knob(0, "Seed of the draw.", ge=0)


class Quality(Group):
    """Who judges the probe documents, and how their scores become the quality of a cluster [paper 3.2]."""

    judge: Literal["static", "llm", "column"] = knob(
        "static", "Static analysis, a language model over HTTP, or a column of the pool with scores."
    )
    column: str | None = knob(
        None, "Column with a number for each document, for judge: column; corpus.keep must name it too.", given=True
    )
    column_range: list[float] = knob(
        [],
        "Two values of the column, those that are scores 0 and 1; between them it is linear, outside it is cut off."
        " Empty: a score is the value's quantile in the pool.",
        given=True,
    )
    model: str = knob("", "Model that the endpoint serves; for judge: llm.", given=True)
    temperature: float | None = knob(0.0, "Sampling temperature; null: the model's own.", ge=0, le=2)
    max_tokens: int = knob(512, "Tokens of an answer at most; more for a model that thinks aloud.", gt=0)
    rubric: str = knob("code", "Rubric: code (the paper's), prose, or a file of yours; the static judge has its own.")
    windows: int = knob(3, "Parts of a long document that are shown: start, end, and between them by hash.", gt=0)
    window_chars: int = knob(4000, "Characters of a part.", ge=100)
    dimensions: list[Literal["syntax_integrity", "architecture", "educational_value", "technical_depth"]] = knob(
        ["syntax_integrity", "architecture", "educational_value", "technical_depth"],
        "Rubric scores whose mean is the document's score.",
        min_length=1,
    )
    shrinkage: float = knob(4.0, "Pseudo-documents of the overall mean in Q_k; 0 in the paper.", "m_0", ge=0)
    target_error: float | None = knob(
        None, "More documents are judged until every cluster's standard error is below; null: only the probe.", gt=0
    )
    min_judged: int = knob(2, "A cluster with fewer judged documents is reported.", ge=1)
    max_failed: float = knob(0.1, "Share of failed documents above which nothing follows.", ge=0, le=1)
    seed: int = knob(0, "Seed of the parts shown and of the further documents.", ge=0)
    mode: Literal["live", "batch"] = knob("live", "One request a document, or the Batch API.", hashed=False)
    max_calls: int | None = knob(None, "Requests of a run at most; the next run goes on.", hashed=False, ge=0)
    max_cost: float | None = knob(None, "Cost of a run at most, in the unit of the prices.", hashed=False, ge=0)
    price_in: float | None = knob(None, "Price of a million prompt tokens.", hashed=False, given=True, ge=0)
    price_out: float | None = knob(None, "Price of a million answer tokens.", hashed=False, given=True, ge=0)
    repeats: int = knob(20, "Documents that an LLM judge judges twice, for judge_report.", ge=0)
    gold: str | None = knob(
        None, "Your own scores, for judge_report: CSV, JSONL or Parquet with doc_id or source.", given=True
    )

    @field_validator("column_range")
    @classmethod
    def two_that_rise(cls, value: list[float]) -> list[float]:
        if value and not (len(value) == 2 and value[0] < value[1]):
            raise ValueError("must be two numbers, the first below the second, or empty")
        return value

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """In the unit of the prices; 0 where they are not set."""
        return ((self.price_in or 0.0) * prompt_tokens + (self.price_out or 0.0) * completion_tokens) / 1e6


class Adaptation(Group):
    """What a small model still learns from each cluster: the Rapid Adaptation Probe [paper eq. 6]."""

    proxy: str = knob(
        "SmolLM2-135M",
        "Proxy model: a packaged name, a local path or a hub name; or unigram: counts of settings/corpus.tokenizer's"
        " tokens, and no model.",
        given=True,
    )
    form: Literal["closed", "steps"] = knob(
        "closed", "How drops are found; closed: AdamW's first step from a head of zeros, by formula; steps: training."
    )
    folds: int = knob(5, "Parts of a cluster's documents, each held out once. For form: closed.", ge=2, le=20)
    reset_depth: int = knob(0, "Last blocks that are reset with the head; above 0 for form: steps.", "N", ge=0, le=64)
    learning_rate: float = knob(3e-4, "Learning rate of AdamW. With form: closed it only scales the drops.", "lr", gt=0)
    epochs: int = knob(10, "Full-batch steps. For form: steps.", "n", gt=0)
    seeds: int = knob(1, "Shared initialisations averaged; one is enough at depth 0. For form: steps.", ge=1)
    evaluate: Literal["held_out", "train"] = knob("held_out", "Documents that the loss is measured on.")
    delta: Literal["relative", "absolute"] = knob("relative", "Form of the drop that the budget uses.", "ΔL or δL")
    tokens_per_cluster: int | None = knob(20480, "Probe tokens of a cluster; null: all.", gt=1)
    window: int = knob(512, "Tokens of a training window.", gt=1)
    init_std: float = knob(0.02, "Standard deviation of the reset weights. For form: steps.", "θ_init", gt=0)
    seed: int = knob(0, "Seed of passages and folds; first seed of the initialisations.", ge=0)
    checkpoints: str | None = knob(
        None, "Folder whose newest checkpoint becomes the proxy (sensor new_checkpoint).", hashed=False, given=True
    )
    micro_batch: int = knob(256, "Tokens whose logits are held at once. For form: steps.", hashed=False, gt=0)

    @property
    def passes(self) -> int:
        """How often the proxy reads each token of the probe."""
        return self.epochs * self.seeds if self.form == "steps" else 1


class Budget(Group):
    """How large the subset is, and how it is shared out among the clusters [paper eq. 5, 7, 8]."""

    total: float = knob(
        0.25,
        "Size. Up to 1.0: a share of the pool (10%, 1.0 is all of it); otherwise a count (200000, 500M, 2B).",
        "B_total",
        gt=0,
        given=True,
    )
    unit: Literal["tokens", "documents"] = knob("tokens", "Unit of N_k and of the budget.", given=True)
    tau: float = knob(0.5, "Exponent of a cluster's size and spread, N_k σ_k.", "τ", ge=0, le=4)
    temperature: float = knob(1.0, "Temperature of the quality term.", "T", gt=0)
    use_sigma: bool = knob(True, "Spread σ_k in the base budget.", "σ_k")
    use_quality: bool = knob(True, "Quality term in the base budget.", "exp(Q_k/T)")
    quality_scale: Literal["unit", "raw", "zscore"] = knob("unit", "Scale of Q_k in the quality term.", "Q_k")
    replay: Literal["none", "quality", "loss"] = knob("loss", "What the multiplier follows.", "r_k")
    alpha: float = knob(2.0, "Largest addition to the multiplier.", "α", ge=0)
    gate: float = knob(0.4, "Quality that a cluster needs for replay, from 0 to 1.", "τ_th", ge=0, le=1)
    quality_bound: float = knob(0.0, "Standard errors taken off Q_k: budget by a lower confidence bound.", "z", ge=0)
    gate_quantile: float | None = knob(None, "Gate at this quantile of Q_k instead.", ge=0, le=1)
    direction: Literal["deficit", "learnable"] = knob("deficit", "Replay small drops, or large ones.")
    norm_weights: Literal["uniform", "size"] = knob("uniform", "Weights of the mean drop.", "τ_norm")
    overflow: Literal["waterfill", "repeat", "error"] = knob("waterfill", "What a budget above its cluster does.")
    max_repeats: int = knob(1, "Copies of a document at most, with overflow: repeat.", ge=1)

    @field_validator("total", mode="before")
    @classmethod
    def a_share_or_a_count(cls, value: Any) -> Any:
        value = size(value, float, False) if isinstance(value, str) else value
        if isinstance(value, int) and not isinstance(value, bool) and value == 1:
            raise ValueError("1 is a count of one, which is hardly meant: write 100% or 1.0 for the whole pool")
        if isinstance(value, float) and 1 < value < 2:
            raise ValueError("it is neither a share (at most 1.0, or 100%) nor a count")
        return value


class Selection(Group):
    """Which documents of a cluster are drawn: by how unusual and how long they are [paper eq. 9, 10]."""

    weight: Literal["uniform", "length", "density"] = knob(
        "density", "Weights of the draw: all alike, the length term alone, or both terms."
    )
    beta: float = knob(0.3, "Exponent of the length.", "β", ge=0, le=3)
    neighbours: int = knob(10, "Nearest neighbours in the density.", "k", ge=1)
    bandwidth: str = knob("median", "Width: median (of the neighbour distances of the cluster) or a number.", "h")
    bandwidth_scale: float = knob(1.0, "Factor on the bandwidth.", gt=0)
    split: int = knob(200_000, "Larger clusters are split for the search of neighbours.", ge=1000)
    rho_floor: float = knob(0.01, "Least density, as a share of k; 0 in the paper.", "ρ", ge=0, lt=1)
    clip_quantile: float = knob(0.995, "Weights above this quantile are clipped; 1 in the paper.", gt=0, le=1)
    max_tokens: int | None = knob(None, "Longer documents are left out of the draw; null: none is.", gt=0)
    seed: int = knob(0, "Seed of the draw.", ge=0)

    @field_validator("bandwidth", mode="before")
    @classmethod
    def median_or_a_positive_number(cls, value: Any) -> str:
        if value == "median":
            return "median"
        try:
            positive = float(value) > 0
        except (TypeError, ValueError):
            positive = False
        if not positive:
            raise ValueError("must be 'median' or a number above 0")
        return str(float(value))


class Reports(Group):
    """What the reports look into."""

    stability_seeds: int = knob(
        0,
        "Other seeds of clustering and probe that the chain is made again with, for stability. Each costs what these"
        " parts of the chain cost, an LLM judge's calls included; 0: only other seeds of the draw, which cost nothing.",
        given=True,
        ge=0,
        le=20,
    )


class Evaluation(Group):
    """A small language model, trained from nothing on what each strategy selects, and how well it then predicts."""

    strategies: list[Strategy] = knob(
        list(typing.get_args(Strategy)),
        "What is compared: Panel B, your settings, baselines, GRIP without one part.",
        min_length=1,
    )
    seeds: int = knob(3, "Draws and trainings of each strategy, under the same seeds for all.", ge=2, le=50)
    seed: int = knob(0, "First seed.", ge=0)
    tokens: int = knob(600_000, "Tokens that a model is trained on; a smaller subset is read more than once.", gt=0)
    vocabulary: int = knob(4096, "Tokens of the byte-level BPE that is learned on the pool.", ge=300)
    hidden: int = knob(192, "Width of the model, a Llama.", gt=0)
    layers: int = knob(4, "Blocks.", gt=0)
    heads: int = knob(3, "Attention heads; they divide the width.", gt=0)
    context: int = knob(256, "Tokens of a training window.", ge=16)
    batch_tokens: int = knob(1024, "Tokens of a step.", gt=0)
    learning_rate: float = knob(1e-3, "Peak rate: a tenth of the steps warms up, then a cosine to a tenth.", gt=0)
    dtype: Literal["float32", "bfloat16"] = knob("bfloat16", "Number format of products; weights are float32.")
    device: Literal["cpu", "cuda"] = knob("cpu", "Where models are trained.")
    documents: int = knob(400, "Held-out documents that are predicted, at most.", gt=0)
    passage: int = knob(1000, "Bytes of a held-out document that are predicted, at most.", ge=100)
    target: str | None = knob(
        None,
        "Your target set (folder, JSONL, Parquet): predicted too, and what DSIR selects for; null: the benchmarks.",
        given=True,
    )
    pass_at_1: bool = knob(
        False, "Run what the models write for the benchmarks' problems, in a process of its own: only in a sandbox."
    )
    other_proxy: str | None = knob(
        None, "Proxy that `sensitivity` compares with; null: a model trained here on a random subset.", given=True
    )
    other_encoder: str = knob("SmolLM2-135M", "Encoder that `length_slopes` compares with.", given=True)

    @field_validator("strategies")
    @classmethod
    def with_random(cls, value: list[str]) -> list[str]:
        if "random" not in value:
            raise ValueError("must have 'random', which all others are compared with")
        return list(dict.fromkeys(value))


GROUPS: dict[str, type[Group]] = {
    "corpus": Corpus,
    "embedding": Embedding,
    "clustering": Clustering,
    "probe": Probe,
    "quality": Quality,
    "adaptation": Adaptation,
    "budget": Budget,
    "selection": Selection,
    "reports": Reports,
    "evaluation": Evaluation,
}


def trait(field: pydantic.fields.FieldInfo, name: str) -> Any:
    """``symbol``, ``hashed`` or ``given`` of a field."""
    return typing.cast(dict, field.json_schema_extra)[name]


def digest(value: Any) -> str:
    """The name of a JSON-able value: 16 hex digits of the SHA-256 of its canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def version(settings: Group) -> str:
    """Data version of a group: what its hashed values say."""
    return digest(hashed_values(settings))


def hashed_values(settings: Group, fields: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The values that make a version: those of ``fields`` (default: all) that change a result."""
    known = type(settings).model_fields
    values = settings.model_dump(mode="json")
    return {n: v for n, v in values.items() if trait(known[n], "hashed") and (fields is None or n in fields)}


def flat(settings: Mapping[str, Group]) -> dict[str, Any]:
    """``group.field`` to value."""
    return {f"{g}.{n}": v for g, values in settings.items() for n, v in values.model_dump(mode="json").items()}


def validate(group: str, values: Mapping[str, Any]) -> Group:
    """Settings of ``group`` from plain values.

    Raises UsageMistake naming ``settings/<group>.<field>``, what is wrong with it, and the nearest known name.
    """
    try:
        return group_type(group)(**values)
    except pydantic.ValidationError as error:
        raise UsageMistake("\n".join(_complaint(group, e) for e in error.errors())) from None


def group_type(group: str) -> type[Group]:
    if group not in GROUPS:
        raise UsageMistake(f"There is no settings group '{group}'. {nearest(group, GROUPS)}")
    return GROUPS[group]


def _complaint(group: str, error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"settings/{group} has no field '{name}'. {nearest(name, GROUPS[group].model_fields)}"
    field = GROUPS[group].model_fields[name]
    if error["type"] == "literal_error":
        allowed = dict.fromkeys(choices(field.annotation))
        return f"settings/{group}.{name} cannot be {error['input']!r}. {nearest(str(error['input']), allowed)}"
    return (
        f"settings/{group}.{name} cannot be {error['input']!r}: {error['msg'].removeprefix('Value error, ')}."
        f" It is: {field.description} Default: {json.dumps(field.get_default())}."
    )


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """A sentence that suggests the known name nearest to a wrong one, or lists them all."""
    match = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean '{match[0]}'?" if match else f"Choose one of: {', '.join(known)}."


def choices(annotation: Any) -> tuple[str, ...]:
    """The strings that a field (or each item of it) takes, where only some are allowed; empty otherwise."""
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return inner
    return next((found for option in inner if (found := choices(option))), ())


def nullable(annotation: Any) -> bool:
    return types.NoneType in typing.get_args(annotation)
