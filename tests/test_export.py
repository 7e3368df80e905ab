"""An export is what its format's own reader reads, resumes where it was stopped, and is never half there."""

import gzip
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import types
from itertools import pairwise
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Lab, small, write_pool

import grip_assets.export as exporting
from grip_assets.errors import GripError
from grip_assets.export import FORMATS, export
from grip_assets.export.card import plain, table
from grip_assets.export.workplace import Workplace
from grip_assets.stages import STAGES

pytestmark = pytest.mark.run

HOSTILE = {
    "quotes": "s = \"'\\\\'\\\"\"\nt = '</script><!-- -->'\r\n\tu = `x` {{y}} $z$\n",
    "unicode": "# \u2028 \u2029 \x85 \ufeff \u202e \U0001f9ea e\u0301 \U0010ffff \x01 \x7f\n" * 3,
    "long_line": "x = '" + "ab\\n" * 30_000 + "'",
}
TEXTS = ["parquet", "jsonl", "jsonl.gz", "jsonl.zst", "huggingface", "mds"]
POOL = "pool <script>|x"
ROOT = Path(exporting.__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory, models):
    """A home in which a pool with hostile documents is curated, with more budget than pool, so that all are repeated."""
    home = tmp_path_factory.mktemp("exported")
    (home / POOL).mkdir()
    write_pool(home / POOL, 12)
    for name, text in HOSTILE.items():
        (home / POOL / f"{name}.py").write_bytes(text.encode())
    more = {"budget": {"total": 250_000, "overflow": "repeat", "max_repeats": 3}, "embedding": {"max_windows": 4}}
    more["corpus"] = {"title": "<script>alert(1)</script> | [x](http://evil)\n# y https://me:pa55@host/p?sig=pa55"}
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(home, patch)
        lab.make(*(s.name for s in STAGES.values() if s.group == "curation"), **small(models, home / POOL, **more))
        lab.instance.dispose()
    return home


@pytest.fixture
def data(home, monkeypatch):
    """The data folder; parts are small, so that there are several."""
    monkeypatch.setattr(exporting, "PART_BYTES", 10_000)
    return home / "data"


@pytest.fixture
def documents(data):
    """Every document of the subset in the order of an export."""
    from grip_assets.store.catalog import connect

    with connect(data) as connection:
        query = "SELECT s.doc_id, c.text, c.source, s.repeats, s.n_tokens FROM subset s JOIN corpus c USING (doc_id)"
        found = connection.sql(f"{query} ORDER BY cluster_id, doc_id").pl().to_dicts()
    assert {d["text"] for d in found} >= set(HOSTILE.values()) and max(d["repeats"] for d in found) > 1
    return found


def target(folder: Path, format: str) -> Path:
    return folder / f"out{FORMATS[format].suffix}"


def rows_of(path: Path, format: str) -> list[dict]:
    """Rows as the format's own reader gives them."""
    if format == "parquet":
        return pq.read_table(path).to_pylist()
    if format == "huggingface":
        import datasets

        return list(datasets.load_from_disk(path))
    if format == "mds":
        return list(streaming().StreamingDataset(local=str(path), batch_size=1, shuffle=False))
    opened = {
        "jsonl": lambda: path.open("rb"),
        "jsonl.gz": lambda: gzip.open(path),  # noqa: SIM115
        "jsonl.zst": lambda: pa.CompressedInputStream(str(path), "zstd"),
    }[format]()
    with opened as stream:
        return [json.loads(line) for line in stream.read().decode().removesuffix("\n").split("\n")]


def streaming():
    """MosaicML's own reader, without the part of its package for pictures, which needs torchvision."""
    if "streaming" not in sys.modules:
        package = types.ModuleType("streaming")
        package.__path__ = list(importlib.util.find_spec("streaming").submodule_search_locations)
        sys.modules["streaming"] = package
    import streaming.base

    return streaming.base


def content(path: Path) -> dict[str, bytes]:
    """All bytes of an export and its card."""
    files = [p for p in path.parent.rglob("*") if p.is_file()]
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in files}


