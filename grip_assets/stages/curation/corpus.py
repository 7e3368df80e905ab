"""corpus: reads the pool, names each document by its content, and counts its tokens.

Exact duplicates and documents with a benchmark's problem are rejected. Some projects are held out for evaluation. Held
out documents are decontaminated too. No text is both in the corpus and held out: of several copies, only the one that
is read first is kept. Readers and steps are in sources/.
"""

import hashlib
import itertools
import json
import shutil
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.engine.declarations import VECTOR32, Check, Column, Table
from grip_assets.engine.stage import Result, Settings, Stage, Work
from grip_assets.errors import GripError
from grip_assets.models.files import content_hash, locate_tokenizer
from grip_assets.models.opening import TokenizerFiles
from grip_assets.runtime.executors import Executor
from grip_assets.runtime.progress import Progress
from grip_assets.settings import Corpus, Embedding, digest
from grip_assets.sources import benchmarks, test_sets
from grip_assets.sources.documents import WOULD_READ, RawDocument, Reason, Rejected
from grip_assets.sources.jobs import BATCH, IN_MEMORY, CountTokens, batches, read_pool
from grip_assets.sources.pool import DocumentPool, open_pool
from grip_assets.sources.pools import Pools, open_pools
from grip_assets.sources.steps import in_pool_order, steps_of
from grip_assets.sources.steps.contamination import RULES, Finding
from grip_assets.stages.curation.intake import documents_of_sources
from grip_assets.stages.curation.partition import enough_documents
from grip_assets.store.catalog import literal
from grip_assets.store.parts import PartsWriter, part_size
from grip_assets.store.tables import TableWriter, parts

CORPUS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.large_string()),
        ("language", pa.string()),
        ("source", pa.string()),
        ("n_bytes", pa.int64()),
        ("n_tokens", pa.int64()),
        ("decoded_from", pa.string()),
        ("kept", pa.string()),
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
ADDED = {  # columns of the corpus that only some settings have
    "found": (pa.string(), lambda s: "mask" in (s.personal_data, s.secrets)),
    "licence": (pa.string(), lambda s: s.licences),
    "licence_from": (pa.string(), lambda s: s.licences and s.project_licences),
    "language_confidence": (pa.float64(), lambda s: s.detect_languages != "off"),
}
OF_SOURCES = pa.schema([("pool", pa.string()), ("role", pa.string())])  # only with settings/corpus.sources
TO_COUNT = pa.schema([("text", pa.large_string()), ("project", pa.string())])
IN_PARTS = ("corpus", "held_out")  # tables with texts; versions share files with the same rows
TOKENIZER = "settings/corpus.tokenizer"
FIRST = 3  # rejected documents that the log shows
LICENCES = "2"  # raise it when a licence is recognised otherwise
ALL_REJECTED = "rejected.parquet"  # in the data folder, written if a run rejected every document


def schemas(settings: Corpus) -> dict[str, pa.Schema]:
    """The schemas of the tables of documents under these settings."""
    added = [pa.field(name, kind) for name, (kind, is_asked_for) in ADDED.items() if is_asked_for(settings)]
    of_sources = OF_SOURCES if settings.sources else pa.schema([])
    return {
        "corpus": pa.schema([*CORPUS, *added, *of_sources]),
        "held_out": pa.schema([*HELD_OUT, *added, *of_sources]),
        "rejected": pa.schema([*REJECTED, *of_sources]),
    }


def named_by(table: str, schema: pa.Schema) -> tuple[str, ...]:
    """The columns whose hash names the version, and the parts of a table."""
    if table == "rejected":
        return ("source", "reason", "doc_id", *(name for name in OF_SOURCES.names if name in schema.names))
    return tuple(n for n in schema.names if n != "text")


def pool(settings: Settings) -> DocumentPool | Pools:
    column = Embedding.of(settings).column if "embedding" in settings else None
    corpus = Corpus.of(settings)
    return open_pools(corpus, column) if corpus.sources else open_pool(corpus, column)


def facts(settings: Settings, root: Path) -> dict[str, Any]:
    """The listing of the pool (names, sizes, times), and the content of the tokenizer and of the benchmarks."""
    s = Corpus.of(settings)
    listing = pool(settings).fingerprint()
    return {"listing": listing, **_counted_with(s, root)}


