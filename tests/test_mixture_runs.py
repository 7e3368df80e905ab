"""The stage mixture_runs on a planted pool: what is trained, what is kept, and what is refused. Models are tiny."""

from collections import Counter

import killing
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from killing import ends_the_same, is_killed_five_times
from planted_mixing import Folder, pool, text

from grip_assets.engine.plan import Step
from grip_assets.engine.stage import Work
from grip_assets.errors import GripError
from grip_assets.settings import validate
from grip_assets.stages import STAGES, costs
from grip_assets.stages.costs import Size
from grip_assets.stages.mixing import mixture_runs
from grip_assets.stages.mixing.mixture_runs import limits_of, mixtures_of, trained, upsampled
from grip_assets.training import mixtures
from grip_assets.training.recipe import Shape, parameters

TINY = {
    "vocabulary": 320, "hidden": 16, "layers": 1, "heads": 1, "context": 16, "tokens": 1600, "batch_tokens": 160,
    "mixtures": 8, "held_out": 3, "domains": "column", "column": "language",
}  # fmt: skip


@pytest.fixture(scope="module")
def swarm(tmp_path_factory):
    return Folder(tmp_path_factory.mktemp("swarm"), pool(), **TINY).make("mixture_runs")


def kept_units(store) -> Counter:
    return killing.kept_units(store, "mixture_runs")


def losses_by_name(folder) -> dict:
    return {row[:3]: row[3] for row in folder.table("mixture_losses").rows()}


def test_every_mixture_has_a_loss_on_every_target_and_read_what_it_should(swarm):
    assert not swarm.failed and swarm.metrics["trainings_made_now"] == swarm.metrics["trainings"] == 8
    assert swarm.metrics["tokens_trained_now"] == 8 * 1600 and swarm.metrics["trainings_failed"] == 0
    losses, found = swarm.table("mixture_losses"), swarm.table("mixtures")
    assert set(losses["target"]) == {"domain:python", "domain:go", "domain:(other)"}
    assert len(losses) == 8 * 3 and losses["loss"].is_between(0.5, 12).all()
    assert found["kind"].unique().to_list() == ["swarm"] and found["cluster_id"].null_count() == len(found)
    assert (found["achieved"] - found["weight"]).abs().max() <= 1 / 100
    assert swarm.table("mixture_steps").is_empty()


def test_the_loss_is_the_bits_of_a_kept_model_for_the_bytes_of_the_target(swarm):
    """By a slow loop over the items, with the model of the first mixture."""
    from grip_assets.training.recipe import TrainingRecipe
    from grip_assets.training.runs import items_in, tokenizer_in
    from grip_assets.training.small import bits, unpacked

    files = swarm.store.parquet(*swarm.owner["mixture_tokenizer"], "mixture_tokenizer")
    tokenizer = tokenizer_in(files)
    shape = Shape(tokenizer.get_vocab_size(), 16, 1, 1, 16)
    items = items_in(swarm.store.parquet(*swarm.owner["mixture_items"], "mixture_items"), tokenizer)
    table = swarm.table("mixture_items").filter(target="domain:go").filter(pl.col("in_pool") <= 0.3)
    wanted = [items[name] for name in table["item_id"]]
    models = [m for file in (swarm.store.root / "mixture_runs" / ".shards").glob("*/*.parquet")
              if "model" in pq.read_schema(file).names for m in pq.read_table(file)["model"].to_pylist()]  # fmt: skip
    recipe = TrainingRecipe(1600, 160, 1e-3)
    slow = sorted(float(bits(unpacked(m, shape), wanted, shape, recipe).sum() / table["n_bytes"].sum()) for m in models)
    assert slow == pytest.approx(sorted(swarm.table("mixture_losses").filter(target="domain:go")["loss"]), rel=1e-9)


def test_more_mixtures_train_only_the_new_ones_and_a_target_trains_none(swarm, tmp_path):
    before, units = losses_by_name(swarm), kept_units(swarm.store)
    swarm.turn(mixtures=10)
    more = swarm.make("mixture_runs")
    assert more.metrics["trainings_made_now"] == 2 and more.metrics["trainings"] == 10
    assert losses_by_name(more).items() >= before.items()
    (tmp_path / "new.txt").write_text(text(999))
    swarm.turn(target_set=str(tmp_path / "new.txt"))
    targeted = swarm.make("mixture_runs")
    assert targeted.metrics["trainings_made_now"] == 0 and not any("training 1" in line for line in targeted.lines[-5:])
    assert losses_by_name(targeted).items() >= before.items()
    assert len(targeted.table("mixture_losses").filter(target="target")) == 10
    after = kept_units(swarm.store)
    assert set(units) < set(after) and set(after.values()) == {1}
    swarm.turn(mixtures=8, target_set=None)


