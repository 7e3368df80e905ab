"""The stage attribution_targets: which texts are targets, in which half each is, and which targets are refused."""

import polars as pl
import pytest
from planted_attribution import Folder, held_out
from planted_mixing import pool, text

from grip_assets.errors import GripError
from grip_assets.settings import validate
from grip_assets.stages import STAGES
from grip_assets.stages.attribution import attribution_targets
from grip_assets.stages.attribution.attribution_targets import weights_of
from grip_assets.stages.curation import predicted


def a_set(folder, name: str, texts: list[str]) -> str:
    (folder / name).mkdir(parents=True)
    for i, content in enumerate(texts):
        (folder / name / f"{i}.txt").write_text(content)
    return f"{name}={folder / name}"


def test_every_target_has_items_in_two_halves_and_a_text_is_in_the_same_half_of_each(tmp_path):
    mine = a_set(tmp_path, "mine", [text(9000 + i, 30) for i in range(30)])
    theirs = a_set(tmp_path, "theirs", [text(9020 + i, 30) for i in range(30)])
    made = Folder(tmp_path / "data", target_sets=[mine, theirs], items=24).make()
    items = made.table("attribution_items")
    assert not set(made.failed) - {"many_items"}
    assert items.group_by("target", maintain_order=True).len().rows() == [
        ("held_out", 24),
        ("mine", 24),
        ("theirs", 24),
    ]
    assert items.group_by("target").agg(pl.col("half").n_unique())["half"].to_list() == [2, 2, 2]
    shared = items.group_by("text").agg(pl.col("target").n_unique(), pl.col("half").n_unique())
    assert shared.filter(pl.col("target") == 2)["half"].to_list() == [1] * len(shared.filter(pl.col("target") == 2))
    assert (shared["target"] == 2).any() and items["n_bytes"].max() <= 100
    assert made.metrics == {"targets": 3, "items": 72, "left_out_as_copies": 0}


def test_a_target_set_more_changes_no_item_of_the_others(tmp_path):
    folder = Folder(tmp_path / "data")
    before = folder.make().table("attribution_items")
    folder.turn(target_sets=[a_set(tmp_path, "mine", [text(9000 + i, 30) for i in range(30)])])
    assert folder.make().table("attribution_items").filter(target="held_out").equals(before)


def test_held_out_projects_are_targets_by_language_and_rare_ones_are_joined(tmp_path):
    held = held_out(40).with_columns(language=pl.Series(["python"] * 20 + ["go"] * 16 + ["rust"] * 2 + [None] * 2))
    made = Folder(tmp_path, held=held, held_out_by="language").make()
    sizes = dict(made.table("attribution_items").group_by("target").len().iter_rows())
    assert sizes == {"held_out:python": 20, "held_out:(other)": 20}, "2 and 2 are too few, so the next rarest joins"


def test_held_out_projects_are_targets_by_cluster_only_if_the_settings_say_so(tmp_path, monkeypatch):
    by_length = lambda work, texts: pl.Series("cluster_id", [int(t[0] > "g") for t in texts])  # noqa: E731
    monkeypatch.setattr(attribution_targets, "nearest_clusters", by_length)
    made = Folder(tmp_path, held=held_out(60), held_out_by="cluster").make()
    assert set(made.table("attribution_items")["target"]) == {"held_out:0", "held_out:1"}
    stage = STAGES["attribution_targets"]
    assert stage.inputs_under(made.settings) == ("corpus", "clusters") and "embedding" in stage.reads_under(
        made.settings
    )
    made.turn(held_out_by="none")
    assert stage.inputs_under(made.settings) == ("corpus",) and "embedding" not in stage.reads_under(made.settings)


def test_an_item_with_a_copy_in_the_pool_is_not_used(tmp_path):
    documents = pool()
    copied = documents["text"][70]
    mine = a_set(tmp_path, "mine", [text(9000 + i, 30) for i in range(20)] + [copied[:90], "x = 1"])
    short = documents.with_columns(text=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("x = 1")).otherwise("text"))
    from grip_assets.sources.documents import name_of

    short = short.with_columns(doc_id=pl.Series([name_of(t) for t in short["text"]]))
    made = Folder(tmp_path / "data", short, targets=[], target_sets=[mine]).make()
    items = made.table("attribution_items")
    assert sorted(items.filter(pl.col("in_pool") > predicted.COPIED)["text"]) == sorted([copied[:90], "x = 1"])
    assert made.metrics["left_out_as_copies"] == 2
    assert len(attribution_targets.usable(items)) == 20


def refused(tmp_path, **attribution) -> str:
    held = attribution.pop("held", None)
    with pytest.raises(GripError) as error:
        Folder(tmp_path / f"data {sum(1 for _ in tmp_path.iterdir())}", held=held, **attribution).make()
    return str(error.value)