def _counted_with(settings: Corpus, root: Path) -> dict[str, Any]:
    tokenizer = content_hash(locate_tokenizer(settings.tokenizer, TOKENIZER), root)
    own = {name: test_sets.content(path) for name, path in test_sets.named(settings.test_sets).items()}
    found = {"tokenizer": tokenizer, "benchmarks": list(map(benchmarks.content_hash, settings.benchmarks))}
    found |= {"licences": LICENCES} if settings.licences else {}
    return found | ({"test_sets": own} if own else {})


def compute(work: Work) -> Result:
    from grip_assets.models.tokenizers import located  # transformers

    settings = Corpus.of(work.settings)
    counted_by = TokenizerFiles(located(settings.tokenizer, TOKENIZER, work.store.root, work.log), TOKENIZER)
    counted_by.counter()  # a tokenizer that cannot be loaded is refused before anything is read
    source = pool(work.settings)
    progress = Progress(f"reading {source.label}", source.size(), "bytes", work.log)
    for note in source.notes:
        work.log(note)
    if source.n_listed > len(source.rejected):  # rows of tables are not counted yet
        enough_documents(source.n_listed - len(source.rejected), work)
    seen: Counter[str] = Counter(dict.fromkeys(("read", "kept", "held_out", "rejected", "decoded", "unknown_kind"), 0))
    refused = Refused()
    tokens = 0
    findings: list[Finding] = []
    kinds: Counter[str] = Counter()
    with Tables(work, source.size()) as tables:
        if isinstance(source, Pools):
            stream = rows_of_sources(work, source, settings, counted_by)
        else:
            stream = read_rows(source, settings, counted_by, work.executor)
        for rows in stream:
            tables.write(rows)
            findings += [row["finding"] for row in rows["rejected"] if row["finding"]]
            tokens += sum(row["n_tokens"] for row in rows["corpus"])
            seen.update({"kept": len(rows["corpus"]), "read": sum(map(len, rows.values()))})
            seen.update({outcome: len(rows[outcome]) for outcome in ("held_out", "rejected")})
            seen["decoded"] += sum(row["decoded_from"] is not None for row in rows["corpus"] + rows["held_out"])
            refused.add(rows["rejected"])
            kinds.update(kinds_of(rows))
            progress.advance(sum(row["n_bytes"] or 0 for table in rows.values() for row in table))
    progress.finish()
    seen["unknown_kind"] = refused.reasons[Reason.UNKNOWN_KIND]
    _refuse_nothing(seen, source, refused, work)
    for line in refused.lines():
        work.log(line)
    more = ("decoded", "unknown_kind")  # outcomes that are listed only if there are any
    intake = {"listed": source.n_listed} | {what: n for what, n in seen.items() if n or what not in more}
    intake |= {f"with_{kind.replace(' ', '_')}": n for kind, n in sorted(kinds.items())}
    if kinds:
        work.log(
            f"documents with personal data or secrets: {', '.join(f'{n:,} {k}' for k, n in sorted(kinds.items()))}"
        )
    work.draft.write("intake", pl.DataFrame({"outcome": list(intake), "n": list(intake.values())}))
    found = contamination([*settings.benchmarks, *test_sets.named(settings.test_sets)], findings)
    work.draft.write("contamination", found)
    tokenizer = content_hash(locate_tokenizer(settings.tokenizer, TOKENIZER), work.store.root)
    metrics = {f"documents_{name}": n for name, n in intake.items()}
    metrics |= {"documents_contaminated": len(findings), "tokens": tokens}
    return Result(metrics, digest([tokenizer, tables.named(), found.rows()]))


