"""A whole curation whose data folder is an object store: the same tables as in a folder, and nothing is made twice."""

import shutil
from pathlib import Path

import objects
import pytest
from conftest import Lab, draw, small

from grip_assets import cli
from grip_assets.report.page.write import page_path
from grip_assets.runtime.folders import data_root
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.places import Place

pytestmark = [pytest.mark.run, pytest.mark.model, pytest.mark.slow]


@pytest.fixture
def endpoint():
    with objects.server() as address:
        yield address


class OnObjects(Lab):
    """A laboratory whose data are in a bucket; its cache and Dagster's home are below ``home``."""

    def __init__(self, home: Path, monkeypatch, endpoint: str, address: str = ""):
        from grip_assets import operations

        draw(False)
        self.address = address or objects.use(monkeypatch, endpoint)
        monkeypatch.setenv("GRIP_DATA", self.address)
        monkeypatch.setenv("GRIP_DATA_CACHE", str(home / "caches"))
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        self.home, self.data, self.operations = home, data_root(), operations
        self.instance = operations.open_instance()


def tables(store: ArtifactStore, in_force: dict[str, str]) -> dict[str, bytes]:
    found = {}
    for stage, version in in_force.items():
        for table in store.manifest(stage, version)["tables"]:
            folder = Path(store.parquet(stage, version, table)).parent
            found |= {f"{stage}/{version}/{table}/{file.name}": file.read_bytes() for file in sorted(folder.iterdir())}
    return found


def in_force(lab: Lab) -> dict[str, str]:
    return dict(lab.sql("SELECT asset, version FROM artifacts WHERE in_force").rows())


def test_a_curation_on_an_object_store_has_the_tables_of_one_in_a_folder(
    curated, tmp_path, monkeypatch, endpoint, models, pool
):
    shutil.copytree(curated, tmp_path / "lab")
    local = Lab(tmp_path / "lab", monkeypatch)
    versions = in_force(local)
    expected = tables(ArtifactStore(local.data), versions)
    local.instance.dispose()
    lab = OnObjects(tmp_path / "objects", monkeypatch, endpoint)
    made = lab.curate(**small(models, pool))
    assert made and in_force(lab) == versions
    assert tables(ArtifactStore(lab.data), versions) == expected
    assert lab.curate() == set()
    shutil.rmtree(lab.data)  # the cache: nothing of it is needed, and only the page is made anew
    assert lab.curate() <= {"report"}
    assert page_path(lab.data).exists()
    assert tables(ArtifactStore(lab.data), versions) == expected
    written = b"".join(file.read_bytes() for file in lab.home.rglob("*") if file.is_file())
    objects_there = (Place(lab.address).read(name) for name in Place(lab.address).sizes("") if name.endswith(".json"))
    assert objects.SECRET.encode() not in written + b"".join(objects_there)
    lab.instance.dispose()
    cleaned_and_back(lab, versions["subset"])


def cleaned_and_back(lab: OnObjects, first: str) -> None:
    """Another subset in force, the first one removed, without the cache, and then made again."""

    def grip(*words: str) -> None:
        assert cli.run(list(words)) == 0

    grip("curate", "--set", "selection.beta=0.9")
    shutil.rmtree(lab.data)
    grip("clean", "--yes")
    place = Place(lab.address)
    assert not place.sizes(f"subset/{first}") and place.read(f".manifests/subset/{first}.json")
    grip("rollback", first)
    assert "manifest.json" in place.sizes(f"subset/{first}")


def test_two_nodes_of_ray_make_the_same_tables_on_an_object_store(
    curated, tmp_path, monkeypatch, endpoint, models, pool
):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from test_ray import SMALL
    from test_ray_cluster import Nodes

    shutil.copytree(curated, tmp_path / "lab")
    local = Lab(tmp_path / "lab", monkeypatch)
    versions = in_force(local)
    expected = tables(ArtifactStore(local.data), versions)
    local.instance.dispose()
    lab = OnObjects(tmp_path / "objects", monkeypatch, endpoint)  # before the nodes: they have its keys
    for name, value in (SMALL | {"GRIP_WORKERS": "auto", "GRIP_EXECUTOR": "ray"}).items():
        monkeypatch.setenv(name, value)
    nodes = Nodes(2)
    try:
        monkeypatch.setenv("GRIP_RAY_ADDRESS", nodes.cluster.address)
        lab.curate(**small(models, pool))
    finally:
        nodes.close()
    assert in_force(lab) == versions
    assert tables(ArtifactStore(lab.data), versions) == expected
    (made,) = ArtifactStore(lab.data).manifests("embeddings")
    assert made["executor"] == "ray"
    lab.instance.dispose()


def test_an_evaluation_on_an_object_store_has_the_ladder_of_one_in_a_folder(
    tmp_path, monkeypatch, endpoint, models, pool
):
    from test_second_round import changes

    asked = small(models, pool, **changes())
    asked["evaluation"]["strategies"] = ["random", "grip", "grip_rounds"]
    ladders = {}
    for name in ("lab", "objects"):
        (tmp_path / name).mkdir()
        lab = (
            OnObjects(tmp_path / name, monkeypatch, endpoint)
            if name == "objects"
            else Lab(tmp_path / name, monkeypatch)
        )
        assert "evaluation" in lab.operations.evaluate(lab.instance, asked, ["evaluation"]).computed
        ladder = lab.sql("""SELECT "set", strategy, bits_per_byte, low, high, worth FROM ladder ORDER BY ALL""")
        ladders[name] = in_force(lab), ladder.rows()
        lab.instance.dispose()
    assert ladders["lab"] == ladders["objects"] and len(ladders["lab"][1]) == 8
    shutil.rmtree(lab.data)  # the cache
    again = OnObjects(tmp_path / "objects", monkeypatch, endpoint, lab.address)
    assert {*again.operations.evaluate(again.instance, {}, ["evaluation"]).computed} <= {"report"}
    again.instance.dispose()
