"""No document stops a run: its reader ends after a bound, and the document is judged as plain text."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grip_assets.errors import GripError
from grip_assets.judges import bounded
from grip_assets.judges.base import DIMENSIONS, Document
from grip_assets.judges.bounded import Workers
from grip_assets.judges.jobs import judged
from grip_assets.judges.reading import without_repeats
from grip_assets.judges.static import StaticJudge, judge_document
from grip_assets.sources.languages import NAMES, SUFFIXES

GOOD = "def area(r):\n    # because a circle is round\n    return 3.14 * r * r\n"
FUZZ = 'val x = "' + "\\" * 60  # a lexer's exponential case


@pytest.fixture
def quick(monkeypatch):
    """A bound of time that a test can wait for; still a hundred times what its other documents take."""
    monkeypatch.setattr(bounded, "SECONDS", 0.5)


def hostile(i, text=FUZZ, language="scala"):
    return Document(f"bad{i}", text, language)


def test_a_document_that_hangs_its_lexer_is_judged_as_plain_text_and_says_so(quick):
    documents = [Document(str(i), GOOD, "python") for i in range(20)]
    documents[7] = hostile(7)
    documents[19] = hostile(19)
    verdicts = list(StaticJudge().judge(documents))
    assert [v.doc_id for v in verdicts] == [d.doc_id for d in documents]
    for document, verdict in zip(documents, verdicts, strict=True):
        if document.doc_id.startswith("bad"):
            assert verdict.status == "ok" and set(verdict.scores) == set(DIMENSIONS)
            assert verdict.parts["read_as"] == "prose (statistics)"
            assert verdict.parts["not_read_as"] == "scala: more than 0.5 s of processor time"
        else:
            assert verdict == judge_document(document)


@pytest.mark.parametrize(
    "text, language",
    [
        ("\n" * 20_000, "objectivec"),
        ("a<" * 50_000, "java"),
        ("<div>" * 40_000, "html"),
        ("${" * 20_000, "dart"),
        ("$" * 20_000, "csharp"),
        ("a.b." * 5_000, "coffeescript"),
        ("|" * 20_000, "bash"),
    ],
)
def test_what_is_repeated_without_end_is_read_as_what_it_is(text, language):
    """Each took seconds to minutes, or gigabytes, by the square of its length or worse."""
    (verdict,) = judged([Document("d", f"x {text} y", language)])
    assert "not_read_as" not in verdict.parts and verdict.parts["read_as"].startswith(language)


def test_only_what_is_repeated_a_thousand_times_is_shortened():
    for kept in ("=" * 999, "ab\n" * 900, "".join(map(str, range(5000))), "x" * 400 + "y" * 400, ""):
        assert without_repeats(kept) == kept
    assert without_repeats("a" + "=" * 5000 + "b") == "a" + "=" * 500 + "b"
    assert without_repeats("<div>" * 5000) == "<div>" * 500


def test_one_document_cannot_take_all_memory(quick, monkeypatch):
    """Without the bound on repetition this text takes gigabytes of its parser."""
    text = "".join(f"a{i % 7}<" for i in range(60_000))
    (verdict,) = judged([Document("d", text, "java")])
    assert verdict.status == "ok" and verdict.parts["not_read_as"].startswith("java: ")


@pytest.mark.parametrize("language", ["python", "json", "c", "html", "css", "go", "java", "javascript", "rust", "ruby"])
def test_fifty_thousand_opening_brackets_are_judged_as_what_they_are(language):
    for bracket in "([{":
        verdict = judge_document(Document("d", bracket * 50_000, language))
        assert verdict.status == "ok" and verdict.parts["read_as"] == f"{language} (parser)"


CRASHING = """
import os, signal, sys
from grip_assets.judges import static as static_judge
judge = static_judge.judge_document

