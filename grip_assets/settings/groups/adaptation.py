"""Settings of the Rapid Adaptation Probe."""

from typing import Literal

from grip_assets.settings.fields import Not, knob
from grip_assets.settings.group import Group

STEPS = {"form": "steps"}
A_MODEL = {"proxy": Not("unigram")}


class Adaptation(Group):
    """How fast a small model learns each cluster: the Rapid Adaptation Probe [paper eq. 6]."""

    name = "adaptation"

    proxy: str = knob(
        "SmolLM2-135M",
        "Proxy model: a packaged name, a local path or a hub name. unigram: no model, only counts of the tokens of"
        " settings/corpus.tokenizer.",
        given=True,
    )
    form: Literal["closed", "steps"] = knob(
        "closed",
        "How drops are measured. closed: a formula for AdamW's first step from a head of zeros. steps: training.",
        when=A_MODEL,
    )
    folds: int = knob(5, "Parts into which a cluster's documents are split. Each is held out once.", ge=2, le=20)
    reset_depth: int = knob(
        0, "Number of last blocks that are reset together with the head.", "N", when=STEPS, ge=0, le=64
    )
    learning_rate: float = knob(
        3e-4, "Learning rate of AdamW. With form=closed it only scales the drops.", "lr", when=A_MODEL, gt=0
    )
    epochs: int = knob(10, "Number of full-batch steps.", "n", when=STEPS, gt=0)
    seeds: int = knob(
        1,
        "Number of initialisations, the same for all clusters, whose drops are averaged. One is enough at"
        " reset_depth=0.",
        when=STEPS,
        ge=1,
    )
    evaluate: Literal["held_out", "train"] = knob("held_out", "Documents on which the loss is measured.")
    delta: Literal["relative", "absolute"] = knob(
        "relative", "Drop that the budget uses: relative to the first loss, or the plain difference.", "ΔL or δL"
    )
    tokens_per_cluster: int | None = knob(20480, "Most tokens per cluster that the proxy reads. null: all.", gt=1)
    window: int = knob(512, "Tokens per training window.", gt=1)
    init_std: float = knob(0.02, "Standard deviation of the reset weights.", "θ_init", when=STEPS, gt=0)
    seed: int = knob(0, "Seed of passages and folds, and of the first initialisation.", ge=0)
    checkpoints: str | None = knob(
        None,
        "Folder that the sensor new_checkpoint watches. Its newest checkpoint becomes the proxy.",
        hashed=False,
        given=True,
    )
    micro_batch: int = knob(256, "Tokens whose logits are in memory at the same time.", hashed=False, when=STEPS, gt=0)

    @property
    def passes(self) -> int:
        """How often the proxy reads each token of the probe."""
        return self.epochs * self.seeds if self.form == "steps" else 1
