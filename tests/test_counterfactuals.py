"""The stage counterfactuals on a planted pool: what is retrained, what is kept, and what is refused. Models are tiny."""

from collections import Counter

import killing
import polars as pl
import pyarrow.parquet as pq
import pytest
from killing import ends_the_same, is_killed_five_times
from planted_attribution import Folder
from planted_mixing import pool, text

from grip_assets.errors import GripError
from grip_assets.report.terminal.trainings import _on_trials
from grip_assets.settings import validate
from grip_assets.sources.documents import name_of
from grip_assets.stages import STAGES, costs
from grip_assets.stages.attribution.counterfactuals import number_of_retrainings
from grip_assets.stages.costs import Cost, Forecast, Size
from grip_assets.training import retraining
from grip_assets.training.recipe import Shape, parameters

FEW = {
    "choose": "bootstrap", "structured": 4, "random": 2, "check_structured": 2, "check_random": 1, "repeated": 2,
    "trial_tokens": [1500], "tokens": 1600,
}  # fmt: skip
CHAIN = ("reference_model", "counterfactuals")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Folder:
    return Folder(tmp_path_factory.mktemp("trials"), **FEW).make(*CHAIN)


def kept_units(store) -> Counter:
    return killing.kept_units(store, "counterfactuals")


def by_name(folder) -> dict:
    return {row[:3]: row[3:] for row in folder.table("utilities").rows()}


def test_every_subset_has_a_utility_for_every_target_and_keeps_to_its_size(made):
    assert set(made.failed) <= {"nearly_full"}
    utilities, subsets = made.table("utilities"), made.table("trial_subsets")
    assert made.metrics["trainings"] == made.metrics["trainings_made_now"] == 9 + 2 == len(utilities)
    assert utilities["utility"].is_finite().all() and (utilities["tokens"] > 1000).all()
    assert ((utilities["loss_start"] - utilities["loss"]) == utilities["utility"]).all()
    assert utilities["loss_start"].n_unique() == 1, "all start at the reference"
    sizes = subsets.group_by("subset_id").agg((pl.col("n_tokens") * pl.col("repeats")).sum())["n_tokens"]
    assert sizes.is_between(1000, 1500).all()
    of_role = subsets.unique("subset_id").group_by("role").len()
    assert dict(of_role.iter_rows()) == {"calibration": 6, "check": 3}
    assert subsets.filter(role="check")["block"].null_count() == len(subsets.filter(role="check"))
    assert set(subsets["kind"]) == {"uniform", "few_clusters", "duplicates", "length", "language"} - (
        {"language"} if any("kind language" in line for line in made.lines) else set()
    )
    assert any("kind many_clusters: the pool has too few clusters" in line for line in made.lines)


def test_the_same_subset_under_another_seed_is_another_training(made):
    utilities = made.table("utilities")
    twice = utilities.filter(pl.len().over("subset_id") == 2)
    assert len(twice) == 4 and twice["subset_id"].str.starts_with("check:").all()
    assert twice.group_by("subset_id").agg(pl.col("loss").n_unique())["loss"].to_list() == [2, 2]


def test_the_utility_is_the_bits_that_the_kept_model_saves_on_the_half_that_measures(made):
    """By a slow loop over the items, with the models that are kept."""
    from grip_assets.training.recipe import Item, Shape, TrainingRecipe
    from grip_assets.training.runs import tokenizer_in
    from grip_assets.training.small import bits, encode, unpacked

    tokenizer = tokenizer_in(made.store.parquet(*made.owner["attribution_tokenizer"], "attribution_tokenizer"))
    shape, recipe = Shape(tokenizer.get_vocab_size(), 16, 1, 1, 16), TrainingRecipe(1, 160, 1e-3)
    table = made.table("attribution_items").filter(half="measure").filter(pl.col("in_pool") <= 0.3)
    items = [Item([], ids) for ids in encode(tokenizer, table["text"].to_list())]
    models = [m for file in (made.store.root / "counterfactuals" / ".shards").glob("*/*.parquet")
              if "model" in pq.read_schema(file).names for m in pq.read_table(file)["model"].to_pylist()]  # fmt: skip

    def loss(model):
        return float(bits(unpacked(model, shape), items, shape, recipe).sum() / table["n_bytes"].sum())

    assert sorted(map(loss, models)) == pytest.approx(sorted(made.table("utilities")["loss"]), rel=1e-9)
    start = loss(made.table("reference")["model"][0])
    assert start == pytest.approx(made.table("utilities")["loss_start"][0], rel=1e-9)