@pytest.mark.parametrize("format", TEXTS)
def test_the_formats_own_reader_reads_every_text_exactly_and_in_order(data, documents, tmp_path, format):
    n = export(data, target(tmp_path, format), format)
    repeat = FORMATS[format].expands
    expected = [d for d in documents for _ in range(d["repeats"] if repeat else 1)]
    rows = rows_of(target(tmp_path, format), format)
    assert n == len(rows) == len(expected)
    for name in ("doc_id", "text", "source", "n_tokens"):
        assert [r[name] for r in rows] == [d[name] for d in expected], name
    assert [r["repeats"] for r in rows] == [1 if repeat else d["repeats"] for d in expected]


def test_megatrons_own_reader_reads_every_documents_tokens_and_their_end(data, documents, models, tmp_path):
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from transformers import AutoTokenizer

    n = export(data, tmp_path / "out", "megatron")
    tokenizer = AutoTokenizer.from_pretrained(models / "proxy")
    written = IndexedDataset(str(tmp_path / "out" / "text_document"))
    expected = [d for d in documents for _ in range(d["repeats"])]
    assert n == len(written) == len(written.document_indices) - 1 == len(expected)
    assert written[0].dtype == "uint16"
    assert all(written[i][-1] == tokenizer.eos_token_id for i in range(n))
    assert [len(written[i]) for i in range(n)] == [d["n_tokens"] + 1 for d in expected]
    assert [tokenizer.decode(written[i][:-1]) for i in range(n)] == [d["text"] for d in expected]


def test_megatron_takes_the_tokenizer_that_is_named(data, models, tmp_path):
    with pytest.raises(GripError, match=r"--tokenizer: the tokenizer '.*encoder' has no end-of-text token"):
        export(data, tmp_path / "out", "megatron", tokenizer=str(models / "encoder"))
    assert not list(tmp_path.iterdir())


def test_megatron_takes_a_tokenizer_json_without_weights(data, models, tmp_path):
    shutil.copy(models / "proxy" / "tokenizer.json", tmp_path / "mine.json")
    assert export(data, tmp_path / "out", "megatron", tokenizer=str(tmp_path / "mine.json"))
    export(data, tmp_path / "by_model", "megatron")
    name = "text_document.bin"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "by_model" / name).read_bytes()


def test_the_files_that_the_card_of_a_datasets_folder_names_are_its_data(data, documents, tmp_path):
    import datasets
    from huggingface_hub import DatasetCard

    export(data, tmp_path / "out", "huggingface")
    named = DatasetCard.load(tmp_path / "out" / "README.md").data.configs[0]["data_files"][0]["path"]
    files = str(tmp_path / "out" / named)
    loaded = datasets.load_dataset("arrow", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["text"][:] == [d["text"] for d in documents]


def test_expanded_a_document_is_there_as_often_as_it_is_repeated(data, documents, tmp_path):
    export(data, tmp_path / "out.parquet", expand=True)
    rows = pl.read_parquet(tmp_path / "out.parquet")
    assert dict(rows.group_by("doc_id").len().iter_rows()) == {d["doc_id"]: d["repeats"] for d in documents}
    assert rows["repeats"].to_list() == [1] * len(rows)


def test_a_seed_names_an_order_in_which_copies_are_apart(data, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2), ("plain", None)):
        export(data, tmp_path / f"{name}.parquet", expand=True, shuffle=seed)
    a, b, c, ordered = (
        pq.read_table(tmp_path / f"{n}.parquet")["doc_id"].to_pylist() for n in ("a", "b", "c", "plain")
    )
    assert a == b != c and sorted(a) == sorted(c) == sorted(ordered) and a != ordered
    together = [sum(x == y for x, y in pairwise(ids)) for ids in (a, ordered)]
    assert together[0] < together[1] / 4


def test_the_format_is_the_one_that_the_path_is_named_by(data, tmp_path):
    for format in ("parquet", "jsonl", "jsonl.gz", "jsonl.zst"):
        export(data, target(tmp_path, format))
        assert rows_of(target(tmp_path, format), format)


