"""Data sets of a hub, by the layout of its client's local cache. No hub is asked here."""

import json
import pickle
from types import SimpleNamespace

import pytest

from grip_assets.errors import GripError
from grip_assets.settings import Corpus
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.pool import open_pool

COMMIT, OLD = "a" * 40, "b" * 40
LINES = "".join(json.dumps({"text": f"text {i}\n"}) + "\n" for i in range(3))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A data set of two revisions as the client caches it: blobs by their hash, snapshots of links, names of refs."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    root = tmp_path / "datasets--me--set"
    for commit, name, blob, content in (
        (COMMIT, "data/train.jsonl", "f00", LINES), (COMMIT, "README.md", "c4d", "# Card\n"), (OLD, "data/train.jsonl", "0ld", LINES.splitlines(True)[0]),
    ):  # fmt: skip
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        (root / "blobs" / blob).write_text(content)
        link = root / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(root / "blobs" / blob)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    return root


def test_a_data_set_of_the_hub_is_read_from_the_clients_cache_at_a_revision(cache, monkeypatch):
    pool = open_pool(Corpus(path="hf://datasets/me/set"))
    assert [d.text for d in pool.read() if isinstance(d, RawDocument)] == ["text 0\n", "text 1\n", "text 2\n"]
    assert any(f"me/set at revision {COMMIT}; the hub cannot be reached" in note for note in pool.notes)
    assert [e.stamp for e in pool.entries] == ["f00"] and pickle.loads(pickle.dumps(pool.entries[0])).name
    assert open_pool(Corpus(path=f"hf://datasets/me/set@{COMMIT}")).fingerprint() == pool.fingerprint()
    assert open_pool(Corpus(path=f"hf://datasets/me/set@{OLD}")).fingerprint() != pool.fingerprint()
    assert len(open_pool(Corpus(path="hf://datasets/me/set/data")).entries) == 1
    assert open_pool(Corpus(path="hf://datasets/me/set/data/train.jsonl")).entries[0].name == "train.jsonl"


def test_what_the_hub_lists_has_the_same_names_as_what_its_cache_has(cache, monkeypatch):
    offline = open_pool(Corpus(path="hf://datasets/me/set")).fingerprint()
    listed = [
        SimpleNamespace(path="README.md", size=7, blob_id="c4d", lfs=None), SimpleNamespace(path="data", tree_id="t"),
        SimpleNamespace(path="data/train.jsonl", size=len(LINES), blob_id="b10", lfs=SimpleNamespace(sha256="f00")),
    ]  # fmt: skip
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda self, repo, revision: SimpleNamespace(sha=COMMIT))
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_tree", lambda self, repo, **more: iter(listed))
    assert open_pool(Corpus(path="hf://datasets/me/set")).fingerprint() == offline


def test_what_is_neither_on_the_hub_nor_in_the_cache_is_one_sentence(cache):
    with pytest.raises(GripError, match="neither on the hub .* nor in its local cache"):
        open_pool(Corpus(path="hf://datasets/me/other"))
