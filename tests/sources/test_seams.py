"""A format is one reader, and a rule of the intake is one step: each is a file and one entry."""

import pickle

import pytest

from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument, Reason, Rejected, from_text, name_of
from grip_assets.sources.pool import open_pool
from grip_assets.sources.readers import READERS, Reader
from grip_assets.sources.steps import Step, in_any_order, in_pool_order, steps_of
from grip_assets.sources.steps.copies import ExactCopies


class Paragraphs(Reader):
    """Documents of a text file between lines of three dots."""

    name = "paragraphs"
    endings = (".dots",)
    magic = (b"DOTS",)
    described = "paragraphs between dots"

    def read(self, entry):
        with entry.open() as file:
            for number, text in enumerate(file.read().decode().split("...\n"), 1):
                yield from_text(text, None, f"{entry.name}:{number}", entry.name)


@pytest.fixture
def paragraphs(monkeypatch):
    monkeypatch.setitem(READERS, "paragraphs", Paragraphs)


def test_a_format_is_one_reader_and_is_recognised_by_name_or_first_bytes(tmp_path, paragraphs):
    (tmp_path / "a.dots").write_text("DOTS one\n...\ntwo\n")
    (tmp_path / "b.dots").write_text("three\n")
    (tmp_path / "unnamed").write_text("DOTS one\n...\ntwo\n")
    pool = open_pool(Corpus(path=str(tmp_path), format="paragraphs"))
    assert [d.source for d in pool.read() if isinstance(d, RawDocument)] == ["a.dots:1", "a.dots:2", "b.dots:1"]
    assert [(r.source, r.reason) for r in pool.rejected] == [("unnamed", Reason.UNKNOWN_KIND)]
    (tmp_path / "unnamed").rename(tmp_path.parent / "alone")
    assert open_pool(Corpus(path=str(tmp_path))).notes == ["read as paragraphs: 2 files"]
    assert len(list(open_pool(Corpus(path=str(tmp_path.parent / "alone"))).read())) == 2
    few = open_pool(Corpus(path=str(tmp_path), max_documents=2))
    assert len(list(few.read())) == 2 and few.n_listed == 3


@pytest.mark.parametrize("format", READERS)
def test_a_reader_can_be_sent_to_another_process(tmp_path, format):
    (tmp_path / "a.py").write_text("x = 1\n")
    reader = READERS[format](Corpus(path=str(tmp_path), keep=["id"]), "vector")
    again = pickle.loads(pickle.dumps(reader))
    assert vars(again).keys() == vars(reader).keys() and again.settings == reader.settings


class WithoutNames(Step):
    """Scrubs a name out of texts, and rejects what is nothing but the name."""

    def one(self, document):
        if document.text == "Ann":
            return Rejected(document.source, Reason.EMPTY, "nothing but a name", document.n_bytes)
        return from_text(document.text.replace("Ann", "X"), None, document.source, document.project)


def raw(text, source):
    return RawDocument(text, None, source, len(text), source)


def test_a_step_may_change_a_text_and_names_follow_the_changed_one():
    steps = [WithoutNames(), ExactCopies()]
    rejected = Rejected("z", Reason.BINARY, "it has NUL bytes")
    batch = in_any_order(steps, [raw("I am Ann", "a"), rejected, raw("I am X", "b"), raw("Ann", "c"), raw("You", "d")])
    first, same, copy, empty, last = in_pool_order(steps, batch)
    assert (first.text, first.doc_id) == ("I am X", name_of("I am X")) and last.text == "You"
    assert same is rejected and (empty.source, empty.reason) == ("c", Reason.EMPTY)
    assert (copy.reason, copy.stands_for, copy.detail) == (Reason.DUPLICATE, first.doc_id, "same text as a")


def test_steps_that_look_at_a_document_alone_can_be_sent_to_another_process():
    alone = [step for step in steps_of(Corpus()) if not step.ordered]
    assert alone and [type(s) for s in pickle.loads(pickle.dumps(alone))] == [type(s) for s in alone]


def test_without_benchmarks_nothing_is_looked_for():
    assert [type(step).__name__ for step in steps_of(Corpus(benchmarks=[]))] == ["OneWidth", "ExactCopies"]
