"""Settings of the judge and of the quality of clusters."""

from typing import Literal

from pydantic import field_validator

from grip_assets.settings.fields import knob
from grip_assets.settings.group import Group
from grip_assets.settings.groups.prices import cost

ASKED = {"judge": "llm"}
SCORED_BY_COLUMN = {"judge": "column"}


class Quality(Group):
    """Who judges the probe documents, and how their scores become the quality of a cluster [paper 3.2]."""

    name = "quality"

    judge: Literal["static", "llm", "column"] = knob(
        "static",
        "Who scores documents. static: static analysis. llm: a language model over HTTP. column: a column of the pool.",
    )
    column: str | None = knob(
        None,
        "Column with a number for each document. corpus.keep must name it too.",
        given=True,
        when=SCORED_BY_COLUMN,
    )
    column_range: list[float] = knob(
        [],
        "Two values of the column: the first is score 0, the second is score 1. Values between them are scaled"
        " linearly, values outside are cut off. Empty: a score is the value's quantile in the pool.",
        given=True,
        when=SCORED_BY_COLUMN,
    )
    model: str = knob("", "Model that the endpoint serves.", given=True, when=ASKED)
    temperature: float | None = knob(0.0, "Sampling temperature. null: the endpoint's default.", when=ASKED, ge=0, le=2)
    max_tokens: int = knob(512, "Most tokens of an answer. A model that thinks aloud needs more.", when=ASKED, gt=0)
    rubric: str = knob("code", "Rubric: code (the paper's), prose, or the path of your own.", when=ASKED)
    windows: int = knob(
        3,
        "Number of parts of a long document that the model sees: the start, the end, and others chosen by a hash.",
        when=ASKED,
        gt=0,
    )
    window_chars: int = knob(4000, "Characters per part.", when=ASKED, ge=100)
    dimensions: list[Literal["syntax_integrity", "architecture", "educational_value", "technical_depth"]] = knob(
        ["syntax_integrity", "architecture", "educational_value", "technical_depth"],
        "Rubric scores whose mean is the document's score.",
        when={"judge": ["static", "llm"]},
        min_length=1,
    )
    shrinkage: float = knob(
        4.0,
        "Pulls Q_k towards the overall mean, as if the cluster had so many more documents of mean quality. The paper"
        " has 0.",
        "m_0",
        ge=0,
    )
    target_error: float | None = knob(
        None,
        "Judge more documents until the standard error of every cluster's quality is below this. null: judge only the"
        " probe set.",
        gt=0,
    )
    min_judged: int = knob(2, "Clusters with fewer judged documents are reported.", ge=1)
    max_failed: float = knob(
        0.1, "Largest share of documents whose judging may fail. Above it the run stops.", ge=0, le=1
    )
    seed: int = knob(0, "Seed of the parts of documents that are shown, and of the further documents.", ge=0)
    mode: Literal["live", "batch"] = knob(
        "live", "How the model is asked. live: a request per document. batch: the Batch API.", hashed=False, when=ASKED
    )
    max_calls: int | None = knob(
        None,
        "Most requests per run. The next run continues where this one stopped.",
        hashed=False,
        when=ASKED,
        ge=0,
    )
    max_cost: float | None = knob(
        None, "Highest cost per run, in the currency of the prices.", hashed=False, when=ASKED, ge=0
    )
    price_in: float | None = knob(
        None, "Price of one million prompt tokens.", hashed=False, given=True, when=ASKED, ge=0
    )
    price_out: float | None = knob(
        None, "Price of one million answer tokens.", hashed=False, given=True, when=ASKED, ge=0
    )
    repeats: int = knob(20, "Number of documents that are judged twice, for judge_report.", when=ASKED, ge=0)
    gold: str | None = knob(
        None,
        "File with your own scores, for judge_report: CSV, JSONL or Parquet, with a column doc_id or source.",
        given=True,
    )

    @field_validator("column_range")
    @classmethod
    def two_that_rise(cls, value: list[float]) -> list[float]:
        if value and not (len(value) == 2 and value[0] < value[1]):
            raise ValueError("must be two numbers, the first below the second, or empty")
        return value

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The cost in the currency of the prices; a price that is not set counts as 0."""
        return cost(self, prompt_tokens, completion_tokens)
