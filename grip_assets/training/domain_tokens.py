"""Tokens of the pool's documents by domain: what trainings on mixtures read. The pool is not copied.

The store is one folder, which is named by its content. It holds, domain after domain, the tokens of the documents in a
keyed order, with END between them, as uint16 or uint32. There are only as many tokens of a domain as a training can
read. Held-out documents are not in it. The folder is made once, and mapped into memory. Which windows a training reads
is in mixtures.py. Shapes: D domains, W windows, C tokens of a window.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.runtime import opened
from grip_assets.runtime.executors import Executor, Log, ToDo, silent
from grip_assets.runtime.progress import worked
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.tables import RowRange, arrow, parts, ranges_of, read_range
from grip_assets.training.runs import tokenizer_in

FORMAT = 1  # of the folder; part of its name
TOKENS, COUNTS = "tokens.bin", "domains.json"
AT_ONCE, AT_ONCE_BYTES = 1024, 2 << 20  # documents and bytes of a shard of work
IN_MEMORY = 8 * AT_ONCE_BYTES  # texts and tokens of a shard
BYTES_A_TOKEN = 4  # a first guess; if it was too low, further documents are read
SHOWN = 3  # domains in an error


@dataclass(frozen=True)
class DomainTokens:
    """The tokens of D domains in a folder. A job holds this value, and opens the files in its own process."""

    folder: Path

    @cached_property
    def tokens_D(self) -> np.ndarray:
        """Tokens in the store, with those between documents, int64 (D,)."""
        return np.array(self._counts["tokens"], np.int64)

    @cached_property
    def _counts(self) -> dict:
        return json.loads((self.folder / COUNTS).read_text(encoding="utf-8"))

    @cached_property
    def _tokens(self) -> np.ndarray:
        if not self.tokens_D.sum():
            return np.empty(0, self._counts["dtype"])  # an empty file cannot be mapped
        return np.memmap(self.folder / TOKENS, self._counts["dtype"], "r")

    def __getstate__(self) -> dict:
        return {"folder": self.folder}  # what is opened stays in its process

    @cached_property
    def _start_D(self) -> np.ndarray:
        return np.cumsum(self.tokens_D) - self.tokens_D

    def windows_D(self, context: int) -> np.ndarray:
        """How many windows of ``context`` predicted tokens each domain has, int64 (D,)."""
        return np.maximum(self.tokens_D - 1, 0) // context

    def windows(self, domain: int, context: int) -> np.ndarray:
        """The windows of a domain, a view (W, C + 1). Each begins with the last token of the one before."""
        start = self._start_D[domain]
        of_domain = self._tokens[start : start + self.tokens_D[domain]]
        n = int(self.windows_D(context)[domain])
        if not n:
            return np.empty((0, context + 1), of_domain.dtype)
        return np.lib.stride_tricks.sliding_window_view(of_domain, context + 1)[: n * context : context]

    def at(self, domain_B: np.ndarray, window_B: np.ndarray, context: int) -> np.ndarray:
        """Positions in the store of the first tokens of some windows, int64 (B,)."""
        return self._start_D[domain_B] + window_B * context

    def read(self, at_B: np.ndarray, context: int) -> np.ndarray:
        """The windows that begin at these positions, int64 (B, C + 1)."""
        return self._tokens[at_B[:, None] + np.arange(context + 1)].astype(np.int64)

    def domain_of(self, at_B: np.ndarray) -> np.ndarray:
        """The domains in which these positions lie, int64 (B,)."""
        return np.searchsorted(np.cumsum(self.tokens_D), at_B, side="right")


def opened_tokens(tokens: DomainTokens) -> DomainTokens:
    """The same tokens, opened once in this process."""
    return opened.get(("domain tokens", tokens.folder), lambda: DomainTokens(tokens.folder))


def must_fill_windows(tokens: DomainTokens, context: int, names: Sequence[str]) -> None:
    """GripError if a domain has too few tokens for one window."""
    small = np.flatnonzero(tokens.windows_D(context) < 1)
    if not len(small):
        return
    shown = ", ".join(f"'{names[d]}' ({tokens.tokens_D[d]:,} tokens)" for d in small[:SHOWN])
    more = f" and {len(small) - SHOWN} more" if len(small) > SHOWN else ""
    what = "The domain" if len(small) == 1 else "The domains"
    fewer = "has" if len(small) == 1 else "have"
    raise GripError(
        f"{what} {shown}{more} {fewer} fewer tokens than one window of settings/mixing.context ({context})."
        " Lower settings/mixing.context, or make the domains larger: raise settings/clustering.min_cluster_docs, or"
        " lower settings/mixing.held_out."
    )


def name_of(documents: pl.DataFrame, tokenizer: str, most: int, seed: int) -> str:
    """Digest of all that the tokens depend on. ``documents``, ``tokenizer``, ``most``, ``seed``: see ``ready``."""
    read = documents.filter(~pl.col("held_out")).sort("domain", "doc_id")
    made = hashlib.sha256(json.dumps([FORMAT, most, seed, _domains(documents)]).encode())
    made.update(pl.read_parquet(tokenizer)["json"][0].encode())
    for block in read.iter_slices(65_536):
        lines = block.select(pl.format("{} {}", "doc_id", "domain"))
        made.update("\n".join(lines.to_series()).encode() + b"\n")
    return made.hexdigest()[:16]


def _domains(documents: pl.DataFrame) -> int:
    return int(documents["domain"].max()) + 1 if len(documents) else 0  # type: ignore[arg-type]


def ready(
    store: ArtifactStore,
    stage: str,
    corpus: str,
    documents: pl.DataFrame,
    tokenizer: str,
    most: int,
    seed: int,
    executor: Executor,
    log: Log = silent,
) -> DomainTokens:
    """The tokens of the domains; made now if they are not there.

    ``stage``: the folder is beside its shards, and is removed with them. ``corpus`` and ``tokenizer``: globs of tables.
    ``documents``: doc_id, domain (0 to D - 1), held_out. ``most``: most tokens of a domain. A training that predicts T
    tokens reads at most T + 1 of a domain before a new epoch. ``seed``: of the order of the documents.
    """
    name = f"tokens-{name_of(documents, tokenizer, most, seed)}"
    folder = store.root / stage / ".shards" / name
    store.shards_used.add(name)
    store.bring(folder)
    if not folder.exists():
        with store.scratch() as scratch:
            (scratch / "made").mkdir()
            making = _Making(corpus, tokenizer, most, scratch, executor, log)
            making.make(_in_order(corpus, documents, seed), _domains(documents))
            store.put_folder(scratch / "made", folder)
    return DomainTokens(folder)


def _in_order(corpus: str, documents: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The documents that are not held out, with their n_bytes, by domain, and in a keyed order in each domain."""
    sizes = pl.concat([pl.read_parquet(part, columns=["doc_id", "n_bytes"], glob=False) for part in parts(corpus)])
    read = documents.filter(~pl.col("held_out")).select("doc_id", "domain").join(sizes, on="doc_id")
    u = pl.Series("u", keyed_uniform(seed, "documents of domains", read["doc_id"]))
    return read.with_columns(u).sort("domain", "u", "doc_id").drop("u")


