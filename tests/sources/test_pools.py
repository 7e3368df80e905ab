"""Every kind of pool becomes the same documents; what cannot be used is a rejected row or a clear error."""

import gzip
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import fsspec
import polars as pl
import pyarrow as pa
import pytest

from grip_assets.errors import GripError
from grip_assets.settings import Corpus
from grip_assets.sources.documents import Reason, Rejected, name_of
from grip_assets.sources.pool import open_pool
from grip_assets.sources.steps import in_pool_order
from grip_assets.sources.steps.copies import ExactCopies

ROWS = [{"text": f"x = {i}\n", "id": f"doc{i}", "lang": "Python"} for i in range(30)]


def read(path, format=None, text_field=None, id_field=None, max_bytes=10_000, max_documents=None, seed=0):
    settings = Corpus(
        path=path and str(path),
        format=format,
        text_field=text_field,
        id_field=id_field,
        max_bytes=max_bytes,
        max_documents=max_documents,
        seed=seed,
    )
    found = list(in_pool_order([ExactCopies()], open_pool(settings).read()))
    return [d for d in found if not isinstance(d, Rejected)], [d for d in found if isinstance(d, Rejected)]


def write_jsonl(path, rows=ROWS):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if path.suffix == ".gz":
        text = gzip.compress(text)
    if path.suffix == ".zst":
        text = pa.Codec("zstd").compress(text, asbytes=True)
    path.write_bytes(text)
    return path


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.jsonl.zst", "p.parquet", "hf"])
def test_tables_of_every_format_are_the_same_documents(tmp_path, name):
    path = tmp_path / name
    if name == "hf":
        import datasets

        datasets.Dataset.from_list(ROWS).save_to_disk(path)
    elif name.endswith("parquet"):
        pl.DataFrame(ROWS).write_parquet(path)
    else:
        write_jsonl(path)
    kept, rejected = read(path, id_field="id")
    assert [(d.text, d.source, d.language) for d in kept] == [(r["text"], r["id"], "python") for r in ROWS]
    assert [d.doc_id for d in kept] == [name_of(r["text"]) for r in ROWS] and not rejected