def read_rows(
    source: DocumentPool, settings: Corpus, tokenizer: TokenizerFiles | None, executor: Executor
) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Rows of each table, batch by batch, in the order of the pool. ``tokenizer`` None: tokens are not counted.

    Of several copies the first in the order of the pool is kept. So duplicates are found here, in order, between the
    job that reads and the job that counts.
    """
    clean = in_pool_order(steps_of(settings), read_pool(source, settings, executor))
    waiting: deque[list[RawDocument | Rejected]] = deque()

    def to_count() -> Iterator[pa.Table]:
        for batch in batches(clean):
            waiting.append(batch)
            kept = [d for d in batch if isinstance(d, RawDocument)]
            columns = {"text": [d.text for d in kept], "project": [d.project for d in kept]}
            yield pa.table(columns, schema=TO_COUNT)

    counting = CountTokens(tokenizer, settings.held_out, settings.seed)
    for counted in executor.map(counting, to_count(), IN_MEMORY):
        yield _rows(waiting.popleft(), counted)


def rows_of_sources(
    work: Work, pools: Pools, settings: Corpus, tokenizer: TokenizerFiles
) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Rows of each table, batch by batch, of all sources in their order. Each row names its source, and its role."""
    stream = documents_of_sources(work, pools, settings, tokenizer, _counted_with(settings, work.store.root))
    while batch := list(islice(stream, BATCH)):
        rows: dict[str, list[dict[str, Any]]] = {"corpus": [], "held_out": [], "rejected": []}
        for found in batch:
            row = vars(found.outcome) | {"pool": found.part.source.name, "role": found.part.source.role}
            if isinstance(found.outcome, Rejected):
                rows["rejected"].append(row)
            else:
                row |= {"doc_id": found.outcome.doc_id, "n_tokens": found.n_tokens}
                rows["held_out" if found.held_out else "corpus"].append(row)
        yield rows


