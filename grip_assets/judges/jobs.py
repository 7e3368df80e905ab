"""Static analysis as jobs of an executor. Each process that runs these jobs has its own workers (bounded.py)."""

import itertools
import json
import time
import uuid
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass, field

import pyarrow as pa

from grip_assets.judges.base import DIMENSIONS, Document, Verdict
from grip_assets.judges.bounded import BATCH, Workers
from grip_assets.runtime import opened, threads
from grip_assets.runtime.executors import Executor, Local
from grip_assets.runtime.progress import worked
from grip_assets.store.tables import RowRange, read_range


@dataclass(frozen=True)
class _Judging:
    """``session``: within a process, the jobs of one session share their workers and end them together."""

    session: str = field(default_factory=lambda: uuid.uuid4().hex)

    def verdicts(self, documents: list[Document]) -> list[Verdict]:
        workers = opened.get(("static judge", self.session), Workers, Workers.close)
        return workers.judge(documents)

    def stop(self) -> None:
        """End the workers, so that nobody waits for a document that takes long."""
        opened.close(("static judge", self.session))


@dataclass(frozen=True)
class JudgeDocuments(_Judging):
    """The job: judges the documents of a shard. The verdicts are JSON."""

    def run(self, shard: tuple[Document, ...]) -> pa.Table:
        return pa.table({"verdict": [json.dumps(asdict(verdict)) for verdict in self.verdicts(list(shard))]})


@dataclass(frozen=True)
class JudgeRows(_Judging):
    """The job: scores the documents in a range of rows of ``corpus``. Its progress counts documents.

    ``key``: the document and the language that it is read as. ``seconds``: the mean time per document, divided by the
    number of the machine's threads, as if all had been equally busy.
    """

    corpus: str = ""

    def run(self, shard: RowRange) -> pa.Table:
        rows = read_range(self.corpus, ["doc_id", "text", "language"], shard)
        documents = [Document(*row.values()) for row in rows.to_pylist()]
        started = time.monotonic()
        verdicts = self.verdicts(documents)
        each = (time.monotonic() - started) / len(documents) / threads.default_workers()
        worked(len(documents))
        scores = {d: pa.array([v.scores.get(d) for v in verdicts], pa.float64()) for d in DIMENSIONS}
        keys = [f"{document.doc_id}:{document.language or ''}" for document in documents]
        return pa.table({"key": keys, **scores, "seconds": [each] * len(documents)})


def judged(documents: Iterable[Document], executor: Executor | None = None) -> Generator[Verdict, None, None]:
    """Verdicts in the order of the documents. When the generator has ended or was closed, no job runs any more."""
    stream = iter(documents)
    batches = iter(lambda: tuple(itertools.islice(stream, BATCH)), ())
    found = (executor or Local()).map(JudgeDocuments(), batches)
    try:
        for table in found:
            for verdict in table["verdict"]:
                yield Verdict(**json.loads(verdict.as_py()))
    finally:
        found.close()
