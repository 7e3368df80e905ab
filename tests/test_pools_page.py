"""The sections on sources and readers of docs/pools.md: their examples run."""

import gzip
import json
import re
import shlex
from pathlib import Path

import pytest
from backports import zstd
from conftest import small, write_pool

from grip_assets.cli import _changes, run
from grip_assets.runtime.folders import PACKAGE
from grip_assets.settings import GROUPS, Corpus, validate
from grip_assets.settings.sources import read_pool_file
from tests.archives import page, warc

PAGE = (PACKAGE.parent / "docs" / "pools.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_file_of_sources_is_accepted(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", section("Sources"), re.DOTALL)
    (tmp_path / "pool.yaml").write_text(example)
    found = validate("corpus", {"sources": read_pool_file(str(tmp_path / "pool.yaml"))})
    assert isinstance(found, Corpus) and [s.role for s in found.sources] == ["select", "select", "select", "keep"]


COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    ") and line.strip().startswith("grip ")]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("grip curate")])
def test_each_command_that_curates_names_settings_and_profiles_that_there_are(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.yaml").write_text("- {name: a, path: data}\n")
    for group, fields in _changes(*_options(line)).items():
        validate(group, {name: value for name, value in fields.items() if name in GROUPS[group].model_fields})


COMMIT = "c" * 40


@pytest.fixture
def places(tmp_path, monkeypatch, models) -> Path:
    """A home, a working directory and a hub's cache that have what the page names. Nothing else is set: the small models
    are in force."""
    home, here, hub = (tmp_path / name for name in ("home", "here", "hub"))
    for name in ("pool", "code", "web"):
        (home / name).mkdir(parents=True)
        write_pool(home / name, 10)
    (here / "crawl").mkdir(parents=True)
    (here / "crawl" / "a.warc.gz").write_bytes(warc([page(number) for number in range(12)]))
    posts = "".join(
        json.dumps({"body": f"Post {i} of the forum is about trees, birds and {i} leaves."}) + "\n" for i in range(12)
    )
    (here / "forum.jsonl.zst").write_bytes(zstd.compress(posts.encode()))
    said = "Write a function that takes the numbers of a long list and gives back the sum of their squares"
    problem = {"task_id": "a/1", "prompt": said, "text": said, "code": "return x", "test_list": ["x"]}
    (here / "mbpp.jsonl").write_text(json.dumps(problem) + "\n")
    (here / "sanitized-mbpp.json").write_text(json.dumps([problem]))
    for name in ("HumanEvalPlus", "MbppPlus"):
        (here / f"{name}.jsonl.gz").write_bytes(gzip.compress(json.dumps(problem).encode() + b"\n"))
    (example,) = re.findall(r"```yaml\n(.*?)```", section("Sources"), re.DOTALL)
    (here / "pool.yaml").write_text(example)
    general = hub / "datasets--me--general" / "snapshots" / COMMIT / "data.jsonl"
    general.parent.mkdir(parents=True)
    general.write_text(
        "".join(json.dumps({"text": f"General text {i}, of the background.\n"}) + "\n" for i in range(9))
    )
    (hub / "datasets--me--general" / "refs").mkdir()
    (hub / "datasets--me--general" / "refs" / "v1.0").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(hub), raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return home


@pytest.mark.slow
@pytest.mark.run
@pytest.mark.parametrize("line", dict.fromkeys(line for line in COMMANDS if line.startswith("grip curate")))
def test_each_command_that_curates_runs_to_its_end(line, places, new_lab, models, capsys):
    lab = new_lab(first=False)
    lab.make("corpus", **small(models, places / "pool", near_duplicates={"threshold": 0.8}))
    assert run(shlex.split(line)[1:]) == 0, capsys.readouterr().err[-2000:]
    named = _changes(*_options(line)).get("corpus", {})
    path = lab.sql("SELECT value FROM settings WHERE name = 'path'").item()
    assert len(lab.sql("FROM subset")) and (not named.get("path") or json.loads(path) == named["path"])
    if named.get("sources"):
        roles = lab.sql("SELECT pool, any_value(role) AS role FROM corpus GROUP BY pool ORDER BY pool").rows()
        assert roles == [("code", "select"), ("forum", "select"), ("general", "keep"), ("web", "select")]


def _options(line: str) -> list[list[str] | None]:
    """The values of --corpus, --profile and --set in a command."""
    options, values = shlex.split(line)[2:], {"--corpus": [], "--profile": [], "--set": []}
    for name, value in zip(options[::2], options[1::2], strict=True):
        values[name].append(value)
    return [given or None for given in values.values()]


@pytest.mark.run
def test_each_query_of_the_page_runs(lab):
    for line in (line for line in COMMANDS if line.startswith("grip sql")):
        assert lab.sql(shlex.split(line)[2]) is not None, line


def test_the_example_reads_a_file_of_each_kind(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", section("Readers"), re.DOTALL)
    exec(example, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "a.csv.gz",
        "a.feather",
        "a.jsonl",
        "a.tar",
        "a.txt",
        "a.warc.gz",
        "a.wet",
    ]
    assert all(line.endswith("-> A text about trees.") for line in lines)