@dataclass(frozen=True)
class TokeniseDocuments:
    """The job: tokens of some documents, as bytes of uint16 or uint32. Its unit of progress is a byte of text."""

    corpus: str
    tokenizer: str

    def run(self, shard: RowRange) -> pa.Table:
        from grip_assets.training.small import encode  # torch

        tokenizer = opened.get(("tokenizer", self.tokenizer), partial(tokenizer_in, self.tokenizer))
        rows = read_range(self.corpus, ["doc_id", "text", "n_bytes"], shard)
        dtype = type_of(tokenizer.get_vocab_size())
        found = [np.array(ids, dtype) for ids in encode(tokenizer, rows["text"].to_pylist())]
        worked(sum(rows["n_bytes"].to_pylist()))
        columns = {"doc_id": rows["doc_id"].to_pylist(), "tokens": [ids.tobytes() for ids in found]}
        return arrow(pl.DataFrame(columns, {"doc_id": pl.String, "tokens": pl.Binary}))


def type_of(vocabulary: int) -> type[np.unsignedinteger]:
    """The smallest type of a token id."""
    return np.uint16 if vocabulary <= 1 << 16 else np.uint32


@dataclass(frozen=True)
class _Making:
    """Tokens are first written in the order of the corpus, then gathered by domain. Memory holds one shard of work and
    a few numbers for each document."""

    corpus: str
    tokenizer: str
    most: int
    scratch: Path
    executor: Executor
    log: Log

    def make(self, documents: pl.DataFrame, domains: int) -> None:
        vocabulary = tokenizer_in(self.tokenizer).get_vocab_size()
        dtype = np.dtype(type_of(vocabulary))
        made = self._tokenised(documents, dtype.itemsize)
        (self.scratch / "made" / TOKENS).touch()
        tokens = [self._write(made.filter(domain=d), dtype) for d in range(domains)]
        counts = {"format": FORMAT, "dtype": dtype.name, "vocabulary": vocabulary, "tokens": tokens}
        (self.scratch / "made" / COUNTS).write_text(json.dumps(counts), encoding="utf-8")

    def _tokenised(self, documents: pl.DataFrame, size: int) -> pl.DataFrame:
        """``documents`` with the place of their tokens: ``first`` and ``n``, null for those that are not needed.

        Documents are read until their domains are full. Their number depends on no guess, only the rounds do.
        """
        placed = pl.DataFrame(schema={"doc_id": pl.String, "first": pl.Int64, "n": pl.Int64})
        guess = BYTES_A_TOKEN
        with (self.scratch / "in_order_of_corpus").open("wb") as file:
            while True:
                made = documents.join(placed, on="doc_id", how="left", maintain_order="left")
                missing = _missing(made, self.most, guess)
                if missing.is_empty():
                    return made
                placed = pl.concat([placed, self._round(missing, file, size)])
                guess *= 2

    def _round(self, missing: pl.DataFrame, file: BinaryIO, size: int) -> pl.DataFrame:
        shards = ranges_of(self.corpus, missing["doc_id"], AT_ONCE, AT_ONCE_BYTES)
        job = TokeniseDocuments(self.corpus, self.tokenizer)
        work = ToDo(job, shards, "tokens of domains", int(missing["n_bytes"].sum()), "bytes", IN_MEMORY)
        rows: list[tuple[str, int, int]] = []
        for table in work.tables(self.executor, self.log):
            for doc, tokens in zip(table["doc_id"].to_pylist(), table["tokens"].to_pylist(), strict=True):
                rows.append((doc, file.tell() // size, len(tokens) // size))
                file.write(tokens)
        file.flush()
        return pl.DataFrame(rows, {"doc_id": pl.String, "first": pl.Int64, "n": pl.Int64}, orient="row")

    def _write(self, part: pl.DataFrame, dtype: np.dtype) -> int:
        """Append the tokens of a domain. Returns their number, at most ``most`` + 1."""
        left = self.most + 1
        end = np.zeros(1, dtype)
        with (self.scratch / "made" / TOKENS).open("ab") as file:
            for ids in self._documents(part, dtype):
                if not left:
                    break
                for piece in (end, ids):
                    file.write(piece[:left].tobytes())
                    left -= len(piece[:left])
            file.write(end[:left].tobytes())
        return self.most + 1 - max(left - 1, 0)

    def _documents(self, part: pl.DataFrame, dtype: np.dtype) -> Iterator[np.ndarray]:
        file = self.scratch / "in_order_of_corpus"
        if not file.stat().st_size:
            return
        whole = np.memmap(file, dtype, "r")
        for first, n in part.drop_nulls("first").select("first", "n").iter_rows():
            yield whole[first : first + n]


def _missing(made: pl.DataFrame, most: int, guess: int) -> pl.DataFrame:
    """Documents that are not tokenised and may be needed, if a token has at most ``guess`` bytes."""
    known = pl.col("n").fill_null(pl.col("n_bytes") // guess) + 1
    before = known.cum_sum().shift(1, fill_value=0).over("domain")
    return made.filter((before <= most) & pl.col("n").is_null())