def test_more_subsets_train_only_the_new_ones_and_a_target_trains_none(tmp_path):
    folder = Folder(tmp_path / "data", **FEW).make(*CHAIN)
    before, units = by_name(folder), kept_units(folder.store)
    folder.turn(structured=5, random=3)
    assert folder.make(*CHAIN).metrics["trainings_made_now"] == 2 and by_name(folder).items() >= before.items()
    mine = tmp_path / "mine.jsonl"
    mine.write_text("\n".join(f'{{"text": "{text(9000 + i, 30)}"}}' for i in range(30)))
    folder.turn(target_sets=[f"mine={mine}"])
    targeted = folder.make(*CHAIN)
    assert targeted.metrics["trainings_made_now"] == 0 and by_name(targeted).items() >= before.items()
    assert len(targeted.table("utilities").filter(target="mine")) == 13
    folder.turn(blocks=2, gammas=[0, 1], delta=0.2, combine="maxmin", target_weights=["mine=0"])
    assert folder.make(*CHAIN).metrics["trainings_made_now"] == 0
    after = kept_units(folder.store)
    assert set(units) < set(after) and set(after.values()) == {1}
    assert number_of_retrainings(folder.settings["attribution"]) == 13 == len(after)


def test_workers_change_no_byte_and_sizes_are_kept_apart(tmp_path):
    some = FEW | {"structured": 2, "random": 1, "check_structured": 0, "check_random": 0, "trial_tokens": [1000, 1500]}
    folders = [Folder(tmp_path / str(n), **some).make(*CHAIN, workers=n) for n in (1, 3)]
    one, other = (folder.table("utilities") for folder in folders)
    assert one.equals(other) and len(one) == 6
    assert folders[0].table("trial_subsets").equals(folders[1].table("trial_subsets"))
    assert set(folders[0].table("trial_subsets")["size"]) == {1000, 1500}


def test_from_scratch_no_reference_is_read_and_each_seed_has_its_own_start(tmp_path):
    folder = Folder(tmp_path, **FEW | {"start": "scratch", "seeds": 2, "check_structured": 0, "check_random": 0})
    made = folder.make(*CHAIN)
    assert STAGES["counterfactuals"].inputs_under(folder.settings) == ("corpus", "clusters", "attribution_targets")
    assert made.metrics["trainings_made_now"] == 12
    starts = made.table("utilities").group_by("seed").agg(pl.col("loss_start").n_unique())
    assert starts["loss_start"].to_list() == [1, 1]
    assert made.table("utilities")["loss_start"].n_unique() == 2
    assert (made.table("utilities")["utility"] > 0).all(), "any text is better than none"


def failing(monkeypatch, bad):
    """Retrainings whose number is in ``bad`` diverge."""
    real, seen = retraining.Train.run, []

    def run(self, shard):
        if self.epoch:
            seen.append(shard.key)
            if len(seen) - 1 in bad:
                return retraining._trained(shard.key, failed=retraining.reason("planted", "attribution"))
        return real(self, shard)

    monkeypatch.setattr(retraining.Train, "run", run)


def test_a_retraining_that_diverges_is_a_row_with_its_reason(tmp_path, monkeypatch):
    failing(monkeypatch, {1, 4})
    made = Folder(tmp_path, **FEW).make(*CHAIN)
    assert "none_failed" in made.failed and "every_utility" not in made.failed and made.metrics["trainings_failed"] == 2
    rows = made.table("utilities").filter(pl.col("failed").is_not_null())
    assert len(rows) == 2 and rows["utility"].null_count() == rows["loss"].null_count() == 2
    assert rows["failed"].str.contains("diverged: planted. Lower settings/attribution.learning_rate").all()
    assert made.table("utilities").filter(pl.col("failed").is_null())["utility"].is_finite().all()


def test_retrainings_most_of_which_diverge_are_refused_and_kept(tmp_path, monkeypatch):
    failing(monkeypatch, {0, 1, 2, 3})
    folder = Folder(tmp_path, **FEW)
    with pytest.raises(GripError, match=r"4 of 11 retrainings failed.*Lower settings/attribution.lear.* are kept"):
        folder.make(*CHAIN)
    assert len(kept_units(folder.store)) == 11


def test_a_loss_that_is_not_finite_is_found_where_it_happens(tmp_path):
    with pytest.raises(GripError, match=r"There is no reference model. The training diverged.*learning_rate"):
        Folder(tmp_path, **FEW | {"learning_rate": 1e6}).make(*CHAIN)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trial_tokens": [16]}, r"trial_tokens has 16, and a training window has 16 tokens"),
        ({"trial_tokens": [1_000_000]}, r"trial_tokens has 1,000,000, and the pool has about [\d,]+ tokens"),
        ({"structured": 0, "random": 0, "check_structured": 0, "check_random": 0}, r"asks for no subset"),
        ({"trial_tokens": [20]}, r"No \w+ subset of 20 tokens has documents for one window"),
    ],
)
def test_subsets_that_cannot_be_are_refused_before_any_retraining(tmp_path, values, said):
    folder = Folder(tmp_path, **FEW | values)
    with pytest.raises(GripError, match=said):
        folder.make(*CHAIN)
    assert not kept_units(folder.store)


