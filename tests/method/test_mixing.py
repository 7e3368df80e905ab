"""The swarm, the regressions, the guarded search and predictability: on planted losses and on RegMix's public runs."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from grip_assets.errors import GripError
from grip_assets.method.mixing import perf, regress
from grip_assets.method.mixing.law import LogLinear, fitted_law
from grip_assets.method.mixing.predictability import measures, resamples, splits
from grip_assets.method.mixing.regress import REGRESSORS
from grip_assets.method.mixing.search import Search, divergence
from grip_assets.method.mixing.swarm import Swarm, draw

RUNS = Path(__file__).parent / "regmix_runs.parquet"  # see regmix_runs.LICENSE
NATURAL = np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
COST = np.array([1.0, 0.6, 1.3, 0.8, 1.1, 0.7])


@cache
def runs(scale: str, fold: str) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures (n, 17) and losses (n, 13) of RegMix's models; loss 8 is that of Pile-CC, its target."""
    table = pl.read_parquet(RUNS).filter(scale=scale, fold=fold)
    weights = table.select(pl.col("^w_.*$")).to_numpy().astype(np.float64)
    return weights / weights.sum(axis=1, keepdims=True), table.select(pl.col("^loss_.*$")).to_numpy().astype(np.float64)


PILE_CC = 8


@cache
def planted() -> tuple[np.ndarray, np.ndarray]:
    weights = draw(NATURAL, 512, Swarm())
    return weights, COST * (weights + 0.02) ** -0.3 + np.random.default_rng(0).normal(0, 0.005, weights.shape)


class Ridge:
    """Ridge regression on [1, w, sqrt w]: a test double, the worst where it matters."""

    def __init__(self, weights, loss, seed=0, importance=None):
        x = self.features(weights)
        self.beta = np.linalg.solve(x.T @ x + 1e-3 * np.eye(x.shape[1]), x.T @ loss)

    def features(self, weights):
        return np.hstack([np.ones((len(weights), 1)), weights, np.sqrt(weights)])

    def predict(self, weights):
        return self.features(weights) @ self.beta


def test_a_larger_swarm_begins_with_the_smaller_one_and_is_the_same_everywhere():
    weights = draw(NATURAL, 40, Swarm())
    assert np.array_equal(draw(NATURAL, 7, Swarm()), weights[:7])
    assert not np.array_equal(draw(NATURAL, 7, Swarm(seed=1)), weights[:7])
    units = np.round(weights * 5000).astype("<i4")
    assert np.array_equal(units / 5000, weights), "whole units, so no rounding of a machine shows"
    assert hashlib.sha256(units.tobytes()).hexdigest()[:16] == "cc05e2dd924f10fa"


@pytest.mark.parametrize("n_domains", [2, 24, 300])
def test_mixtures_are_different_and_within_their_bounds(n_domains):
    natural = np.random.default_rng(n_domains).dirichlet(np.full(n_domains, 0.7))
    weights = draw(natural, 64, Swarm(max_ratio=4))
    assert np.abs(weights.sum(axis=1) - 1).max() < 1e-12 and (weights >= 0).all()
    assert (weights <= 4 * natural + 1e-12).all()
    assert len(np.unique(weights, axis=0)) == 64


def test_bounds_without_room_are_refused():
    with pytest.raises(GripError, match="max_ratio"):
        draw(np.full(1000, 1e-3), 4, Swarm(max_ratio=1.01, min_weight=9e-4))


def test_planted_losses_are_ranked_and_their_optimum_is_found():
    weights, losses = planted()
    model = fitted_law(weights[:256], losses[:256])
    truth = lambda w: (COST * (w + 0.02) ** -0.3).mean(axis=1)  # noqa: E731
    assert measures(model.predict(weights[256:]), truth(weights[256:]))["spearman"] > 0.99
    steps = np.array([w for w in np.ndindex(*[16] * 5) if sum(w) <= 15]) / 15
    grid = np.hstack([steps, 1 - steps.sum(axis=1, keepdims=True)])
    best = grid[np.argmin(truth(grid))]
    assert np.abs(Search(NATURAL).best(model) - best).sum() / 2 < 0.1


def test_the_gradient_of_the_law_is_the_slope_of_its_prediction():
    model = fitted_law(*planted())
    step = 1e-6 * np.eye(6)
    slope = (model.predict(NATURAL + step) - model.predict(NATURAL - step)) / 2e-6
    assert model.gradient(NATURAL[None])[0] == pytest.approx(slope, rel=1e-5)


def test_a_law_is_convex_and_its_powers_lower_the_loss():
    weights, losses = planted()
    model = fitted_law(weights[:64], losses[:64])
    assert (model.rate_TF[:, 7:] >= 0).all()
    middle = (weights[:50] + weights[50:100]) / 2
    assert (model.predict(middle) <= (model.predict(weights[:50]) + model.predict(weights[50:100])) / 2 + 1e-9).all()


@pytest.mark.parametrize("kl", [0.01, 0.1, None])
def test_a_proposal_is_within_its_guards_and_no_worse_than_natural(kl):
    weights, losses = planted()
    model = fitted_law(weights[:64], losses[:64])
    most = np.minimum(1.5 * NATURAL, 1)
    found = Search(NATURAL, most, kl).best(model)
    assert found.sum() == pytest.approx(1, abs=1e-12) and (found >= 0).all() and (found <= most + 1e-15).all()
    assert kl is None or divergence(found, NATURAL)[0] <= kl + 1e-12
    assert model.predict(found[None])[0] <= model.predict(NATURAL[None])[0]
    assert np.array_equal(found, Search(NATURAL, most, kl).best(model))


