"""Every hyperparameter, one group per stage: symbol in the paper, unit, range, default, effect.

Only values and their validation belong here. What a field knows of itself is in fields.py, what a group can do is in
group.py; orchestration/settings_assets.py makes each group a Dagster asset. Names of spec/grip.md that differ are given
as its decision numbers (A1 to A29).
"""

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from grip_assets import profiles
from grip_assets.settings.fields import Not, knob, nearest, size, trait
from grip_assets.settings.group import Group


class Corpus(Group):
    """Which documents are in the pool."""

    name = "corpus"

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


ENCODED = {"model": Not("column")}


class Embedding(Group):
    """How a document becomes a vector: the encoder and its windows; e(x) in the paper [2.2]."""

    name = "embedding"

    model: str = knob(
        "all-MiniLM-L6-v2",
        "Encoder: a packaged name, a local path or a hub name; column: the pool brings its own vectors.",
        "f_θ",
        given=True,
    )
    column: str | None = knob(
        None, "Column of the pool with vectors (lists of numbers).", given=True, when={"model": "column"}
    )
    pooling: Literal["mean", "cls", "last"] | None = knob(
        None, "Token vectors to one; null: as the model says.", when=ENCODED
    )
    window: int | None = knob(None, "Tokens of a window; null: the model's own.", when=ENCODED, gt=2)
    max_windows: int | None = knob(
        None, "Windows embedded of one document, evenly spaced, recorded; null: all.", when=ENCODED, gt=0
    )
    dtype: Literal["float32", "bfloat16"] = knob("float32", "Number format of the forward pass.", when=ENCODED)
    batch_windows: int = knob(
        1, "Windows of one forward pass; more than 1 pays on a GPU.", hashed=False, when=ENCODED, gt=0
    )


FITTED = {"keep": None}
BY_KMEANS = {"method": "kmeans", "keep": None}


class Clustering(Group):
    """How documents are grouped: a partition of the pool into clusters, and the spread of each [paper eq. 3]."""

    name = "clustering"

    method: Literal["kmeans", "column"] = knob(
        "kmeans",
        "Spherical k-means on the embeddings, or a column of the pool: each of its values is a cluster.",
        when=FITTED,
        added=True,
    )
    column: str = knob(
        "language",
        "Column: language, source, pool, or one that corpus.keep names. Rare values become one cluster, (other), and"
        " documents without a value another one, (missing).",
        given=True,
        when={"method": "column", "keep": None},
        added=True,
    )
    keep: str | None = knob(
        None,
        "Version of an earlier partition, or in_force: new documents are assigned to it, and nothing is fitted; null:"
        " fitted anew for every pool.",
        given=True,
        added=True,
    )
    k: int | None = knob(
        None, "Clusters before small ones are dissolved; null: √N, from 16 to 1,024.", "K", when=BY_KMEANS, gt=0
    )
    iterations: int = knob(20, "Lloyd iterations of a start; the best one goes on to rest.", when=BY_KMEANS, gt=0)
    seeds: int = knob(3, "Starts; the one with the highest mean cosine is kept.", when=BY_KMEANS, gt=0)
    min_cluster_docs: int = knob(50, "Smaller clusters are dissolved: their documents go to the others.", ge=1)
    fit_sample: int = knob(262_144, "Documents that the partition is fitted on, at most.", when=FITTED, gt=0)
    seed: int = knob(0, "First seed of the starts and of the sample.", when=FITTED, ge=0)
    sigma_center: Literal["unit", "mean"] = knob("unit", "Centre that σ_k is measured from.", "μ_k")

    @field_validator("keep")
    @classmethod
    def a_version(cls, value: str | None) -> str | None:
        return value.strip() or None if value is not None else None


class Probe(Group):
    """How large the sample is that stands for each cluster: the probe set, by Neyman's allocation [paper eq. 4]."""

    name = "probe"

    fraction: float = knob(0.005, "Size of the probe set as a share of the documents.", "|P|/N", gt=0, le=1)
    min_per_cluster: int = knob(8, "Documents of a cluster at least (or all it has).", ge=1)
    min_for_adaptation: int = knob(
        40,
        "Documents of a cluster that the proxy reads at least (or all it has). Those beyond the probe are not judged.",
        ge=1,
    )
    seed: int = knob(0, "Seed of the draw.", ge=0)


ASKED = {"judge": "llm"}
SCORED_BY_COLUMN = {"judge": "column"}


