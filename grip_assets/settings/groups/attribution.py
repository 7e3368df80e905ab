"""Settings of sketches, targets and trials."""

import re
from typing import Literal

from pydantic import ValidationInfo, field_validator

from grip_assets.settings.fields import Has, knob, nearest
from grip_assets.settings.group import Group
from grip_assets.settings.groups.corpus import BENCHMARKS
from grip_assets.settings.small_model import Precision, Trainer, of_the_model, of_the_training

GRADIENTS = ("full", "blocks", "head", "factored")  # sources that are gradients of the reference model
OF_A_MODEL = (*GRADIENTS, "hidden")  # sources that need the reference model
Source = Literal["unigram", "cross_entropy", "embedding", "full", "blocks", "head", "factored", "hidden", "column"]
CHOSEN = {"choose": ["bootstrap", "lcb", "lcb_free"]}
BY_BLOCKS = {"choose": ["lcb", "lcb_free"]}
TRAINED_HERE = {"reference": None}
NAMED = re.compile(r"[A-Za-z0-9_.-]+")


def _must_be_held_out_by(by: str, name: str) -> None:
    """ValueError if no target of held-out projects can have this name. Its value is looked up when the pool is read."""
    if by == "none" and name != "held_out":
        raise ValueError(
            f"there is no target '{name}': held_out_by is none, so all held-out projects are one target, 'held_out'."
            " Name that, or set held_out_by to language or cluster"
        )
    if by != "none" and not name.partition(":")[2]:
        raise ValueError(
            f"there is no target '{name}': held_out_by is {by}, so each target is 'held_out:' with its {by}. Name one"
            " of these, or set held_out_by to none"
        )


