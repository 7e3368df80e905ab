"""corpus: the pool as documents named by their content, exact duplicates and problems of benchmarks rejected, projects
held out for evaluation, tokens counted.

What is held out is decontaminated too, and no text is on both sides: the copy that is read first stands for the others.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.errors import GripError
from grip_assets.method.sampling import keyed_uniform
from grip_assets.models.files import content_hash, locate
from grip_assets.parallel import map_shards
from grip_assets.progress import Progress
from grip_assets.recompute import Settings, Stage, Work
from grip_assets.settings import Corpus
from grip_assets.sources import benchmarks
from grip_assets.sources.contamination import RULES, Finding, decontaminate, index
from grip_assets.sources.documents import RawDocument, Rejected, deduplicate
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
HELD_OUT = CORPUS.append(pa.field("project", pa.string()))
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
SCHEMAS = {"corpus": CORPUS, "held_out": HELD_OUT, "rejected": REJECTED}
NAMED_BY = {  # the columns that the version is made of
    "corpus": ("source", "language", "doc_id"),
    "held_out": ("source", "language", "doc_id", "project"),
    "rejected": ("source", "reason", "doc_id"),
}
BATCH = 256


def pool(settings: Settings) -> Pool:
    s = Corpus.of(settings)
    return open_pool(
        s.path,
        s.format,
        s.text_field,
        s.id_field,
        s.max_bytes,
        s.max_documents,
        s.seed,
        s.project_field,
        s.project_depth,
    )


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The listing of the pool (names, sizes, times), and the content of the tokenizer and of the benchmarks."""
    s = Corpus.of(settings)
    tokenizer = content_hash(locate(s.tokenizer, "settings/corpus.tokenizer"), root)
    listing = pool(settings).fingerprint()
    return {"listing": listing, "tokenizer": tokenizer, "benchmarks": list(map(benchmarks.content_hash, s.benchmarks))}


def compute(work: Work) -> dict[str, Any]:
    from grip_assets.models.proxy import load_tokenizer

    settings = Corpus.of(work.settings)
    source = pool(work.settings)
    count_tokens = load_tokenizer(settings.tokenizer, "settings/corpus.tokenizer", work.store.root)
    progress = Progress(f"reading {source.label}", source.size(), "bytes", work.log)
    seen: Counter[str] = Counter(dict.fromkeys(("read", "kept", "held_out", "rejected"), 0))
    tokens = 0
    findings: list[Finding] = []
    content = hashlib.sha256(content_hash(locate(settings.tokenizer), work.store.root).encode())
    clean = decontaminate(source.read(), [index(name) for name in settings.benchmarks], findings)
    with ExitStack() as stack:
        tables = {name: stack.enter_context(work.draft.writer(name, schema)) for name, schema in SCHEMAS.items()}
        for batch in _batches(deduplicate(clean)):
            rows = _rows(batch, count_tokens, settings)
            for table, schema in SCHEMAS.items():
                tables[table].write(pa.Table.from_pylist(rows[table], schema=schema))
                content.update(repr([[row[name] for name in NAMED_BY[table]] for row in rows[table]]).encode())
            tokens += sum(row["n_tokens"] for row in rows["corpus"])
            seen.update(read=len(batch), kept=len(rows["corpus"]))
            seen.update({outcome: len(rows[outcome]) for outcome in ("held_out", "rejected")})
            progress.advance(sum(d.n_bytes or 0 for d in batch))
    progress.finish()
    _refuse_nothing(seen, source)
    intake = {"listed": source.n_listed, **seen}
    work.draft.write("intake", pl.DataFrame({"outcome": list(intake), "n": list(intake.values())}))
    found = contamination(settings.benchmarks, findings)
    work.draft.write("contamination", found)
    content.update(repr(found.rows()).encode())
    work.content = content.hexdigest()
    numbers = {f"documents_{name}": n for name, n in intake.items()}
    return numbers | {"documents_contaminated": len(findings), "tokens": tokens}


def _rows(
    batch: list[RawDocument | Rejected], count_tokens: Callable[[str], int], settings: Corpus
) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table."""
    documents = [d for d in batch if not isinstance(d, Rejected)]
    n_tokens = map_shards(count_tokens, (d.text for d in documents))
    rows: dict[str, list[dict[str, Any]]] = {"corpus": [], "held_out": []}
    for document, n, held in zip(documents, n_tokens, set_aside(documents, settings), strict=True):
        rows["held_out" if held else "corpus"].append(vars(document) | {"n_tokens": n})
    return rows | {"rejected": [vars(d) for d in batch if isinstance(d, Rejected)]}


def _refuse_nothing(seen: Counter[str], source: Pool) -> None:
    if seen["held_out"] and not seen["kept"]:
        raise GripError(
            f"Every document of {source.label} is held out. Lower settings/corpus.held_out, or raise"
            " settings/corpus.project_depth where all lie in one project."
        )
    if not seen["kept"]:
        raise GripError(f"No documents read from {source.label}. {source.hint}")


def set_aside(documents: list[RawDocument], settings: Corpus) -> np.ndarray:
    """Which of the documents are of a project that is held out. Each project draws for itself, so another project in
    the pool changes nothing."""
    return keyed_uniform(settings.seed, "held_out", [d.project for d in documents]) < settings.held_out


def contamination(names: list[Any], findings: list[Finding]) -> pl.DataFrame:
    """One row a benchmark and rule; problems and documents may be none."""
    return pl.DataFrame(
        [
            {
                "benchmark": name,
                "rule": rule,
                "problems": len({p for f in found for p in f.problems}),
                "documents": len(found),
            }
            for name in names
            for rule in RULES
            for found in [[f for f in findings if (f.benchmark, f.rule) == (name, rule)]]
        ],
        schema={"benchmark": pl.String, "rule": pl.String, "problems": pl.Int64, "documents": pl.Int64},
    )


def _batches(stream: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(stream, BATCH)):
        yield batch


stage = Stage(
    name="corpus",
    code_version="3",
    compute=compute,
    description="The pool to choose from: one row a document, named by its content. Exact duplicates and unusable"
    " documents are in the table `rejected`, with the reason and the document that stands for them; so are documents"
    " that hold a benchmark's problem. Projects set aside for evaluation are in `held_out`.",
    tables=("corpus", "rejected", "intake", "held_out", "contamination"),
    reads={"corpus": None},
    facts=facts,
    named_by_content=True,
    otherwise="the pool changed",
)