class Quality(Group):
    """Who judges the probe documents, and how their scores become the quality of a cluster [paper 3.2]."""

    name = "quality"

    judge: Literal["static", "llm", "column"] = knob(
        "static", "Static analysis, a language model over HTTP, or a column of the pool with scores."
    )
    column: str | None = knob(
        None,
        "Column with a number for each document; corpus.keep must name it too.",
        given=True,
        when=SCORED_BY_COLUMN,
    )
    column_range: list[float] = knob(
        [],
        "Two values of the column, those that are scores 0 and 1; between them it is linear, outside it is cut off."
        " Empty: a score is the value's quantile in the pool.",
        given=True,
        when=SCORED_BY_COLUMN,
    )
    model: str = knob("", "Model that the endpoint serves.", given=True, when=ASKED)
    temperature: float | None = knob(0.0, "Sampling temperature; null: the model's own.", when=ASKED, ge=0, le=2)
    max_tokens: int = knob(512, "Tokens of an answer at most; more for a model that thinks aloud.", when=ASKED, gt=0)
    rubric: str = knob("code", "Rubric: code (the paper's), prose, or a file of yours.", when=ASKED)
    windows: int = knob(
        3, "Parts of a long document that are shown: start, end, and between them by hash.", when=ASKED, gt=0
    )
    window_chars: int = knob(4000, "Characters of a part.", when=ASKED, ge=100)
    dimensions: list[Literal["syntax_integrity", "architecture", "educational_value", "technical_depth"]] = knob(
        ["syntax_integrity", "architecture", "educational_value", "technical_depth"],
        "Rubric scores whose mean is the document's score.",
        when={"judge": ["static", "llm"]},
        min_length=1,
    )
    shrinkage: float = knob(4.0, "Pseudo-documents of the overall mean in Q_k; 0 in the paper.", "m_0", ge=0)
    target_error: float | None = knob(
        None, "More documents are judged until every cluster's standard error is below; null: only the probe.", gt=0
    )
    min_judged: int = knob(2, "A cluster with fewer judged documents is reported.", ge=1)
    max_failed: float = knob(0.1, "Share of failed documents above which nothing follows.", ge=0, le=1)
    seed: int = knob(0, "Seed of the parts shown and of the further documents.", ge=0)
    mode: Literal["live", "batch"] = knob("live", "One request a document, or the Batch API.", hashed=False, when=ASKED)
    max_calls: int | None = knob(
        None, "Requests of a run at most; the next run goes on.", hashed=False, when=ASKED, ge=0
    )
    max_cost: float | None = knob(
        None, "Cost of a run at most, in the unit of the prices.", hashed=False, when=ASKED, ge=0
    )
    price_in: float | None = knob(None, "Price of a million prompt tokens.", hashed=False, given=True, when=ASKED, ge=0)
    price_out: float | None = knob(
        None, "Price of a million answer tokens.", hashed=False, given=True, when=ASKED, ge=0
    )
    repeats: int = knob(20, "Documents that are judged twice, for judge_report.", when=ASKED, ge=0)
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


STEPS = {"form": "steps"}
A_MODEL = {"proxy": Not("unigram")}


class Adaptation(Group):
    """What a small model still learns from each cluster: the Rapid Adaptation Probe [paper eq. 6]."""

    name = "adaptation"

    proxy: str = knob(
        "SmolLM2-135M",
        "Proxy model: a packaged name, a local path or a hub name; or unigram: counts of settings/corpus.tokenizer's"
        " tokens, and no model.",
        given=True,
    )
    form: Literal["closed", "steps"] = knob(
        "closed",
        "How drops are found; closed: AdamW's first step from a head of zeros, by formula; steps: training.",
        when=A_MODEL,
    )
    folds: int = knob(5, "Parts of a cluster's documents, each held out once.", ge=2, le=20)
    reset_depth: int = knob(
        0, "Last blocks that are reset with the head, which alone has a closed form.", "N", when=STEPS, ge=0, le=64
    )
    learning_rate: float = knob(
        3e-4, "Learning rate of AdamW. With form: closed it only scales the drops.", "lr", when=A_MODEL, gt=0
    )
    epochs: int = knob(10, "Full-batch steps.", "n", when=STEPS, gt=0)
    seeds: int = knob(1, "Shared initialisations averaged; one is enough at depth 0.", when=STEPS, ge=1)
    evaluate: Literal["held_out", "train"] = knob("held_out", "Documents that the loss is measured on.")
    delta: Literal["relative", "absolute"] = knob("relative", "Form of the drop that the budget uses.", "ΔL or δL")
    tokens_per_cluster: int | None = knob(20480, "Probe tokens of a cluster; null: all.", gt=1)
    window: int = knob(512, "Tokens of a training window.", gt=1)
    init_std: float = knob(0.02, "Standard deviation of the reset weights.", "θ_init", when=STEPS, gt=0)
    seed: int = knob(0, "Seed of passages and folds; first seed of the initialisations.", ge=0)
    checkpoints: str | None = knob(
        None, "Folder whose newest checkpoint becomes the proxy (sensor new_checkpoint).", hashed=False, given=True
    )
    micro_batch: int = knob(256, "Tokens whose logits are held at once.", hashed=False, when=STEPS, gt=0)

    @property
    def passes(self) -> int:
        """How often the proxy reads each token of the probe."""
        return self.epochs * self.seeds if self.form == "steps" else 1


