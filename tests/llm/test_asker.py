"""The client asks any question: a second asker beside the judge, and the answers that an earlier version paid for."""

import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from grip_assets.bench.endpoint import Behaviour, FakeEndpoint, serving
from grip_assets.errors import Capped, GripError, Unfinished
from grip_assets.judges.base import Document
from grip_assets.judges.llm import LlmJudge
from grip_assets.llm.answers import Answers
from grip_assets.llm.asker import INVALID_ATTEMPTS, LEARNING_ATTEMPTS, Accept, Asker, Fail, Retry, Session, Stop, Task
from grip_assets.llm.batch import BatchAsker, BatchSession
from grip_assets.llm.objects import one_object
from grip_assets.llm.question import InvalidAnswer, Kind, Question, key_of
from grip_assets.llm.reply import Reply
from grip_assets.llm.spending import Caps
from grip_assets.settings import Quality

FREE = Caps(None, None, lambda prompt_tokens, completion_tokens: 0.0)
FIELDS = {"name": {"type": "string"}, "words": {"type": "array", "items": {"type": "string"}}}
SCHEMA = {"type": "object", "properties": FIELDS, "required": list(FIELDS), "additionalProperties": False}


def read_name(answer: str) -> dict:
    found = one_object(answer, FIELDS)
    if set(found) != set(FIELDS):
        raise InvalidAnswer("the answer is no name with words")
    return found


NAMES = Kind("namer", read_name, {"type": "json_schema", "json_schema": {"name": "name", "schema": SCHEMA}}, "taxonomy")


def name_of(cluster: int, words: str) -> Question:
    messages = [{"role": "system", "content": "Name the cluster."}, {"role": "user", "content": words}]
    body = {"model": "m", "messages": messages, "max_tokens": 50}
    return Question(NAMES, f"cluster {cluster}", key_of(body), body)


def documents(n):
    return [Document(f"{i:032x}", f"def f_{i}(x):\n    return x + {i}\n", "python") for i in range(n)]


@pytest.fixture
def endpoint(monkeypatch):
    fake = FakeEndpoint()
    with serving(fake) as url:
        for name, value in {"BASE_URL": url, "API_KEY": "none"}.items():
            monkeypatch.setenv(f"OPENAI_{name}", value)
        for name, value in {"BACKOFF": "0.01", "POLL": "0.1"}.items():
            monkeypatch.setenv(f"GRIP_JUDGE_{name}", value)
        yield fake


@pytest.fixture
def answers(tmp_path):
    store = Answers(tmp_path / "answers.sqlite")
    yield store
    store.close()


@pytest.mark.parametrize("kind", [Asker, BatchAsker])
def test_a_second_asker_is_a_kind_and_its_questions(endpoint, answers, kind):
    questions = [name_of(i, f"words of cluster {i}") for i in range(20)]
    outcomes = list(kind(NAMES, FREE, answers, "run", lambda line: None).ask(questions))
    assert {o.question.subject for o in outcomes} == {q.subject for q in questions}
    assert all(set(o.answer.value) == {"name", "words"} and len(o.answer.value["words"]) == 3 for o in outcomes)
    kept = answers.db.execute("SELECT subject, value FROM answers").fetchall()
    assert {s: json.loads(v) for s, v in kept} == {o.question.subject: o.answer.value for o in outcomes}
    again = list(Asker(NAMES, FREE, answers, "later").ask(questions))
    assert {o.answer.value["name"] for o in again} == {o.answer.value["name"] for o in outcomes}
    assert set(endpoint.counts.asked.values()) == {1}, "what is known is not asked again"


def test_errors_name_the_askers_own_settings(endpoint, answers):
    endpoint.behaviour = Behaviour(key="another")
    with pytest.raises(GripError, match="does not serve the namer: HTTP 401"):
        list(Asker(NAMES, FREE, answers, "run").ask([name_of(0, "words")]))
    endpoint.behaviour = Behaviour()
    with pytest.raises(Capped, match=r"the cap of 2 calls \(taxonomy.max_calls\)"):
        list(Asker(NAMES, replace(FREE, max_calls=2), answers, "run 2").ask(name_of(i, f"{i}") for i in range(5)))


def test_a_batch_job_is_collected_by_the_asker_that_sent_it(endpoint, answers, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*args):
        raise Killed

    namer = BatchAsker(NAMES, FREE, answers, "run", lambda line: None)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(BatchSession, "collect", die)
        list(namer.ask([name_of(0, "words")]))
    judge = LlmJudge(Quality(judge="llm", model="m", mode="batch"), answers, "run", lambda line: None)
    assert len(list(judge.judge(documents(2)))) == 2
    assert len(answers.batches(namer.endpoint.name, "namer")) == 1, "another asker cannot read its answers"
    (outcome,) = BatchAsker(NAMES, FREE, answers, "later", lambda line: None).ask([name_of(0, "words")])
    assert outcome.answer.value["name"] and endpoint.counts.batches == [1, 2]


# -- what follows from a reply ------------------------------------------------------------------------------------


@pytest.fixture
def session(endpoint, answers):
    return Session(Asker(NAMES, FREE, answers, "run"), [])


def decided(session, reply, attempt=1, invalid=0):
    return session.decide(Task(0.0, 0, name_of(0, "words"), attempt, invalid), reply, wait=2.0)


def test_each_reply_has_its_consequence(session):
    assert decided(session, Reply("answered")) == Accept()
    for outcome in ("invalid", "busy", "error", "lost"):
        assert decided(session, Reply(outcome)) == Retry(2.0)
    assert decided(session, Reply("refused", "too long")) == Fail("too long (1 attempts)")
    assert decided(session, Reply("refused", learned=True)) == Retry(0.0), "it was our way of asking"
    assert isinstance(decided(session, Reply("refused", learned=True), attempt=LEARNING_ATTEMPTS), Fail)