def test_no_candidate_beats_the_search_within_a_distance():
    model = fitted_law(*planted())
    most = np.minimum(2 * NATURAL, 1)
    best = model.predict(Search(NATURAL, most, 0.1).best(model)[None])[0]
    drawn = np.random.default_rng(0).dirichlet(20 * NATURAL, 20_000)
    allowed = drawn[(drawn <= most).all(axis=1) & (divergence(drawn, NATURAL) <= 0.1)]
    assert len(allowed) > 1000 and best <= model.predict(allowed).min()


def test_a_thousand_domains_are_searched():
    rng = np.random.default_rng(0)
    natural = rng.dirichlet(np.full(1000, 2.0))
    model = LogLinear(np.ones(1), np.ones(1), rng.normal(0, 1, (1, 1001)), powers=False)
    found = Search(natural, np.minimum(4 * natural, 1), 0.1).best(model)
    assert divergence(found, natural)[0] == pytest.approx(0.1, abs=1e-6)
    assert model.predict(found[None])[0] < model.predict(natural[None])[0]


def test_guards_that_allow_nothing_are_refused():
    with pytest.raises(GripError, match="there is no mixture"):
        Search(NATURAL, NATURAL / 2)
    with pytest.raises(GripError, match="kl_to_natural allows 0.01"):
        Search(NATURAL, np.array([0.2, 1, 1, 1, 1, 1]), 0.01)


def test_losses_that_are_no_losses_are_refused():
    with pytest.raises(GripError, match="above 0"):
        fitted_law(NATURAL[None].repeat(3, 0), np.array([1.0, np.nan, 2.0]))


def test_a_bootstrap_interval_covers_the_prediction_without_noise():
    weights, losses = planted()
    weights, losses = weights[:96], losses[:96]
    model = fitted_law(weights, losses)
    search = Search(NATURAL, kl=0.1)
    found = [search.best(fitted_law(weights[r], losses[r], near=model)) for r in resamples(96, 12)]
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    clean = search.best(fitted_law(weights, COST * (weights + 0.02) ** -0.3))
    assert ((low - 0.01 <= clean) & (clean <= high + 0.01)).all()


def test_the_law_predicts_regmix_s_runs_at_every_scale():
    """256 mixtures at 1M parameters, ten splits; carried over to 60M and 1B."""
    weights, losses = runs("1M", "train")
    found = []
    for split in range(10):
        chosen = np.random.default_rng(split).permutation(512)[:256]
        model = fitted_law(weights[chosen], losses[chosen, PILE_CC])
        found.append([measures(model.predict(w), y[:, PILE_CC])
                      for w, y in (runs("1M", "test"), runs("60M", "test"), runs("1B", "test"))])  # fmt: skip
    median = {key: [np.median([f[s][key] for f in found]) for s in range(3)] for key in ("spearman", "spearman_best")}
    assert median["spearman"][0] > 0.98 and median["spearman"][1] > 0.97 and median["spearman"][2] > 0.94
    assert median["spearman_best"][0] > 0.95 and median["spearman_best"][1] > 0.93 and median["spearman_best"][2] > 0.8


def test_ridge_is_worse_than_a_log_linear_law_where_the_choice_is_made():
    """C8 and C9: among the best quarter, for 32 to 128 mixtures, even the plain law c + exp(b + t·w) wins."""
    weights, losses = runs("1M", "train")
    tested, truth = runs("1M", "test")
    for n in (32, 64, 128):
        chosen = [np.random.default_rng(split).permutation(512)[:n] for split in range(4)]
        best = {
            name: np.mean([
                measures(fit(weights[c], losses[c, PILE_CC]).predict(tested), truth[:, PILE_CC])["spearman_best"]
                for c in chosen
            ])
            for name, fit in (("ridge", Ridge), ("plain", lambda w, y: fitted_law(w, y, powers=False)), ("law", fitted_law))
        }  # fmt: skip
        assert best["law"] > 0.9 and best["plain"] > 0.85
        assert min(best["law"], best["plain"]) > best["ridge"] + 0.05


def test_a_mean_over_domains_needs_a_law_for_each():
    weights, losses = runs("1M", "train")
    tested, truth = runs("1M", "test")
    chosen = np.random.default_rng(0).permutation(512)[:128]
    each = measures(fitted_law(weights[chosen], losses[chosen]).predict(tested), truth.mean(axis=1))
    plain = fitted_law(weights[chosen], losses[chosen].mean(axis=1), powers=False)
    assert each["spearman"] > 0.95 and each["spearman_best"] > 0.85
    assert measures(plain.predict(tested), truth.mean(axis=1))["spearman_best"] < 0.5


def test_all_regressors_rank_and_repeat_themselves():
    weights, losses = runs("1M", "train")
    for name in REGRESSORS:
        (one,), (other,) = (splits(weights[:160], losses[:160, PILE_CC], name, n_splits=1) for _ in range(2))
        assert one == other and one["n_train"] == 128
        assert one["spearman"] > 0.85


def test_without_lightgbm_the_error_says_what_to_choose(monkeypatch):
    def broken(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(regress.importlib, "import_module", broken)
    with pytest.raises(GripError, match="settings/mixing.regressor to 'loglinear'"):
        REGRESSORS["lightgbm"](*planted())


def test_perf_raises_what_helps_by_rank():
    natural = np.array([0.25, 0.25, 0.25, 0.25])
    found = perf.weights(natural, np.array([0.3, 0.1, -0.2, np.nan]), rho=2.0)
    assert found.tolist() == pytest.approx([3 / 7, 2 / 7, 1 / 7, 1 / 7])
    assert perf.weights(natural, np.zeros(4), 2.0).tolist() == pytest.approx(natural.tolist())