NEYMAN = {"base": "neyman"}
REPLAYED = {"replay": ["quality", "loss"]}


class Budget(Group):
    """How large the subset is, and how it is shared out among the clusters [paper eq. 5, 7, 8]."""

    name = "budget"

    total: float = knob(
        0.25,
        "Size. Up to 1.0: a share of the pool (10%, 1.0 is all of it); otherwise a count (200000, 500M, 2B).",
        "B_total",
        gt=0,
        given=True,
    )
    unit: Literal["tokens", "documents"] = knob("tokens", "Unit of N_k and of the budget.", given=True)
    base: Literal["neyman", "proportional", "given"] = knob(
        "neyman",
        "What the budget is shared by before replay. neyman: size, spread and quality; proportional: size alone; given:"
        " your weights.",
        added=True,
    )
    weights: str | None = knob(
        None,
        "File of a weight for each cluster (JSON, YAML or CSV), by its id or by its value in the column of the"
        " partition.",
        given=True,
        when={"base": "given"},
        added=True,
    )
    tau: float = knob(0.5, "Exponent of a cluster's size and spread, N_k σ_k.", "τ", when=NEYMAN, ge=0, le=4)
    temperature: float = knob(1.0, "Temperature of the quality term.", "T", when={"use_quality": True}, gt=0)
    use_sigma: bool = knob(True, "Spread σ_k in the base budget.", "σ_k", when=NEYMAN)
    use_quality: bool = knob(True, "Quality term in the base budget.", "exp(Q_k/T)", when=NEYMAN)
    quality_scale: Literal["unit", "raw", "zscore"] = knob(
        "unit", "Scale of Q_k in the quality term.", "Q_k", when={"use_quality": True}
    )
    replay: Literal["none", "quality", "loss"] = knob("loss", "What the multiplier follows.", "r_k")
    alpha: float = knob(2.0, "Largest addition to the multiplier.", "α", when=REPLAYED, ge=0)
    gate: float = knob(
        0.4,
        "Quality that a cluster needs for replay, from 0 to 1.",
        "τ_th",
        when={**REPLAYED, "gate_quantile": None},
        ge=0,
        le=1,
    )
    quality_bound: float = knob(
        0.0,
        "Standard errors taken off Q_k: budget by a lower confidence bound.",
        "z",
        when=[{"use_quality": True}, REPLAYED],
        ge=0,
    )
    gate_quantile: float | None = knob(None, "Gate at this quantile of Q_k instead.", when=REPLAYED, ge=0, le=1)
    direction: Literal["deficit", "learnable"] = knob(
        "deficit", "Replay small drops, or large ones.", when={"replay": "loss"}
    )
    norm_weights: Literal["uniform", "size"] = knob("uniform", "Weights of the mean drop.", "τ_norm", when=REPLAYED)
    overflow: Literal["waterfill", "repeat", "error"] = knob("waterfill", "What a budget above its cluster does.")
    max_repeats: int = knob(1, "Copies of a document at most.", when={"overflow": "repeat"}, ge=1)

    @property
    def reads_quality(self) -> bool:
        """Whether Q_k makes a difference: in the base, or as the gate of replay."""
        return self.replay != "none" or (self.applies("use_quality") and self.use_quality)

    @property
    def reads_drops(self) -> bool:
        """Whether the probe's drops make a difference."""
        return self.replay == "loss"

    @property
    def pure(self) -> str:
        """These settings in words, where nothing is replayed: why a measurement is not used."""
        quality = f"{self.name}.use_quality is false and " if self.base == "neyman" else ""
        return f"settings/{self.name}.base is {self.base}, {quality}{self.name}.replay is none"

    @field_validator("total", mode="before")
    @classmethod
    def a_share_or_a_count(cls, value: Any) -> Any:
        value = size(value, float, False) if isinstance(value, str) else value
        if isinstance(value, int) and not isinstance(value, bool) and value == 1:
            raise ValueError("1 is a count of one, which is hardly meant: write 100% or 1.0 for the whole pool")
        if isinstance(value, float) and 1 < value < 2:
            raise ValueError("it is neither a share (at most 1.0, or 100%) nor a count")
        return value


WEIGHTED = {"weight": ["length", "density"]}
BY_DENSITY = {"weight": "density"}


