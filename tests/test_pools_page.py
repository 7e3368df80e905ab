"""The sections on sources and readers of docs/pools.md: their examples run."""

import re

from grip_assets.runtime.folders import PACKAGE
from grip_assets.settings import Corpus, validate
from grip_assets.settings.sources import read_pool_file

PAGE = (PACKAGE.parent / "docs" / "pools.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_file_of_sources_is_accepted(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", section("Sources"), re.DOTALL)
    (tmp_path / "pool.yaml").write_text(example)
    found = validate("corpus", {"sources": read_pool_file(str(tmp_path / "pool.yaml"))})
    assert isinstance(found, Corpus) and [s.role for s in found.sources] == ["select", "select", "select", "keep"]


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
