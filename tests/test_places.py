"""A path in a setting is relative to where it is said, and stored whole."""

import pytest

from grip_assets.settings.places import placed


def test_a_relative_path_is_stored_whole(tmp_path, monkeypatch):
    (tmp_path / "here" / "models" / "mine").mkdir(parents=True)
    (tmp_path / "here" / "code").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    said = {
        "corpus": {"path": "pool.jsonl", "tokenizer": "models/mine", "title": "pool.jsonl", "max_documents": 3},
        "embedding": {"model": "./models/mine"},
        "adaptation": {"proxy": "organisation/name", "checkpoints": "~/checkpoints"},
        "quality": {"rubric": "code", "gold": None},
        "evaluation": {"target": "s3://bucket/target"},
        "mixing": {"target_set": "code"},
        "attribution": {"target_sets": ["a=code", "b=s3://x", "c"], "reference": "proxy"},
    }
    here = tmp_path / "here"
    assert placed(said) == {
        "corpus": {
            "path": f"{here}/pool.jsonl", "tokenizer": f"{here}/models/mine", "title": "pool.jsonl", "max_documents": 3,
        },
        "embedding": {"model": f"{here}/models/mine"},
        "adaptation": {"proxy": "organisation/name", "checkpoints": f"{tmp_path}/checkpoints"},
        "quality": {"rubric": "code", "gold": None},
        "evaluation": {"target": "s3://bucket/target"},
        "mixing": {"target_set": f"{here}/code"},
        "attribution": {"target_sets": [f"a={here}/code", "b=s3://x", "c"], "reference": "proxy"},
    }  # fmt: skip


def test_a_setting_said_in_another_folder_names_that_folders_pool(tmp_path, monkeypatch):
    from grip_assets import operations
    from grip_assets.settings import GROUPS, validate

    monkeypatch.chdir(tmp_path)
    in_force = {group: validate(group, {}) for group in GROUPS}
    monkeypatch.setattr(operations.event_log, "settings_in_force", lambda instance: in_force)
    monkeypatch.setattr(operations.past, "events", lambda instance, key: [])
    after = operations.settings_after(None, {"corpus": {"path": "pool.jsonl"}})
    assert after["corpus"].path == f"{tmp_path}/pool.jsonl"


@pytest.mark.parametrize("value", ["sub/../x", "a b", "a::b", "x*"])
def test_a_name_of_any_letters_is_a_path(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    assert placed({"corpus": {"path": value}})["corpus"]["path"] == f"{tmp_path}/{value.removeprefix('sub/../')}"