@pytest.mark.parametrize("format", FORMATS)
def test_a_stopped_export_goes_on_and_ends_in_the_same_bytes(data, tmp_path, monkeypatch, format):
    written = []
    write = FORMATS[format].write

    def counted(self, rows, folder):
        if len(written) == 2 and stop:
            raise KeyboardInterrupt
        written.append(folder.name)
        return write(self, rows, folder)

    monkeypatch.setattr(FORMATS[format], "write", counted)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    stop = False
    export(data, target(tmp_path / "whole", format), format)
    n, stop = len(written), True
    written.clear()
    with pytest.raises(KeyboardInterrupt):
        export(data, target(tmp_path / "stopped", format), format)
    assert not target(tmp_path / "stopped", format).exists()
    stop, said = False, []
    export(data, target(tmp_path / "stopped", format), format, log=said.append)
    assert n > 3 and len(written) == n and len(set(written)) == n, "no part is written twice"
    assert f"2 of {n} parts are there" in said[0]
    assert content(target(tmp_path / "stopped", format)) == content(target(tmp_path / "whole", format))


KILLED = """
import os, signal, sys
from pathlib import Path
import grip_assets.export as exporting
from grip_assets.export.workplace import Workplace

exporting.PART_BYTES = 10_000
draft, left = Workplace.part, [3]

def part(self, number):
    left[0] -= 1
    if not left[0]:
        (self.folder / "parts" / "00000099.draft").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
    return draft(self, number)

Workplace.part = part
exporting.export(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_kill_9_leaves_nothing_half_there_and_the_next_export_goes_on(data, tmp_path):
    path = tmp_path / "out.jsonl.gz"
    done = subprocess.run([sys.executable, "-c", KILLED, data, path], cwd=Path(exporting.__file__).parents[2])
    assert done.returncode == -signal.SIGKILL and not path.exists()
    said = []
    export(data, path, log=said.append)
    assert said[0].startswith("exporting: 2 of ")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["out.jsonl.gz", "out.jsonl.gz.card.md"]
    (tmp_path / "whole").mkdir()
    export(data, tmp_path / "whole" / path.name)
    assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


@pytest.mark.parametrize("format", ["jsonl", "mds"])
def test_what_was_there_stays_until_the_new_one_is_whole(data, tmp_path, monkeypatch, format):
    path = target(tmp_path, format)
    export(data, path, format)
    before = content(path)
    with monkeypatch.context() as patch, pytest.raises(GripError, match="cannot be written: no space"):
        patch.setattr(Workplace, "publish", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        export(data, path, format, shuffle=3)
    assert {n: b for n, b in content(path).items() if ".export-" not in n} == before
    export(data, path, format, shuffle=3)
    assert content(path).keys() == before.keys() and content(path) != before


def test_what_is_no_export_is_not_replaced(data, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(GripError, match="was not made by an export"):
        export(data, tmp_path / "mine", "mds")
    with pytest.raises(GripError, match="it is a folder"):
        export(data, tmp_path / "mine", "parquet")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


@pytest.fixture
def mine(tmp_path):
    """Somebody's own file."""
    (tmp_path / "thesis.jsonl").write_text("years of work")
    return tmp_path / "thesis.jsonl"


def test_a_file_that_no_export_made_is_replaced_by_force_alone(data, mine):
    with pytest.raises(GripError, match=r"thesis.jsonl was not made by an export, .*or add --force"):
        export(data, mine)
    assert mine.read_text() == "years of work" and len(list(mine.parent.iterdir())) == 1
    export(data, mine, force=True)
    assert rows_of(mine, "jsonl")


def test_an_export_replaces_its_own_file_and_not_one_that_was_changed_since(data, tmp_path):
    path, card = tmp_path / "out.jsonl", tmp_path / "out.jsonl.card.md"
    export(data, path)
    export(data, path, shuffle=1)
    for changed in (path, card):
        before = changed.read_text()
        changed.write_text(before + "\n")
        with pytest.raises(GripError, match=f"{re.escape(changed.name)} was changed after an export made it"):
            export(data, path)
        assert changed.read_text() == before + "\n"
        changed.write_text(before)
    export(data, path)
    path.rename(tmp_path / "kept.jsonl")
    export(data, path)


