"""corpus: the pool as documents named by their content, exact duplicates set aside, tokens counted."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.models.files import content_hash, locate
from grip_assets.parallel import map_shards
from grip_assets.progress import Progress
from grip_assets.recompute import Settings, Stage, Work
from grip_assets.settings import Corpus
from grip_assets.sources.documents import Rejected, deduplicate
from grip_assets.sources.pool import Pool, open_pool

CORPUS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.large_string()),
        ("language", pa.string()),
        ("source", pa.string()),
        ("n_bytes", pa.int64()),
        ("n_tokens", pa.int64()),
    ]
)
REJECTED = pa.schema(
    [
        ("source", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("n_bytes", pa.int64()),
        ("doc_id", pa.string()),
        ("stands_for", pa.string()),
    ]
)
BATCH = 256


def pool(settings: Settings) -> Pool:
    s = settings["corpus"]
    assert isinstance(s, Corpus)
    return open_pool(s.path, s.format, s.text_field, s.id_field, s.max_bytes, s.max_documents, s.seed)


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The listing of the pool (names, sizes, times) and the content of the tokenizer."""
    tokenizer = locate(settings["corpus"].tokenizer, "settings/corpus.tokenizer")  # type: ignore[attr-defined]
    return {"listing": pool(settings).fingerprint(), "tokenizer": content_hash(tokenizer, root)}


def compute(work: Work) -> dict[str, Any]:
    from grip_assets.models.proxy import load_tokenizer

    settings = work.settings["corpus"]
    assert isinstance(settings, Corpus)
    source = pool(work.settings)
    count_tokens = load_tokenizer(settings.tokenizer, "settings/corpus.tokenizer", work.store.root)
    progress = Progress(f"reading {source.label}", source.size(), "bytes", work.log)
    seen: Counter[str] = Counter()
    tokens = 0
    content = hashlib.sha256(content_hash(locate(settings.tokenizer), work.store.root).encode())
    with work.draft.writer("corpus", CORPUS) as kept, work.draft.writer("rejected", REJECTED) as rejected:
        for batch in _batches(deduplicate(source.read())):
            refused = [d for d in batch if isinstance(d, Rejected)]
            documents = [d for d in batch if not isinstance(d, Rejected)]
            for d in batch:
                content.update(
                    repr((d.source, d.reason) if isinstance(d, Rejected) else (d.source, d.language)).encode()
                )
                content.update((d.doc_id or "").encode())
            if refused:
                rejected.write(pa.Table.from_pylist([vars(d) for d in refused], schema=REJECTED))
            if documents:
                n_tokens = list(map_shards(count_tokens, (d.text for d in documents)))
                rows = [vars(d) | {"n_tokens": n} for d, n in zip(documents, n_tokens, strict=True)]
                kept.write(pa.Table.from_pylist(rows, schema=CORPUS))
                tokens += sum(n_tokens)
            seen.update(["read"] * len(batch), kept=len(documents), rejected=len(refused))
            progress.advance(sum(d.n_bytes or 0 for d in batch))
    progress.finish()
    if not seen["kept"]:
        raise GripError(f"No documents read from {source.label}. {source.hint}")
    intake = {"listed": source.n_listed, **seen}
    work.draft.write("intake", pl.DataFrame({"outcome": list(intake), "n": list(intake.values())}))
    work.content = content.hexdigest()
    return {f"documents_{name}": n for name, n in intake.items()} | {"tokens": tokens}


def _batches(stream: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(stream, BATCH)):
        yield batch


stage = Stage(
    name="corpus",
    code_version="2",
    compute=compute,
    description="The pool D: one row a document, named by its content. Exact duplicates and unusable documents are in"
    " the table `rejected`, with the reason and the document that stands for them.",
    tables=("corpus", "rejected", "intake"),
    reads={"corpus": None},
    facts=facts,
    named_by_content=True,
    otherwise="the pool changed",
)
