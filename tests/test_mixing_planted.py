"""A pool of three grammars whose mixture is known: what RegMix and DoReMi find in it, and what DoReMi cannot find.

What theory expects. The loss on the target falls with the tokens of its own grammar, and no other grammar helps. So
RegMix, with the loss on the target as its objective, gives the target's grammar all that its guards allow. DoReMi sees
no target: it raises domains in which the proxy is still behind the reference. That is the grammar which takes long to
learn. Whether that is what the user wants, DoReMi cannot know: its weights are the same for every objective. Noise has
no excess loss in expectation, since both models know all that there is to know. But M2 clips the excess of each token at
0, and what is left of a difference around 0 is above 0. So the weight of noise ends higher than it should, when nothing
else is left to learn. The mean over steps, which is the result, is dominated by what there was to learn before.
"""

import math

import polars as pl
import pytest
from conftest import Lab
from grammars import write

pytestmark = [pytest.mark.run, pytest.mark.slow]

MODEL = {
    "vocabulary": 400,
    "hidden": 48,
    "layers": 1,
    "heads": 2,
    "context": 32,
    "batch_tokens": 256,
    "learning_rate": 4e-3,
}
MIXING = {"domains": "column", "column": "grammar", "objective": "target", "held_out": 12, "passage": 300, "tokens": 40_000, "bootstrap": 40} | MODEL  # fmt: skip


@pytest.fixture(scope="module")
def three(tmp_path_factory, models):
    root = tmp_path_factory.mktemp("three")
    pool, target = write(root)
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(root, patch)
        lab.first = {
            "corpus": {"path": str(pool), "tokenizer": str(models / "proxy"), "keep": ["grammar"], "benchmarks": []},
            "embedding": {"model": str(models / "encoder"), "pooling": "mean", "max_windows": 1},
            "near_duplicates": {"threshold": 0},  # a grammar here is one line over and over
            "clustering": {"method": "column", "column": "grammar", "min_cluster_docs": 1},
            "budget": {"base": "mixture", "replay": "none", "total": 0.25},
            "selection": {"weight": "uniform"},
        }
        lab.target = str(target)
        yield lab


def weights(lab, **mixing) -> dict[str, dict]:
    lab.curate(**lab.first, mixing=MIXING | {"target_set": lab.target} | mixing)
    return {row["name"]: row for row in lab.sql("FROM mixture_weights").iter_rows(named=True)}


def test_regmix_finds_the_grammar_of_the_target(three):
    found = weights(three, method="regmix", mixtures=24, kl_to_natural=None)
    assert found["target"]["weight"] > 0.6 and found["target"]["low"] > found["target"]["natural_share"]
    for other in ("noise", "known"):
        assert found[other]["high"] < found[other]["natural_share"]


def test_its_guard_keeps_the_weights_near_the_natural_shares_and_their_direction(three):
    found = weights(three, method="regmix", mixtures=24, kl_to_natural=0.05)
    distance = sum(row["weight"] * math.log(row["weight"] / row["natural_share"]) for row in found.values())
    assert distance <= 0.05 + 1e-6
    assert found["target"]["weight"] > 1.2 * found["target"]["natural_share"]


def test_the_regression_predicts_mixtures_that_it_has_not_seen(three):
    weights(three, method="regmix", mixtures=24, kl_to_natural=None)
    fit = three.sql("SELECT regressor, median(spearman) AS spearman FROM mixture_fit GROUP BY regressor")
    assert fit.filter(pl.col("regressor") == "loglinear")["spearman"].item() > 0.8


def test_doremi_raises_what_takes_long_to_learn_and_lowers_noise(three):
    found = weights(three, method="doremi", seeds=2)
    gain = {name: row["weight"] / row["natural_share"] for name, row in found.items()}
    assert gain["target"] > 1.3 and gain["noise"] < 0.9, gain


def test_doremi_does_not_know_what_its_weights_are_for(three):
    """Its weights are the same whether the loss on the target, or on noise, should fall; RegMix's are not."""
    one, other = (weights(three, method="doremi", seeds=2, objective=o) for o in ("target", "domain:noise"))
    assert one == other
    aimed = weights(three, method="regmix", mixtures=24, kl_to_natural=None, objective="domain:noise")
    assert aimed["target"]["weight"] < aimed["target"]["natural_share"]
