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

pytestmark = pytest.mark.run

HOSTILE = {
    "quotes": "s = \"'\\\\'\\\"\"\nt = '</script><!-- -->'\r\n\tu = `x` {{y}} $z$\n",
    "unicode": "# \u2028 \u2029 \x85 \ufeff \u202e \U0001f9ea e\u0301 \U0010ffff \x01 \x7f\n" * 3,
    "long_line": "x = '" + "ab\\n" * 30_000 + "'",
}
TEXTS = ["parquet", "jsonl", "jsonl.gz", "jsonl.zst", "huggingface", "mds"]
POOL = "pool <script>|x"


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
        lab.curate(**small(models, home / POOL, **more))
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
        ("out.jsonl.gz", {"format": "jsonl"}, "named like jsonl.gz, and --format is jsonl"),
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
    with pytest.raises(GripError, match=r"pip install '.\[export\]'"):
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
