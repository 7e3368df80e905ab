"""DoReMi's proxy: its weights follow the excess loss over the reference, and its training follows its weights."""

# ruff: noqa: F811 (fixtures of three_domains)

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from three_domains import CONTEXT, RECIPE, SHAPE, corpus, run_of, store, tokens  # noqa: F401

from grip_assets.method.mixing.doremi import Weights
from grip_assets.runtime.executors import Local
from grip_assets.store.shards import Shards
from grip_assets.training import doremi, mixtures
from grip_assets.training.doremi import ExcessLoss, TrainProxy, proxy_run
from grip_assets.training.small import new_model, packed, unpacked

ALL = 10_000  # more windows than there are
LONGER = replace(RECIPE, tokens=2048)


@pytest.fixture(scope="module")
def reference(store, tokens):
    """A model that was trained longer than the proxy, on numbers and words only."""
    run = run_of([0.5, 0.5, 0], tokens, recipe=LONGER)
    job = mixtures.TrainMixture(tokens, SHAPE, LONGER)
    placed = Shards(store, "mixture_runs", "reference").ready(
        [run.key], lambda missing: mixtures.to_train(job, [run], missing), Local(1)
    )
    return mixtures.kept_models([run.key], placed)[run.key]


def proxy(reference, seed=0, limits=(ALL, ALL, ALL), recipe=RECIPE):
    return proxy_run(reference, np.array(limits), seed, SHAPE, recipe)


def steps_of(table):
    frame = pl.DataFrame(table)
    steps = frame.filter(pl.col("step").is_not_null())
    return steps["weight"].to_numpy().reshape(-1, 3), steps["excess_loss"].to_numpy().reshape(-1, 3), frame


def test_a_proxy_that_is_its_reference_keeps_uniform_weights(tokens, store):
    """Without learning, the proxy stays what its seed made it; here the reference is the same."""
    model = packed(new_model(SHAPE, 0))
    file = store.root / "same.parquet"
    pl.DataFrame({"key": ["a"], "model": [model]}).write_parquet(file)
    job = TrainProxy(tokens, SHAPE, replace(RECIPE, learning_rate=0.0), 1.0, 1e-3)
    weight_TD, excess_TD, frame = steps_of(job.run(proxy(mixtures.KeptModel(file, "a"))))
    assert (excess_TD == 0).all() and np.allclose(weight_TD, 1 / 3, rtol=1e-12)
    assert frame.filter(pl.col("step").is_null())["weight"].to_list() == pytest.approx([1 / 3] * 3)


def test_weights_grow_where_the_proxy_is_behind_its_reference(tokens, reference):
    """The reference knows nothing of the third domain: there the proxy, which learns it, is soon ahead."""
    weight_TD, excess_TD, frame = steps_of(TrainProxy(tokens, SHAPE, RECIPE, 1.0, 1e-3).run(proxy(reference)))
    assert frame["failed"].null_count() == len(frame) and np.isfinite(weight_TD).all()
    np.testing.assert_allclose(weight_TD.sum(1), 1, rtol=1e-12)
    assert (weight_TD >= 1e-3 / 3).all() and (excess_TD >= 0).all()
    assert weight_TD[-1, 2] < min(weight_TD[-1, :2])
    average = frame.filter(pl.col("step").is_null())
    np.testing.assert_allclose(average["weight"], weight_TD.mean(0), rtol=1e-12)
    assert average["domain"].to_list() == [0, 1, 2]


def test_a_domain_one_nat_behind_grows_exponentially_up_to_the_smoothing():
    nats_BC = torch.full((6, CONTEXT), 3.0)
    domain_B = np.array([0, 1, 2, 0, 1, 2])
    behind_B1 = torch.tensor(domain_B == 1, dtype=torch.float32)[:, None]
    c, loss = 1e-3, ExcessLoss(lambda tokens: nats_BC - behind_B1, Weights(3, 1.0, 1e-3))
    for _ in range(40):
        loss(nats_BC, torch.zeros(6, CONTEXT + 1), domain_B)
    weight_TD = np.array([weight for weight, _ in loss.history])
    assert weight_TD[0, 1] == pytest.approx((1 - c) * math.e / (math.e + 2) + c / 3, rel=1e-6)
    assert weight_TD[1, 1] / weight_TD[1, 0] > 2 * weight_TD[0, 1] / weight_TD[0, 0]
    assert weight_TD[-1, 1] == pytest.approx(1 - c + c / 3, abs=2 * c)


