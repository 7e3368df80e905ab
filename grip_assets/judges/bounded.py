"""Static analysis in worker processes, so that no document can take too much time or memory.

Parsers and lexers are C code and regular expressions that hold the interpreter. Neither a thread nor a signal handler
can stop them. So a worker limits its own memory, and sets a timer of processor time before each document. The timer's
signal ends the worker, even if its parent is gone. The document is then judged as plain text, and its verdict says so.

The timer is the last resort: reading.py already limits how much of a document is read. The timer counts processor
time and not clock time, so a busy machine changes no verdict.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from grip_assets.errors import GripError
from grip_assets.judges.base import Document, Verdict
from grip_assets.judges.reading import ANALYSED_BYTES

SECONDS = 10.0  # of processor time per document: a hundred times as long as the slowest usual documents take
MEMORY = 1 << 30  # bytes per worker
BATCH = 16  # documents per message
ATTEMPTS = 2  # per document, if its worker did not end by its timer: somebody may have killed it
PACKAGE = str(Path(__file__).parents[2])


class Ended(Exception):
    """The worker ended before it answered. ``slow``: whether its timer ended it."""

    def __init__(self, slow: bool, why: str):
        super().__init__(why)
        self.slow = slow


class Worker:
    """A process that judges documents one by one. JSON lines go both ways."""

    def __init__(self) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        paths = os.pathsep.join([PACKAGE, *(path for path in sys.path if path)])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from grip_assets.judges.bounded import work; work()", str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        try:
            self.receive()
        except Ended:
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            self.close()
            raise GripError(f"A process of the static judge did not start: {said or 'it gave no reason'}.") from None

    def send(self, documents: list[Document]) -> None:
        # the worker reads no more of a text than this
        message = json.dumps([[d.doc_id, d.text[:ANALYSED_BYTES], d.language] for d in documents])
        assert self.process.stdin
        with suppress(BrokenPipeError):  # the worker ended: receive raises Ended
            self.process.stdin.write(message.encode() + b"\n")
            self.process.stdin.flush()

    def receive(self) -> Verdict:
        """The next verdict. Raises Ended if the worker has ended."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line.endswith(b"\n"):
            return Verdict(**json.loads(line))
        code = self.process.wait()
        if code == -signal.SIGPROF:
            raise Ended(True, f"more than {SECONDS:g} s of processor time")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise Ended(False, f"its process ended ({name}: a fault of its parser, or no memory)")

    def close(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                pipe and pipe.close()
        self.process.wait()
        self.errors.close()


class Workers:
    """As many workers as threads judge at once. Each starts when it is first needed. ``close`` ends all."""

    def __init__(self) -> None:
        self.lock, self.closed = threading.Lock(), False
        self.idle: list[Worker] = []
        self.all: set[Worker] = set()

    def judge(self, documents: list[Document]) -> list[Verdict]:
        """One verdict per document, even if workers end."""
        verdicts: list[Verdict] = []
        deaths = 0
        while len(verdicts) < len(documents):
            worker = self.take()
            worker.send(documents[len(verdicts) :])
            try:
                while len(verdicts) < len(documents):
                    verdicts.append(worker.receive())
                    deaths = 0
            except Ended as ended:
                self.drop(worker)
                deaths += 1
                if ended.slow or deaths >= ATTEMPTS:
                    verdicts.append(as_text(documents[len(verdicts)], str(ended)))
                    deaths = 0
            else:
                with self.lock:
                    self.idle.append(worker)
        return verdicts

    def take(self) -> Worker:
        with self.lock:
            if self.closed:
                raise RuntimeError("the judge was closed")
            if self.idle:
                return self.idle.pop()
        worker = Worker()
        with self.lock:
            self.all.add(worker)
            closed = self.closed
        if closed:
            self.drop(worker)
            raise RuntimeError("the judge was closed")
        return worker

    def drop(self, worker: Worker) -> None:
        with self.lock:
            self.all.discard(worker)
        worker.close()

    def close(self) -> None:
        with self.lock:
            self.closed, left = True, list(self.all)
            self.all.clear()
        for worker in left:
            worker.process.kill()
        for worker in left:
            worker.close()


def as_text(document: Document, why: str) -> Verdict:
    """The verdict on a document as plain text, with the reason why it could not be read in its language."""
    from grip_assets.judges.static import judge_document

    verdict = judge_document(Document(document.doc_id, document.text, None))
    verdict.parts["not_read_as"] = f"{document.language}: {why}"
    return verdict


def work() -> None:
    """Runs a worker: reads documents from standard input and writes verdicts to standard output until either closes."""
    from grip_assets.judges.static import judge_document

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process without asking the interpreter
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_DATA, MEMORY)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of a library go to standard error, not among the answers
    seconds = float(sys.argv[1])

    def answer(verdict: Verdict) -> None:
        answers.write(json.dumps(asdict(verdict)).encode() + b"\n")
        answers.flush()

    answer(Verdict("", "ready"))
    with suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            for row in json.loads(line):
                document = Document(*row)
                signal.setitimer(signal.ITIMER_PROF, seconds)
                try:
                    verdict = judge_document(document)
                except Exception as error:  # a fault of a lexer, or no memory: only this document fails
                    verdict = as_text(document, f"its reader failed ({type(error).__name__})")
                signal.setitimer(signal.ITIMER_PROF, 0)
                answer(verdict)
    os._exit(0)


def _bound(what: int, most: int) -> None:
    with suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
