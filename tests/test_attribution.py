"""The stage attribution, on planted sketches and utilities: the choice, what it may see, fidelity, and what is read by
budgets and selections."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from planted_attribution import Folder

from grip_assets.errors import GripError
from grip_assets.method.attribution import surrogate
from grip_assets.settings import Attribution
from grip_assets.stages import STAGES
from grip_assets.stages.attribution.attribution import configurations
from grip_assets.stages.attribution.measured import trials_of
from grip_assets.stages.attribution.scores import Sketches
from grip_assets.store.tables import vectors

F, SUBSETS, TARGETS = 8, 40, ["held_out:python", "held_out:go"]
KINDS = ("few_clusters", "duplicates", "length", "many_clusters", "uniform")


class Attributed(Folder):
    """Sketches of two sources, and trials whose utilities are R5 of the source ``full`` with gamma 1 and noise.

    Documents have one of two directions, and trials lean to one of them more or less, so redundancy decides.
    """

    def __init__(self, root, noise=0.02, lost=0, **attribution):
        by_language = {"held_out_by": "language"}
        super().__init__(
            root, **by_language | {"source": "auto", "candidates": ["unigram", "full"], "dim": F} | attribution
        )
        self.rng = np.random.default_rng(0)
        self.noise, self.lost = noise, lost

    def make(self, *more):
        super().make()
        inputs = {"corpus": "planted", "clusters": "planted", "attribution_targets": self.made.version}
        self.documents = pl.read_parquet(self.store.parquet("clusters", "planted", "clusters"))
        self.plant_sketches(inputs)
        self.plant_trials(inputs)
        versions = inputs | {"sketches": "planted", "counterfactuals": "planted"}
        for name in ("attribution", *more):
            stage = STAGES[name]
            needed = {i: versions.get(i, "planted") for i in stage.inputs_under(self.settings)}
            self.made = self.chain.make(stage, self.settings, needed)
            versions[name] = self.made.version
            self.owner |= {table: (name, self.made.version) for table in stage.table_names}
        return self

    def plant_sketches(self, inputs):
        n = len(self.documents)
        lean_N = np.arange(n) % 2
        self.phi = {
            "unigram": self.rng.normal(size=(n, F)),
            "full": np.eye(2, F)[lean_N] + 0.1 * self.rng.normal(size=(n, F)),
        }
        self.target_TF = {source: np.array([[1, 0.6] + [0] * (F - 2), [0, 1] + [0] * (F - 2)]) for source in self.phi}
        tables = [
            self.documents.select("doc_id", "cluster_id", source=pl.lit(source)).to_arrow().append_column(
                "sketch", vectors(phi_NF)
            )
            for source, phi_NF in self.phi.items()
        ]  # fmt: skip
        targets = pl.DataFrame(
            [(name, source, target_TF[t].tolist(), 4) for source, target_TF in self.target_TF.items() for t, name in enumerate(TARGETS)],
            {"target": pl.String, "source": pl.String, "sketch": pl.Array(pl.Float32, F), "n_items": pl.Int64}, orient="row",
        )  # fmt: skip
        costs = pl.DataFrame(
            [("unigram", 1.0, 0.0, 10), ("full", 60.0, 1e9, 1000)],
            ["source", "seconds", "flops", "bytes"],
            orient="row",
        )
        self._plant("sketches", inputs, pa.concat_tables(tables), target_sketches=targets, sketch_sources=costs)

    def plant_trials(self, inputs):
        tokens_N = self.documents["n_tokens"].to_numpy()
        self.read_N = tokens_N + 50 * (np.arange(len(tokens_N)) % 3)  # tokens of the model are others than the corpus'
        rows, members, utilities = [], [], []
        for s in range(SUBSETS):
            weight_N = np.where(np.arange(len(tokens_N)) % 2 == 0, s % 10 + 1, 5.0)
            chosen = np.sort(self.rng.choice(len(tokens_N), 20, False, weight_N / weight_N.sum()))
            members.append(chosen)
            role = "calibration" if s < SUBSETS // 2 else "check"
            name, kind = f"{role} {KINDS[s % 5]} {s}", KINDS[s % 5]
            rows += [
                (name, s % 4, role, kind, 1000, self.documents["doc_id"][int(row)], 1, int(self.read_N[row]))
                for row in chosen
            ]
        phi_NF, target_TF = self.phi["full"], self.target_TF["full"]
        pool = surrogate.pool_of([(phi_NF, tokens_N)])
        target_TF = surrogate.unit(target_TF)
        scale_T = surrogate.scale(target_TF, pool)
        means_SF = surrogate.means(phi_NF, self.read_N, members)
        self.utility_TS = surrogate.utility(target_TF, means_SF, 1.0, scale_T)
        spread = self.noise * self.utility_TS.std()
        names = list(dict.fromkeys(row[0] for row in rows))
        for s, name in enumerate(names):
            for t, target in enumerate(TARGETS):
                for seed in range(2 if s >= SUBSETS - 8 else 1):
                    lost = s < self.lost
                    value = None if lost else self.utility_TS[t, s] + spread * self.rng.normal()
                    utilities.append((name, seed, target, value, "the loss is not finite" if lost else None))
        subsets = pl.DataFrame(
            rows, ["subset_id", "block", "role", "kind", "size", "doc_id", "repeats", "n_tokens"], orient="row"
        ).with_columns(pl.col("block").cast(pl.Int32))  # fmt: skip
        schema = {
            "subset_id": pl.String,
            "seed": pl.Int64,
            "target": pl.String,
            "utility": pl.Float64,
            "failed": pl.String,
        }
        self.subsets, self.utilities = subsets, pl.DataFrame(utilities, schema, orient="row")
        self.change_utilities()
        self._plant("counterfactuals", inputs | {"sketches": "planted"}, self.subsets, utilities=self.utilities)

    def change_utilities(self):
        """What a test does to the utilities before they are planted."""

    def _plant(self, name, inputs, table, **others):
        """The main table of counterfactuals is trial_subsets."""
        if name != "counterfactuals":
            super()._plant(name, inputs, table, **others)
            return
        manifest = {"stage": name, "version": "planted", "inputs": inputs, "settings": {}, "computed_at": 0}
        with self.store.publish(name, manifest | {"seconds": 0, "run_id": "", "metrics": {}}) as draft:
            draft.write("trial_subsets", table)
            draft.write("utilities", others["utilities"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Attributed(tmp_path_factory.mktemp("attribution"), choose="bootstrap").make()


def chosen(folder):
    return folder.table("attribution_choice").filter(pl.col("chosen"))["configuration"].item()


def test_the_trials_choose_the_source_and_the_gamma_that_made_them(made):
    assert made.failed == []
    table = made.table("attribution_choice")
    assert len(table) == 2 * 2 * 4 and table["chosen"].sum() == 1
    row = table.filter(pl.col("chosen")).row(0, named=True)
    assert row["source"] == "full" and row["gamma"] > 0 and row["mean"] > 0.9
    assert "better than the default" in row["words"] and "better than the default" in made.metrics["words"]
    assert made.metrics["configuration"] == row["configuration"]


def test_no_choice_sees_the_subsets_of_the_check(tmp_path, made):
    class Turned(Attributed):
        def change_utilities(self):
            of_check = pl.col("subset_id").str.starts_with("check")
            self.utilities = self.utilities.with_columns(
                pl.when(of_check).then(-pl.col("utility")).otherwise("utility")
            )

    turned = Turned(tmp_path, choose="bootstrap").make()
    assert turned.table("attribution_choice").equals(made.table("attribution_choice"))
    one, other = (f.table("attribution_fidelity").filter(what="chosen")["spearman"].to_list() for f in (made, turned))
    assert min(one) > 0.8 and max(other) < 0 and "predicts" in turned.failed


def test_fidelity_has_every_configuration_and_baseline_by_target_and_kind_beside_its_costs(made):
    table = made.table("attribution_fidelity")
    names = set(table["configuration"])
    assert {"full/none/1", "unigram/unit/0"} <= names
    assert {"random", "length", "graddot", "cosine", "trak", "influence", "kernelsm", "unigram_ce"} <= names
    assert set(table["kind"]) == {"structured", "random"} and set(table["target"]) == {*TARGETS, "mean of targets"}
    assert table.group_by("configuration").len()["len"].unique().to_list() == [2 * 3]
    costs = dict(table.unique("configuration").select("configuration", "seconds").iter_rows())
    assert costs["full/none/1"] == 60 and costs["unigram/none/1"] == 1 and costs["graddot"] >= 60 > 50 > costs["random"]
    structured = table.filter(kind="structured", target="mean of targets")
    assert structured["n"].unique().to_list() == [16] and structured["ceiling"].min() > 0.8
    best = structured.filter(what="chosen").row(0, named=True)
    assert best["ratio"] == pytest.approx(best["spearman"] / best["ceiling"]) and best["words"]
    assert made.metrics["fidelity_structured"] == best["spearman"]


def test_predictions_stand_beside_what_was_measured(made):
    table = made.table("attribution_predictions")
    of_chosen = table.filter(configuration=chosen(made))
    assert len(of_chosen) == SUBSETS * 2 and set(table.filter(configuration="random")["role"]) == {"check"}
    for _, rows in of_chosen.group_by("target"):
        assert np.corrcoef(rows["predicted"], rows["utility"])[0, 1] > 0.9


def test_every_document_has_a_cosine_and_what_is_read_further_is_of_the_chosen_source(made):
    table, n = made.table("attribution"), len(made.documents)
    assert len(table) == 2 * n and table["alignment"].abs().max() <= 1
    assert table["doc_id"].unique(maintain_order=True).to_list() == made.documents["doc_id"].to_list()
    aims = made.table("attribution_aims")
    assert (
        aims["target"].to_list() == TARGETS and set(aims["source"]) == {"full"} and set(aims["normalize"]) == {"unit"}
    )
    phi_NF = surrogate.unit(made.phi["full"].astype(np.float16))
    first = made.documents["cluster_id"] == made.documents["cluster_id"][0]
    tokens_N = made.documents["n_tokens"].to_numpy()
    expected_F = surrogate.means(phi_NF, tokens_N, [np.flatnonzero(first)])[0]
    assert made.table("attribution_clusters")["sketch"][0].to_list() == pytest.approx(expected_F.tolist(), abs=1e-6)


def test_where_nothing_is_chosen_one_configuration_is_used_as_it_is_set(tmp_path):
    folder = Attributed(tmp_path, source="unigram", choose="none", gamma=0.7).make()
    assert folder.failed == ["predicts"] or folder.failed == []
    assert chosen(folder) == "unigram/none/0.7" and len(folder.table("attribution_choice")) == 1
    assert folder.table("attribution_fidelity").is_empty() and folder.table("attribution_predictions").is_empty()
    assert "not known" in folder.metrics["words"] and "counterfactuals" not in folder.made.manifest["inputs"]


def test_a_target_of_weight_0_is_measured_and_has_no_part_in_the_choice(tmp_path):
    class Opposite(Attributed):
        def change_utilities(self):
            flipped = pl.when(pl.col("target") == TARGETS[1]).then(-pl.col("utility")).otherwise("utility")
            self.utilities = self.utilities.with_columns(flipped)

    folder = Opposite(tmp_path, choose="bootstrap", target_weights=[f"{TARGETS[1]}=0"]).make()
    assert folder.table("attribution_aims")["weight"].to_list() == [1, 0]
    assert chosen(folder).startswith("full/")
    rows = folder.table("attribution_fidelity").filter(what="chosen", kind="structured")
    spearman = dict(rows.select("target", "spearman").iter_rows())
    assert spearman[TARGETS[0]] > 0.8 and spearman[TARGETS[1]] < 0


def test_failed_trainings_are_left_out_and_too_few_are_refused(tmp_path):
    folder = Attributed(tmp_path / "some", choose="bootstrap", lost=4).make()
    assert folder.metrics["trials_calibration"] == SUBSETS // 2 - 4 and chosen(folder).startswith("full/")
    with pytest.raises(GripError, match="A choice needs at least"):
        Attributed(tmp_path / "most", choose="bootstrap", lost=SUBSETS // 2 - 2).make()


@pytest.mark.parametrize("choose", ["lcb", "lcb_free"])
def test_the_strict_protocol_compares_with_the_additive_reference(tmp_path, choose):
    folder = Attributed(tmp_path, choose=choose, source="full").make()
    table = folder.table("attribution_choice")
    assert table["upper_bound"].null_count() == len(table) and table["chosen"].sum() == 1
    assert choose == "lcb" or chosen(folder).endswith("/0"), "the bounds of few blocks say nothing"


def test_additive_is_the_grid_where_it_is_the_only_gamma():
    grid = configurations(Attribution(source="unigram", choose="bootstrap", gammas=[0], normalize="none"))
    assert [c.name for c in grid] == ["unigram/none/0"]
    with pytest.raises(GripError, match="Set attribution.source to one of them"):
        configurations(Attribution(source="auto"))


def test_sums_over_blocks_are_the_sums_over_all(made):
    class Small(Sketches):
        def blocks(self, source):
            for phi_BF in super().blocks(source):
                yield from np.array_split(phi_BF, 7)

    trials = trials_of(made.subsets, made.utilities, made.documents["doc_id"], TARGETS, 1)

    class Work:
        def files(self, table):
            return made.store.parquet("sketches", "planted", table)

        def frame(self, table):
            return pl.read_parquet(self.files(table))

    whole, parted = (kind(Work(), made.documents, trials).of("full", "none") for kind in (Sketches, Small))
    phi_NF = made.phi["full"].astype(np.float16)
    expected_SF = surrogate.means(phi_NF, made.read_N, trials.members)  # what the retrained model reads
    for found in (whole, parted):
        assert found.trial_SF == pytest.approx(expected_SF, abs=1e-9)
    assert parted.pool.mean_F == pytest.approx(whole.pool.mean_F, abs=1e-12)


def test_copies_in_a_trial_count_as_often_as_it_has_them():
    subsets = pl.DataFrame({
        "subset_id": ["a", "a", "b"], "block": [0, 0, None], "role": ["calibration"] * 2 + ["check"], "kind": ["uniform"] * 3,
        "size": [10] * 3, "doc_id": ["x", "z", "y"], "repeats": [2, 1, 1], "n_tokens": [3, 4, 3],
    })  # fmt: skip
    utilities = pl.DataFrame(
        {"subset_id": ["a", "b", "b"], "seed": [0, 0, 1], "target": ["t"] * 3, "utility": [1.0, 2.0, 4.0]}
    )
    found = trials_of(subsets, utilities, pl.Series(["x", "y", "z"]), ["t"], seeds=1)
    assert [rows.tolist() for rows in found.members] == [[0, 0, 2], [1]]
    assert found.utility_TS.tolist() == [[1, 2]], "a further seed is only for the noise"
    assert found.tokens_N.tolist() == [3, 3, 4]
    assert found.again_TS[0, 1] == 4 and np.isnan(found.again_TS[0, 0])
    with pytest.raises(GripError, match="not in the pool"):
        trials_of(subsets, utilities, pl.Series(["x", "y"]), ["t"], 1)


def test_words_say_what_predicts_how_well_and_what_adds_nothing(made):
    assert "predicts structured subsets of 1,000 tokens with" in made.metrics["words"]
    assert ", ceiling " in made.metrics["words"]


def test_by_cross_entropy_trials_are_predicted_as_by_a_slow_loop_and_additive_is_its_slope_at_the_pool():
    from grip_assets.method.attribution.surrogate import Pool
    from grip_assets.stages.attribution.scores import Sketched

    rng = np.random.default_rng(4)
    pool_F, target_TF, trial_SF = (1024 * rng.dirichlet(np.full(9, 0.5), n) for n in (1, 2, 5))
    pool_F, share_S, prior = pool_F[0], rng.uniform(0.01, 0.3, 5), 0.002
    sums = Sketched(Pool(pool_F, 1, 1, 9), target_TF, np.ones(2), trial_SF, trial_SF, share_S, prior)
    for t, p_F in enumerate(target_TF / 1024):
        for s, v_F in enumerate(trial_SF / 1024):
            q_F = pool_F / 1024
            model_F = (share_S[s] * v_F + prior * q_F) / (share_S[s] + prior)
            assert sums.predicted(1.0)[t, s] == pytest.approx(sum(p_F * np.log(model_F / q_F)))
            assert sums.predicted(0.0)[t, s] == pytest.approx(sum(p_F * v_F / q_F))