def test_the_loss_is_clipped_for_each_token_and_weighted_as_in_a_slow_loop():
    """M2 to M4 token by token in float64, with a batch in which one domain is absent."""
    random = np.random.default_rng(0)
    nats_BC, before_BC = (random.gamma(2.0, 1.0, (5, CONTEXT)) for _ in range(2))
    weights, domain_B = Weights(4, 0.7, 0.01), np.array([3, 0, 0, 2, 0])
    weights.update(np.array([0.1, 0.9, 0.2, 0.3]), np.ones(4, bool))
    start_D = weights.alpha_D.tolist()
    excess = [0.0, 0.9, 0.0, 0.0]  # domain 1 is absent: its last excess
    for d in (0, 2, 3):
        over = [max(n - b, 0.0) for i in np.flatnonzero(domain_B == d) for n, b in zip(nats_BC[i], before_BC[i])]  # noqa: B905
        excess[d] = sum(over) / len(over)
    raised = [a * math.exp(0.7 * e) for a, e in zip(start_D, excess, strict=True)]
    alpha = [0.99 * r / sum(raised) + 0.01 / 4 for r in raised]
    wanted = sum(alpha[d] * n for d, row in zip(domain_B, nats_BC, strict=True) for n in row)
    wanted /= sum(alpha[d] * CONTEXT for d in domain_B)
    loss = ExcessLoss(lambda tokens: torch.tensor(before_BC), weights)
    found = loss(torch.tensor(nats_BC), torch.zeros(5, CONTEXT + 1), domain_B)
    assert found.item() == pytest.approx(wanted, rel=1e-12)
    np.testing.assert_allclose(loss.history[-1], [alpha, excess], rtol=1e-12)


def test_the_gradient_is_that_of_the_weighted_loss_in_float64(tokens, reference):
    """One step of plain autograd on sum(weight x nats) / sum(weight), with the weights as constants."""
    model = new_model(SHAPE, 3).double()
    before = unpacked(reference.bytes(), SHAPE).double()
    at_B = doremi.uniform_reading(tokens, proxy(reference), CONTEXT, 6)
    tokens_BL, domain_B = torch.from_numpy(tokens.read(at_B, CONTEXT)), tokens.domain_of(at_B)

    def nats(of):
        logits = of(input_ids=tokens_BL[:, :-1]).logits.log_softmax(-1)
        return -logits.gather(2, tokens_BL[:, 1:, None])[:, :, 0]

    loss = ExcessLoss(lambda t: nats(before).detach(), Weights(3, 1.0, 1e-3))
    loss(nats(model), tokens_BL, domain_B).backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    weight_B1 = torch.tensor(loss.weights.alpha_D[domain_B])[:, None].expand(-1, CONTEXT)
    ((nats(model) * weight_B1).sum() / weight_B1.sum()).backward()
    for mine, plain in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(mine, plain.grad, rtol=1e-10, atol=1e-14)


def test_domains_are_drawn_uniformly_and_repeated_within_their_limits(tokens, reference):
    run = proxy(reference, limits=(4, ALL, ALL))
    at_N = doremi.uniform_reading(tokens, run, CONTEXT, 64)
    domain_N = tokens.domain_of(at_N)
    assert all(sorted(domain_N[i : i + 3]) == [0, 1, 2] for i in range(0, 63, 3))
    assert len(set(at_N[domain_N == 0])) == 4 and len(set(at_N[domain_N == 1])) == (domain_N == 1).sum()
    assert proxy(reference, limits=(ALL, 22, ALL)).key == proxy(reference).key != run.key


def test_a_proxy_gives_the_same_bits_beside_others(tokens, reference):
    job, runs = TrainProxy(tokens, SHAPE, RECIPE, 1.0, 1e-3), [proxy(reference, seed) for seed in (0, 1)]
    one, two = (list(Local(workers).map(job, runs)) for workers in (1, 2))
    assert one == two and one[0] != one[1]


def test_a_proxy_that_diverges_is_a_row_with_its_reason(tokens, reference, store):
    job = TrainProxy(tokens, SHAPE, replace(RECIPE, learning_rate=1e12), 1.0, 1e-3)
    run = proxy(reference)
    found = Shards(store, "mixture_runs", "diverged proxies").completed(
        [run.key], lambda missing: doremi.to_follow(job, [run], missing), Local(1)
    )
    (row,) = found.to_pylist()
    assert "settings/mixing.learning_rate" in row["failed"] and row["step"] is None and row["weight"] is None


def test_a_kept_model_comes_back_bit_for_bit(reference):
    assert packed(unpacked(reference.bytes(), SHAPE)) == reference.bytes()
