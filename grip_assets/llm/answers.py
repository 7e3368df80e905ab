"""The answers of language models, kept for all runs: no answer is paid for twice.

One SQLite file (write-ahead log, every commit synced). Several processes may read and write at once, and a killed
process loses no answer that was reported as kept. ``answers`` has one row per question, with the value of its answer
as JSON; text, model and sampling parameters are all in the key. ``calls`` has one row per request. ``batches`` has one
row per batch job that was not collected yet.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grip_assets.errors import GripError
from grip_assets.runtime import variables
from grip_assets.runtime.folders import data_address, data_root, home_folder

TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, subject TEXT NOT NULL, model TEXT NOT NULL, value TEXT NOT NULL, said TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    at REAL NOT NULL, run_id TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL,
    prompt_chars INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_of_run ON calls (run_id);
CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY, endpoint TEXT NOT NULL, id TEXT, subjects TEXT NOT NULL, asker TEXT NOT NULL DEFAULT 'judge'
);
"""
# For files of the first version, when only the judge asked: an old table and column, and the statement that updates it.
# Nothing is added to ``answers`` or ``calls``, so a process of that version that is still running can keep its answers.
MIGRATIONS = {
    ("answers", "doc_id"): "ALTER TABLE answers RENAME COLUMN doc_id TO subject",
    ("answers", "scores"): "ALTER TABLE answers RENAME COLUMN scores TO value",
    ("batches", "documents"): "ALTER TABLE batches RENAME COLUMN documents TO subjects",
}
ASKER = "ALTER TABLE batches ADD COLUMN asker TEXT NOT NULL DEFAULT 'judge'"


@dataclass(frozen=True)
class Call:
    """One request. ``outcome``: ``answered``, or the kind of failure. The tokens are those that are charged."""

    key: str
    model: str
    outcome: str
    prompt_chars: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass(frozen=True)
class Answer:
    """``subject``: the thing that the question is about (a doc_id). ``value``: the value of the answer, any JSON.
    ``said``: other facts of the response (model, tokens, finish reason)."""

    key: str
    subject: str
    model: str
    value: Any
    said: dict[str, Any]


@dataclass(frozen=True)
class Spent:
    """Sums over calls."""

    calls: int
    answered: int
    prompt_tokens: int
    completion_tokens: int


