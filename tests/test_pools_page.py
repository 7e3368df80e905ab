"""The sections on sources and readers of docs/pools.md: their examples run."""

import re
import shlex

import pytest

from grip_assets.cli import _changes
from grip_assets.runtime.folders import PACKAGE
from grip_assets.settings import GROUPS, Corpus, validate
from grip_assets.settings.sources import read_pool_file

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
    options, values = shlex.split(line)[2:], {"--corpus": [], "--profile": [], "--set": []}
    for name, value in zip(options[::2], options[1::2], strict=True):
        values[name].append(value)
    for group, fields in _changes(*(given or None for given in values.values())).items():
        validate(group, {name: value for name, value in fields.items() if name in GROUPS[group].model_fields})


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
