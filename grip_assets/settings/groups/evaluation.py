"""Settings of the evaluation."""

import re

from pydantic import field_validator

from grip_assets import profiles
from grip_assets.settings.fields import knob, nearest
from grip_assets.settings.group import Group
from grip_assets.settings.small_model import Precision, Trainer, of_the_model, of_the_training

STRATEGIES = [
    *("random", "static", "quality_replay", "loss_replay", "diversity", "grip"),  # Panel B of the paper
    "in_force",
    *("proportional", "by_cluster", "by_language", "top_quality", "semdedup", "d4", "dsir", "longest", "shortest"),
    *("no_sigma", "no_quality", "no_replay", "no_gate", "no_density", "no_length"),
]


def target_name(target: str) -> str:
    """The name of a set of settings/evaluation.targets. ValueError if it is written otherwise."""
    if target == "prose":
        return target
    if re.fullmatch(r"language:[^=:]+", target):
        return target.removeprefix("language:")
    if match := re.fullmatch(r"([A-Za-z][A-Za-z0-9_]*)=(.+)", target):
        return match[1]
    raise ValueError(f"'{target}' is no target. Write language:NAME, prose, or NAME=PATH")


class Evaluation(Group):
    """A small language model is trained from scratch on the selection of each strategy, and its losses are compared."""

    name = "evaluation"

    strategies: list[str] = knob(
        STRATEGIES,
        "Strategies that are compared: profiles of budget and selection (Panel B of the paper, baselines, GRIP without"
        " one part), and in_force, which means your settings.",
        min_length=1,
    )
    seeds: int = knob(
        3, "Number of draws and trainings of each strategy. All strategies use the same seeds.", ge=2, le=50
    )
    main: list[str] = knob(
        [],
        "Strategies that have main_seeds instead of seeds. random has them too if any other has. []: none.",
        added=True,
    )
    main_seeds: int = knob(10, "Number of draws and trainings of each strategy in main.", ge=2, le=50, added=True)
    seed: int = knob(0, "First seed.", ge=0)
    multiples: list[float] = knob(
        [0.5, 2.0, 4.0],
        "Multiples of the tokens at which random is trained as well, under every seed. The table `worth` then says how"
        " many random tokens reach the loss of a strategy. []: not measured.",
        added=True,
    )
    tokens: int = of_the_training(
        "tokens", 600_000, description="Tokens that each model is trained on. A smaller subset is read more than once."
    )
    vocabulary: int = of_the_model("vocabulary", 4096)
    hidden: int = of_the_model("hidden", 192)
    layers: int = of_the_model("layers", 4)
    heads: int = of_the_model("heads", 3)
    context: int = of_the_model("context", 256)
    batch_tokens: int = of_the_training("batch_tokens", 1024)
    learning_rate: float = of_the_training("learning_rate", 1e-3)
    dtype: Precision = of_the_training("dtype", "bfloat16")
    device: Trainer = of_the_training("device", "cpu")
    documents: int = knob(400, "Most held-out documents on which the loss is measured.", gt=0)
    passage: int = knob(1000, "Most bytes of each held-out document on which the loss is measured.", ge=100)
    target: str | None = knob(
        None,
        "Your target set (folder, JSONL, Parquet). The loss is measured on it too, and DSIR selects for it. null: the"
        " benchmarks.",
        given=True,
    )
    targets: list[str] = knob(
        [],
        "Further sets of texts on which the same models are measured: `language:NAME` and `prose` are passages of"
        " held-out documents of that kind; `NAME=PATH` is a test set of yours.",
        added=True,
        given=True,
    )
    pass_at_1: bool = knob(
        False, "Run the programs that the models write for the benchmarks, in another process. Use a sandbox."
    )
    other_proxy: str | None = knob(
        None, "Proxy with which `sensitivity` compares. null: a model trained here on a random subset.", given=True
    )
    other_encoder: str = knob("SmolLM2-135M", "Encoder with which `length_slopes` compares.", given=True)

    @field_validator("strategies")
    @classmethod
    def with_random(cls, value: list[str]) -> list[str]:
        if unknown := [name for name in value if name not in profiles.strategies()]:
            known = dict.fromkeys(profiles.strategies())
            raise ValueError(f"there is no strategy '{unknown[0]}'. {nearest(unknown[0], known)}".rstrip("."))
        if "random" not in value:
            raise ValueError("must contain 'random', with which all others are compared")
        return list(dict.fromkeys(value))

    @field_validator("main")
    @classmethod
    def known_strategies(cls, value: list[str]) -> list[str]:
        if unknown := [name for name in value if name not in profiles.strategies()]:
            known = dict.fromkeys(profiles.strategies())
            raise ValueError(f"there is no strategy '{unknown[0]}'. {nearest(unknown[0], known)}".rstrip("."))
        return list(dict.fromkeys(value))

    @field_validator("multiples")
    @classmethod
    def of_one(cls, value: list[float]) -> list[float]:
        if wrong := [multiple for multiple in value if not 0 < multiple <= 100]:
            raise ValueError(f"{wrong[0]:g} is no multiple from above 0 to 100")
        return sorted({float(multiple) for multiple in value} - {1.0})  # random itself is at 1

    @field_validator("targets")
    @classmethod
    def different_names(cls, value: list[str]) -> list[str]:
        names = [target_name(target) for target in value]
        if twice := [name for i, name in enumerate(names) if name in (*names[:i], "held_out", "target")]:
            raise ValueError(f"two sets would be called '{twice[0]}'. Give one of them another name: NAME=PATH")
        return value

    @property
    def selecting(self) -> list[str]:
        """The strategies that select documents before a training, without the closed loop."""
        return [name for name in self.strategies if name != profiles.ROUNDS]

    def seeds_of(self, strategy: str) -> range:
        """The seeds of a strategy."""
        is_main = strategy in self.main or (strategy == "random" and bool(self.main))
        return range(self.seed, self.seed + (self.main_seeds if is_main else self.seeds))