def test_a_card_of_somebodys_own_is_kept(data, tmp_path):
    (tmp_path / "out.jsonl.card.md").write_text("# my notes")
    with pytest.raises(GripError, match=r"out.jsonl.card.md was not made by an export"):
        export(data, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl.card.md").read_text() == "# my notes"


def test_an_export_killed_between_its_file_and_its_card_is_known_again(data, tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    export(data, path)
    replace = Path.replace

    def once(self, other):
        if other.name.endswith(".card.md"):
            raise KeyboardInterrupt
        return replace(self, other)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", once)
        export(data, path, shuffle=5)
    export(data, path, shuffle=5)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_pool_and_what_lies_in_it_or_holds_it_are_never_replaced(home, data, tmp_path):
    one = home / POOL / "long_line.py"
    before = one.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(home / POOL / "quotes.py")
    (tmp_path / "folder").symlink_to(home)
    for path, options in (
        (one, {"format": "jsonl"}),
        (tmp_path / "link.jsonl", {"format": "jsonl"}),
        (home / POOL, {"format": "mds"}),
        (tmp_path / "folder", {"format": "mds"}),
    ):
        with pytest.raises(GripError, match="belongs to the pool|would overwrite the data folder|ends like"):
            export(data, path, force=True, **options)
    assert one.read_bytes() == before


def test_each_source_of_a_pool_that_was_or_is_in_force_is_never_replaced(tmp_path):
    """A pool may be one file, or several sources. ``--force`` is for files that are no part of a pool."""
    import duckdb

    from grip_assets.export.targets import held, target_of
    from grip_assets.store.artifacts import ArtifactStore

    now = {"path": None, "sources": [{"name": "a", "path": f"{tmp_path}/now.jsonl"}, {"name": "b", "path": "s3://b/c"}]}
    before = {"alone": {"path": f"{tmp_path}/alone.jsonl"}, "many": {"sources": [{"path": f"{tmp_path}/many"}]}}
    for version, values in before.items():
        manifest = {"version": version, "stage": "corpus", "computed_at": 0, "settings": {"corpus": values}}
        with ArtifactStore(tmp_path / "data").publish("corpus", manifest) as draft:
            draft.write("corpus", pl.DataFrame({"doc_id": ["a"]}))
    connection = duckdb.connect()
    connection.execute('CREATE TABLE settings ("group" VARCHAR, name VARCHAR, value JSON)')
    connection.executemany("INSERT INTO settings VALUES ('corpus', ?, ?)", [(n, json.dumps(v)) for n, v in now.items()])
    kept = held(connection, tmp_path / "data")
    assert "s3://b/c" in kept.pools
    (tmp_path / "many").mkdir()
    for name in ("now.jsonl", "alone.jsonl", "many/part.jsonl"):
        (tmp_path / name).write_text("years of work")
        with pytest.raises(GripError, match="belongs to the pool"):
            target_of(str(tmp_path / name)).refuse(False, kept, force=True)
    target_of(str(tmp_path / "new.jsonl")).refuse(False, kept, force=False)


def test_an_export_into_the_pools_folder_is_marked_as_one(home, data, tmp_path):
    from grip_assets.store.marks import is_export

    said = []
    try:
        for name, format in (("in_pool.jsonl", None), ("in_pool", "mds")):
            export(data, home / POOL / name, format, log=said.append)
            assert is_export(home / POOL / name)
        assert is_export(home / POOL / "in_pool.jsonl.card.md")
        assert not is_export(home / POOL / "quotes.py") and "lies in the pool" in said[0]
        export(data, home / POOL / "in_pool.jsonl", shuffle=1)
        (home / POOL / "in_pool.jsonl").write_text("changed")
        with pytest.raises(GripError, match="belongs to the pool"):
            export(data, home / POOL / "in_pool.jsonl", force=True)
    finally:
        for path in (home / POOL).glob("in_pool*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_nothing_is_written_into_the_data_folder(data):
    for name, format in (("out.jsonl", None), ("corpus", "mds"), ("reports/out.parquet", None)):
        with pytest.raises(GripError, match="would overwrite the data folder|there is no folder"):
            export(data, data / name, format, force=True)


def test_a_link_is_followed_and_stays_a_link(data, mine, tmp_path):
    (tmp_path / "latest.jsonl").symlink_to("real.jsonl")
    export(data, tmp_path / "latest.jsonl")
    assert (tmp_path / "latest.jsonl").is_symlink() and rows_of(tmp_path / "real.jsonl", "jsonl")
    (tmp_path / "to_mine.jsonl").symlink_to(mine)
    with pytest.raises(GripError, match=r"thesis.jsonl was not made by an export"):
        export(data, tmp_path / "to_mine.jsonl")
    (tmp_path / "two.jsonl").symlink_to("names.parquet")
    with pytest.raises(GripError, match="is a link to a file with the ending of another format"):
        export(data, tmp_path / "two.jsonl")


def test_a_pipe_is_written_to_and_stays_a_pipe(data, documents, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = tmp_path / "got"
    with got.open("wb") as out, subprocess.Popen(["cat", tmp_path / "pipe"], stdout=out) as reader:
        export(data, tmp_path / "pipe")
        assert reader.wait(60) == 0
    assert [json.loads(line)["doc_id"] for line in got.read_text().removesuffix("\n").split("\n")] == [
        d["doc_id"] for d in documents
    ]
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(GripError, match="takes one file, and this format is a folder"):
        export(data, tmp_path / "pipe", "mds")


def test_a_device_is_written_to_and_a_full_one_is_a_sentence(data):
    assert export(data, "/dev/null") and Path("/dev/null").is_char_device()
    with pytest.raises(GripError, match=r"/dev/full cannot be written: .*No space left"):
        export(data, "/dev/full")


def test_a_dash_is_standard_output_and_holds_documents_only(data, documents):
    command = [sys.executable, "-c", "from grip_assets.cli import main; main()", "export", "-"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"GRIP_DATA": str(data)}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["doc_id"] for line in done.stdout.decode().removesuffix("\n").split("\n")] == [
        d["doc_id"] for d in documents
    ]
    assert f"{len(documents):,} documents written to -" in done.stderr.decode()


def test_a_file_of_somebodys_own_in_an_exports_folder_is_kept(data, tmp_path):
    export(data, tmp_path / "out", "mds")
    (tmp_path / "out" / "notes").mkdir()
    (tmp_path / "out" / "notes" / "mine.txt").write_text("x")
    for force in (False, True):
        with pytest.raises(GripError, match=r"notes/mine.txt was not made by an export"):
            export(data, tmp_path / "out", "mds", force=force)
    assert (tmp_path / "out" / "notes" / "mine.txt").read_text() == "x"
    shutil.rmtree(tmp_path / "out" / "notes")
    (tmp_path / "out" / "README.md").write_text("my own words")
    with pytest.raises(GripError, match=r"README.md was changed after an export made it"):
        export(data, tmp_path / "out", "mds")
    export(data, tmp_path / "out", "mds", force=True)


@pytest.mark.parametrize(
    "name", ["out.csv", "out.json", "out.jsonl.bz2", "out.parquet.gz", "out.zst", "out.tsv", "out.v1", "out.JSONL.xz"]
)
def test_an_ending_that_is_no_format_is_refused_with_those_that_are(data, tmp_path, name):
    with pytest.raises(GripError, match=r"End it in .parquet, .jsonl, .jsonl.gz, .jsonl.zst, or say --format hugg"):
        export(data, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_no_format_is_written_under_the_ending_of_another(data, tmp_path):
    for name, format in (("out.csv", "jsonl"), ("out.parquet", "mds"), ("out.jsonl.bz2", "parquet")):
        with pytest.raises(GripError, match=f"and --format is {format}"):
            export(data, tmp_path / name, format)
    export(data, tmp_path / "subset.v1", "jsonl")
    assert rows_of(tmp_path / "subset.v1", "jsonl")


def test_a_url_is_written_through_its_driver_and_somebodys_object_is_kept(data, documents):
    import fsspec

    fs = fsspec.filesystem("memory")
    try:
        export(data, "memory://bucket/out.jsonl")
        export(data, "memory://bucket/out.jsonl", shuffle=1)
        rows = [json.loads(line) for line in fs.cat_file("/bucket/out.jsonl").decode().removesuffix("\n").split("\n")]
        assert sorted(r["doc_id"] for r in rows) == sorted(d["doc_id"] for d in documents)
        assert fs.exists("/bucket/out.jsonl.card.md")
        export(data, "memory://bucket/mds", "mds")
        export(data, "memory://bucket/mds", "mds")
        fs.pipe_file("/bucket/mds/mine.txt", b"x")
        fs.pipe_file("/bucket/mine.jsonl", b"x")
        for name, format in (("mine.jsonl", None), ("mds", "mds")):
            with pytest.raises(GripError, match="no export wrote|was not made by an export"):
                export(data, f"memory://bucket/{name}", format)
        assert fs.cat_file("/bucket/mine.jsonl") == b"x" == fs.cat_file("/bucket/mds/mine.txt")
    finally:
        fs.rm("/bucket", recursive=True)


def test_a_url_of_a_file_here_is_that_file(data, mine):
    with pytest.raises(GripError, match="was not made by an export"):
        export(data, f"file://{mine}")
    export(data, f"file://{mine.parent}/out.jsonl")
    assert rows_of(mine.parent / "out.jsonl", "jsonl")


@pytest.mark.parametrize(
    "url, message",
    [
        ("s3://me:pa55@bucket/out.jsonl", "driver that is not installed: Install s3fs"),
        ("nonsense://bucket/out.jsonl", "Protocol not known: nonsense"),
        ("http://127.0.0.1:9/out.jsonl", "http://127.0.0.1:9/out.jsonl"),
    ],
)
def test_a_url_that_cannot_be_written_is_a_sentence_without_secrets(data, url, message):
    if importlib.util.find_spec("s3fs") and url.startswith("s3:"):
        pytest.skip("the driver is here")
    with pytest.raises(GripError, match=re.escape(message)) as raised:
        export(data, url)
    assert "pa55" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_name_of_240_characters_works_and_one_that_is_too_long_is_a_sentence(data, tmp_path):
    path = tmp_path / f"{'x' * 234}.jsonl"
    export(data, path)
    export(data, path, shuffle=1)
    assert rows_of(path, "jsonl") and len(list(tmp_path.iterdir())) == 2
    for n in (250, 400):
        with pytest.raises(GripError, match="cannot be written: .*File name too long"):
            export(data, tmp_path / f"{'y' * n}.jsonl")
    with pytest.raises(GripError, match="cannot be written"):
        export(data, f"{tmp_path}/a\0b.jsonl")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_home_folder_in_quotes_is_the_home_folder(data, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    export(data, "~/out.jsonl")
    assert rows_of(tmp_path / "out.jsonl", "jsonl")


def test_a_folder_without_rights_is_one_sentence(data, tmp_path, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and access(path, mode))
    with pytest.raises(GripError, match="you may not write in"):
        export(data, tmp_path / "out.jsonl")


def test_a_hidden_folder_of_somebodys_own_is_not_swept(data, tmp_path):
    for name in (".out.jsonl.export-mine", f".out.jsonl.export-{'0' * 16}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("x")
    (tmp_path / ".out.jsonl.export-file").write_text("x")
    export(data, tmp_path / "out.jsonl")
    assert len(list(tmp_path.rglob("thesis.txt"))) == 2 and (tmp_path / ".out.jsonl.export-file").exists()


def test_two_processes_do_not_make_the_same_export(data, tmp_path, monkeypatch):
    write = FORMATS["jsonl"].write

    def meanwhile(self, rows, folder):
        with pytest.raises(GripError, match="Another process exports to"):
            export(data, tmp_path / "out.jsonl")
        return write(self, rows, folder)

    monkeypatch.setattr(FORMATS["jsonl"], "write", meanwhile)
    export(data, tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("out", {"format": "csv"}, "no export format 'csv'. Choose one of: parquet, jsonl"),
        ("out.jsonl.gz", {"format": "jsonl"}, "ends like jsonl.gz, and --format is jsonl"),
        ("out.parquet", {"tokenizer": "SmolLM2-135M"}, "--tokenizer is for --format megatron"),
        ("nowhere/out.parquet", {}, "there is no folder"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_written(data, tmp_path, name, options, message):
    with pytest.raises(GripError, match=re.escape(message)):
        export(data, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_without_megatron_core_it_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "megatron.core.datasets", None)
    with pytest.raises(GripError, match=r"pip install 'grip-assets\[export\]'"):
        export(data, tmp_path / "out", "megatron")


def test_a_subset_of_tables_that_changed_since_is_not_exported(home, monkeypatch, tmp_path):
    import dagster as dg

    from grip_assets.definitions import defs

    (tmp_path / "home").mkdir()
    for folder in ("data", "dagster"):
        shutil.copytree(home / folder, tmp_path / "home" / folder)
    lab = Lab(tmp_path / "home", monkeypatch)
    lab.change("corpus", path=str(write_pool(tmp_path / "home", 3)))
    dg.materialize(list(defs.assets), selection=["corpus"], instance=lab.instance, resources=defs.resources)
    with pytest.raises(GripError, match=r"made from corpus \w+, which is no longer in force. Run `grip curate`"):
        export(lab.data, tmp_path / "out.parquet")


def test_the_card_tells_the_lineage_in_front_matter_that_the_hub_reads(home, data, tmp_path):
    from huggingface_hub import DatasetCard

    from grip_assets.store.artifacts import ArtifactStore

    export(data, tmp_path / "out.parquet")
    export(data, tmp_path / "out", "mds")
    card = DatasetCard.load(tmp_path / "out.parquet.card.md")
    assert card.data.size_categories == ["n<1K"] and card.data.task_categories == ["text-generation"]
    assert card.data.configs[0]["data_files"][0]["path"] == "out.parquet"
    assert "configs" not in DatasetCard.load(tmp_path / "out" / "README.md").data
    for stage in ("corpus", "clusters", "quality_scores", "budgets", "subset"):
        (manifest,) = ArtifactStore(data).manifests(stage)
        assert manifest["version"] in card.text and manifest["run_id"] in card.text
    for words in (
        "| selection.beta | β | 0.3 |",
        "near-duplicates were not",
        "not checked",
        "52 documents of 52",
        "| documents | 51 | 51 |",
        "diversity",
        "static analysis",
        "share of the tokens grew most",
        "| python | 100.0% |",
    ):
        assert words.replace("_", "\\_") in card.text, words


def test_names_in_the_card_are_neither_markup_nor_secrets(data, tmp_path):
    import yaml

    export(data, tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl.card.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert "<script>" in yaml.safe_load(front)["pretty_name"], "YAML is no HTML, and has it as it is"
    body, _, mark = body.rpartition("\n<!-- grip-export ")
    assert mark.count(">") == 1 and mark.endswith("-->\n"), "no name in it ends the comment"
    assert "<" not in body and "pa55" not in text and "[x]" not in body and "\n# y" not in text
    assert "/pool &lt;script&gt;\\|x |" in body
    assert table(("a",), [("x|y\n| z |",)]).count("\n") == 2
    assert plain("s3://key:pa55@b ![i](j) `c` \x1b[0m www.x.org").isprintable()


def test_the_environment_of_a_shell_is_enough(home, tmp_path):
    env = os.environ | {"GRIP_DATA": str(home / "data"), "DAGSTER_HOME": str(home / "dagster")}
    call = [sys.executable, "-c", "from grip_assets.cli import main; main()", "export"]
    words = [str(tmp_path / "out"), "--format", "mds", "--shuffle", "1"]
    done = subprocess.run(
        call + words, env=env, capture_output=True, text=True, cwd=Path(exporting.__file__).parents[2]
    )
    assert done.returncode == 0 and "documents written to" in done.stdout, done.stderr
    assert rows_of(tmp_path / "out", "mds")
