"""Two subsets side by side, of which one was made without a part of the chain: no learned budget, no attribution."""

import pytest

from grip_assets.report.compare import as_text, between, described
from grip_assets.report.page import runs
from grip_assets.settings import GROUPS, validate
from grip_assets.store.artifacts import ArtifactStore

OPTIONAL = [name for name in ("mixing", "attribution", "adaptation") if name in GROUPS]


def values(group, **turned):
    return validate(group, turned).model_dump(mode="json")


@pytest.fixture
def side(tmp_path):
    """A subset whose budgets were made with these groups of settings, as ``described``."""
    import polars as pl

    store = ArtifactStore(tmp_path)

    def made(version, base, **groups):
        parts = {f"reader_of_{g}": {g: v} for g, v in {"budget": values("budget", base=base), **groups}.items()}
        for name, settings in parts.items():
            manifest = {"stage": name, "version": version, "inputs": {}, "settings": settings, "computed_at": 0.0}
            with store.publish(name, manifest | {"seconds": 0, "run_id": "", "metrics": {}}) as draft:
                draft.write(name, pl.DataFrame({"cluster_id": [0]}))
        rows = pl.DataFrame({"doc_id": ["a"], "cluster_id": [0], "n_tokens": [10], "repeats": [1], "source": ["a.py"]})
        manifest = {"stage": "subset", "version": version, "inputs": dict.fromkeys(parts, version), "settings": {}}
        counted = {"metrics": {"documents_selected": 1, "tokens_selected": 10}, "computed_at": 0.0}
        with store.publish("subset", manifest | counted | {"seconds": 0, "run_id": ""}) as draft:
            draft.write("subset", rows)
        return described(store, store.manifest("subset", version))

    return store, made


@pytest.mark.parametrize("group", OPTIONAL)
def test_a_group_of_settings_that_one_side_does_not_read_is_one_line(side, group):
    """And not a line for each of its fields, from null to a default that nobody chose."""
    store, made = side
    without, with_it = made("one", "neyman"), made("two", "proportional", **{group: values(group)})
    for pair, sides in (((without, with_it), ("not used", "used")), ((with_it, without), ("used", "not used"))):
        rows = {row["name"]: (row["left"], row["right"]) for row in between(store, *pair)["settings"]}
        assert set(rows) == {"budget.base", group} and rows[group] == sides


def test_what_was_turned_in_such_a_group_is_named_after_it(side):
    store, made = side
    without = made("one", "neyman")
    with_it = made("two", "mixture", mixing=values("mixing", method="doremi", eta=0.1))
    found = between(store, without, with_it)
    assert [row["name"] for row in found["settings"]] == ["budget.base", "mixing", "mixing.eta", "mixing.method"]
    text = as_text(found)
    assert (
        "mixing.eta                       not used → 0.1" in text
        and 'budget.base                      "neyman" →' in text
    )
    assert "null" not in text


def test_fields_of_a_group_that_both_read_are_compared_one_by_one(side):
    store, made = side
    pair = [made(v, "mixture", mixing=values("mixing", tokens=t)) for v, t in (("one", 1000), ("two", 2000))]
    (row,) = between(store, *pair)["settings"]
    assert (row["name"], row["symbol"], row["left"], row["right"]) == ("mixing.tokens", "T", 1000, 2000)


def test_the_list_of_runs_says_once_that_a_run_has_no_learned_budget(side):
    _, made = side
    found = [made("one", "neyman"), made("two", "mixture", mixing=values("mixing", method="doremi"))]
    assert runs._run(found[0], found)["said"] == "budget.base neyman, mixing not used"
    assert runs._run(found[1], found)["said"] == "budget.base mixture"