class Answers:
    """``path``: the SQLite file; made if it is missing. GripError if it cannot be used."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        if path.exists() and not path.stat().st_size and not path.with_name(path.name + "-wal").exists():
            raise unusable(path, "it has 0 bytes")  # SQLite would take it for a new file, and everything be paid again
        try:
            if not path.exists():
                _create(path)
            self.db, self.writer = _connect(path), _connect(path)  # each for one thread
            self.db.executescript(TABLES)
            _migrate(self.db)
        except sqlite3.Error as error:
            raise unusable(path, str(error)) from None

    def close(self) -> None:
        self.db.close()
        self.writer.close()

    def keep(self, run_id: str, rows: Iterable[tuple[Call, Answer | None]], batch: str | None = None) -> None:
        """Keep calls and their answers in one transaction; durable when this returns.

        ``batch``: the name of a batch job that is collected with these rows, and is then forgotten.
        """
        now = time.time()
        self.writer.execute("BEGIN IMMEDIATE")  # so that a second writer waits here, not half-way
        try:
            for call, answer in rows:
                self.writer.execute(
                    "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (now, run_id, *vars(call).values())
                )
                if answer:  # if two processes asked at the same time, the first answer stays
                    row = (answer.key, answer.subject, answer.model, json.dumps(answer.value), json.dumps(answer.said))
                    self.writer.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", row)
            if batch:
                self.writer.execute("DELETE FROM batches WHERE name = ?", (batch,))
        except BaseException:
            self.writer.execute("ROLLBACK")
            raise
        self.writer.execute("COMMIT")

    def find(self, keys: Iterable[str]) -> Iterator[Answer]:
        """The stored answers of these keys, in any order."""
        wanted = list(keys)
        for start in range(0, len(wanted), 500):
            some = wanted[start : start + 500]
            marks = ", ".join("?" * len(some))
            for key, subject, model, value, said in self.db.execute(
                f"SELECT key, subject, model, value, said FROM answers WHERE key IN ({marks})",  # noqa: S608
                some,
            ):
                yield Answer(key, subject, model, json.loads(value), json.loads(said))

    def spent(self, run_id: str | None = None) -> Spent:
        """Calls and tokens of one run, or of all runs."""
        row = self.db.execute(
            "SELECT count(*), count(*) FILTER (WHERE outcome = 'answered'), coalesce(sum(prompt_tokens), 0),"
            " coalesce(sum(completion_tokens), 0) FROM calls WHERE ? IS NULL OR run_id = ?",
            (run_id, run_id),
        ).fetchone()
        return Spent(*row)

    def usual(self, model: str) -> tuple[float, float] | None:
        """(prompt tokens per character, completion tokens per call) of ``model``; None before the first answer."""
        row = self.db.execute(
            "SELECT sum(prompt_tokens) * 1.0 / sum(prompt_chars), avg(completion_tokens) FROM calls"
            " WHERE model = ? AND outcome = 'answered' AND prompt_tokens > 0 AND prompt_chars > 0",
            (model,),
        ).fetchone()
        return None if row[0] is None else (row[0], row[1])

    def batches(self, endpoint: str, asker: str) -> list["BatchJob"]:
        """The batch jobs of one asker that were not collected yet."""
        rows = self.db.execute(
            "SELECT name, id, subjects FROM batches WHERE endpoint = ? AND asker = ? ORDER BY name", (endpoint, asker)
        )
        return [BatchJob(name, batch, json.loads(subjects)) for name, batch, subjects in rows]

    def plan_batch(self, job: "BatchJob", endpoint: str, asker: str) -> None:
        """Remember a job before it is sent (without an id) and after (with it)."""
        row = (job.name, endpoint, job.id, json.dumps(job.subjects), asker)
        self.db.execute(
            "INSERT OR REPLACE INTO batches (name, endpoint, id, subjects, asker) VALUES (?, ?, ?, ?, ?)", row
        )

    def forget_batch(self, name: str) -> None:
        self.db.execute("DELETE FROM batches WHERE name = ?", (name,))


@dataclass(frozen=True)
class BatchJob:
    """``id``: None until the endpoint has accepted the job. ``subjects``: key of each question to its subject."""

    name: str
    id: str | None
    subjects: dict[str, str]


def unusable(path: Path, why: str) -> GripError:
    return GripError(
        f"The store of paid answers {path} cannot be used: {why}. Nothing was asked. Put a backup in its place, or read"
        f" what is left of it by `sqlite3 {path.name} .recover | sqlite3 rescued.sqlite`. Move it aside to start anew:"
        f" everything is then asked, and paid for, again."
    )


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    return db


def _create(path: Path) -> None:
    """Make the file beside its place and link it there, so that no other process ever sees it empty."""
    beside = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}")
    try:
        with closing(_connect(beside)) as db:
            db.executescript(TABLES)
        with suppress(OSError):  # another process was first, or the file system has no links
            os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _migrate(db: sqlite3.Connection) -> None:
    """Update the columns of a file of an earlier version, in one transaction.

    A second process waits for the first, and then finds nothing to do.
    """
    if not _outdated(db):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in _outdated(db):
            db.execute(statement)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _outdated(db: sqlite3.Connection) -> list[str]:
    """The statements that are missing in a file of an earlier version."""
    columns = {
        (table, column[1]) for table in ("answers", "batches") for column in db.execute(f"PRAGMA table_info({table})")
    }
    renames = [statement for old, statement in MIGRATIONS.items() if old in columns]
    return renames if ("batches", "asker") in columns else [*renames, ASKER]


def answers_path(root: Path) -> Path:
    """``GRIP_JUDGE_STORE``, so that several data folders can share paid answers; else a file in the data folder. If an
    object store is behind that, a file in Dagster's home, since the folder is a cache and answers are paid for."""
    folder = home_folder() if data_address() and root == data_root() else root
    return variables.value("GRIP_JUDGE_STORE") or folder / ".judge" / "answers.sqlite"
