"""Commands on an object store: what they say is what they say on the same data in a folder."""

import json
import shutil
from pathlib import Path

import fsspec
import objects
import pytest

from grip_assets import cli
from grip_assets.runtime.folders import data_root
from grip_assets.store import behind

pytestmark = pytest.mark.run

IN_FORCE = "SELECT asset, version, rows FROM artifacts WHERE in_force ORDER BY asset"


@pytest.fixture(scope="module")
def endpoint():
    with objects.server() as address:
        yield address


@pytest.fixture(scope="module")
def copied(curated, endpoint, tmp_path_factory):
    """The address of a curated data folder that was copied into a bucket, and the home that it belongs to."""
    home = tmp_path_factory.mktemp("copied")
    shutil.copytree(curated / "dagster", home / "dagster")
    with pytest.MonkeyPatch.context() as patch:
        address = objects.use(patch, endpoint)
        files = [file for file in (curated / "data").rglob("*") if file.is_file()]
        there = [f"{address}/{file.relative_to(curated / 'data').as_posix()}" for file in files]
        fsspec.filesystem("s3").put(list(map(str, files)), there)
    return address, home / "dagster"


@pytest.fixture
def grip(copied, endpoint, monkeypatch, tmp_path, capsys):
    """Runs a command with an empty cache, and returns what it prints. The store is that of ``copied``."""
    objects.use(monkeypatch, endpoint)
    use(monkeypatch, *copied, tmp_path)

    def run(*words: str) -> str:
        with behind.in_use():
            code = cli.run(list(words))
        said = capsys.readouterr()
        assert code == 0, said.err
        assert objects.SECRET not in said.out + said.err
        return said.out

    return run


def use(monkeypatch, address: str, home: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIP_DATA", address)
    monkeypatch.setenv("GRIP_DATA_CACHE", str(tmp_path / "caches"))
    monkeypatch.setenv("DAGSTER_HOME", str(home))


@pytest.fixture
def in_a_folder(curated, monkeypatch, tmp_path, capsys):
    """Runs a command on the same data in a folder, and returns what it prints."""
    shutil.copytree(curated, tmp_path / "folder")

    def run(*words: str) -> str:
        with monkeypatch.context() as patch:
            patch.setenv("GRIP_DATA", str(tmp_path / "folder" / "data"))
            patch.setenv("DAGSTER_HOME", str(tmp_path / "folder" / "dagster"))
            assert cli.run(list(words)) == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--json"),
        ("sql", IN_FORCE, "--json"),
        ("sql", "SELECT * FROM subset ORDER BY doc_id", "--json"),
        ("explain", "parse/parse_04.py", "--json"),
        ("history", "--json"),
        ("settings", "selection"),
        ("export", "-", "--format", "jsonl"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_that_reads_says_what_it_says_of_a_folder(grip, in_a_folder, words):
    said = in_a_folder(*words)
    assert said and grip(*words) == said


def test_a_plan_computes_what_a_change_touches_and_reuses_the_rest(grip, in_a_folder):
    words = ("plan", "--set", "selection.beta=0.9", "--json")
    steps, same = ([(s["asset"], s["action"]) for s in json.loads(run(*words))["steps"]] for run in (grip, in_a_folder))
    assert steps == same and ("subset", "compute") in steps and ("corpus", "reuse") in steps


def test_cleaning_lists_addresses_of_what_is_not_in_the_cache(grip, copied):
    address, _ = copied
    place = behind.Place(address)
    left = "subset/0123456789abcdef"
    manifest = {"stage": "subset", "version": "0123456789abcdef", "inputs": {}, "tables": {}, "computed_at": 1.0}
    place.write(f"{left}/manifest.json", json.dumps(manifest).encode())
    try:
        assert f"{address}/{left}" in grip("clean") and f"{address}/{left}" in grip("clean", "--dry-run")
        (item,) = json.loads(grip("clean", "--json"))["items"]
        assert item["path"] == f"{address}/{left}"
    finally:
        place.remove([f"{left}/manifest.json"])


def test_a_report_that_is_only_on_another_machine_is_an_error_that_says_what_to_do(grip, capsys):
    assert cli.run(["report", "--path"]) == 1
    said = capsys.readouterr().err
    assert "There is no report" in said and "Run `grip curate`" in said


def test_other_programs_are_not_sent_to_a_catalog_of_the_cache(grip):
    from grip_assets.report.terminal.summary import tables_line

    grip("sql", "SELECT 1")
    line = tables_line(data_root())
    assert "grip sql" in line and "grip.duckdb" not in line