def test_a_zst_file_of_ordinary_streaming_writers_is_read(tmp_path):
    with pa.CompressedOutputStream(str(tmp_path / "p.jsonl.zst"), "zstd") as out:
        out.write("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    assert len(read(tmp_path / "p.jsonl.zst")[0]) == 30


def test_a_folder_gives_files_in_order_with_their_language_and_no_hidden_ones(tmp_path):
    for name in ("b/x.rs", "a.py", ".git/config.py", "b/__pycache__/y.py", "picture.png", "Makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    kept, _ = read(tmp_path)
    assert [(d.source, d.language) for d in kept] == [
        ("Makefile", "make"),
        ("a.py", "python"),
        ("b/x.rs", "rust"),
    ]


def test_a_file_name_that_is_no_unicode_is_stored_readably(tmp_path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py"))).write_text("x = 1\n")
    (kept,), _ = read(tmp_path)
    assert kept.source == "caf?.py"


def test_urls_are_read_through_fsspec(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/code/a.py", b"x = 1\n")
    memory.pipe("/bucket/code/sub/b.go", b"package b\n")
    assert [d.source for d in read("memory://bucket/code")[0]] == ["a.py", "sub/b.go"]
    write_jsonl(tmp_path / "p.jsonl")
    assert len(read(f"file://{tmp_path}/p.jsonl")[0]) == 30


def test_every_unusable_file_is_a_rejected_row_with_its_reason(tmp_path):
    contents = {
        "good.py": b"x = 1\n", "copy.py": b"x = 1\n", "binary.py": b"\x7fELF\0\0", "broken.py": "größe".encode() + b"\xff",
        "empty.py": b"", "blank.py": b" \n\t\n", "bom.py": b"\xef\xbb\xbfy = 2\n",
    }  # fmt: skip
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    with (tmp_path / "huge.py").open("wb") as file:
        file.truncate(50_000_000)
    kept, rejected = read(tmp_path)
    assert {d.source: d.text for d in kept} == {"bom.py": "y = 2\n", "copy.py": "x = 1\n"}
    assert {d.source: d.reason for d in rejected} == {
        "good.py": Reason.DUPLICATE, "binary.py": Reason.BINARY, "broken.py": Reason.INVALID_UTF8,
        "empty.py": Reason.EMPTY, "blank.py": Reason.EMPTY, "huge.py": Reason.TOO_LARGE,
    }  # fmt: skip
    duplicate = next(d for d in rejected if d.reason == Reason.DUPLICATE)
    assert duplicate.stands_for == name_of("x = 1\n") and "copy.py" in duplicate.detail
    assert "max_bytes is 10,000" in next(d for d in rejected if d.source == "huge.py").detail


def test_every_unusable_line_is_a_rejected_row(tmp_path):
    lines = ['{"text": "x = 1"}', "no json", '["a list"]', '{"other": 1}', '{"text": 7}', "", '{"text": "\\ud800"}', '{"text": "y", "lang": "\\ud800"}', '{"text": "z", "n": ' + "1" * 5000 + "}", '{"text": "%s"}' % ("x" * 20_000)]  # fmt: skip
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    kept, rejected = read(tmp_path / "p.jsonl")
    assert [(d.source, d.language) for d in kept] == [("p.jsonl:1", None), ("p.jsonl:8", "?")]
    reasons = {d.source: d.reason for d in rejected}
    assert reasons == {
        "p.jsonl:2": Reason.BAD_JSON, "p.jsonl:3": Reason.BAD_JSON, "p.jsonl:4": Reason.MISSING_FIELD,
        "p.jsonl:5": Reason.MISSING_FIELD, "p.jsonl:7": Reason.INVALID_UTF8, "p.jsonl:9": Reason.BAD_JSON, "p.jsonl:10": Reason.TOO_LARGE,
    }  # fmt: skip


def test_what_is_missing_or_damaged_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    pl.DataFrame({"body": ["x"], "n": [1]}).write_parquet(tmp_path / "p.parquet")
    whole = (tmp_path / "p.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.png").write_bytes(b"x")
    cases = [
        (tmp_path / "nowhere", {}, "settings/corpus.path .* is not there"),
        (tmp_path / "empty", {}, "holds no files. Nothing was read"),
        (tmp_path / "only", {}, "no file of a known language"),
        (
            tmp_path / "p.parquet",
            {},
            "has no column text, content or code. It has: body, n. Set settings/corpus.text_field",
        ),
        (tmp_path / "p.parquet", {"text_field": "txt"}, "has no column 'txt'. It has: body, n"),
        (
            tmp_path / "p.parquet",
            {"text_field": "body", "id_field": "key"},
            "has no column 'key'.*Set settings/corpus.id_field",
        ),
        (tmp_path / "cut.parquet", {}, "cut.parquet cannot be read to its end .* truncated or damaged"),
        (tmp_path / "p.parquet", {"format": "xml"}, "settings/corpus.format is 'xml'. Choose one of"),
        (tmp_path / "only", {"format": "jsonl"}, "holds no jsonl file, but 1 file .*png 1"),
        ("memory://no/such", {}, "is not there"),
    ]
    for path, options, message in cases:
        with pytest.raises(GripError, match=message):
            read(path, **options)


@pytest.mark.parametrize("name", ["p.jsonl.gz", "p.jsonl.zst"])
def test_a_truncated_file_is_an_error_and_not_a_short_pool(tmp_path, name):
    import random

    random.seed(0)
    rows = [{"text": "".join(random.choices("abcdefgh\n ", k=200)) + str(i)} for i in range(3000)]
    path = tmp_path / name
    if name.endswith("zst"):
        with pa.CompressedOutputStream(str(path), "zstd") as out:
            out.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    else:
        write_jsonl(path, rows)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(GripError, match=f"{name} cannot be read to its end"):
        read(path)


def test_a_sample_is_stable_when_files_are_added(tmp_path):
    for i in range(200):
        (tmp_path / f"f{i:03}.py").write_text(f"x = {i}\n")
    before = {d.source for d in read(tmp_path, max_documents=50)[0]}
    assert len(before) == 50 and before == {d.source for d in read(tmp_path, max_documents=50)[0]}
    assert before != {d.source for d in read(tmp_path, max_documents=50, seed=1)[0]}
    for i in range(200, 220):
        (tmp_path / f"f{i:03}.py").write_text(f"x = {i}\n")
    assert len(before & {d.source for d in read(tmp_path, max_documents=50)[0]}) >= 40
    write_jsonl(tmp_path / "p.jsonl")
    pool = open_pool(Corpus(path=str(tmp_path / "p.jsonl"), max_documents=7))
    assert len(list(pool.read())) == 7 and pool.n_listed == 30


def test_the_fingerprint_changes_with_the_files_only(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    fingerprint = lambda: open_pool(Corpus(path=str(tmp_path))).fingerprint()  # noqa: E731
    first = fingerprint()
    assert first == fingerprint()
    (tmp_path / "a.py").write_text("x = 22\n")
    second = fingerprint()
    assert second != first
    shutil.copy(tmp_path / "a.py", tmp_path / "b.py")
    assert fingerprint() not in (first, second)


def test_a_file_that_was_read_as_a_text_before_there_was_a_reader_for_it_is_read_again(tmp_path):
    (tmp_path / "a.csv").write_text("text\nx = 1\n")
    (tmp_path / "code.py").write_text("x = 1\n")
    table, text = (open_pool(Corpus(path=str(tmp_path / name))) for name in ("a.csv", "code.py"))
    assert table.reader.name == "csv" and text.reader.name == "folder"
    assert table.fingerprint() != replace(table, reader=text.reader).fingerprint()


def test_the_default_pool_is_real_code_of_every_length():
    pool = open_pool(Corpus(max_documents=1800))
    kept, rejected = (lambda k, r: (k, r))(*read(None, max_bytes=10_000_000, max_documents=1800))
    assert len(kept) >= 1500 and len(kept) + len(rejected) == 1800 and pool.n_listed > 5000
    sizes = sorted(d.n_bytes for d in kept)
    assert sizes[len(sizes) // 20] < 1000 and sizes[-5] > 100_000
    assert {"python", "cpp", "javascript"} <= {d.language for d in kept}
    assert not any(d.source.startswith(("/", "site-packages/grip_assets")) for d in kept)
    assert [d.doc_id for d in kept] == [d.doc_id for d in read(None, max_bytes=10_000_000, max_documents=1800)[0]]
