"""Files from the wild: each pool is made anew, small, as the programs of others write it."""

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grip_assets.errors import GripError
from grip_assets.settings import Corpus
from grip_assets.sources import listing
from grip_assets.sources.documents import Reason, Rejected
from grip_assets.sources.encodings import decode
from grip_assets.sources.languages import language_of, named
from grip_assets.sources.pool import open_pool
from grip_assets.store.marks import MANIFEST, card_beside, sealed

ROWS = [{"text": f"x = {i}\n", "id": f"doc{i}"} for i in range(6)]
TEXTS = [row["text"] for row in ROWS]


def pool_of(path, format=None, text_field=None, id_field=None, max_bytes=10_000, **more):
    vector = more.pop("vector_field", None)
    fields = {"format": format, "text_field": text_field, "id_field": id_field, "max_bytes": max_bytes} | more
    return open_pool(Corpus(path=str(path), **fields), vector)


def read(path, *args, **more):
    found = list(pool_of(path, *args, **more).read())
    return [d for d in found if not isinstance(d, Rejected)], [d for d in found if isinstance(d, Rejected)]


def sources(path, *args, **more):
    return [d.source for d in read(path, *args, **more)[0]]


def put(path, content="x = 1\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_lines(rows=ROWS):
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_parquet(path, rows=ROWS, schema=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


@pytest.fixture
def as_nobody():
    """A folder of a user without rights: the superuser could read all."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    superuser = os.geteuid() == 0
    if superuser:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    if superuser:
        os.seteuid(0)
    shutil.rmtree(folder)


# --- A2, A3: what is no part of a pool


def test_the_data_folder_and_dagsters_home_are_never_part_of_a_pool(tmp_path, monkeypatch):
    monkeypatch.setenv("GRIP_DATA", str(tmp_path / "out"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    for name in ("a.py", "out/corpus/v/report.md", "home/history.py", "old/grip.duckdb", "old/page.html", ".venv/b.py"):
        put(tmp_path / name)
    put(tmp_path / "node_modules/c.js")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    pool = pool_of(tmp_path)
    assert [d.source for d in pool.read()] == ["a.py"]
    assert any("of GRIP's own data: 3 (home/, old/, out/)" in note for note in pool.notes)
    assert any(n.startswith("left out of the pool, hidden: 2") for n in pool.notes)
    with pytest.raises(GripError, match="is GRIP's data folder.*Name the folder of your documents"):
        pool_of(tmp_path / "out")
    with pytest.raises(GripError, match="is a data folder of GRIP"):
        pool_of(tmp_path / "old")


def test_what_git_ignores_in_a_checkout_is_left_out_and_elsewhere_it_is_not(tmp_path):
    for name in ("a.py", "build/b.py", "src/c.py", "src/gen.py", "src/keep.log.py"):
        put(tmp_path / name)
    put(tmp_path / ".gitignore", "build/\n*.log.py\n")
    put(tmp_path / "src" / ".gitignore", "gen.py\n!keep.log.py\n")
    assert len(sources(tmp_path)) == 5
    put(tmp_path / ".git" / "config", "")
    pool = pool_of(tmp_path)
    assert [e.name for e in pool.entries] == ["a.py", "src/c.py", "src/keep.log.py"]
    assert any("named by .gitignore: 2 (build, src/gen.py)" in note for note in pool.notes)


def test_what_grip_exported_is_not_read_again(tmp_path):
    assert listing.MANIFEST == MANIFEST
    assert card_beside(Path("s.jsonl")).name == f"s.jsonl{listing.CARD}"
    put(tmp_path / "a.md", "prose\n")
    put(tmp_path / "subset.jsonl", as_lines())
    put(tmp_path / "subset.jsonl.card.md", "# Pool\n\nMade with grip-assets 0.1.0.\n")
    marked = put(tmp_path / "other.jsonl", as_lines())
    put(tmp_path / "other.jsonl.card.md", sealed("# Of a later version\n", "other.jsonl", marked))
    put(tmp_path / "moved.jsonl.card.md", sealed("# Its file is elsewhere\n", "moved.jsonl", marked))
    put(tmp_path / "mine.txt", "mine\n")
    put(tmp_path / "mine.txt.card.md", "# A card of my own\n")
    put(tmp_path / "hf" / "grip_export.json", "{}")
    put(tmp_path / "hf" / "README.md", "card\n")
    pool = pool_of(tmp_path)
    assert [d.source for d in pool.read()] == ["a.md", "mine.txt", "mine.txt.card.md"]
    assert any("exported by GRIP: 4 (hf/, moved.jsonl.card.md, other.jsonl, ...)" in note for note in pool.notes)


# --- A8, C7: links, rights


def test_links_are_followed_and_each_real_file_is_read_once(tmp_path):
    pool, other = tmp_path / "pool", tmp_path / "other"
    put(other / "b.py", "x = 2\n")
    put(pool / "a.py")
    (pool / "linked").symlink_to(other)
    (pool / "twice").symlink_to(other)
    (pool / "a_again.py").symlink_to(pool / "a.py")
    (pool / "nothing.py").symlink_to(tmp_path / "nowhere.py")
    (other / "up").symlink_to(pool)
    (pool / "self.py").symlink_to(pool / "self.py")
    found = pool_of(pool)
    assert [e.name for e in found.entries] == ["a.py", "linked/b.py"]
    rejected = {r.source: r.detail for r in found.rejected}
    assert rejected["nothing.py"] == "a link to nothing" and "symbolic links" in rejected["self.py"]
    assert any("links to what is listed already: 3" in note for note in found.notes)
    assert any("followed links that lead out of the folder" in note for note in found.notes)


def test_a_hubs_cache_is_its_newest_revision(tmp_path):
    root = tmp_path / "datasets--x--y"
    as_parquet(root / "blobs" / "abc123")
    put(root / "refs" / "main", "rev2")
    put(root / "snapshots" / "rev1" / "old.txt")
    (root / "snapshots" / "rev2" / "data").mkdir(parents=True)
    (root / "snapshots" / "rev2" / "data" / "train.parquet").symlink_to("../../../blobs/abc123")
    for path in (root, root / "snapshots" / "rev2"):
        assert [d.text for d in read(path)[0]] == TEXTS
    assert sources(root)[0] == "data/train.parquet:1"


def test_what_may_not_be_opened_is_a_rejected_row_with_its_reason(as_nobody):
    for name in ("a.py", "secret.py", "closed/b.py"):
        put(as_nobody / name)
    (as_nobody / "secret.py").chmod(0)
    (as_nobody / "closed").chmod(0)
    kept, rejected = read(as_nobody)
    (as_nobody / "closed").chmod(0o700)
    assert [d.source for d in kept] == ["a.py"]
    assert {(d.source, d.reason) for d in rejected} == {
        ("secret.py", Reason.UNREADABLE), ("closed/", Reason.UNREADABLE),
    }  # fmt: skip
    assert "Permission denied" in rejected[0].detail


def test_a_table_that_may_not_be_opened_is_a_rejected_row(as_nobody):
    put(as_nobody / "a.jsonl", as_lines())
    as_parquet(as_nobody / "p" / "a.parquet")
    (as_nobody / "a.jsonl").chmod(0)
    (as_nobody / "p" / "a.parquet").chmod(0)
    for path in (as_nobody / "a.jsonl", as_nobody / "p"):
        kept, (rejected,) = read(path)
        assert not kept and rejected.reason == Reason.UNREADABLE and "Permission denied" in rejected.detail


def test_a_pool_that_may_not_be_opened_is_one_sentence(as_nobody):
    put(as_nobody / "pool" / "a.py")
    (as_nobody / "pool").chmod(0)
    with pytest.raises(GripError, match="cannot be opened: Permission denied. Check your rights"):
        pool_of(as_nobody / "pool")
    (as_nobody / "pool").chmod(0o700)


# --- B3, B4, B5, B6: bytes and languages


def test_a_value_that_is_no_utf8_is_a_rejected_row_and_the_rest_is_read(tmp_path):
    text = pa.array([b"one", b"tw\xff", "dr\u00e9i".encode()]).view(pa.string())
    pq.write_table(pa.table({"text": text, "id": ["a", "b", "c"]}), tmp_path / "p.parquet")
    kept, (rejected,) = read(tmp_path / "p.parquet")
    assert [d.text for d in kept] == ["one", "dréi"]
    assert (rejected.source, rejected.reason) == ("p.parquet:2", Reason.INVALID_UTF8) and "byte 2" in rejected.detail
    nested = pa.StructArray.from_arrays([text], ["body"])
    pq.write_table(pa.table({"doc": nested}), tmp_path / "n.parquet")
    kept, rejected = read(tmp_path / "n.parquet", text_field="doc.body")
    assert [d.text for d in kept] == ["one", "dréi"] and [d.source for d in rejected] == ["n.parquet:2"]


def test_text_without_the_mark_of_utf8_is_decoded_row_by_row(tmp_path):
    rows = [{"text": "größe".encode()}, {"text": b"\xff\xfe\x80"}, {"text": b"plain"}]
    as_parquet(tmp_path / "p.parquet", rows, pa.schema([("text", pa.binary())]))
    kept, rejected = read(tmp_path / "p.parquet")
    assert [d.text for d in kept] == ["größe", "plain"] and rejected[0].reason == Reason.INVALID_UTF8


def test_a_line_that_is_no_utf8_says_so(tmp_path):
    put(tmp_path / "p.jsonl", b'{"text": "a"}\n{"text": "caf\xe9"}\n')
    kept, (rejected,) = read(tmp_path / "p.jsonl")
    assert [d.text for d in kept] == ["a"] and rejected.reason == Reason.INVALID_UTF8


def test_lines_of_utf16_are_read(tmp_path):
    put(tmp_path / "p.jsonl", as_lines([{"text": "größe"}, {"text": "b"}]).encode("utf-16"))
    assert [d.text for d in read(tmp_path / "p.jsonl")[0]] == ["größe", "b"]


def test_a_code_of_prose_is_never_read_as_code(tmp_path):
    from grip_assets.judges.reading import read as analysed

    codes = ["pl", "cs", "sv", "nb", "en-US", "ts", "ml", "deu_Latn"]
    rows = [{"text": f"Zdanie numer {i}.\n", "lang": code} for i, code in enumerate(codes)]
    put(tmp_path / "p.jsonl", as_lines(rows))
    kept, _ = read(tmp_path / "p.jsonl")
    assert [d.language for d in kept] == [c.lower() for c in codes]
    assert {analysed(d.text, d.language).read_as for d in kept} == {"prose (statistics)"}


def test_a_column_of_code_says_code(tmp_path):
    assert [named(v, True) for v in ("pl", "cs", "C#", "ts")] == ["perl", "csharp", "csharp", "typescript"]
    assert [named(v) for v in ("Python", "C++", "Jupyter Notebook", "go", "Shell", "py", "Zap")] == [
        "python", "cpp", "jupyter", "go", "bash", "python", "zap",
    ]  # fmt: skip
    put(tmp_path / "p.jsonl", as_lines([{"text": "x", "programming_language": "pl"}, {"text": "y", "kind": "pl"}]))
    assert [d.language for d in read(tmp_path / "p.jsonl")[0]] == ["perl", None]
    assert [d.language for d in read(tmp_path / "p.jsonl", language_field="kind")[0]] == [None, "pl"]


OLD = {
    "latin_1": "# Größe des Puffers\nx = 1\n",
    "cp1252": "# l’élève lit “le cœur”\nx = 1\n",
    "cp1250": "# Wczytuje plik i zwraca wiersze, które są źródłem błędów\n",
    "cp1251": "# Читает файл и возвращает строки\nx = 1\n",
    "cp932": "# ファイルを読み込んで行を返す\nx = 1\n",
    "gb18030": "# 读取文件并返回行\nx = 1\n",
    "utf-16": "größe = 1\n",
}


@pytest.mark.parametrize("encoding", OLD)
def test_a_file_of_another_encoding_is_decoded_and_marked(tmp_path, encoding):
    put(tmp_path / "a.py", OLD[encoding].encode(encoding))
    (document,), _ = read(tmp_path)
    assert (document.text, document.decoded_from) == (OLD[encoding], encoding)


def test_a_file_may_say_its_encoding_itself(tmp_path):
    text = "# -*- coding: koi8-r -*-\n# да\n"
    assert decode(text.encode("koi8-r")) == (text, "koi8_r")
    assert decode(b"# coding: unicode_escape \\x41 \xe9\n")[1] == "latin_1"  # no character set


def test_files_are_read_as_utf8_whatever_the_locale_says(tmp_path):
    """Under LC_ALL=C, a Python that does not coerce it takes files for ASCII where no encoding is named."""
    text = "größe = 'žluťoučký 文'\n"
    put(tmp_path / "code" / "ž.py", text)
    (tmp_path / "code" / ".git").mkdir()
    put(tmp_path / "code" / ".gitignore", "# ž\nbuild.py\n")
    put(tmp_path / "code" / "build.py")
    put(tmp_path / "rows.jsonl", json.dumps({"text": text}, ensure_ascii=False) + "\n")
    put(tmp_path / "rows.csv", f'text\n"{text}"\n')
    put(tmp_path / "rows.json", json.dumps([{"text": text}], ensure_ascii=False))
    put(tmp_path / "pool.yaml", "- {name: a, path: code}  # ž\n")
    code = (
        "import sys; from grip_assets.settings import Corpus; from grip_assets.sources.pool import open_pool;"
        "from grip_assets.settings.sources import read_pool_file;"
        "paths = [read_pool_file(sys.argv[1] + '/pool.yaml')[0]['path']] + [f'{sys.argv[1]}/rows.{e}' for e in ('jsonl', 'csv', 'json')];"
        "print([ascii(d.text) for p in paths for d in open_pool(Corpus(path=p)).read()])"
    )
    env = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True)
    assert done.stdout == f"{[ascii(text)] * 4}\n", done.stderr


def test_bytes_that_are_no_text_are_rejected_and_broken_utf8_is_not_guessed_at(tmp_path):
    noise = np.random.default_rng(0).integers(1, 256, 3000, np.uint8).tobytes()
    put(tmp_path / "noise.py", noise)
    put(tmp_path / "broken.py", ("größe " * 50).encode() + b"\xe9 x")
    put(tmp_path / "zero.py", b"\0" * 4096)
    put(tmp_path / "good.py")
    kept, rejected = read(tmp_path)
    assert [(d.source, d.decoded_from) for d in kept] == [("good.py", None)]
    assert {d.source: d.reason for d in rejected} == {
        "noise.py": Reason.INVALID_UTF8, "broken.py": Reason.INVALID_UTF8, "zero.py": Reason.BINARY,
    }  # fmt: skip
    assert next(d for d in rejected if d.source == "zero.py").detail == "holds no text: 4,096 zero bytes"


# --- C1 to C6: how others write their data sets


def test_a_data_set_cloned_from_a_hub_is_its_tables_and_the_card_is_no_document(tmp_path):
    put(tmp_path / "README.md", "---\nlicense: mit\n---\n# Card\n")
    put(tmp_path / ".gitattributes", "*.parquet filter=lfs\n")
    put(tmp_path / "LICENSE", "MIT\n")
    put(tmp_path / "picture.png", b"\x89PNG")
    as_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", ROWS[:3])
    as_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", ROWS[3:])
    pool = pool_of(tmp_path)
    kept = [d for d in pool.read() if not isinstance(d, Rejected)]
    assert [d.text for d in kept] == TEXTS and [r.source for r in pool.rejected] == ["picture.png"]
    assert "no documents, beside tables: 2 (LICENSE, README.md)" in pool.notes


def test_a_pointer_of_git_lfs_says_what_to_do(tmp_path):
    for name in ("a.parquet", "a.jsonl"):
        put(tmp_path / name, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        with pytest.raises(GripError, match="is a pointer of Git LFS.*git lfs pull"):
            read(tmp_path / name)


def test_what_spark_writes_is_its_tables(tmp_path):
    as_parquet(tmp_path / "part-00000-0a.c000.snappy.parquet")
    for name in ("_SUCCESS", "._SUCCESS.crc", ".part-00000-0a.c000.snappy.parquet.crc", "_temporary/0/part.txt"):
        put(tmp_path / name, "")
    kept, rejected = read(tmp_path)
    assert [d.text for d in kept] == TEXTS and not rejected


def test_lines_or_an_array_are_seen_from_the_content(tmp_path):
    array = json.dumps(ROWS, indent=1)
    for name, content in {
        "lines.json": as_lines().encode(),
        "array.json": array.encode(),
        "array.json.gz": gzip.compress(array.encode()),
        "flat.jsonl": json.dumps(ROWS).encode(),
        "a/train-00000.json": as_lines().encode(),
        "b/train.json": array.encode(),
    }.items():
        path = put(tmp_path / name, content)
        kept, rejected = read(path.parent if "/" in name else path)
        assert [d.text for d in kept] == TEXTS and not rejected, name
        assert kept[1].source == f"{path.name}:2"


def test_a_configuration_is_a_document_and_no_table(tmp_path):
    put(tmp_path / "package.json", json.dumps({"name": "x", "scripts": {}}, indent=1))
    put(tmp_path / "tsconfig.json", '{"strict": true}\n')
    put(tmp_path / "points.json", "[[1, 2], [3, 4]]")
    assert sources(tmp_path) == ["package.json", "points.json", "tsconfig.json"]
    put(tmp_path / "train.jsonl", as_lines())
    assert {s.partition(":")[0] for s in sources(tmp_path)} == {"train.jsonl"}


def test_an_array_that_ends_early_or_is_broken_is_an_error(tmp_path):
    text = json.dumps(ROWS)
    for content in (text[: len(text) // 2], text[:-1], text.replace("x = 3", 'x" = 3')):
        with pytest.raises(GripError, match="is broken JSON"):
            read(put(tmp_path / "p.json", content), "jsonl")


def test_an_array_larger_than_its_buffer_is_read(tmp_path, monkeypatch):
    from grip_assets.sources import streams

    monkeypatch.setattr(streams, "BLOCK", 7)
    assert [d.text for d in read(put(tmp_path / "p.json", json.dumps(ROWS, ensure_ascii=False, indent=2)))[0]] == TEXTS


def save_hf(path, rows=ROWS, **more):
    import datasets

    datasets.Dataset.from_list(rows, **more).save_to_disk(path)
    return path


def write_arrow(path, table):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def test_of_a_saved_data_set_the_files_that_it_names_are_read(tmp_path):
    save_hf(tmp_path)
    data = next(tmp_path.glob("data-*.arrow"))
    shutil.copy(data, tmp_path / "cache-0123.arrow")
    shutil.copy(data, tmp_path / "left-over.arrow")
    put(tmp_path / "README.md", "# Card\n")
    pool = pool_of(tmp_path)
    assert [d.text for d in pool.read()] == TEXTS
    assert any("caches beside the data set: 2" in note for note in pool.notes)
    data.unlink()
    with pytest.raises(GripError, match=r"state.json names data-.*arrow, which is not there"):
        pool_of(tmp_path)


def test_indices_of_a_saved_data_set_are_applied(tmp_path):
    for n in (0, 1):
        write_arrow(tmp_path / f"d{n}.arrow", pa.Table.from_pylist(ROWS[3 * n : 3 * n + 3]))
    write_arrow(tmp_path / "indices.arrow", pa.table({"indices": pa.array([5, 0, 4], pa.uint64())}))
    files = [{"filename": "d0.arrow"}, {"filename": "d1.arrow"}]
    state = {"_data_files": files, "_indices_data_files": [{"filename": "indices.arrow"}]}
    put(tmp_path / "state.json", json.dumps(state))
    kept, _ = read(tmp_path)
    assert [(d.text, d.source) for d in kept] == [
        (TEXTS[0], "d0.arrow:1"), (TEXTS[4], "d1.arrow:2"), (TEXTS[5], "d1.arrow:3"),
    ]  # fmt: skip


def test_the_librarys_own_cache_is_its_splits(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    put(tmp_path / "dataset_info.json", json.dumps({"splits": {"train": {"name": "train"}}}))
    write_arrow(tmp_path / "json-train.arrow", table.slice(0, 3))
    write_arrow(tmp_path / "cache-77.arrow", pa.table({"indices": pa.array([1], pa.uint64())}))
    assert [d.text for d in read(tmp_path)[0]] == TEXTS[:3]


def test_code_with_a_file_called_state_json_is_code(tmp_path):
    put(tmp_path / "state.json", "{}")
    put(tmp_path / "a.py")
    assert sources(tmp_path) == ["a.py", "state.json"]


def test_partition_folders_are_columns(tmp_path):
    for language in ("go", "c%2B%2B"):
        as_parquet(tmp_path / f"language={language}" / "part-0.parquet", [{"text": f"{language}\n"}])
    as_parquet(tmp_path / "language=__HIVE_DEFAULT_PARTITION__" / "part-0.parquet", [{"text": "none\n"}])
    put(tmp_path / "j" / "repo=a" / "p.jsonl", as_lines(ROWS[:1]))
    kept, rejected = read(tmp_path, "parquet", project_field="language")
    assert {(d.text, d.language, d.project) for d in kept} == {("go\n", "go", "go"), ("c%2B%2B\n", "cpp", "c++")}
    assert rejected[-1].reason == Reason.MISSING_FIELD
    assert read(tmp_path / "j", project_field="repo")[0][0].project == "a"


def test_dotted_names_are_fields_and_every_id_has_a_text_form(tmp_path):
    stamp = pa.array([1_700_000_000_000_000_001], pa.timestamp("ns"))
    table = pa.table(
        {
            "text": ["x\n"],
            "meta": [{"repo": "a/b", "n": 1}],
            "decimal": pa.array([Decimal(10**30)], pa.decimal128(38, 0)),
            "list": [[1, 2]],
            "stamp": stamp,
            "bytes": pa.array([b"\xff\x00"], pa.binary()),
            "nested": pa.StructArray.from_arrays([stamp], ["at"]),
            "flag": [True],
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    write_arrow(tmp_path / "p.arrow", table)
    forms = {
        "decimal": str(10**30), "list": "[1, 2]", "stamp": "2023-11-14 22:13:20.000000001", "bytes": "ff00",
        "flag": "True", "meta.n": "1", "meta": '{"n": 1, "repo": "a/b"}',
        "nested": '{"at": "2023-11-14 22:13:20.000000001"}', "nested.at": "2023-11-14 22:13:20.000000001",
    }  # fmt: skip
    for file in ("p.parquet", "p.arrow"):
        for field, form in forms.items():
            (document,), _ = read(tmp_path / file, id_field=field, project_field="meta.repo")
            assert (document.source, document.project) == (form, "a/b"), (file, field)
    with pytest.raises(GripError, match="has no column 'meta.owner'"):
        read(tmp_path / "p.parquet", project_field="meta.owner")
    put(tmp_path / "p.jsonl", as_lines([{"text": "x", "meta": {"repo": "r"}}]))
    assert read(tmp_path / "p.jsonl", project_field="meta.repo")[0][0].project == "r"


# --- B11: nothing is invisible


def test_files_of_an_unknown_kind_are_counted_and_named(tmp_path):
    for i in range(15):
        put(tmp_path / f"doc{i}.pod")
    put(tmp_path / "a.py")
    put(tmp_path / "b.xyz")
    pool = pool_of(tmp_path)
    found = list(pool.read())
    assert len(found) == pool.n_listed == 17 and sum(isinstance(d, Rejected) for d in found) == 16
    assert {d.reason for d in found if isinstance(d, Rejected)} == {Reason.UNKNOWN_KIND}
    assert "left out, neither text nor source code: 16 files (.pod 15, .xyz 1)" in pool.notes
    before = pool.fingerprint()
    put(tmp_path / "c.xyz")
    assert pool_of(tmp_path).fingerprint() != before


def test_tables_beside_text_are_one_error_or_one_reading_said_aloud(tmp_path):
    put(tmp_path / "p.jsonl", as_lines())
    as_parquet(tmp_path / "p.parquet")
    put(tmp_path / "a.py")
    with pytest.raises(GripError, match=r"more than one kind: 1 jsonl, 1 parquet, 1 of text or code \(a.py\).*format to one of jsonl, parquet, folder"):  # fmt: skip
        pool_of(tmp_path)
    assert len(read(tmp_path, "jsonl")[0]) == len(read(tmp_path, "parquet")[0]) == 6
    assert sources(tmp_path, "folder") == ["a.py"]
    for i in range(100):
        put(tmp_path / f"b{i}.py", "y = 1\n" * 100)
    pool = pool_of(tmp_path)
    assert len(pool.entries) == 101 and [r.source for r in pool.rejected] == ["p.jsonl", "p.parquet"]
    assert "a table (jsonl) beside text" in pool.rejected[0].detail
    assert any(
        "source code: 2 files (.jsonl 1, .parquet 1); to read the tables instead, set settings/corpus.format" in note
        for note in pool.notes
    )


def test_a_kind_that_is_not_known_says_what_is(tmp_path):
    put(tmp_path / "x.pdf", b"%PDF-1.7\n\xff\xfe")
    with pytest.raises(GripError, match="no known file name.*Known are: .*Parquet.*Others, such as PDF"):
        pool_of(tmp_path / "x.pdf")
    put(tmp_path / "pods" / "a.pod")
    with pytest.raises(GripError, match=r"no file of a known language among 1 file \(.pod 1\).*Known are"):
        pool_of(tmp_path / "pods")
    put(tmp_path / "mixed" / "a.png")
    with pytest.raises(GripError, match=r"holds no parquet file, but 1 file \(.png 1\)"):
        pool_of(tmp_path / "mixed", "parquet")


def test_one_file_under_another_name_is_seen_from_its_content(tmp_path):
    as_parquet(tmp_path / "blob")
    put(tmp_path / "lines.1", as_lines())
    put(tmp_path / "packed", gzip.compress(as_lines().encode()))
    for name in ("blob", "lines.1", "packed"):
        assert [d.text for d in read(tmp_path / name)[0]] == TEXTS, name


# --- C10, C11: damage, names, compression


def test_a_hole_in_a_file_is_a_row_that_says_how_large(tmp_path, monkeypatch):
    from grip_assets.sources.readers.rows import RowFormat

    monkeypatch.setattr(RowFormat, "longest_line", 1000)
    with put(tmp_path / "p.jsonl", as_lines()).open("r+b") as file:
        file.truncate(5_000_000)
    kept, (rejected,) = read(tmp_path / "p.jsonl")
    zeros = 5_000_000 - len(as_lines())
    assert [d.text for d in kept] == TEXTS and rejected.source == "p.jsonl:7"
    assert (rejected.reason, rejected.detail) == (Reason.BINARY, f"holds no text: {zeros:,} zero bytes")
    put(tmp_path / "s.jsonl", b"\0" * 900)
    assert read(tmp_path / "s.jsonl")[1][0].detail == "holds no text: 900 zero bytes"
    for name in ("sparse.jsonl", "code/sparse.py"):  # reading it would take minutes
        with put(tmp_path / name, b"").open("r+b") as file:
            file.truncate(50 << 30)
    for path in (tmp_path / "sparse.jsonl", tmp_path / "code"):
        assert read(path)[1][0].detail.endswith(f"holds no text: {50 << 30:,} zero bytes")
    put(tmp_path / "s.parquet", b"\0" * 90_000)
    with pytest.raises(GripError, match="s.parquet holds no text: 90,000 zero bytes"):
        read(tmp_path / "s.parquet")


def test_a_line_that_is_too_long_is_not_held(tmp_path, monkeypatch):
    from grip_assets.sources.readers.rows import RowFormat

    monkeypatch.setattr(RowFormat, "longest_line", 1000)
    put(tmp_path / "p.jsonl", as_lines(ROWS[:1]) + '{"text": "' + "x" * 5000 + '"}\n' + as_lines(ROWS[1:]))
    kept, (rejected,) = read(tmp_path / "p.jsonl")
    assert [d.text for d in kept] == TEXTS and (rejected.source, rejected.reason) == ("p.jsonl:2", Reason.TOO_LARGE)


@pytest.mark.parametrize("name", ["a::b", "what?", "st*r", "#1", "[a-z]", "100%", "a b", "{x}", "~"])
def test_names_are_names_and_no_patterns(tmp_path, name):
    put(tmp_path / name / f"{name}.py")
    put(tmp_path / f"{name}.jsonl", as_lines())
    assert sources(tmp_path / name) == [f"{name}.py"]
    assert [d.text for d in read(tmp_path / f"{name}.jsonl")[0]] == TEXTS


def test_what_a_file_is_its_first_bytes_say_and_not_its_name(tmp_path):
    from backports import zstd

    text = as_lines().encode()
    options = {zstd.CompressionParameter.window_log: 30, zstd.CompressionParameter.enable_long_distance_matching: 1}
    packed = zstd.ZstdCompressor(options=options)
    long = packed.compress(text) + packed.flush()
    assert zstd.get_frame_info(long).decompressed_size is None  # a stream: its window is as large as it says
    for name, content in {
        "long.jsonl.zst": long,
        "gzip.jsonl": gzip.compress(text),
        "two.jsonl.gz": gzip.compress(text[:40]) + gzip.compress(text[40:]),
        "plain.jsonl.gz": text,
        "b.jsonl.bz2": bz2.compress(text),
        "x.jsonl.xz": lzma.compress(text),
        "bom.jsonl": b"\xef\xbb\xbf" + text,
        "crlf.jsonl": text.replace(b"\n", b"\r\n"),
    }.items():
        put(tmp_path / name, content)
        assert [d.text for d in read(tmp_path / name)[0]] == TEXTS, name
    put(tmp_path / "page.parquet", "<!DOCTYPE html><html>login</html>")
    with pytest.raises(GripError, match="is a web page"):
        read(tmp_path / "page.parquet")
    put(tmp_path / "empty.parquet", b"")
    with pytest.raises(GripError, match=r"is empty \(0 bytes\)"):
        read(tmp_path / "empty.parquet")


def test_a_chain_of_addresses_is_read(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "pool.zip", "w") as archive:
        archive.writestr("pool/a.py", "x = 1\n")
        archive.writestr("pool/p.jsonl", as_lines())
    assert sources(f"zip://pool/a.py::{tmp_path}/pool.zip") == ["a.py"]
    assert [d.text for d in read(f"zip://pool/p.jsonl::file://{tmp_path}/pool.zip")[0]] == TEXTS


# --- C13: drivers


@pytest.mark.parametrize(
    ("scheme", "module", "package"),
    [
        ("s3", "s3fs", "s3fs"),
        ("gs", "gcsfs", "gcsfs"),
        ("az", "adlfs", "adlfs"),
        ("http", "aiohttp", "aiohttp requests"),
        ("https", "aiohttp", "aiohttp requests"),
    ],
)
def test_a_missing_driver_is_one_sentence(scheme, module, package):
    """In a process of its own, in which the driver cannot be imported."""
    code = (
        "import sys; sys.modules[sys.argv[2]] = None; from grip_assets.errors import GripError\n"
        "from grip_assets.sources.listing import look\n"
        "try: look(sys.argv[1])\n"
        "except GripError as error: print(error)"
    )
    words = [sys.executable, "-c", code, f"{scheme}://bucket/pool", module]
    done = subprocess.run(words, capture_output=True, text=True)
    wanted = f"settings/corpus.path begins with {scheme}://, whose driver is not installed. Install it: pip install"
    assert done.stdout == f"{wanted} {package}.\n", done.stderr


def test_an_unknown_scheme_is_one_sentence():
    with pytest.raises(GripError, match="quux://, which is no known kind of address. Known are"):
        pool_of("quux://bucket/pool")


def test_what_a_driver_raises_is_one_sentence_without_what_lets_one_in(monkeypatch):
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(self, path, **options):
        raise RuntimeError("403 for https://bucket/pool?X-Signature=secret")

    monkeypatch.setattr(MemoryFileSystem, "exists", refuse)
    with pytest.raises(GripError, match="cannot be listed .RuntimeError: 403") as caught:
        pool_of("memory://bucket/pool?token=secret")
    assert "secret" not in str(caught.value)


def test_a_remote_pool_is_recognised_like_a_local_one():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/wild/README.md", b"# Card\n")
    memory.pipe("/wild/data/p.jsonl", as_lines().encode())
    memory.pipe("/wild/data/sub.jsonl", as_lines().encode())
    memory.pipe("/wild/data/sub.jsonl.card.md", b"Made with grip-assets 0.1.0.\n")
    memory.pipe("/wild/old/grip_export.json", b"{}")
    memory.pipe("/wild/old/rows.jsonl", as_lines().encode())
    assert [d.text for d in read("memory://wild")[0]] == TEXTS
    memory.rm("/wild", recursive=True)


# --- the user's own columns


def test_columns_are_kept(tmp_path):
    rows = [{"text": "x\n", "url": "u", "meta": {"score": 0.5, "tags": ["a"]}, "n": 1, "bad": float("nan")}]
    put(tmp_path / "p.jsonl", as_lines(rows))
    as_parquet(tmp_path / "p.parquet", rows)
    for file in ("p.jsonl", "p.parquet"):
        (document,), _ = read(tmp_path / file, keep=("url", "meta.score", "n"))
        assert json.loads(document.kept) == {"url": "u", "meta.score": 0.5, "n": 1}
        (document,), _ = read(tmp_path / file, keep=("*",))
        assert json.loads(document.kept) == {"url": "u", "meta": rows[0]["meta"], "n": 1, "bad": None}
        assert read(tmp_path / file)[0][0].kept is None
    with pytest.raises(GripError, match="has no column 'uri'.*Set settings/corpus.keep"):
        read(tmp_path / "p.parquet", keep=("uri",))


def test_no_code_language_is_taken_for_prose():
    from grip_assets.sources.languages import CODE, is_prose

    assert not [name for name in CODE if is_prose(name)]
    assert language_of("x.pl") == "perl"