def test_seeds_are_trainings_of_their_own_and_workers_change_no_byte(tmp_path):
    made = [Folder(tmp_path / str(n), pool(), **TINY | {"seeds": 2}).make("mixture_runs", workers=n) for n in (1, 3)]
    one, other = (folder.table("mixture_losses") for folder in made)
    assert one.equals(other) and one["seed"].unique().sort().to_list() == [0, 1]
    assert made[0].metrics["trainings_made_now"] == 16
    of_seed = one.pivot("seed", index=["mixture_id", "target"], values="loss")
    assert (of_seed["0"] != of_seed["1"]).all()


def test_a_mixture_of_another_stage_that_was_trained_already_is_not_trained_again(swarm):
    swarm.make("mixture_runs")
    stage, (_, domains) = STAGES["mixture_runs"], swarm.owner["mixture_domains"]
    inputs = {"corpus": "planted", "mixture_domains": domains}
    work = Work(swarm.chain, stage, swarm.settings, inputs, None)
    rows = swarm.table("mixtures").filter(mixture_id=3).sort("domain")
    before = kept_units(swarm.store)
    losses = trained(work, swarm.settings["mixing"], [rows["weight"].to_numpy()], [0])
    assert kept_units(swarm.store) == before and losses.columns == ["mixture", "seed", "target", "loss", "failed"]
    assert losses["loss"].to_list() == swarm.table("mixture_losses").filter(mixture_id=3)["loss"].to_list()


def test_perf_trains_the_natural_shares_and_more_of_each_domain(tmp_path):
    made = Folder(tmp_path, pool(), **TINY | {"method": "perf"}).make("mixture_runs")
    assert not made.failed and made.table("mixtures").unique("mixture_id")["kind"].value_counts().sort("count").rows() == [
        ("natural", 1), ("upsampled", 3),
    ]  # fmt: skip
    natural = np.array([0.7, 0.2, 0.1])
    assert upsampled(natural, 2, 2.0) == pytest.approx([0.7 * 0.8 / 0.9, 0.2 * 0.8 / 0.9, 0.2])
    assert upsampled(natural, 0, 2.0) == pytest.approx([0.85, 0.1, 0.05]), "half of the others stays"


def test_doremi_has_a_course_of_weights_for_each_seed(tmp_path):
    made = Folder(tmp_path, pool(), **TINY | {"method": "doremi", "seeds": 2, "reference": "tempered"})
    made.make("mixture_runs")
    steps = made.table("mixture_steps")
    assert not made.failed and made.metrics["trainings_made_now"] == 4
    assert steps.group_by("seed", "domain").len()["len"].to_list() == [10] * 6
    shares = np.sqrt(made.table("mixture_domains")["natural_share"].to_numpy())
    assert made.table("mixtures")["weight"].to_list() == pytest.approx((shares / shares.sum()).tolist())
    made.turn(eta=0.1)
    made.make("mixture_runs")
    assert made.metrics["trainings_made_now"] == 2, "the references are kept"


def failing(monkeypatch, bad):
    """Trainings whose number in the order of the keys is in ``bad`` diverge."""
    real, seen = mixtures.TrainMixture.run, []

    def run(self, shard):
        seen.append(shard.key)
        if len(seen) - 1 in bad:
            return mixtures._trained(
                shard.key, failed="The training diverged: planted. Lower settings/mixing.learning_rate."
            )
        return real(self, shard)

    monkeypatch.setattr(mixtures.TrainMixture, "run", run)


def test_a_training_that_fails_is_a_row_with_its_reason(tmp_path, monkeypatch):
    failing(monkeypatch, {1, 4})
    made = Folder(tmp_path, pool(), **TINY | {"mixtures": 10}).make("mixture_runs")
    assert made.failed == ["none_failed"] and made.metrics["trainings_failed"] == 2
    rows = made.table("mixture_losses").filter(pl.col("mixture_id").is_in([1, 4]))
    assert len(rows) == 6 and rows["loss"].null_count() == 6 and rows["failed"].str.contains("diverged: planted").all()
    assert made.table("mixtures").filter(mixture_id=1)["achieved"].null_count() == 3
    assert made.table("mixture_losses").filter(~pl.col("mixture_id").is_in([1, 4]))["failed"].null_count() == 24


@pytest.mark.parametrize("bad", [{0}, {0, 1, 2, 3}])
def test_too_few_trainings_that_went_well_are_refused_and_kept(tmp_path, monkeypatch, bad):
    failing(monkeypatch, bad)
    folder = Folder(tmp_path, pool(), **TINY)
    with pytest.raises(
        GripError, match=rf"{len(bad)} of 8 trainings failed, and regmix cannot .* Lower settings/mixing.lear"
    ):
        folder.make("mixture_runs")
    assert len(kept_units(folder.store)) == 8


