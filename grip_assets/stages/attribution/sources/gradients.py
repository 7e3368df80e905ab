"""The sources full, blocks, head, factored and hidden: what the reference model says of a document.

Features of a document are computed once for a reference, a source and a sketch, and kept in shards. They are projected
when they are computed, in float32. The collector is in training/gradients.py.

- precondition=adam_diag: gradients are divided by the root of their second moments over a sample of documents, before
  they are projected. It does not apply to factored and hidden, whose numbers belong to no single weight.
- sketch=svd: gradients are first projected to WIDER times as many numbers by a CountSketch, and then to the directions
  of the items of all targets. So memory is bounded for any model.
- precondition=fisher is applied to the sketches, in stages/attribution/sketches.py.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.method.attribution.sketching import TargetBasis, target_basis
from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime import device, opened
from grip_assets.runtime.executors import ToDo
from grip_assets.runtime.progress import worked
from grip_assets.settings import digest
from grip_assets.stages.attribution.reference_model import reference_of
from grip_assets.stages.attribution.sources.base import (
    STAGE,
    VERSION,
    Asked,
    Measured,
    Rows,
    Target,
    mean_of,
    padded,
)
from grip_assets.store.shards import Placed, Shards
from grip_assets.store.tables import RowRange, matrix, ranges_of, read_range, texts
from grip_assets.training.recipe import Item
from grip_assets.training.retraining import Reference, SmallModel, Start, opened_start

if TYPE_CHECKING:
    from grip_assets.training.gradients import Collector, Passage
    from grip_assets.training.projecting import Factors, Projection

AT_ONCE, BYTES_AT_ONCE = 64, 64 << 10  # most documents and bytes of a shard of work: some seconds of a processor
ITEMS_AT_ONCE = 32
SMALL, LARGE = 1 << 28, 1 << 31  # bytes that a shard takes: of a small model, and of one that settings name
SAMPLED = 128  # documents from which second moments are taken
SCALED = ("full", "blocks", "head")  # sources to which adam_diag applies
PASSES = {"hidden": 2, "head": 2}  # operations for each weight and token: a forward pass has 2, gradients 6
BASIS, MOMENTS = "basis", "moments"


@dataclass(frozen=True)
class Text:
    """An item of a target. ``name``: its item_id, for errors."""

    key: str
    name: str
    prompt: str
    text: str


@dataclass(frozen=True)
class Kept:
    """Rows ``key`` of a shard, which a job reads by itself."""

    file: Path
    key: str

    def read(self) -> pa.Table:
        return pq.read_table(self.file, filters=[("key", "==", self.key)])


@dataclass(frozen=True)
class Sketching:
    """The job: features of documents (a range of rows of the table ``corpus``) or of items, at the reference model.

    Its table has key, feature (float32), norm (before the projection), n_tokens, seconds (of the processor), width
    (numbers before the projection) and weights (of the model). ``moments`` and ``basis``: tables in shards, or None.
    Its unit of progress is a document.
    """

    corpus: str
    reference: Start
    source: str
    kind: str
    dim: int
    seed: int
    device: str
    moments: Kept | None = None
    basis: Kept | None = None

    @property
    def opening(self) -> str:
        return "loading the reference model"

    @property
    def memory(self) -> int:
        """Bytes that one shard takes: logits, states and gradients of a batch."""
        return SMALL if isinstance(self.reference, SmallModel) else LARGE

    def open(self) -> Reference:
        return opened.get(("reference", self.reference.name), lambda: opened_start(self.reference))

    def run(self, shard: RowRange | tuple[Text, ...]) -> pa.Table:
        from grip_assets.training.gradients import features  # torch
        from grip_assets.training.projecting import onto

        reference = self.open()
        started = _clock(self.device)
        keys, passages = self._passages(shard, reference)
        with device.turn(self.device), self._collector(reference) as collector:
            whole = self._width(collector)
            found = features(
                collector,
                passages,
                reference.context,
                reference.end,
                self._projection(whole),
                self._factors(),
                opened.get(("scales", self), self._scales) if self.moments else None,
                lambda tokens: worked(1),
            )
        basis = opened.get(("basis", self), self._basis) if self.basis else None
        feature_NK = np.stack([onto(basis, feature.sketch_K) for feature in found])
        n, tokens = len(found), np.array([feature.n_tokens for feature in found], np.int64)
        seconds_N = (_clock(self.device) - started) * tokens / max(tokens.sum(), 1)
        flat = pa.array(feature_NK.reshape(-1))
        return pa.table(
            {
                "key": pa.array(keys, pa.large_string()),
                "feature": pa.FixedSizeListArray.from_arrays(flat, feature_NK.shape[1]),
                "norm": pa.array([feature.norm for feature in found], pa.float64()),
                "n_tokens": tokens,
                "seconds": seconds_N,
                "width": np.full(n, whole, np.int64),
                "weights": np.full(n, sum(weight.numel() for weight in collector.model.parameters()), np.int64),
            }
        )

    def _passages(self, shard: RowRange | tuple[Text, ...], reference: Reference) -> "tuple[list[str], list[Passage]]":
        from grip_assets.training.gradients import Passage  # torch

        if isinstance(shard, RowRange):
            rows = read_range(self.corpus, ["doc_id", "text"], shard)
            keys, items = rows["doc_id"].to_pylist(), [Item([], ids) for ids in _encoded(reference, rows["text"])]
            return keys, [Passage(f"document {key}", item) for key, item in zip(keys, items, strict=True)]
        pairs = zip(
            reference.encode([text.prompt for text in shard]),
            reference.encode([text.text for text in shard]),
            strict=True,
        )
        named = zip(shard, pairs, strict=True)
        return [text.key for text in shard], [Passage(f"item {text.name}", Item(*pair)) for text, pair in named]

    def _collector(self, reference: Reference) -> "Collector":
        """A collector of this thread: a copy of the modules, which shares the weights."""
        from grip_assets.training.gradients import Collector  # torch

        name = ("collector", self.reference.name, self.source, self.device, threading.get_ident())
        device.note(self.device)
        return opened.get(name, lambda: Collector(reference.model, self.source, self.device))

    def _width(self, collector: "Collector") -> int:
        from grip_assets.training.gradients import width  # torch

        return width(collector, self._factors())

    def _projection(self, whole: int) -> "Projection | None":
        from grip_assets.training.projecting import projection_of  # torch

        name = ("projection", self.source, self.reference.name, self.kind, self.dim, self.seed, self.device)
        return opened.get(name, lambda: projection_of(self.kind, whole, self.dim, self.seed))

    def _factors(self) -> "Factors | None":
        from grip_assets.training.projecting import Factors  # torch

        if self.source != "factored":
            return None
        return opened.get(("factors", self.dim, self.seed), lambda: Factors(math.isqrt(self.dim), self.seed))

    def _scales(self) -> dict[str, Any]:
        import torch  # heavy

        assert self.moments is not None
        rows = self.moments.read()
        scales = zip(rows["part"].to_pylist(), rows["scale"], strict=True)
        return {
            name: torch.from_numpy(np.array(scale.values.to_numpy(), np.float32)).to(self.device)
            for name, scale in scales
        }

    def _basis(self) -> TargetBasis:
        assert self.basis is not None
        return TargetBasis(matrix(self.basis.read()["direction"]), self.dim, 1.0)


@dataclass(frozen=True)
class Moments:
    """The job: the scales of adam_diag, from the second moments of the gradients of some documents.

    The table has a row for each weight: key, part (its name) and scale (float32).
    """

    sketching: Sketching

    @property
    def opening(self) -> str:
        return self.sketching.opening

    def open(self) -> object:
        return self.sketching.open()

    def run(self, shard: tuple[str, ...]) -> pa.Table:
        from grip_assets.training.gradients import Passage, adam_scales, second_moments  # torch

        job, reference = self.sketching, self.sketching.open()
        found = dict(texts(job.corpus, set(shard)))
        encoded = zip(shard, reference.encode([found[doc] for doc in shard]), strict=True)
        passages = [Passage(f"document {doc}", Item([], ids)) for doc, ids in encoded]
        with device.turn(job.device), job._collector(reference) as collector:
            scales = adam_scales(second_moments(collector, passages, reference.context, reference.end))
        worked(len(shard))
        rows = [{"key": MOMENTS, "part": name, "scale": scale} for name, scale in scales.items()]
        kinds = [("key", pa.large_string()), ("part", pa.large_string()), ("scale", pa.large_list(pa.float32()))]
        return pa.Table.from_pylist(rows, pa.schema(kinds))


def measure(asked: Asked) -> Measured:
    """The features of one of these sources. GripError if a gradient is not finite."""
    work, settings = asked.work, asked.settings
    where = device.for_training(settings.device)
    device.must_be_there(where, "settings/attribution.device")
    reference = reference_of(work)
    job = Sketching(work.files("corpus"), reference, asked.source, settings.sketch, settings.dim, settings.seed, where)
    how: list[Any] = [VERSION, asked.source, reference.name, settings.sketch, settings.dim, settings.seed]
    if settings.precondition == "adam_diag" and asked.source in SCALED:
        job, how = _scaled(asked, job, how)
    item_IK, tokens_I, n_items = _items(asked, job, how)
    if settings.sketch == "svd" and item_IK.shape[1] > settings.dim:
        basis = target_basis(item_IK, settings.dim)
        job, how = _along(asked, job, how, basis)
        item_IK = basis.apply(item_IK)
    placed, new = _documents(asked, job, how)
    return _measured(asked, placed, item_IK, tokens_I, n_items, new)


def _documents(asked: Asked, job: Sketching, how: list[Any]) -> tuple[Placed, int]:
    work, new = asked.work, 0

    def to_sketch(missing: pl.Series) -> ToDo:
        nonlocal new
        new = len(missing)
        there = ranges_of(job.corpus, missing, AT_ONCE, BYTES_AT_ONCE)
        return ToDo(job, there, f"sketches, {asked.source}", new, "documents", job.memory)

    shards = Shards(work.store, STAGE, digest(how))
    return shards.ready(asked.documents["doc_id"], to_sketch, work.executor, work.log), new


def _items(asked: Asked, job: Sketching, how: list[Any]) -> tuple[np.ndarray, np.ndarray, float]:
    """(features of the items, float32 (I, ...); their predicted tokens; seconds)."""
    rows = asked.items.select("item_id", "prompt", "text").rows()
    items = [Text(digest([prompt, text]), name, prompt, text) for name, prompt, text in rows]
    of_key = {item.key: item for item in items}

    def to_sketch(missing: pl.Series) -> ToDo:
        left = [of_key[key] for key in missing]
        shards = [tuple(left[i : i + ITEMS_AT_ONCE]) for i in range(0, len(left), ITEMS_AT_ONCE)]
        return ToDo(job, shards, f"sketches of targets, {asked.source}", len(left), "items", job.memory)

    shards = Shards(asked.work.store, STAGE, digest([*how, "items"]))
    found = shards.completed([item.key for item in items], to_sketch, asked.work.executor, asked.work.log)
    return matrix(found["feature"]), found["n_tokens"].to_numpy(), float(np.sum(found["seconds"].to_numpy()))


def _scaled(asked: Asked, job: Sketching, how: list[Any]) -> tuple[Sketching, list[Any]]:
    """The job with the scales of adam_diag. They come from the same documents on any number of workers."""
    ids = asked.documents["doc_id"]
    order = np.argsort(keyed_uniform(job.seed, "sketches: moments", ids), kind="stable")[:SAMPLED]
    sample = tuple(sorted(ids.gather(order)))
    named = [*how, MOMENTS, digest(list(sample))]
    shards = Shards(asked.work.store, STAGE, digest(named))
    todo = ToDo(Moments(job), [sample], "second moments", len(sample), "documents")
    placed = shards.ready([MOMENTS], lambda missing: todo, asked.work.executor, asked.work.log)
    return replace(job, moments=Kept(placed.files[placed.at["file"][0]], MOMENTS)), named


def _along(asked: Asked, job: Sketching, how: list[Any], basis: TargetBasis) -> tuple[Sketching, list[Any]]:
    """The job with the directions of the targets, which are kept beside the features that depend on them."""
    named = [*how, BASIS, digest([digest(row) for row in asked.items.select("prompt", "text").rows()])]
    shards = Shards(asked.work.store, STAGE, digest([*named, "directions"]))
    flat = pa.array(np.ascontiguousarray(basis.basis_FP, np.float32).reshape(-1))
    directions = pa.FixedSizeListArray.from_arrays(flat, basis.width)
    shards.write(pa.table({"key": pa.array([BASIS] * len(directions), pa.large_string()), "direction": directions}))
    files, index = shards.index()
    return replace(job, basis=Kept(files[index["file"][0]], BASIS)), named


def _measured(
    asked: Asked, placed: Placed, item_IK: np.ndarray, tokens_I: np.ndarray, seconds: float, new: int
) -> Measured:
    settings, n = asked.settings, len(asked.documents)
    facts = pl.DataFrame(placed.read(0, n, ["n_tokens", "seconds", "width", "weights"]))
    first = facts.row(0, named=True)
    exact = first["width"] <= settings.dim
    targets = {}
    for name in asked.targets:
        chosen_I = (asked.items["target"] == name).to_numpy()
        mean_K = mean_of(item_IK[chosen_I], tokens_I[chosen_I])
        targets[name] = Target(padded(mean_K[None], settings.dim)[0], int(chosen_I.sum()))

    def read(start: int, stop: int) -> Rows:
        rows = placed.read(start, stop, ["feature", "n_tokens", "norm"])
        feature_BK = padded(matrix(rows["feature"]), settings.dim)
        return Rows(feature_BK, rows["n_tokens"].to_numpy(), rows["norm"].to_numpy())

    return Measured(
        width=int(first["width"]),
        sketch=_how_short(asked.source, exact, settings.sketch),
        read=read,
        targets=targets,
        seconds=float(facts["seconds"].sum()) + seconds,
        flops=float(PASSES.get(asked.source, 6)) * first["weights"] * float(facts["n_tokens"].sum() + tokens_I.sum()),
        n_bytes=4 * min(int(first["width"]), settings.dim) * n,
        new=new,
    )


def _encoded(reference: Reference, column: pa.ChunkedArray) -> Sequence[list[int]]:
    return reference.encode(column.to_pylist())


def _clock(where: str) -> float:
    """Seconds of this thread on the processor; on a GPU, of the clock."""
    return time.perf_counter() if where == device.CUDA else time.thread_time()


def _how_short(source: str, exact: bool, sketch: str) -> str:
    if source == "factored":
        return "factored"
    return "exact" if exact else sketch
