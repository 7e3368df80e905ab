"""grip clean: what nothing in force needs goes, and can be computed again; what was paid for stays."""

import json
from pathlib import Path

import pytest

from grip_assets import cli
from grip_assets.llm.answers import Answers, answers_path
from grip_assets.store import cleaning
from grip_assets.store.artifacts import ArtifactStore

pytestmark = pytest.mark.run


def versions(data: Path, stage: str) -> set[str]:
    return {folder.name for folder in ArtifactStore(data).folders(stage)}


def test_what_is_not_in_force_goes_and_can_be_made_again(lab):
    first = versions(lab.data, "subset")
    lab.make("embeddings", embedding={"window": 32})
    lab.make("embeddings", embedding={"window": None})  # the first ones are in force again
    lab.curate(selection={"beta": 0.9})
    Answers(answers_path(lab.data)).close()
    everything = set(lab.data.rglob("*"))

    found = lab.operations.clean(lab.instance, keep=0, remove=False)
    assert set(lab.data.rglob("*")) >= everything, "a list removes nothing"
    assert {"embeddings", "subset"} <= {item.stage for item in found}
    assert not {"corpus", "clusters"} & {item.stage for item in found}, "what is in force was made from it"
    assert [item.stage for item in found if item.kind == "shards"] == ["embeddings"]
    assert sum(item.stage == "subset" for item in found) == 1
    assert not [i for i in lab.operations.clean(lab.instance, keep=2, remove=False) if i.stage == "subset"]

    removed = lab.operations.clean(lab.instance, keep=0, remove=True)
    assert [item.path for item in removed] == [item.path for item in found]
    assert not any(item.path.exists() for item in found) and answers_path(lab.data).exists()
    assert lab.operations.clean(lab.instance, keep=0, remove=True) == []
    assert len(lab.sql("SELECT * FROM artifacts WHERE asset = 'subset'")) == 1
    assert lab.curate() == set(), "all that is in force is there"
    assert lab.make("subset", selection={"beta": 0.3}) == {"subset"}
    assert first < versions(lab.data, "subset"), "the first subset is made again, and has its name"
    assert lab.make("embeddings", embedding={"window": 32}) == {"embeddings"}


def test_nothing_is_removed_while_a_run_goes_on(lab, monkeypatch):
    from grip_assets.errors import GripError

    monkeypatch.setattr(
        type(lab.instance), "get_runs", lambda self, *a, **k: [type("Run", (), {"run_id": "abc", "tags": {}})]
    )
    with pytest.raises(GripError, match="Run abc is going on"):
        lab.operations.clean(lab.instance, keep=0, remove=True)


def test_a_store_of_before_shards_were_noted_keeps_them(tmp_path):
    store = ArtifactStore(tmp_path)
    (tmp_path / "stage" / ".shards" / "how").mkdir(parents=True)
    store.keep({"stage": "stage", "version": "old", "inputs": {}, "tables": {}})
    assert cleaning.removable(store, {"stage": "old"}) == []
    store.keep({"stage": "stage", "version": "new", "inputs": {}, "tables": {}, "shards": ["other"]})
    assert [item.kind for item in cleaning.removable(store, {"stage": "new"})] == ["shards"]


def test_tokens_of_domains_go_when_no_training_in_force_needs_them(tmp_path):
    store = ArtifactStore(tmp_path)
    for name in ("tokens-used", "tokens-of-old-clusters"):
        (tmp_path / "mixture_runs" / ".shards" / name).mkdir(parents=True)
    store.keep({"stage": "mixture_runs", "version": "a", "inputs": {}, "tables": {}, "shards": ["tokens-used"]})
    (gone,) = cleaning.removable(store, {"mixture_runs": "a"})
    assert gone.path.name == "tokens-of-old-clusters"


def test_the_command_lists_and_removes(lab, capsys):
    lab.make("subset", "knobs", "stability", selection={"beta": 0.9})
    capsys.readouterr()

    def grip(*words: str) -> str:
        assert cli.run(["clean", *words]) == 0
        return capsys.readouterr().out

    assert "Nothing was removed: `grip clean --yes` does it" in grip()
    assert "removed" in grip("--yes") and "Nothing to remove" in grip()
    assert json.loads(grip("--json")) == {"removed": False, "items": []}
