"""Settings of the encoder."""

from typing import Literal

from grip_assets.settings.fields import Not, knob
from grip_assets.settings.group import Group

ENCODED = {"model": Not("column")}


class Embedding(Group):
    """How a document becomes a vector: the encoder and its windows; e(x) in the paper [2.2]."""

    name = "embedding"

    model: str = knob(
        "all-MiniLM-L6-v2",
        "Encoder: a packaged name, a local path or a hub name. column: the pool has vectors of its own.",
        "f_θ",
        given=True,
    )
    column: str | None = knob(
        None, "Column of the pool that has the vectors (lists of numbers).", given=True, when={"model": "column"}
    )
    pooling: Literal["mean", "cls", "last"] | None = knob(
        None,
        "How the vectors of the tokens become one: mean, first token or last token. null: as the model declares.",
        when=ENCODED,
    )
    window: int | None = knob(None, "Tokens per window. null: the model's limit.", when=ENCODED, gt=2)
    max_windows: int | None = knob(
        None,
        "Most windows per document, evenly spaced. The table embeddings says which documents are affected. null: all.",
        when=ENCODED,
        gt=0,
    )
    dtype: Literal["float32", "bfloat16"] = knob("float32", "Number format of the forward pass.", when=ENCODED)
    batch_windows: int = knob(
        1,
        "Windows of a document per forward pass on the processor. A GPU reads those of many documents together.",
        hashed=False,
        when=ENCODED,
        gt=0,
    )
    sample: float | None = knob(
        None,
        "Documents that are embedded: a share (10%) or a count (20k). A student, trained on these, labels the others"
        " by their text. null: all documents are embedded.",
        when=ENCODED,
        added=True,
        gt=0,
    )
    seed: int = knob(0, "Seed of the sample.", when={"sample": Not(None)}, added=True, ge=0)
    skip_header: int | None = knob(
        None,
        "Comments and import lines at the start of a document that more documents than this share, such as a licence,"
        " are skipped by the encoder, the proxy and the judge. null: nothing is skipped.",
        added=True,
        ge=1,
    )

    @property
    def embeds_all(self) -> bool:
        """Whether every document gets a vector, whatever the pool."""
        return self.sample is None or self.sample == 1

    def n_embedded(self, n: int) -> int:
        """The number of documents that are embedded of ``n``; for a share, the expected number."""
        if self.sample is None:
            return n
        return min(round(self.sample * n) if self.sample <= 1 else int(self.sample), n)