def test_a_question_is_given_up_after_its_attempts(session):
    most = session.endpoint.attempts
    assert decided(session, Reply("error", "down"), attempt=most - 1) == Retry(2.0)
    assert decided(session, Reply("error", "down"), attempt=most) == Fail(f"down ({most} attempts)")
    assert isinstance(decided(session, Reply("invalid"), attempt=4, invalid=INVALID_ATTEMPTS), Fail)


def test_what_ends_all_asking_is_an_error(session):
    denied = decided(session, Reply("denied", "HTTP 401"))
    assert isinstance(denied, Stop) and "does not serve the namer: HTTP 401" in str(denied.error)
    late = decided(session, Reply("busy", retry_after=1e6))
    assert isinstance(late, Stop) and isinstance(late.error, Unfinished)


# -- answers that an earlier version paid for -----------------------------------------------------------------------

OLD_TABLES = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY, doc_id TEXT NOT NULL, model TEXT NOT NULL, scores TEXT NOT NULL, said TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE calls (
    at REAL NOT NULL, run_id TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL,
    prompt_chars INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL
);
CREATE INDEX calls_of_run ON calls (run_id);
CREATE TABLE batches (
    name TEXT PRIMARY KEY, endpoint TEXT NOT NULL, id TEXT, documents TEXT NOT NULL
);
"""
SCORES = {"syntax_integrity": 3.0, "architecture": 4.0, "educational_value": 5.0, "technical_depth": 6.0}
OLD_KEYS = [  # of documents(2), by the version that wrote such a file
    "c530f76e719fffe99003ad680712228d",
    "50cf54bccf64977564bb9eb37fca7cd3",
]


@pytest.fixture
def old_file(tmp_path):
    """An answers file with the tables of the first version, and the answers for documents(2)."""
    path = tmp_path / "old.sqlite"
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.executescript(OLD_TABLES)
    for doc, key in zip(documents(2), OLD_KEYS, strict=True):
        said = {"model": "m", "finish_reason": "stop", "prompt_tokens": 900, "completion_tokens": 40}
        db.execute(
            "INSERT INTO answers VALUES (?, ?, 'm', ?, ?)", (key, doc.doc_id, json.dumps(SCORES), json.dumps(said))
        )
        db.execute("INSERT INTO calls VALUES (1.0, 'run', ?, 'm', 'answered', 3000, 900, 40, 0.5)", (key,))
    db.execute("INSERT INTO batches VALUES ('job', 'http://e/v1', 'b-1', ?)", (json.dumps({"k": "d"}),))
    db.commit()
    db.close()
    return path


def test_answers_of_an_earlier_version_are_read_and_not_paid_for_again(endpoint, old_file):
    answers = Answers(old_file)
    judge = LlmJudge(Quality(judge="llm", model="m"), answers, "new run")
    verdicts = list(judge.judge(documents(2)))
    assert [v.scores for v in verdicts] == [SCORES, SCORES] and verdicts[0].parts["prompt_tokens"] == 900
    assert not endpoint.counts.asked, "nothing was asked"
    assert answers.spent().prompt_tokens == 1800 and answers.usual("m") == (0.3, 40)
    (job,) = answers.batches("http://e/v1", "judge")
    assert (job.id, job.subjects) == ("b-1", {"k": "d"})
    assert len(list(judge.judge(documents(3)))) == 3 and sum(endpoint.counts.asked.values()) == 1
    judge.close()
    again = Answers(old_file)
    assert again.db.execute("SELECT count(*) FROM answers").fetchone() == (3,), "opened again, nothing is lost"
    again.close()


def test_many_may_open_a_new_file_at_once(tmp_path):
    for turn in range(20):
        path = tmp_path / f"{turn}.sqlite"
        with ThreadPoolExecutor(8) as threads:
            opened = [threads.submit(Answers, path) for _ in range(8)]
            for answers in opened:
                answers.result().close()
    assert sorted(f.suffix for f in tmp_path.iterdir()) == [".sqlite"] * 20


def test_several_processes_may_open_an_earlier_file_at_once(old_file):
    code = "import sys; from pathlib import Path; from grip_assets.llm.answers import Answers; a = Answers(Path(sys.argv[1])); print(sum(1 for _ in a.find(sys.argv[2:])))"
    words = [sys.executable, "-c", code, str(old_file), *OLD_KEYS]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.communicate()[0].strip() for p in processes] == ["2", "2"]


def test_threads_that_open_an_earlier_file_at_once_find_all_answers(old_file):
    def look(_):
        answers = Answers(old_file)
        found = len(list(answers.find(OLD_KEYS)))
        answers.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(8))) == [2] * 8


def test_a_process_of_the_earlier_version_still_keeps_what_it_pays_for(old_file):
    earlier = sqlite3.connect(old_file, timeout=60, isolation_level=None)
    earlier.execute("SELECT key FROM answers").fetchall()
    answers = Answers(old_file)
    earlier.execute("BEGIN IMMEDIATE")
    earlier.execute(
        "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (1.0, "r", "k", "m", "answered", 1, 1, 1, 0.1)
    )
    earlier.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", ("k", "d", "m", json.dumps(SCORES), "{}"))
    earlier.execute("COMMIT")
    (found,) = answers.find(["k"])
    assert found.value == SCORES and answers.spent("r").calls == 1
    answers.close()
    earlier.close()
