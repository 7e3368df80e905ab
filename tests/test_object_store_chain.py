"""A whole curation whose data folder is an object store: the same tables as in a folder, and nothing is made twice."""

import shutil
from pathlib import Path

import objects
import pytest
from conftest import Lab, draw, small

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
