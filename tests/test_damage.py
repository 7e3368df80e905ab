"""What a power cut, a full disk or another program leaves behind: noticed, named, and made again."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from conftest import small

from grip_assets.engine.declarations import stored_schema
from grip_assets.errors import GripError
from grip_assets.llm.answers import Answers
from grip_assets.runtime import notices
from grip_assets.runtime.executors import Local, ToDo
from grip_assets.stages.reports.judge_report import READERS, read_gold
from grip_assets.store import catalog
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.shards import SHARD_SECONDS, Shards
from grip_assets.store.tables import ranges_of

pytestmark = pytest.mark.run


@pytest.fixture(autouse=True)
def said(caplog, monkeypatch):
    """Lines of the log; each is said once a process, so each test begins with none said."""
    monkeypatch.setattr(notices, "_said", set())
    caplog.set_level(logging.INFO)
    return caplog


def tables(data: Path) -> dict[str, bytes]:
    return {str(p.relative_to(data)): p.read_bytes() for p in data.glob("[!.]*/[!.]*/*/*.parquet")}


def artifact(lab, stage: str) -> Path:
    (folder,) = ArtifactStore(lab.data).folders(stage)
    return folder


def empty(file: Path) -> None:
    file.write_bytes(b"")


def zeros(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def remove(file: Path) -> None:
    file.unlink()


HARM = {
    "corpus": ("manifest.json", empty),
    "sigma_k": ("manifest.json", cut),
    "budgets": ("budgets/part-00000.parquet", empty),
    "partition": ("components/part-00000.parquet", zeros),
    "clusters": ("centroids/part-00000.parquet", zeros),
    "densities": ("densities/part-00000.parquet", cut),
    "subset": ("subset/part-00000.parquet", remove),
    "probe_set": ("manifest.json", remove),
    "embeddings": ("embeddings/part-00000.parquet", cut),
}


def test_what_a_power_cut_has_damaged_is_named_and_made_again(lab, said, capfd):
    before, folders = tables(lab.data), {stage: artifact(lab, stage) for stage in HARM}
    page = lab.data / "report" / "index.html"
    whole = page.read_bytes()
    shard, *_ = sorted(lab.data.glob("embeddings/.shards/*/*.parquet"))
    for stage, (name, harm) in HARM.items():
        harm(folders[stage] / name)
    for file in (shard, catalog.catalog_path(lab.data), *lab.data.glob(".hashes/*"), *lab.data.glob("*/.aliases/*")):
        empty(file)
    page.write_bytes(whole[: len(whole) // 2])

    steps = {s.asset: s for s in lab.operations.plan(lab.instance, {})}
    assert {stage for stage, step in steps.items() if step.action == "compute"} >= {"corpus", "probe_set"}
    assert all("damaged" in steps[stage].why for stage in HARM)
    assert lab.curate() == set(HARM)
    printed = capfd.readouterr().err
    for stage in HARM.keys() - {"corpus"}:  # whose note of what the pool led to was emptied, too
        assert re.search(f"{folders[stage]} is damaged .* is made again", printed), stage
    assert f"{shard} is damaged and removed" in said.text
    assert tables(lab.data) == before
    assert page.read_bytes().endswith(whole[-20:]), "the page was cut short, too"
    assert duckdb.connect(catalog.catalog_path(lab.data), read_only=True).sql("FROM subset").fetchall()
    assert lab.curate() == set()


def test_a_damaged_artifact_that_nothing_needs_is_left_out_of_the_history(lab, said):
    lab.make("subset", selection={"beta": 0.9})
    store = ArtifactStore(lab.data)
    old = min(store.manifests("subset"), key=lambda m: m["computed_at"])["version"]
    empty(store.folder("subset", old) / "manifest.json")
    assert old not in [manifest["version"] for manifest in store.manifests("subset")]
    assert f"{store.folder('subset', old)} is damaged and left out: manifest.json is empty" in said.text


class Ones:
    def run(self, key):
        return pa.table({"key": [key], "value": [1]})


@pytest.mark.parametrize("harm", [empty, zeros, cut])
def test_a_damaged_shard_loses_what_was_in_it_and_nothing_else(tmp_path, said, harm):
    shards = Shards(ArtifactStore(tmp_path), "stage", "how")
    for key in "ab":
        shards.write(pa.table({"key": [key], "value": [1]}))
    harm(first := sorted(shards.folder.iterdir())[0])
    made = []

    def to_make(missing):
        made.extend(missing)
        return ToDo(Ones(), made, "making", 1, "rows")

    rows = shards.completed(["a", "b"], to_make, Local())
    assert len(made) == 1 and rows["key"].to_pylist() == ["a", "b"]
    assert f"{first} is damaged and removed" in said.text


@pytest.mark.parametrize("content", [b"", b"this is no database at all, but a text" * 500])
def test_a_damaged_catalog_is_read_through_and_written_anew(lab, said, content):
    path = catalog.catalog_path(lab.data)
    path.write_bytes(content)
    assert len(lab.sql("SELECT * FROM budgets")), "the views are made in memory"
    assert f"{path} cannot be opened" in said.text


def test_without_its_statements_a_damaged_catalog_says_what_writes_it_anew(lab):
    path = catalog.catalog_path(lab.data)
    empty(path)
    empty(catalog.script_path(lab.data))
    with pytest.raises(GripError, match="grip.duckdb cannot be opened: .*run `grip curate`, which writes it anew"):
        catalog.connect(lab.data)


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_paid_answers_are_never_taken_for_none(tmp_path, content):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    with pytest.raises(GripError, match="store of paid answers .* cannot be used: .* Put a backup in its place"):
        Answers(path)
    assert path.read_bytes() == content
    Answers(tmp_path / "new.sqlite").close()
    Answers(tmp_path / "new.sqlite").close()


def test_a_client_that_holds_the_catalog_stops_nobody(lab, said):
    path = catalog.catalog_path(lab.data)
    holder = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); c.execute('CREATE TABLE mine AS SELECT 1'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"open\n"
        assert len(lab.sql("SELECT * FROM budgets"))
        assert f"PID {client.pid}" in said.text, "who holds it"
        assert lab.curate(selection={"beta": 0.8}) == {"subset", "knobs", "stability"}
        client.stdin.close()
    assert lab.sql("SELECT value FROM settings WHERE name = 'beta'").item() == "0.8"
    with duckdb.connect(path, read_only=True) as connection:
        assert len(connection.sql("SELECT * FROM subset").fetchall()), "what the client wrote is not replayed into it"


ANY_NAME = 'it\'s a [b] "c" 100% {d,e} *#é'


def test_tables_are_read_by_the_names_of_their_files_whatever_is_in_them(tmp_path):
    with ArtifactStore(tmp_path / ANY_NAME).publish("corpus", {"stage": "corpus", "version": "v"}) as draft:
        draft.write("corpus", pl.DataFrame({"doc_id": ["a", "b"], "n_bytes": [1, 2], "n_tokens": [1, 1]}))
    files = ArtifactStore(tmp_path / ANY_NAME).parquet("corpus", "v", "corpus")
    assert stored_schema(files)["n_bytes"] == pl.Int64
    assert len(list(ranges_of(files, pl.Series(["b"]), 10, 10))) == 1
    assert pl.read_parquet(files)["doc_id"].to_list() == ["a", "b"]


def test_a_data_folder_may_have_any_name(tmp_path, monkeypatch, models, pool):
    from conftest import Lab

    (tmp_path / ANY_NAME).mkdir()
    lab = Lab(tmp_path / ANY_NAME, monkeypatch)
    assert "subset" in lab.curate(**small(models, pool))
    assert lab.curate() == set()
    assert len(lab.sql("SELECT * FROM budgets JOIN diversity USING (cluster_id)"))
    assert (lab.data / "report" / "index.html").exists()


@pytest.mark.parametrize("ending", READERS)
def test_labels_may_lie_in_a_folder_of_any_name(tmp_path, ending):
    (tmp_path / ANY_NAME).mkdir()
    labels, file = pl.DataFrame({"source": ["a"], "score": [0.5]}), tmp_path / ANY_NAME / f"labels{ending}"
    {".csv": labels.write_csv, ".jsonl": labels.write_ndjson, ".parquet": labels.write_parquet}[ending](file)
    assert read_gold(str(file)).equals(labels)


def test_work_that_is_stopped_has_kept_all_but_the_last_seconds(tmp_path, monkeypatch):
    clock = iter(range(1000))  # a second passes at each look
    monkeypatch.setattr("grip_assets.store.shards.time.monotonic", lambda: next(clock))
    shards = Shards(ArtifactStore(tmp_path), "stage", "how")

    def rows():
        yield from (pa.table({"key": [f"{n:02}"]}) for n in range(23))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.keep(rows())
    kept = shards.index()[1]["key"].to_list()
    assert sorted(kept) == [f"{n:02}" for n in range(len(kept))] and 23 - len(kept) <= SHARD_SECONDS
