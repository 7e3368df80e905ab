"""The stage reference_model: what it is trained on, when it is trained again, and which models are refused."""

import numpy as np
import polars as pl
import pytest
from planted_attribution import Folder
from planted_mixing import text

from grip_assets.engine.stage import Work
from grip_assets.errors import GripError
from grip_assets.settings import validate
from grip_assets.stages import STAGES
from grip_assets.stages.attribution.reference_model import opened_reference, reference_of
from grip_assets.stages.curation.needed import no_reference, no_trials
from grip_assets.training.recipe import Item, Shape, TrainingRecipe

WITH_A_MODEL = {"source": "head"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Folder:
    return Folder(tmp_path_factory.mktemp("reference"), **WITH_A_MODEL).make("reference_model")


def work_of(folder: Folder) -> Work:
    inputs = {"corpus": "planted", **{name: version for name, version in folder.owner.values()}}
    return Work(folder.chain, STAGES["reference_model"], folder.settings, inputs, None)


def work_after(folder: Folder) -> Work:
    """The work of a stage that comes after the reference."""
    work = work_of(folder)
    work.owners = {table: name if name != "corpus" else "corpus" for table, name in work.owners.items()}
    work.stage = STAGES["subset"]
    return work


def test_the_reference_is_trained_on_a_random_subset_of_about_as_many_tokens(made):
    assert not made.failed and made.metrics["trainings_made_now"] == 1
    row = made.table("reference").row(0, named=True)
    assert row["source"] == "here" and row["path"] is None and row["tokens"] == 3200
    assert row["loss"] == pytest.approx(made.metrics["loss"]) and row["loss"] < np.log(320)
    assert 0 < len(made.table("reference_documents")) < 114


def test_the_reference_opens_with_its_tokenizer_and_predicts_better_than_a_new_model(made):
    from grip_assets.training.small import bits, new_model

    reference = opened_reference(work_after(made))
    (ids,) = reference.encode([text(77)])
    assert (reference.vocabulary, reference.context, reference.end) == (320, 16, 0) and len(ids) > 20
    shape, recipe = Shape(320, 16, 1, 1, 16), TrainingRecipe(1, 160, 1e-3)
    items = [Item([], ids)]
    assert bits(reference.model, items, shape, recipe)[0] < bits(new_model(shape, 0), items, shape, recipe)[0]
    assert reference_of(work_after(made)).name == made.table("reference")["name"][0]


def test_another_target_trains_no_reference_and_another_width_does(tmp_path):
    folder = Folder(tmp_path / "data", **WITH_A_MODEL).make("reference_model")
    before = folder.table("reference")
    mine = tmp_path / "mine.jsonl"
    mine.write_text("\n".join(f'{{"text": "{text(9000 + i, 30)}"}}' for i in range(30)))
    folder.turn(target_sets=[f"mine={mine}"])
    assert folder.make("reference_model").metrics["trainings_made_now"] == 0 and folder.table("reference").equals(
        before
    )
    folder.turn(hidden=32)
    assert folder.make("reference_model").metrics["trainings_made_now"] == 1


def test_a_pool_of_fewer_tokens_is_read_again_and_the_log_says_so(tmp_path):
    made = Folder(tmp_path, **WITH_A_MODEL, tokens=32_000).make("reference_model")
    assert made.table("reference")["tokens"][0] == 32_000 and any("reads some of them again" in x for x in made.lines)


def test_a_reference_that_diverges_is_refused_with_what_to_do(tmp_path, monkeypatch):
    from grip_assets.training import small

    def diverges(*_, **__):
        raise small.Diverged(3)

    monkeypatch.setattr(small, "loop", diverges)
    with pytest.raises(
        GripError, match=r"There is no reference model.*step 4.*Lower settings/attribution.learning_rate"
    ):
        Folder(tmp_path, **WITH_A_MODEL).make("reference_model")


def test_a_named_model_is_opened_where_it_is_and_trains_nothing(tmp_path, models):
    made = Folder(tmp_path, **WITH_A_MODEL, reference=str(models / "proxy")).make("reference_model")
    row = made.table("reference").row(0, named=True)
    assert not made.failed and row["source"] == "path" and row["model"] is None and row["loss"] is None
    reference = opened_reference(work_after(made))
    (ids,) = reference.encode(["def f(x):\n    return x\n"])
    assert max(ids) < reference.vocabulary == reference.model.config.vocab_size and reference.context == 16
    assert made.table("reference_documents").is_empty()


def test_a_reference_without_safetensors_is_refused_before_anything_is_made(tmp_path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(
        GripError, match=r"settings/attribution.reference is .*no config.json with safetensors.*pickles"
    ):
        Folder(tmp_path / "data", **WITH_A_MODEL, reference=str(folder)).make("reference_model")
    with pytest.raises(GripError, match=r"settings/attribution.reference is .*no such file or folder"):
        Folder(tmp_path / "gone", **WITH_A_MODEL, reference="/gone/away").make("reference_model")


def test_a_window_longer_than_a_named_model_reads_is_refused(tmp_path, models):
    with pytest.raises(GripError, match=r"settings/attribution.context is 100,000, and .*reads at most"):
        Folder(tmp_path, **WITH_A_MODEL, reference=str(models / "proxy"), context=100_000).make("reference_model")


@pytest.mark.parametrize(
    ("values", "needed", "trials"),
    [
        ({}, False, False),
        ({"source": "head"}, True, False),
        ({"source": "auto", "choose": "lcb", "start": "scratch"}, True, True),
        ({"source": "auto", "choose": "lcb", "start": "scratch", "candidates": ["unigram"]}, False, True),
        ({"choose": "bootstrap"}, True, True),
        ({"choose": "bootstrap", "start": "scratch"}, False, True),
        ({"choose": "bootstrap", "start": "scratch", "source": "full"}, True, True),
    ],
)
def test_a_reference_is_used_only_if_a_source_or_a_retraining_needs_it(tmp_path, values, needed, trials):
    settings = Folder(tmp_path, **values).settings
    assert (not no_reference(settings), not no_trials(settings)) == (needed, trials)
    settings["selection"] = validate("selection", {})
    assert "selection.rule is draw" in no_reference(settings) and "selection.rule is draw" in no_trials(settings)


def test_a_training_of_one_epoch_reads_each_window_once():
    from grip_assets.training.small import one_epoch

    windows = np.arange(23 * 5).reshape(23, 5)
    batches = [batch.tokens_BL for batch in one_epoch(windows, 4, 7)]
    assert [len(batch) for batch in batches] == [4] * 5 + [3]
    assert sorted(np.concatenate(batches)[:, 0]) == sorted(windows[:, 0])
    assert not np.array_equal(np.concatenate(batches), windows)
    assert pl.DataFrame(np.concatenate(batches)).equals(pl.DataFrame(np.concatenate(list(
        batch.tokens_BL for batch in one_epoch(windows, 23, 7)))))  # fmt: skip
