"""Readers of web archives, CSV, Arrow and tar: each gives the same documents, and rejects what is broken, with its place."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import re
import tarfile

import pyarrow as pa
import pytest

from grip_assets.errors import GripError
from grip_assets.settings import Corpus
from grip_assets.sources.documents import Reason, Rejected
from grip_assets.sources.pool import open_pool
from tests.archives import page, warc, wet

ROWS = [{"text": f'x = "{i}"\nprint(x)\n', "id": f"doc{i}", "lang": "Python"} for i in range(6)]
TEXTS = [row["text"] for row in ROWS]


def read(path, **fields):
    found = list(open_pool(Corpus(path=str(path), **fields)).read())
    return [d for d in found if not isinstance(d, Rejected)], [d for d in found if isinstance(d, Rejected)]


def packed(path, content):
    from backports import zstd

    ways = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd.compress}
    path.write_bytes(ways.get(path.suffix, bytes)(content))
    return path


def as_csv(rows=ROWS, separator=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_arrow(rows=ROWS, footer=True):
    table, out = pa.Table.from_pylist(rows), io.BytesIO()
    with (pa.ipc.new_file if footer else pa.ipc.new_stream)(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return out.getvalue()


def as_tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


SAMPLES = as_tar(
    {f"{row['id']}.{end}": data for row in ROWS for end, data in (
        ("json", json.dumps({"id": row["id"], "lang": row["lang"]}).encode()), ("jpg", b"\xff\xd8\0"), ("txt", row["text"].encode()),
    )}
)  # fmt: skip


# --- all of them


@pytest.mark.parametrize(
    "name", ["p.csv", "p.tsv", "p.csv.gz", "p.csv.xz", "p.csv.zst", "p.tsv.bz2", "p.feather", "p.arrows", "p.ipc.gz", "p.arrow.zst", "p.tar", "p.tar.gz", "p.tar.zst"],
)  # fmt: skip
@pytest.mark.parametrize("alone", [True, False])
def test_tables_of_every_format_are_the_same_documents(tmp_path, name, alone):
    kinds = {"csv": as_csv(), "tsv": as_csv(separator="\t"), "tar": SAMPLES, "arrows": as_arrow(footer=False)}
    path = packed(tmp_path / name, kinds.get(name.split(".")[1], as_arrow()))
    if not alone:
        (tmp_path / "README.md").write_text("# A card\n")
    kept, rejected = read(path if alone else tmp_path, id_field="id")
    assert not rejected
    assert [(d.text, d.source, d.language) for d in kept] == [(r["text"], r["id"], "python") for r in ROWS]


@pytest.mark.parametrize("name", ["p.csv.gz", "p.feather", "p.tar.gz", "p.ipc.zst"])
def test_a_table_that_is_cut_off_is_an_error_and_no_short_pool(tmp_path, name):
    contents = {"csv": as_csv(), "tar": SAMPLES}
    path = packed(tmp_path / name, contents.get(name.split(".")[1], as_arrow()))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(GripError, match=f"{name} .*cannot be read to its end"):
        read(path)


# --- CSV


def test_a_malformed_row_is_rejected_with_its_line_and_the_rest_is_read(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b'id,text\na,"one\ntwo"\nb\nc,three,more\nd,caf\xe9\n\ne,\ng,four\n')
    kept, rejected = read(path)
    assert [(d.text, d.source) for d in kept] == [("one\ntwo", "p.csv:2"), ("four", "p.csv:9")]
    assert [(r.source, r.reason) for r in rejected] == [
        ("p.csv:4", Reason.BAD_RECORD), ("p.csv:5", Reason.BAD_RECORD), ("p.csv:6", Reason.INVALID_UTF8), ("p.csv:8", Reason.EMPTY),
    ]  # fmt: skip
    assert "1 value for 2 columns" in rejected[0].detail and "3 values for 2" in rejected[1].detail


def test_a_quote_without_its_end_costs_its_row_and_not_the_file(tmp_path, monkeypatch):
    from grip_assets.sources.readers.rows import RowFormat

    monkeypatch.setattr(RowFormat, "longest_line", 500)
    lines = ["text", '"never ends', *(f"line {i} of more than twenty characters" for i in range(40))]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    kept, (rejected,) = read(tmp_path / "p.csv")
    assert rejected.source == "p.csv:2" and "a quote that does not end" in rejected.detail
    assert 20 < len(kept) < 40 and kept[-1].text.startswith("line 39")


def test_the_separator_is_that_of_the_header_and_names_of_columns_are_checked(tmp_path):
    (tmp_path / "p.csv").write_text("id;body\n1;a, b, c\n")
    assert [d.text for d in read(tmp_path / "p.csv", text_field="body")[0]] == ["a, b, c"]
    with pytest.raises(GripError, match="has no column text, content or code. It has: id, body"):
        read(tmp_path / "p.csv")
    with pytest.raises(GripError, match="has no column 'url'.*settings/corpus.id_field"):
        read(tmp_path / "p.csv", text_field="body", id_field="url")


def test_csv_and_tar_beside_code_are_what_they_were(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "data.csv").write_text("text\n" + "a row\n" * 100)
    (tmp_path / "fixtures.tar.gz").write_bytes(gzip.compress(SAMPLES))
    kept, (rejected,) = read(tmp_path)
    assert [d.source for d in kept] == ["a.py", "data.csv"] and kept[1].language == "csv"
    assert (rejected.source, rejected.reason) == ("fixtures.tar.gz", Reason.UNKNOWN_KIND)
    (tmp_path / "a.py").unlink()
    (tmp_path / "fixtures.tar.gz").unlink()
    (tmp_path / "data.csv").write_text("x,y\n1,2\n")
    assert [d.source for d in read(tmp_path)[0]] == ["data.csv"]  # numbers, no texts


# --- tar


def test_a_sample_without_a_text_and_what_cannot_be_read_are_rejected(tmp_path):
    members = {
        "a.json": b'{"text": "from the metadata", "url": "u"}', "b.jpg": b"\xff", "b.cls": b"1", "c.txt": b"\0\0", "d.json": b"{broken",
        "e/x.txt": b"fine", "e/x.json": b'{"url": "v"}', "f.txt": b"y" * 2000, "g.py": b"x = 1\n", "g.c": b"int x;\n", "._h.txt": b"mac",
    }  # fmt: skip
    (tmp_path / "s.tar").write_bytes(as_tar(members))
    kept, rejected = read(tmp_path, max_bytes=1000, keep=["url"])
    assert [(d.source, d.text, d.language) for d in kept] == [
        ("s.tar:a", "from the metadata", None), ("s.tar:e/x.txt", "fine", None), ("s.tar:g.py", "x = 1\n", "python"), ("s.tar:g.c", "int x;\n", "c"),
    ]  # fmt: skip
    assert [json.loads(d.kept)["url"] for d in kept] == ["u", "v", None, None]
    assert {r.source: r.reason for r in rejected} == {
        "s.tar:b": Reason.MISSING_FIELD, "s.tar:c.txt": Reason.BINARY, "s.tar:d.json": Reason.BAD_JSON, "s.tar:f.txt": Reason.TOO_LARGE,
    }  # fmt: skip
    assert "it has: .cls, .jpg" in next(r.detail for r in rejected if r.source == "s.tar:b")


# --- web archives


def test_pages_become_their_main_text_with_address_date_and_language(tmp_path):
    (tmp_path / "a.warc.gz").write_bytes(warc([page(0), page(1, "de")]))
    kept, rejected = read(tmp_path, id_field="url", project_field="host", keep=["date", "content_type"])
    assert not rejected
    assert [(d.source, d.project, d.language) for d in kept] == [
        ("http://site0.org/0", "site0.org", "en"), ("http://site1.org/1", "site1.org", "de"),
    ]  # fmt: skip
    assert "Page 0 tells of trees" in kept[0].text and "menu" not in kept[0].text and "<" not in kept[0].text
    assert json.loads(kept[0].kept) == {"date": "2024-05-01T10:00:00+00:00", "content_type": "text/html"}
    by_other, _ = read(tmp_path, extractor="trafilatura")
    assert "Page 0 tells of trees" in by_other[0].text and by_other[0].text != kept[0].text + "x"


def test_texts_of_wet_are_as_they_are_and_languages_short(tmp_path):
    for name in ("a.warc.wet.gz", "b.wet"):
        (tmp_path / name).write_bytes(wet(["Ein Text.\nMenü\n", "Second."], ["deu,eng", ""], gz=name.endswith("gz")))
        kept, rejected = read(tmp_path / name)
        assert [(d.text, d.language) for d in kept] == [("Ein Text.\nMenü\n", "de"), ("Second.", None)] and not rejected
        assert [d.source for d in kept] == [f"{name}:1", f"{name}:2"]


def test_answers_without_a_page_are_rejected_and_other_records_are_none(tmp_path):
    records = [page(0), page(1, status="404 Not Found"), page(2, kind="image/png"), page(3, encoding="gzip")]
    (tmp_path / "a.warc.gz").write_bytes(warc(records, requests=True))
    kept, rejected = read(tmp_path)
    assert [d.source for d in kept] == ["a.warc.gz:1", "a.warc.gz:4"]
    assert {(r.source, r.reason) for r in rejected} == {
        ("a.warc.gz:2", Reason.UNKNOWN_KIND), ("a.warc.gz:3", Reason.UNKNOWN_KIND),
    }  # fmt: skip
    assert "http://site1.org/1: no page: HTTP status 404" in rejected[0].detail


@pytest.mark.parametrize("gz", [True, False])
def test_a_broken_record_costs_itself_and_has_its_place(tmp_path, gz):
    whole = warc([page(i) for i in range(6)], gz=gz)
    mark = b"\x1f\x8b\x08" if gz else b"WARC/1.0"
    starts = [i for i in range(len(whole)) if whole.startswith(mark, i)]
    assert len(starts) == 6
    broken = bytearray(whole)
    at = starts[2] + (150 if gz else 0)
    broken[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.warc").write_bytes(broken[:-60])
    kept, rejected = read(tmp_path / "a.warc")
    assert [d.text[:6] for d in kept] == ["Page 0", "Page 1", "Page 3", "Page 4"]
    assert {r.reason for r in rejected} == {Reason.BAD_RECORD} and len(rejected) == 2
    assert "cannot be read" in rejected[0].detail
    assert f"the record at byte {starts[5]:,} is cut off" in rejected[1].detail


def test_a_page_nested_deeper_than_any_browser_follows_is_rejected_at_once(tmp_path):
    deep = page(0, body="<div>" * 50_000 + "x")
    (tmp_path / "a.warc").write_bytes(warc([deep, page(1)], gz=False))
    kept, (rejected,) = read(tmp_path / "a.warc")
    assert len(kept) == 1 and "nested more than 1,000 deep" in rejected.detail


def test_how_deep_tags_are_nested_is_what_a_slow_reading_of_them_says():
    from grip_assets.sources.readers import html

    def slow(text):
        depth = deepest = 0
        for slash, name in re.findall("<(/?)([a-zA-Z][a-zA-Z0-9-]*)", text):
            if name.lower() not in html.SHALLOW:
                depth = max(depth - 1, 0) if slash else depth + 1
                deepest = max(deepest, depth)
        return deepest

    rng = random.Random(0)
    pieces = ["<div>", "</div>", "<P class=x>", "</p>", "<path-x>", "<BR/>", "<a", "</a", "<", "</", "<\u017fub>", "<!-- x", "<1>", "<pre>", "</ul>", "text"]  # fmt: skip
    for _ in range(2_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(40)))
        assert html._depth(text) == slow(text) <= html._most_opened(text), text


def test_what_is_no_web_archive_says_so(tmp_path):
    (tmp_path / "a.warc").write_bytes(b"<!DOCTYPE html><html>login</html>")
    with pytest.raises(GripError, match="a.warc is a web page, such as an error"):
        read(tmp_path / "a.warc")
    (tmp_path / "b.warc").write_bytes(b"hello")
    with pytest.raises(GripError, match="b.warc is no web archive"):
        read(tmp_path / "b.warc")


def test_without_the_packages_the_error_names_the_extra(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.warc.gz").write_bytes(warc([page(0)]))
    monkeypatch.setitem(sys.modules, "fastwarc", None)
    with pytest.raises(GripError, match=r"settings/corpus.format warc needs the package fastwarc.*grip-assets\[web\]"):
        read(tmp_path)