def test_a_document_of_one_token_and_one_of_a_cluster_of_its_own_do_no_harm(tmp_path):
    documents = pool()
    texts = documents["text"].to_list()
    texts[:3] = ["a", "b", "\u0000"]
    documents = documents.with_columns(
        text=pl.Series(texts),
        doc_id=pl.Series([name_of(t) for t in texts]),
        n_tokens=pl.Series([1, 1, 1, *documents["n_tokens"].to_list()[3:]]),
        cluster_id=pl.Series([2, *documents["cluster_id"].to_list()[1:]], dtype=pl.Int32),
    )
    made = Folder(tmp_path, documents, **FEW | {"structured": 6}).make(*CHAIN)
    subsets = made.table("trial_subsets")
    assert (subsets["n_tokens"] >= 2).all() and made.table("utilities")["utility"].is_finite().all()
    assert subsets.filter(pl.col("n_tokens") == 2)["doc_id"].len() > 0


def test_a_plan_counts_the_retrainings_that_are_not_kept_by_tokens_and_parameters(made):
    versions = {"corpus": "planted", "clusters": "planted"}

    def to_train(**turned):
        settings = made.settings | {
            "attribution": validate("attribution", made.settings["attribution"].model_dump() | turned)
        }
        return costs._to_attribute(STAGES, settings, made.store, versions)

    of_one = 1500 * parameters(Shape(320, 16, 1, 1, 16))
    assert to_train() == {"referenced": 0, "retrained": 0}, "all are kept"
    assert to_train(structured=6, random=1) == {"referenced": 0, "retrained": 2 * of_one}
    assert to_train(blocks=3, gammas=[0, 1], targets=["benchmarks"]) == {"referenced": 0, "retrained": 0}
    assert to_train(trial_tokens=[1500, 3000])["retrained"] == 11 * 2 * of_one
    assert to_train(tokens=3200) == {"referenced": 3200 * of_one / 1500, "retrained": 11 * of_one}
    assert to_train(seeds=2)["retrained"] == 9 * of_one
    versions["corpus"] = "another"
    assert to_train() == {"referenced": 1600 * of_one / 1500, "retrained": 11 * of_one}


def test_a_plan_says_how_many_retrainings_there_are_and_scales_what_the_last_ones_took(made):
    settings = made.settings
    forecast = Forecast([Cost("counterfactuals", "compute", "", None, 7200, 0, "guess")], None, 0)
    (line,) = _on_trials(settings, forecast)
    assert line.startswith("counterfactuals: at most 11 trainings, 16,500 tokens in all; about 2.0 h")
    manifest = made.store.manifest(*made.owner["utilities"])
    rate = costs._rate(STAGES["counterfactuals"], settings)
    assert rate.driver == "retrained"
    units = costs._measured_units(rate, manifest, Size(100, 1000, 4000, True))
    assert units == manifest["metrics"]["tokens_trained_now"] * parameters(Shape(320, 16, 1, 1, 16))
    on_a_gpu = settings | {"attribution": validate("attribution", {"device": "cuda"})}
    assert costs._rate(STAGES["counterfactuals"], on_a_gpu).each == costs.ON_A_GPU


def test_the_weights_of_a_model_are_counted_without_loading_it(models):
    from transformers import AutoModelForCausalLM

    from grip_assets.models.files import locate, weights_in

    model = AutoModelForCausalLM.from_pretrained(models / "proxy")
    assert weights_in(locate(str(models / "proxy"))) == sum(p.numel() for p in model.parameters())


MAKING = """
from planted_attribution import Folder
from test_counterfactuals import CHAIN, FEW

Folder(Path(root), **FEW).make(*CHAIN, workers=1)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_five_times_retrains_each_unit_once_and_ends_the_same(tmp_path):
    is_killed_five_times(tmp_path / "killed", "counterfactuals", MAKING, timeout=600)
    resumed = Folder(tmp_path / "killed", **FEW).make(*CHAIN)

    def whole() -> Folder:
        return Folder(tmp_path / "whole", **FEW).make(*CHAIN, workers=2)

    ends_the_same(resumed, whole, "counterfactuals", ("reference", "trial_subsets", "utilities"))
    assert len(kept_units(resumed.store)) == 11
