"""Artifacts and shards on an object store: the manifest written last commits them, and the data folder is a cache."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import objects
import polars as pl
import pyarrow as pa
import pytest

from grip_assets.errors import GripError
from grip_assets.orchestration import home
from grip_assets.runtime import elsewhere, notices, variables
from grip_assets.runtime.executors import Local, ToDo
from grip_assets.runtime.folders import data_root, home_folder
from grip_assets.store import behind, catalog, cleaning
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.places import NotThere, Place
from grip_assets.store.shards import Shards
from grip_assets.store.tables import parts

V = "0123456789abcdef"


@pytest.fixture(scope="module")
def endpoint():
    with objects.server() as address:
        yield address


@pytest.fixture
def address(endpoint, monkeypatch, tmp_path):
    """An address of an empty bucket, which is GRIP_DATA."""
    monkeypatch.setattr(notices, "_said", set())
    monkeypatch.setenv("GRIP_DATA_CACHE", str(tmp_path / "caches"))
    found = objects.use(monkeypatch, endpoint)
    monkeypatch.setenv("GRIP_DATA", found)
    with behind.in_use():
        yield found


@pytest.fixture
def store(address):
    return ArtifactStore(data_root())


def on_another_machine(address: str, folder: Path) -> ArtifactStore:
    return ArtifactStore(folder, behind.Behind(Place(address), folder))


def publish(store: ArtifactStore, rows: int = 3, version: str = V, stage: str = "corpus", **more) -> None:
    manifest = {"stage": stage, "version": version, "inputs": {}, "computed_at": 1.0, "seconds": 2.0, "run_id": "r"}
    with store.publish(stage, manifest | more) as draft:
        draft.write(stage, pl.DataFrame({"doc_id": [f"d{i}" for i in range(rows)], "x": range(rows)}))


def killed(*_: object) -> bool:
    raise KeyboardInterrupt


def names(address: str) -> set[str]:
    return set(Place(address).sizes(""))


def test_an_artifact_is_read_on_another_machine(store, address, tmp_path):
    publish(store)
    other = on_another_machine(address, tmp_path / "other")
    assert other.has("corpus", V) and [m["version"] for m in other.manifests()] == [V]
    assert pl.read_parquet(other.parquet("corpus", V, "corpus"))["x"].to_list() == [0, 1, 2]
    assert [folder.name for folder in other.folders("corpus")] == [V]


def test_a_writer_that_dies_before_the_manifest_leaves_nothing_visible(store, address, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(behind.Behind, "_commit", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(store)
    assert any(name.endswith(".parquet") for name in names(address))  # they were uploaded
    for machine in (store, on_another_machine(address, tmp_path / "other")):
        assert not machine.has("corpus", V) and list(machine.manifests()) == []
    publish(store)
    assert store.has("corpus", V)


def test_of_two_writers_of_one_artifact_one_wins_and_nothing_of_the_other_stays(store, address, tmp_path):
    other = on_another_machine(address, tmp_path / "other")
    manifest = {"stage": "corpus", "version": V, "inputs": {}}
    with store.publish("corpus", dict(manifest, run_id="first")) as one:
        one.write("corpus", pl.DataFrame({"x": [1]}))
        with other.publish("corpus", dict(manifest, run_id="second")) as two:
            two.write("corpus", pl.DataFrame({"x": [1]}))
    third = on_another_machine(address, tmp_path / "third")
    assert {store.manifest("corpus", V)["run_id"], third.manifest("corpus", V)["run_id"]} == {"second"}
    assert len([name for name in names(address) if name.startswith(f"corpus/{V}/")]) == 2  # one table, one manifest
    assert pl.read_parquet(store.parquet("corpus", V, "corpus"))["x"].to_list() == [1]


def test_damage_is_found_and_the_artifact_is_made_again(store, address, tmp_path):
    publish(store)
    place = Place(address)
    (table,) = (name for name in names(address) if name.endswith(".parquet"))
    place.write(table, b"short")
    assert "of" in store.damaged("corpus", V) and not store.has("corpus", V)
    publish(store)
    assert store.has("corpus", V)
    assert len(pl.read_parquet(on_another_machine(address, tmp_path / "o").parquet("corpus", V, "corpus"))) == 3


def test_other_bytes_of_the_same_size_are_never_read(store, address, tmp_path):
    publish(store)
    place = Place(address)
    (table,) = (name for name in names(address) if name.endswith(".parquet"))
    place.write(table, bytes(place.sizes("")[table]))
    with pytest.raises(GripError, match="has other bytes than its manifest says"):
        on_another_machine(address, tmp_path / "other").parquet("corpus", V, "corpus")


def test_a_removed_artifact_is_gone_and_its_manifest_is_kept(store, address):
    publish(store)
    shutil.rmtree(store.root)
    assert [(r.kind, r.stage) for r in cleaning.removable(store, {})] == [("artifact", "corpus")]
    freed = cleaning.remove(store, cleaning.removable(store, {}))
    assert freed > 0 and not store.has("corpus", V) and store.knows("corpus", V)
    assert names(address) == {f".manifests/corpus/{V}.json"}
    with pytest.raises(GripError, match="is not there"):
        parts(store.parquet("corpus", V, "corpus"))


def test_what_a_killed_writer_left_can_be_cleaned(store, address):
    Place(address).write(f"corpus/{V}/writer/corpus/part-00000.parquet", b"half")
    (left,) = cleaning.removable(store, {})
    assert left.kind == "damaged artifact" and left.n_bytes == 4
    cleaning.remove(store, [left])
    assert names(address) == set()


def test_a_data_folder_that_was_copied_into_a_bucket_is_a_store(address, tmp_path):
    local = ArtifactStore(tmp_path / "local")
    publish(local)
    for file in (f for f in local.root.rglob("*") if f.is_file()):
        Place(address).write(file.relative_to(local.root).as_posix(), file.read_bytes())
    store = ArtifactStore(data_root())
    assert store.has("corpus", V)
    assert pl.read_parquet(store.parquet("corpus", V, "corpus"))["x"].to_list() == [0, 1, 2]


def test_shards_of_one_machine_are_found_on_another(store, address, tmp_path):
    made = []

    def rows(store: ArtifactStore, keys: list[str]) -> list[int]:
        def todo(missing: pl.Series) -> ToDo:
            made.extend(missing)
            raise AssertionError(f"{list(missing)} are made again")

        return Shards(store, "embeddings", "how").completed(keys, todo, Local())["x"].to_pylist()

    Shards(store, "embeddings", "how").write(pa.table({"key": ["a", "b"], "x": [1, 2]}))
    other = on_another_machine(address, tmp_path / "other")
    assert rows(other, ["b", "a"]) == [2, 1] and rows(store, ["a"]) == [1] and made == []
    assert [folder.name for folder in other.shard_folders()] == ["how"]


def test_a_damaged_shard_is_removed_everywhere(store, address):
    Place(address).write("embeddings/.shards/how/x.parquet", b"no Parquet")
    assert Shards(store, "embeddings", "how").index()[1].is_empty()
    assert names(address) == set()


def test_a_folder_of_shards_appears_whole_or_not_at_all(store, address, tmp_path):
    with store.scratch() as scratch:
        (scratch / "made").mkdir()
        for name in ("a", "b"):
            (scratch / "made" / name).write_text(name)
        store.put_folder(scratch / "made", store.root / "runs" / ".shards" / "tokens-1")
    whole = on_another_machine(address, tmp_path / "whole")
    whole.bring(whole.root / "runs" / ".shards" / "tokens-1")
    assert (whole.root / "runs" / ".shards" / "tokens-1" / "b").read_text() == "b"
    Place(address).remove(name for name in names(address) if name.endswith("/a"))
    other = on_another_machine(address, tmp_path / "other")
    other.bring(other.root / "runs" / ".shards" / "tokens-1")
    assert not (other.root / "runs" / ".shards" / "tokens-1").exists()


def test_the_cache_keeps_its_size_and_what_is_in_use(store, monkeypatch):
    monkeypatch.setenv("GRIP_DATA_CACHE_SIZE", "1MB")
    versions = [f"{i:016x}" for i in range(3)]
    for version in versions:
        with store.publish("corpus", {"stage": "corpus", "version": version, "inputs": {}}) as draft:
            draft.write("corpus", pl.DataFrame({"x": [os.urandom(600_000)]}))
        if version == versions[0]:
            store.parquet("corpus", version, "corpus")  # in use until the block of the fixture ends
    here = [version for version in versions if (store.folder("corpus", version) / "corpus").exists()]
    assert versions[0] in here and len(here) < 3
    assert all(len(pl.read_parquet(store.parquet("corpus", version, "corpus"))) == 1 for version in versions)


def test_a_worker_finds_what_only_the_driver_has_seen(store):
    publish(store)
    Shards(store, "embeddings", "how").write(pa.table({"key": ["a"]}))
    shutil.rmtree(store.root)
    folder = store.folder("corpus", V) / "corpus"
    (shard,) = (name for name in store.behind.place.sizes("embeddings/.shards/how"))
    assert elsewhere.is_here(str(folder)) and elsewhere.is_here(str(store.root / "embeddings/.shards/how" / shard))
    shutil.rmtree(store.root)
    assert len(parts(store.glob("corpus", V, "corpus"))) == 1
    assert not elsewhere.is_here(str(store.root / "corpus" / V / "no_such_table"))


def test_a_bucket_that_is_not_there_is_an_error_that_says_so(store, monkeypatch):
    with pytest.raises(GripError, match="its bucket is not there"):
        Place("s3://no-such-bucket-of-ours/folder").upload({"x": Path(__file__)})


@pytest.mark.parametrize("fetched", [True, False])
def test_the_catalog_fetches_small_tables_and_reads_large_ones_where_they_are(store, monkeypatch, fetched):
    monkeypatch.setattr(catalog, "SMALL", 1 << 20 if fetched else 0)
    publish(store)
    catalog.rebuild(store, {"corpus": catalog.InForce(V, "r", 1.0, False, ("corpus",))}, [("g", "n", None, "'1;'")])
    shutil.rmtree(store.folder("corpus", V) / "corpus")
    with catalog.connect(store.root) as connection:
        assert connection.execute("SELECT sum(x) FROM corpus").fetchall() == [(3,)]
        assert connection.execute("SELECT path FROM artifacts").fetchall()[0][0].startswith("s3://")
    assert (store.folder("corpus", V) / "corpus").exists() == fetched


def test_no_key_is_in_an_object_a_file_or_an_error(store, address, tmp_path):
    publish(store)
    place = Place(address)
    said = "".join(place.read(name).decode(errors="replace") for name in names(address))
    said += "".join(file.read_text(errors="replace") for file in store.root.rglob("*") if file.is_file())
    try:
        Place("s3://no-such-bucket-of-ours/folder").write("x", b"x")
    except (GripError, NotThere, OSError) as error:
        said += f"{error} {error.__cause__} {json.dumps(str(error.args))}"
    assert objects.SECRET not in said and objects.KEY not in said


@pytest.mark.parametrize("stated", ["s3://key:secret@bucket/x", "https://host/x", "s3://", "file:///x", "s3://b/a?x=1"])
def test_an_address_with_a_key_or_of_no_store_is_refused_without_the_key(monkeypatch, stated):
    monkeypatch.setenv("GRIP_DATA", stated)
    with pytest.raises(variables.Unreadable, match="must be a folder") as error:
        data_root()
    assert "secret" not in str(error.value)


def test_the_home_of_an_object_store_is_no_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("GRIP_DATA", "s3://bucket/folder/")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert home_folder().is_relative_to(tmp_path) and not home_folder().is_relative_to(data_root())


def test_a_home_of_one_object_store_is_refused_for_another(address, monkeypatch, tmp_path):
    instance = SimpleNamespace(run_storage=None)
    home.bind(instance, tmp_path)
    home.belong_together(instance, tmp_path)
    monkeypatch.setenv("GRIP_DATA", f"{address}-other")
    with pytest.raises(GripError, match=f"belongs to the data folder {address}"):
        home.belong_together(instance, tmp_path)
    Place(address).remove([home.MARK])  # that store is gone
    home.belong_together(instance, tmp_path)