class Attribution(Group):
    """What a subset of documents is worth to a target, predicted from sketches of documents, and checked by retraining.

    It is used with settings/selection.rule=greedy and settings/budget.base=grasp. The method, GRASP, is public only as
    an abstract. What is here is a reconstruction.
    """

    name = "attribution"

    targets: list[Literal["benchmarks", "held_out"]] = knob(
        ["benchmarks"],
        "What documents should help with, beside target_sets. benchmarks: the solutions of corpus.benchmarks. held_out:"
        " the projects that corpus.held_out takes out of the pool.",
        given=True,
        part="targets",
    )
    held_out_by: Literal["none", "language", "cluster"] = knob(
        "none",
        "Whether held-out projects are one target, or one for each language or cluster.",
        given=True,
        when={"targets": Has("held_out")},
        part="targets",
    )
    target_sets: list[str] = knob(
        [],
        "Your target sets (folder, JSONL, Parquet), as NAME=PATH. Documents that are in the pool are not used.",
        given=True,
        part="targets",
    )
    items: int = knob(400, "Most items of a target. Half of them shape it, half measure it.", part="targets", ge=2)
    passage: int = knob(1000, "Most bytes of an item.", part="targets", ge=100)
    target_weights: list[str] = knob(
        [],
        "Weights of targets, as NAME=WEIGHT. A target without one has 1. A target of weight 0 is only measured.",
        given=True,
        part="aim",
    )
    combine: Literal["sum", "maxmin"] = knob(
        "sum",
        "How several targets are weighed. sum: the weighted sum of utilities. maxmin: the worst utility.",
        part="aim",
    )
    temperature: float = knob(
        0.2,
        "How much worse than others a target must be to lead under maxmin, as a share of the largest utility. Smaller:"
        " the worst one alone decides each step. The default was the best of five on planted pools.",
        "τ",
        when={"combine": "maxmin"},
        part="aim",
        added=True,
        gt=0,
    )
    reference: str | None = knob(
        None,
        "Model at which gradients are taken, and from which models are retrained. null: a small model, trained here on"
        " a random subset. proxy: the packaged one. Otherwise a local path or a hub name, with safetensors.",
        given=True,
        part="reference",
    )
    tokens: int = of_the_training(
        "tokens",
        1_000_000,
        description="Tokens that the small reference is trained on.",
        when=TRAINED_HERE,
        part="reference",
    )
    vocabulary: int = of_the_model("vocabulary", 1024)
    hidden: int = of_the_model("hidden", 128, when=[TRAINED_HERE, {"start": "scratch"}])
    layers: int = of_the_model("layers", 2, when=[TRAINED_HERE, {"start": "scratch"}])
    heads: int = of_the_model("heads", 2, when=[TRAINED_HERE, {"start": "scratch"}])
    context: int = of_the_model("context", 128)
    batch_tokens: int = of_the_training("batch_tokens", 1024, when=[TRAINED_HERE, CHOSEN])
    learning_rate: float = of_the_training("learning_rate", 1.5e-3, when=[TRAINED_HERE, CHOSEN])
    dtype: Precision = of_the_training("dtype", "bfloat16", when=[TRAINED_HERE, CHOSEN])
    device: Trainer = of_the_training("device", "cpu")
    source: Literal[Source, "auto"] = knob(
        "unigram",
        "What the features of a document are. unigram: its token counts, without a model. cross_entropy: the same, and"
        " a subset is scored by how well its token counts predict the target. embedding: its vector. full, blocks,"
        " head, factored: its gradient at the reference, of all weights, of the blocks, of the head, or of each layer"
        " by its two factors. hidden: its mean hidden state. column: vectors of your own. auto: whichever of candidates"
        " predicts retraining best.",
        "φ",
        part="sketch",
    )
    candidates: list[Source] = knob(
        ["unigram", "cross_entropy", "embedding", "head", "full"],
        "Sources that source=auto compares.",
        when={"source": "auto"},
        part="sketch",
        min_length=1,
    )
    column: str | None = knob(
        None,
        "Parquet table with your vectors: doc_id, and one column of lists of numbers. Rows of a target have its name in"
        " a column target. Without such rows, a doc_id may be an item_id of attribution_items.",
        given=True,
        when={"source": ["column", "auto"]},
        part="sketch",
    )
    sketch: Literal["countsketch", "sjlt", "rademacher", "svd"] = knob(
        "countsketch",
        "How long features are shortened. countsketch, sjlt, rademacher: by random signs. svd: to the directions of the"
        " targets.",
        part="sketch",
    )
    dim: int = knob(1024, "Length of a sketch. Shorter features stay as they are.", "k", part="sketch", ge=1)
    precondition: Literal["none", "adam_diag", "fisher"] = knob(
        "none",
        "Scaling of gradients before they are compared. adam_diag: by their second moments. fisher: by their damped"
        " covariance.",
        "P",
        when={"source": [*GRADIENTS, "auto"]},
        part="sketch",
    )
    seed: int = knob(0, "Seed of sketches, of items, of the reference and of subsets.", part="sketch", ge=0)
    choose: Literal["none", "bootstrap", "lcb", "lcb_free"] = knob(
        "none",
        "How source, normalize and gamma are chosen: by models that are retrained on subsets of the pool. none: they"
        " are as set, and nothing is retrained. bootstrap: the best in a paired bootstrap over the subsets. lcb: by the"
        " lower confidence bounds of the abstract, from blocks of subsets. lcb_free: the same without an assumption"
        " about distributions.",
        part="choice",
    )
    normalize: Literal["none", "unit", "auto"] = knob(
        "auto",
        "Whether features have unit length when subsets are scored. auto: both are compared; where nothing is chosen,"
        " none.",
        part="choice",
    )
    gamma: float | None = knob(
        None,
        "Weight of the quadratic term, by which similar documents add less to each other. 0: documents are scored one"
        " by one. null: 0.3 for gradients, otherwise 1. With source=cross_entropy only 0 and 1 are possible.",
        "γ",
        when={"choose": "none"},
        part="choice",
        ge=0,
    )
    gammas: list[float] = knob([0, 0.1, 0.3, 1], "Values of gamma that are compared.", when=CHOSEN, part="choice")
    delta: float = knob(
        0.1, "Probability with which a choice may be worse than its bound.", "δ", when=CHOSEN, part="choice", gt=0, lt=1
    )
    blocks: int = knob(6, "Blocks of calibration subsets.", "B", when=BY_BLOCKS, part="choice", ge=2)
    structured: int = knob(
        24,
        "Calibration subsets with a structure: of few or many clusters, with duplicates, of one length or language.",
        when=CHOSEN,
        part="trials",
        ge=0,
    )
    random: int = knob(8, "Calibration subsets that are random.", when=CHOSEN, part="trials", ge=0)
    check_structured: int = knob(
        24,
        "Subsets with a structure on which the choice is checked. No choice reads them.",
        when=CHOSEN,
        part="trials",
        ge=0,
    )
    check_random: int = knob(
        8,
        "Random subsets on which the choice is checked. Without these and check_structured nothing is checked.",
        when=CHOSEN,
        part="trials",
        ge=0,
    )
    trial_tokens: list[int] = knob(
        [100_000],
        "Sizes of the subsets, in tokens. Each size has as many subsets, and sizes are never mixed.",
        when=CHOSEN,
        part="trials",
        min_length=1,
    )
    start: Literal["continued", "scratch"] = knob(
        "continued",
        "Where a retraining starts. continued: at the reference. scratch: at a new model. It reads its subset once.",
        when=CHOSEN,
        part="trials",
    )
    seeds: int = knob(1, "Retrainings on each subset.", when=CHOSEN, part="trials", ge=1, le=20)
    repeated: int = knob(
        8,
        "Subsets of the check that are retrained under one more seed. They show how well a retraining predicts"
        " another.",
        when=CHOSEN,
        part="trials",
        ge=0,
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources whose sketches are made."""
        return tuple(dict.fromkeys(self.candidates)) if self.source == "auto" else (self.source,)

    @property
    def calibrates(self) -> bool:
        """Whether models are retrained on subsets, to choose a configuration."""
        return self.choose != "none"

    @property
    def needs_a_model(self) -> bool:
        """Whether a source of the sketches is computed by the reference model."""
        return any(source in OF_A_MODEL for source in self.sources)

    @property
    def continues(self) -> bool:
        """Whether retrainings start at the reference model."""
        return self.calibrates and self.start == "continued"

    @property
    def paths(self) -> dict[str, str]:
        """Name to path of each of the ``target_sets``."""
        return dict(_named(text) for text in self.target_sets)

    @property
    def weights(self) -> dict[str, float]:
        """Name to weight of each target that has one in ``target_weights``."""
        return {name: float(weight) for name, weight in map(_named, self.target_weights)}

    @field_validator("target_sets")
    @classmethod
    def named_paths(cls, value: list[str]) -> list[str]:
        names = [_named(text)[0] for text in value]
        for name in names:
            if not NAMED.fullmatch(name) or name in ("held_out", *BENCHMARKS):
                raise ValueError(
                    f"'{name}' cannot name a target set: use letters, digits, '_', '-' and '.', and not 'held_out' or"
                    " the name of a benchmark"
                )
            if names.count(name) > 1:
                raise ValueError(f"the name '{name}' is there twice")
        return value

    @field_validator("target_weights")
    @classmethod
    def named_weights(cls, value: list[str], info: ValidationInfo) -> list[str]:
        sets = [_named(text)[0] for text in info.data.get("target_sets", [])]
        targets, by = info.data.get("targets", []), info.data.get("held_out_by", "none")
        wanted = {"benchmarks": BENCHMARKS, "held_out": ("held_out" if by == "none" else f"held_out:{by.upper()}",)}
        known = [*sets, *(name for target in targets for name in wanted[target])]
        for name, weight in map(_named, value):
            if "held_out" in targets and name.partition(":")[0] == "held_out":
                _must_be_held_out_by(by, name)
            elif name not in known:
                raise ValueError(f"there is no target '{name}'. {nearest(name, dict.fromkeys(known))}")
            try:
                fine = 0 <= float(weight) < float("inf")
            except ValueError:
                fine = False
            if not fine:
                raise ValueError(f"the weight of '{name}' is '{weight}', and must be a number from 0 on")
        return value

    @field_validator("choose")
    @classmethod
    def auto_is_chosen(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and info.data.get("source") == "auto":
            raise ValueError(
                "with attribution.source=auto, trials must choose among the candidates. Set attribution.choose to"
                " bootstrap, or attribution.source to one of them"
            )
        return value

    @field_validator("gamma")
    @classmethod
    def of_the_source(cls, value: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("source") == "cross_entropy" and value not in (None, 0, 1):
            raise ValueError("with attribution.source=cross_entropy it is 1, or 0 for additive scores")
        return value

    @field_validator("gammas")
    @classmethod
    def with_zero(cls, value: list[float]) -> list[float]:
        if 0 not in value or min(value) < 0:
            raise ValueError("must be numbers from 0 on, and contain 0, with which all others are compared")
        return sorted(set(value))

    @field_validator("trial_tokens")
    @classmethod
    def sizes_above_zero(cls, value: list[int]) -> list[int]:
        if min(value) <= 0 or len(set(value)) < len(value):
            raise ValueError("must be different numbers above 0")
        return value


def _named(text: str) -> tuple[str, str]:
    """(NAME, VALUE) of ``NAME=VALUE``."""
    name, found, value = text.partition("=")
    if not (found and name.strip() and value.strip()):
        raise ValueError(f"'{text}' is not NAME=VALUE")
    return name.strip(), value.strip()
