"""Settings of the names of clusters."""

from typing import Literal

from grip_assets.settings.fields import knob
from grip_assets.settings.group import Group
from grip_assets.settings.groups.prices import cost

BY_LLM = {"names": "llm"}


class Taxonomy(Group):
    """What each cluster is called: its representatives, its name, and the family that it belongs to.

    Names are for people. Nothing that chooses documents reads them.
    """

    name = "taxonomy"

    names: Literal["words", "llm"] = knob(
        "words",
        "Where names come from. words: distinctive words and folders of the cluster. llm: a language model over HTTP."
        " Clusters by a column are called by their values.",
        part="names",
    )
    neighbours: int = knob(
        8,
        "Number of nearest members whose mean cosine is the local density of a document.",
        "M",
        part="influence",
        ge=1,
    )
    exponent: float = knob(0.5, "Weight of the local density in the influence.", "b", part="influence", ge=0)
    standardize: Literal["zscore", "none"] = knob(
        "zscore",
        "How the terms of the influence are added. zscore: each is scaled in its cluster first. none: as they are, as"
        " in the paper; then documents rank almost only by their distance to the centre.",
        part="influence",
    )
    members: int = knob(
        4096,
        "Most documents of a cluster whose influence is measured. They are chosen by a hash of their ids.",
        part="influence",
        ge=2,
    )
    top: int = knob(10, "Number of representatives of each cluster.", "m", part="influence", ge=1)
    near_copy: float = knob(
        0.9,
        "Of two documents with a cosine above this, only one is a representative.",
        part="influence",
        gt=0,
        le=1,
    )
    sample: int = knob(
        100, "Documents of each cluster whose words are counted, with its representatives.", part="names", ge=1
    )
    families: int | None = knob(
        None, "Number of families into which clusters are grouped. null: √K.", part="names", ge=1
    )
    seed: int = knob(
        0, "Seed of the documents that are measured and of those whose words are counted.", part="influence", ge=0
    )
    model: str = knob("", "Model that the endpoint serves.", given=True, when=BY_LLM, part="names")
    contrast: int = knob(
        5, "Documents of the nearest cluster that the model is shown for contrast.", when=BY_LLM, part="names", ge=0
    )
    temperature: float | None = knob(
        0.0, "Sampling temperature. null: the endpoint's default.", when=BY_LLM, part="names", ge=0, le=2
    )
    max_tokens: int = knob(
        512, "Most tokens of an answer. A model that thinks aloud needs more.", when=BY_LLM, part="names", gt=0
    )
    max_calls: int | None = knob(
        None,
        "Most requests per run. Clusters without an answer are named by words, and the next run asks for them.",
        hashed=False,
        when=BY_LLM,
        part="names",
        ge=0,
    )
    max_cost: float | None = knob(
        None,
        "Highest cost per run, in the currency of the prices.",
        hashed=False,
        when=BY_LLM,
        part="names",
        ge=0,
    )
    price_in: float | None = knob(
        None, "Price of one million prompt tokens.", hashed=False, given=True, when=BY_LLM, part="names", ge=0
    )
    price_out: float | None = knob(
        None, "Price of one million answer tokens.", hashed=False, given=True, when=BY_LLM, part="names", ge=0
    )

    trials: int = knob(
        20,
        "Trials of the document-intruder test for each cluster, in cluster_report. 0: no test. A language model that"
        " names the clusters is asked once for each trial.",
        part="report",
        ge=0,
        le=1000,
    )
    held_out_docs: int = knob(
        400,
        "Documents on which cluster_report measures how well names tell clusters apart. 0: it does not. A language"
        " model that names the clusters is asked four times about each.",
        part="report",
        ge=0,
    )

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The cost in the currency of the prices; a price that is not set counts as 0."""
        return cost(self, prompt_tokens, completion_tokens)