def test_mixtures_that_are_all_the_same_are_refused(tmp_path, monkeypatch):
    same = [mixture_runs.Mixture("swarm", np.array([0.5, 0.3, 0.2]) + i * 1e-6) for i in range(8)]
    monkeypatch.setattr(mixture_runs, "mixtures_of", lambda settings, natural_D: same)
    with pytest.raises(
        GripError, match=r"All 8 mixtures are the same.*mixing.strengths, lower mixing.prior.*kl_to_natural"
    ):
        Folder(tmp_path, pool(), **TINY).make("mixture_runs")


def test_a_domain_smaller_than_a_window_is_refused_before_any_training(tmp_path):
    folder = Folder(tmp_path, pool(), **TINY | {"context": 4000, "tokens": 8000, "batch_tokens": 4000})
    with pytest.raises(
        GripError, match=r"domain.* '\(other\)' .*fewer tokens than one window of settings/mixing.context"
    ):
        folder.make("mixture_runs")
    assert not kept_units(folder.store)


def test_a_training_repeats_a_domain_as_often_as_the_subset_would():
    natural = np.array([0.5, 0.4, 0.0999, 0.0001])
    limits = limits_of(natural, 0.25, 100)
    assert limits.tolist() == [200, 160, 39, 1], "at weight w, w * 100 / limit epochs: that is w / natural * 0.25"
    for weight, share in ((0.9, 0.0999), (0.6, 0.4)):
        of_training = weight * 1000 / limits_of(np.array([share]), 0.25, 1000)[0]
        assert of_training == pytest.approx(weight * 0.25 / share, rel=0.01)


def test_a_plan_says_what_the_trainings_take_by_those_made_here(swarm):
    """Those that were made before are not made again."""
    swarm.turn(mixtures=10)
    swarm.make("mixture_runs")
    at = Size(114, 5_000, 20_000, True)

    def planned(**turned):
        settings = swarm.settings | {"mixing": validate("mixing", swarm.settings["mixing"].model_dump() | turned)}
        versions = {"corpus": "planted", "mixture_domains": swarm.owner["mixture_domains"][1]}
        steps = [Step(name, "reuse", "", None, version) for name, version in versions.items()]
        steps.append(Step("mixture_runs", "compute", "", None, None))
        return steps, settings

    def units(**turned):
        steps, settings = planned(**turned)
        kept = costs._kept_trainings(STAGES, settings, swarm.store, {s.asset: s.version for s in steps})
        return costs._drivers(settings, at)["trained"] / costs._of_one_training(settings["mixing"]), kept

    assert units(mixtures=16) == (16, 10) and units(seeds=2) == (20, 10) and units(tokens=3200) == (10, 0)
    assert units(mixtures=9) == (9, 9)
    assert units(method="doremi", seeds=3) == (6, 0) and units(method="perf")[1] == 0
    rate = costs.RATES["mixture_runs"]
    manifest = swarm.made.manifest
    metrics = manifest["metrics"] | {"trainings_made_now": 8}
    assert costs._measured_units(rate, manifest | {"metrics": metrics}, at) == 8 * costs._of_one_training(
        swarm.settings["mixing"]
    )
    swarm.turn(mixtures=8)


@pytest.mark.parametrize("shape", [Shape(320, 16, 1, 1, 16), Shape(1024, 128, 2, 2, 64)])
def test_the_parameters_of_a_model_are_counted_without_making_it(shape):
    from grip_assets.training.small import new_model

    assert parameters(shape) == sum(p.numel() for p in new_model(shape, 0).parameters())


def test_a_larger_swarm_begins_with_the_smaller_one():
    natural = np.array([0.6, 0.3, 0.1])
    few, many = (mixtures_of(validate("mixing", {"mixtures": n}), natural) for n in (8, 24))
    assert all((a.weight_D == b.weight_D).all() for a, b in zip(few, many, strict=False))


MAKING = """
from planted_mixing import Folder, pool
from test_mixture_runs import TINY

Folder(Path(root), pool(), **TINY).make("mixture_runs", workers=1)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_five_times_trains_each_unit_once_and_ends_the_same(tmp_path):
    is_killed_five_times(tmp_path / "killed", "mixture_runs", MAKING, timeout=300)
    resumed = Folder(tmp_path / "killed", pool(), **TINY).make("mixture_runs")

    def whole() -> Folder:
        return Folder(tmp_path / "whole", pool(), **TINY).make("mixture_runs", workers=2)

    tables = ("mixtures", "mixture_losses", "mixture_steps", "mixture_items", "mixture_documents")
    ends_the_same(resumed, whole, "mixture_runs", tables)