def judge_document(document):
    if document.text.startswith("crash") and document.language:
        os.kill(os.getpid(), signal.SIGSEGV)
    if document.text.startswith("once") and not os.path.exists(document.text[5:]):
        open(document.text[5:], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if document.text.startswith("raise") and document.language:
        raise MemoryError
    return judge(document)

static_judge.judge_document = judge_document
"""


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    """Workers in which a grammar crashes on what a document says."""
    (tmp_path / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(bounded, "PACKAGE", os.pathsep.join([str(tmp_path), bounded.PACKAGE]))


def test_a_grammar_that_crashes_is_that_documents_failure(crashing):
    documents = [Document(str(i), GOOD, "python") for i in range(6)]
    documents[2] = Document("2", "crash", "python")
    documents[4] = Document("4", "raise", "python")
    found = list(judged(documents))
    assert found[2].parts["not_read_as"] == "python: its process ended (SIGSEGV: a fault of its parser, or no memory)"
    assert found[4].parts["not_read_as"] == "python: its reader failed (MemoryError)"
    assert [v for i, v in enumerate(found) if i not in (2, 4)] == [
        judge_document(d) for i, d in enumerate(documents) if i not in (2, 4)
    ]


def test_a_worker_that_somebody_killed_costs_no_verdict(crashing, tmp_path):
    text = f"once {tmp_path / 'was-here'}"
    (found,) = judged([Document("d", text, "python")])
    assert found == judge_document(Document("d", text, "python"))


def test_a_worker_that_cannot_start_fails_the_run_with_its_reason(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(GripError, match="process of the static judge did not start: it gave no reason"):
        list(judged([hostile(0)]))


def running(marker):
    """Processes whose environment holds the marker."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def gone(marker, seconds=60):
    until = time.monotonic() + seconds
    while running(marker) and time.monotonic() < until:
        time.sleep(0.05)
    return not running(marker)


def test_a_consumer_that_stops_early_leaves_no_process(quick, monkeypatch):
    marker = "GRIP_TEST_EARLY=1"
    monkeypatch.setenv(*marker.split("="))
    stream = judged([Document(str(i), GOOD, "python") for i in range(100)])
    next(stream)
    children = [p for p in running(marker) if p != os.getpid()]
    assert children
    stream.close()
    assert gone(marker)


RUN = f"""
from grip_assets.judges import bounded
from grip_assets.judges.base import Document
from grip_assets.judges.jobs import judged
bounded.SECONDS = 2.0
list(judged([Document("d", {FUZZ!r}, "scala")]))
"""


def test_a_run_that_is_killed_leaves_no_process(monkeypatch):
    """Not even where the worker is in the middle of a document without end."""
    marker = "GRIP_TEST_KILLED=1"
    env = os.environ | dict([marker.split("=")])
    run = subprocess.Popen([sys.executable, "-c", RUN], env=env, cwd=bounded.PACKAGE)
    until = time.monotonic() + 60
    while len(running(marker)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    assert len(running(marker)) >= 2
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert gone(marker)


def test_workers_are_reused_and_at_most_as_many_as_threads():
    workers = Workers()
    try:
        first = workers.judge([Document("a", GOOD, "python")])
        again = workers.judge([Document("a", GOOD, "python")])
        assert first == again and len(workers.all) == 1
    finally:
        workers.close()


REPEATS = ["\\", "(", "[", "{", "<", " ", "\n", "a", "_", "$", "#", "\\n", "::", "a.b.", "''", "/", "*", "0", "\t", "@"]
REPEATS += ["a<", "-", "=", '"', ";", "&", "|", "?", "!", "~", "^", "{{", "#{", "${"]


@pytest.mark.slow
def test_no_short_text_hangs_a_lexer_that_is_in_use_but_those_that_are_known(quick):
    """60 copies find what is exponential. Known: a string of scala that is not closed."""
    languages = {*NAMES.values(), *SUFFIXES.values()} - {"text", "markdown", "rst", "latex"}
    texts = [(begin, piece) for begin in ("", '"', "'", 'x = "', "(", "/*", "<a ", "`") for piece in REPEATS]
    documents = (
        Document(f"{language} {begin}{piece}", begin + piece * 60, language)
        for language in sorted(languages)
        for begin, piece in texts
    )
    hung = {v.doc_id for v in judged(documents) if "not_read_as" in v.parts}
    assert hung == {'scala "\\', 'scala x = "\\'}