def _rows(batch: list[RawDocument | Rejected], counted: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables ``corpus``, ``held_out`` and ``rejected``. ``counted`` has a row per document of ``batch``."""
    rows: dict[str, list[dict[str, Any]]] = {"corpus": [], "held_out": [], "rejected": []}
    of_documents = zip(counted["n_tokens"].to_pylist(), counted["held_out"].to_pylist(), strict=True)
    for document in batch:
        if isinstance(document, Rejected):
            rows["rejected"].append(vars(document))
        else:
            n, held = next(of_documents)
            rows["held_out" if held else "corpus"].append(vars(document) | {"doc_id": document.doc_id, "n_tokens": n})
    return rows


def kinds_of(rows: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Each kind of personal data and secrets, once for each document in which it was found."""
    for row in itertools.chain.from_iterable(rows.values()):
        if row["found"]:
            yield from json.loads(row["found"])


class Tables:
    """Writes the tables of documents, and hashes their rows for the name of the version."""

    def __init__(self, work: Work, pool_bytes: int):
        self.draft, self.stack = work.draft, ExitStack()
        self.versions, self.part_size = work.store.root / stage.name, part_size(pool_bytes)
        self.schemas = schemas(Corpus.of(work.settings))
        self.hashes = {name: hashlib.sha256() for name in self.schemas}
        self.vectors: TableWriter | None = None

    def __enter__(self) -> "Tables":
        self.parts = {
            name: self.stack.enter_context(
                PartsWriter(self.draft.folder / name, self.schemas[name], self.versions, self.part_size)
            )
            for name in IN_PARTS
        }
        self.rejected = self.stack.enter_context(self.draft.writer("rejected", self.schemas["rejected"]))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self.vectors is None:
            self._vectors(1)  # the table must exist, even without rows
        self.stack.__exit__(kind, error, trace)

    def write(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        for name, of_table in rows.items():
            columns = named_by(name, self.schemas[name])
            said = [repr([row[column] for column in columns]) for row in of_table]
            self.hashes[name].update("\n".join([*said, ""]).encode())
            table = pa.Table.from_pylist(of_table, schema=self.schemas[name])
            if name in IN_PARTS:
                self.parts[name].write(table, said, [row["n_bytes"] for row in of_table])
            else:
                self.rejected.write(table)
        self._write_vectors([row for row in rows["corpus"] if row["vector"]])

    def _write_vectors(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            together = b"".join(row["vector"] for row in rows)
            self.hashes["corpus"].update(hashlib.sha256(together).digest())
            flat = pa.array(np.frombuffer(together, np.float32))
            self.vectors = self.vectors or self._vectors(len(rows[0]["vector"]) // 4)
            column = pa.FixedSizeListArray.from_arrays(flat, len(flat) // len(rows))
            self.vectors.write(pa.table({"doc_id": [row["doc_id"] for row in rows], "vector": column}))

    def _vectors(self, width: int) -> TableWriter:
        schema = pa.schema([("doc_id", pa.string()), ("vector", pa.list_(pa.float32(), width))])
        return self.stack.enter_context(self.draft.writer("own_vectors", schema))

    def named(self) -> list[str]:
        return [hash.hexdigest() for hash in self.hashes.values()]


@dataclass
class Refused:
    """Rejected documents: the count for each reason, and the first few rows.

    Files of an unknown kind were never opened, so they are not among the first few.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    first: list[dict[str, Any]] = field(default_factory=list)

    def add(self, rows: list[dict[str, Any]]) -> None:
        self.reasons.update(row["reason"] for row in rows)
        looked_into = (row for row in rows if row["reason"] != Reason.UNKNOWN_KIND)
        self.first += islice(looked_into, max(FIRST - len(self.first), 0))

    def lines(self) -> list[str]:
        """Lines for the log; none if only duplicates were rejected."""
        if not self.reasons.keys() - {Reason.DUPLICATE}:
            return []
        return [f"rejected: {self.counts()}", *self.examples()]

    def counts(self) -> str:
        return ", ".join(f"{n:,} {reason}" for reason, n in self.reasons.most_common())

    def examples(self) -> list[str]:
        return [f"  {row['source']}: {row['reason']}, {row['detail']}" for row in self.first]

    def would_read(self) -> str:
        """Advice on the most common reason."""
        reasons = [r for r, _ in self.reasons.most_common() if r in WOULD_READ]
        return WOULD_READ[Reason(reasons[0])] if reasons else "Check settings/corpus.path."


def _refuse_nothing(seen: Counter[str], source: DocumentPool | Pools, refused: Refused, work: Work) -> None:
    if seen["held_out"] and not seen["kept"]:
        raise GripError(
            f"Every document of {source.label} is held out. Lower settings/corpus.held_out. If all documents lie in one"
            " project, raise settings/corpus.project_depth."
        )
    if seen["kept"]:
        (work.store.root / ALL_REJECTED).unlink(missing_ok=True)
        return
    if not seen["rejected"]:
        raise GripError(f"No documents read from {source.label}: it has no rows. Check settings/corpus.path.")
    table = work.store.root / ALL_REJECTED
    shutil.copyfile(parts(work.draft.parquet("rejected"))[0], table)
    raise GripError(
        "\n".join(
            [
                f"No documents read from {source.label}: all {seen['rejected']:,} were rejected ({refused.counts()}).",
                *refused.examples(),
                f'{refused.would_read()} All of them: grip sql "FROM {literal(str(table))}"',
            ]
        )
    )


def contamination(names: list[Any], findings: list[Finding]) -> pl.DataFrame:
    """The table ``contamination``: one row per benchmark and rule, even if nothing was found."""
    rows = []
    for name, rule in itertools.product(names, RULES):
        here = [f for f in findings if (f.benchmark, f.rule) == (name, rule)]
        rows.append((name, rule, len({problem for f in here for problem in f.problems}), len(here)))
    return pl.DataFrame(rows, stage.schema("contamination"), orient="row")


POOL = Column(
    "pool", pl.String, "Name of the source in settings/corpus.sources. Null for a pool at one path.", added=True
)
ROLE = Column(
    "role",
    pl.String,
    "Role of the source: select, or keep (all of it is in the subset, and in no budget). Null for a pool at one path.",
    added=True,
)
KEPT = Column(
    "kept", pl.String, "The columns that settings/corpus.keep names, as JSON. An export has each as a column."
)
ONLY_IF_ASKED = (
    Column(
        "found",
        pl.String,
        "What was masked, as JSON: for each kind the number and the place of the first one, masked. Only with"
        " settings/corpus.personal_data or secrets.",
        added=True,
    ),
    Column(
        "licence",
        pl.String,
        "SPDX expression of the licence that its head names, else that of its project. Only with"
        " settings/corpus.licences.",
        added=True,
    ),
    Column(
        "licence_from",
        pl.String,
        "Where the licence stands: head, or the file of the project by its name in the pool. With such a file and no"
        " licence, the file was not recognised. Only with settings/corpus.project_licences.",
        added=True,
    ),
    Column(
        "language_confidence",
        pl.Float64,
        "Confidence from 0 to 1 of a language that was recognised from the text; null for others. Only with"
        " settings/corpus.detect_languages.",
        added=True,
    ),
    POOL,
    ROLE,
)
TABLES = (
    Table(
        "corpus",
        (
            Column("doc_id", pl.String, "Hash of the text. It names the document in every table."),
            Column("text", pl.String, "The document."),
            Column(
                "language", pl.String, "Language, from a column of the pool, the file name or, if asked for, the text."
            ),
            Column("source", pl.String, "Path, address or row in the pool."),
            Column("n_bytes", pl.Int64, "Bytes of the text in UTF-8."),
            Column("n_tokens", pl.Int64, "Tokens ℓ(x), counted by settings/corpus.tokenizer."),
            Column("decoded_from", pl.String, "Detected encoding of the file. Null for UTF-8."),
            KEPT,
            *ONLY_IF_ASKED,
        ),
    ),
    Table(
        "rejected",
        (
            Column("source", pl.String, "Path, address or row in the pool."),
            Column(
                "reason",
                pl.String,
                "Why it is not in the corpus: duplicate, contaminated, binary, invalid utf-8, empty, too large,"
                " unreadable, unknown kind, bad json, bad record, missing field, personal data, secret, language, or"
                " over the cap of its source.",
            ),
            Column("detail", pl.String, "Details of the reason."),
            Column("n_bytes", pl.Int64, "Bytes that were read."),
            Column("doc_id", pl.String, "Hash of the text. Null if no text could be read."),
            Column(
                "stands_for",
                pl.String,
                "For a duplicate: the document, in the corpus or held out, that is kept instead.",
            ),
            POOL,
            ROLE,
        ),
    ),
    Table(
        "intake",
        (
            Column(
                "outcome",
                pl.String,
                "listed, read, kept, held_out or rejected. If there are any, also decoded (from another encoding than"
                " UTF-8), unknown_kind, and with_email, with_phone and other kinds of personal data and secrets.",
            ),
            Column("n", pl.Int64, "Number of documents."),
        ),
    ),
    Table(
        "held_out",
        (
            Column("doc_id", pl.String, "Hash of the text."),
            Column("text", pl.String, "The document. Its project is set aside for evaluation."),
            Column(
                "language", pl.String, "Language, from a column of the pool, the file name or, if asked for, the text."
            ),
            Column("source", pl.String, "Path, address or row in the pool."),
            Column("n_bytes", pl.Int64, "Bytes of the text in UTF-8."),
            Column("n_tokens", pl.Int64, "Tokens, counted by settings/corpus.tokenizer."),
            Column("decoded_from", pl.String, "Detected encoding of the file. Null for UTF-8."),
            KEPT,
            Column("project", pl.String, "The document's project. A project is held out as a whole."),
            *ONLY_IF_ASKED,
        ),
    ),
    Table(
        "contamination",
        (
            Column("benchmark", pl.String, "Benchmark whose problems were searched."),
            Column(
                "rule",
                pl.String,
                "How they were found. exact: a whole prompt or solution, ignoring white space. 13-gram: 13 words of"
                " one, in a row.",
            ),
            Column("problems", pl.Int64, "Number of problems found."),
            Column("documents", pl.Int64, "Number of documents rejected."),
        ),
    ),
    Table(
        "own_vectors",
        (
            Column("doc_id", pl.String, "Document.", ("corpus.doc_id",)),
            Column(
                "vector",
                VECTOR32,
                "Vector from the column of the pool that settings/embedding.column names, float32, not normalised. No"
                " rows if no column is named.",
            ),
        ),
    ),
)
CHECKS = (
    Check("unique_documents", True, "No document is in the corpus twice."),
    Check("nothing_lost", True, "Documents read = kept + held out + rejected."),
    Check("held_out_apart", True, "No document is both held out and in the corpus."),
    Check("few_rejected", False, "At most a fifth of the documents is rejected, not counting duplicates."),
)

stage = Stage(
    name="corpus",
    code_version="4",
    compute=compute,
    description="The pool to choose from: one row per document, named by its content. The table `rejected` has exact"
    " duplicates, unusable documents and documents that contain a benchmark's problem, each with the reason. Projects"
    " set aside for evaluation are in `held_out`.",
    tables=TABLES,
    checks=CHECKS,
    expensive=True,
    reads={"corpus": None, "embedding": ("column",)},
    facts=facts,
    named_by_content=True,
    otherwise="the pool changed",
)