def test_a_target_that_measures_nothing_is_refused_by_its_name(tmp_path):
    inside = a_set(tmp_path, "inside", pool()["text"].to_list()[:12])
    few = a_set(tmp_path, "few", [text(9999, 30)])
    empty = a_set(tmp_path, "empty", [])
    assert "names no target" in refused(tmp_path, targets=[])
    assert "Set settings/corpus.held_out" in refused(tmp_path, held=held_out().head(0))
    said = refused(tmp_path, target_sets=[inside])
    assert "'inside'" in said and "is in the pool" in said and "choose another target" in said
    said = refused(tmp_path, target_sets=[few])
    assert "'few'" in said and "1 items" in said and "at least 10" in said
    assert "'empty'" in refused(tmp_path, target_sets=[empty])
    said = refused(tmp_path, target_sets=[f"gone={tmp_path}/gone"])
    assert "'gone'" in said and "settings/attribution.target_sets" in said and "cannot be used" in said


def test_a_language_whose_items_are_all_copies_is_left_out_and_the_log_says_so(tmp_path):
    held = held_out(40)
    copies = pool()["text"].to_list()[10:30]
    held = held.with_columns(text=pl.Series([copies[i // 2] if i % 2 else t for i, t in enumerate(held["text"])]))
    made = Folder(tmp_path, held=held, held_out_by="language", passage=1000).make()
    assert set(made.table("attribution_items")["target"]) == {"held_out:python"}
    assert any("'held_out:go' is no target" in line for line in made.lines)


def test_weights_of_targets_are_ones_unless_they_are_set_and_a_wrong_name_is_refused():
    sets = {"target_sets": ["b=here", "c=there"]}
    settings = validate("attribution", {**sets, "target_weights": ["b=0.5", "c=0"]})
    assert weights_of(["a", "b", "c"], settings) == [1.0, 0.5, 0.0]
    with pytest.raises(GripError, match=r"names 'c', and there is no such target. There are: a, b"):
        weights_of(["a", "b"], settings)
    with pytest.raises(GripError, match="the weight 0"):
        weights_of(["c"], validate("attribution", {**sets, "target_weights": ["c=0"]}))
    with pytest.raises(GripError, match=r"there is no target 'humanevil'. Did you mean 'humaneval'\?"):
        validate("attribution", {"target_weights": ["humanevil=2"]})
    with pytest.raises(GripError, match="there is no target 'held_out:go'. Choose one of: humaneval"):
        validate("attribution", {"target_weights": ["held_out:go=2"]})


@pytest.mark.parametrize(
    ("by", "name", "said"),
    [
        ("none", "held_out", ""),
        ("none", "held_out:go", "held_out_by is none, so all held-out projects are one target, 'held_out'"),
        ("language", "held_out:go", ""),
        ("language", "held_out", "each target is 'held_out:' with its language"),
        ("cluster", "held_out:", "each target is 'held_out:' with its cluster"),
        ("cluster", "held_outs", "there is no target 'held_outs'"),
    ],
)
def test_a_weight_of_held_out_projects_names_them_as_the_settings_divide_them(by, name, said):
    asked = {"targets": ["held_out"], "held_out_by": by, "target_weights": [f"{name}=2"]}
    if said:
        with pytest.raises(GripError, match=said):
            validate("attribution", asked)
    else:
        assert validate("attribution", asked).weights == {name: 2}


def test_a_value_that_no_held_out_project_has_is_refused_before_anything_is_sketched_or_trained(tmp_path):
    folder = Folder(tmp_path, held=held_out(40), held_out_by="language", target_weights=["held_out:pyhton=2"])
    with pytest.raises(GripError, match="'held_out:pyhton', and there is no such target. There are: held_out:go, held"):
        folder.make()
    folder.turn(target_weights=["held_out:python=2"])
    version = folder.make().made.version
    folder.turn(target_weights=[])
    assert folder.make().made.version == version, "weights are in no recipe of this stage"


def test_a_weight_that_no_target_can_have_is_refused_before_anything_runs(tmp_path):
    def planned(benchmarks=("humaneval",), **changes):
        settings = {
            "attribution": validate("attribution", changes), "corpus": validate("corpus", {"benchmarks": [*benchmarks]}),
        }  # fmt: skip
        return STAGES["attribution_targets"].facts(settings, tmp_path)

    assert planned(target_weights=["humaneval=2"])
    with pytest.raises(GripError, match="names 'humaneval', which settings/corpus.benchmarks does not name"):
        planned((), target_weights=["humaneval=2"])
    with pytest.raises(GripError, match="every target the weight 0"):
        planned(target_weights=["humaneval=0"])


def test_a_source_that_trials_must_choose_is_refused_without_trials():
    from grip_assets.settings import changes

    settings = {"attribution": validate("attribution", {})}
    with pytest.raises(GripError, match=r"attribution.choose cannot be 'none': with attribution.source=auto"):
        changes.changed(settings, {"attribution": {"source": "auto"}})
    assert changes.changed(settings, {"attribution": {"source": "auto", "choose": "lcb"}})


def test_the_stage_is_unused_unless_documents_are_attributed(tmp_path):
    folder = Folder(tmp_path)
    folder.settings["selection"] = validate("selection", {})
    assert "settings/budget.base is neyman" in folder.make().made.manifest["unused"]