class Selection(Group):
    """Which documents of a cluster are drawn: by how unusual and how long they are [paper eq. 9, 10]."""

    name = "selection"

    rule: Literal[
        "draw",
        "random",
        "by_cluster",
        "by_language",
        "top_quality",
        "semdedup",
        "d4",
        "dsir",
        "longest",
        "shortest",
    ] = knob(
        "draw",
        "What selects: draw, to the budget of each cluster, by weights; by_cluster and by_language, the same of each;"
        " the others, to the whole budget.",
        added=True,
    )
    weight: Literal["uniform", "length", "density"] = knob(
        "density", "Weights of the draw: all alike, the length term alone, or both terms.", when={"rule": "draw"}
    )
    beta: float = knob(0.3, "Exponent of the length.", "β", when=WEIGHTED, ge=0, le=3)
    neighbours: int = knob(10, "Nearest neighbours in the density.", "k", when=BY_DENSITY, ge=1)
    bandwidth: str = knob(
        "median", "Width: median (of the neighbour distances of the cluster) or a number.", "h", when=BY_DENSITY
    )
    bandwidth_scale: float = knob(1.0, "Factor on the bandwidth.", when=BY_DENSITY, gt=0)
    split: int = knob(200_000, "Larger clusters are split for the search of neighbours.", when=BY_DENSITY, ge=1000)
    rho_floor: float = knob(0.01, "Least density, as a share of k; 0 in the paper.", "ρ", when=BY_DENSITY, ge=0, lt=1)
    clip_quantile: float = knob(
        0.995, "Weights above this quantile are clipped; 1 in the paper.", when=WEIGHTED, gt=0, le=1
    )
    max_tokens: int | None = knob(None, "Longer documents are left out; null: none is.", gt=0)
    seed: int = knob(0, "Seed of the draw.", when={"rule": Not(["semdedup", "d4"])}, ge=0)

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

    name = "reports"

    stability_seeds: int = knob(
        0,
        "Other seeds of clustering and probe that the chain is made again with, for stability. Each costs what these"
        " parts of the chain cost, an LLM judge's calls included; 0: only other seeds of the draw, which cost nothing.",
        given=True,
        ge=0,
        le=20,
    )


STRATEGIES = [
    *("random", "static", "quality_replay", "loss_replay", "diversity", "grip"),  # the rungs of Panel B
    "in_force",
    *("proportional", "by_cluster", "by_language", "top_quality", "semdedup", "d4", "dsir", "longest", "shortest"),
    *("no_sigma", "no_quality", "no_replay", "no_gate", "no_density", "no_length"),
]


class Evaluation(Group):
    """A small language model, trained from nothing on what each strategy selects, and how well it then predicts."""

    name = "evaluation"

    strategies: list[str] = knob(
        STRATEGIES,
        "What is compared: profiles of budget and selection (Panel B, baselines, GRIP without one part), and in_force,"
        " your settings.",
        min_length=1,
    )
    seeds: int = knob(3, "Draws and trainings of each strategy, under the same seeds for all.", ge=2, le=50)
    seed: int = knob(0, "First seed.", ge=0)
    tokens: int = knob(
        600_000, "Tokens that a model is trained on; a smaller subset is read more than once.", part="training", gt=0
    )
    vocabulary: int = knob(4096, "Tokens of the byte-level BPE that is learned on the pool.", part="model", ge=300)
    hidden: int = knob(192, "Width of the model, a Llama.", part="model", gt=0)
    layers: int = knob(4, "Blocks.", part="model", gt=0)
    heads: int = knob(3, "Attention heads; they divide the width.", part="model", gt=0)
    context: int = knob(256, "Tokens of a training window.", part="model", ge=16)
    batch_tokens: int = knob(1024, "Tokens of a step.", part="training", gt=0)
    learning_rate: float = knob(
        1e-3, "Peak rate: a tenth of the steps warms up, then a cosine to a tenth.", part="training", gt=0
    )
    dtype: Literal["float32", "bfloat16"] = knob(
        "bfloat16", "Number format of products; weights are float32.", part="training"
    )
    device: Literal["cpu", "cuda"] = knob(
        "cpu", "Where models are trained; the results differ by rounding.", hashed_as="cpu", part="training"
    )
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
        if unknown := [name for name in value if name not in profiles.strategies()]:
            known = dict.fromkeys(profiles.strategies())
            raise ValueError(f"there is no strategy '{unknown[0]}'. {nearest(unknown[0], known)}".rstrip("."))
        if "random" not in value:
            raise ValueError("must have 'random', which all others are compared with")
        return list(dict.fromkeys(value))


GROUPS: dict[str, type[Group]] = {
    schema.name: schema
    for schema in (
        Corpus,
        Embedding,
        Clustering,
        Probe,
        Quality,
        Adaptation,
        Budget,
        Selection,
        Reports,
        Evaluation,
    )
}
