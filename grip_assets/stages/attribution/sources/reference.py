"""The reference model, as a job opens it: from the table ``reference``, or from files that settings name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from grip_assets.engine.stage import Settings, Work
from grip_assets.models.files import ModelFiles, content_hash, locate
from grip_assets.models.opening import ProxyFiles
from grip_assets.runtime import opened
from grip_assets.settings import Attribution, field_names
from grip_assets.training.recipe import Shape, parameters
from grip_assets.training.runs import tokenizer_in

SETTING = "settings/attribution.reference"
PACKAGED = "SmolLM2-135M"
BYTES_A_WEIGHT = 24  # of memory that a shard of gradients takes


class Reference(NamedTuple):
    """``encode``: token ids of each of some texts. ``start``: the token before a text."""

    model: Any
    encode: Callable[[list[str]], list[list[int]]]
    context: int
    start: int


@dataclass(frozen=True)
class ReferenceFiles:
    """A picklable reference. ``files``: None for the model in the table ``reference``. ``identity``: its content."""

    identity: str
    shape: Shape
    table: str = ""
    tokenizer: str = ""
    files: ModelFiles | None = None

    @property
    def memory(self) -> int:
        """Bytes that a shard of gradients takes."""
        return BYTES_A_WEIGHT * parameters(self.shape) if self.files is None else 0

    def open(self) -> Reference:
        return opened.get(self, self._load)

    def _load(self) -> Reference:
        if self.files is not None:
            proxy = ProxyFiles(self.files, SETTING).open()
            start = next((t for t in (proxy.tokenizer.bos_token_id, proxy.tokenizer.eos_token_id) if t is not None), 0)
            encode = lambda texts: [proxy.tokenize(text) for text in texts]  # noqa: E731
            return Reference(proxy.model, encode, min(self.shape.context, proxy.context), start)
        from grip_assets.training.small import encode, unpacked  # torch

        model = unpacked(pl.read_parquet(self.table)["model"][0], self.shape)
        return Reference(model, partial(encode, tokenizer_in(self.tokenizer)), self.shape.context, 0)


def reference_of(work: Work) -> ReferenceFiles:
    settings = Attribution.of(work.settings)
    values = settings.model_dump(include=set(field_names(Attribution, "model")))
    if settings.reference is not None:
        from grip_assets.models.proxy import converted  # torch

        root = work.store.root
        files = converted(_located(settings), root, work.log)
        return ReferenceFiles(f"{content_hash(_located(settings), root)}:{settings.context}", Shape(**values), files=files)
    tokenizer = work.files("attribution_tokenizer")
    values["vocabulary"] = tokenizer_in(tokenizer).get_vocab_size()
    return ReferenceFiles(work.inputs["reference_model"], Shape(**values), work.files("reference"), tokenizer)


def reference_facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The content of a reference that settings name, and how long its windows are."""
    attribution = Attribution.of(settings)
    if attribution.reference is None:
        return {}
    return {"reference": content_hash(_located(attribution), root), "context": attribution.context}


def _located(settings: Attribution) -> ModelFiles:
    assert settings.reference is not None
    return locate(PACKAGED if settings.reference == "proxy" else settings.reference, SETTING)
