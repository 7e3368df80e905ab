"""The probe in closed form: against one AdamW step by autograd, folds against a slow loop, what permutes, what repeats."""

import numpy as np
import pytest
import torch

from grip_assets.method.agreement import spearman_brown
from grip_assets.models.proxy import load_proxy
from grip_assets.runtime import threads
from grip_assets.training.adaptation import hidden_states, passages
from grip_assets.training.closed_form import first_step, first_step_on_itself, in_batches, measured, unigram

VOCABULARY, HIDDEN = 50, 6


def states(seed, n, tokens=20):
    """Hidden states and next tokens, some of which are in one fold only."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, HIDDEN)).astype(np.float32), random.integers(0, tokens, n)


def autograd(hidden, following, others, others_following, lr):
    """The loss of the others before and after one AdamW step from a head of zeros, in float64."""
    head = torch.nn.Parameter(torch.zeros(VOCABULARY, HIDDEN, dtype=torch.float64))
    optimizer = torch.optim.AdamW([head], lr=lr, eps=1e-30)

    def loss(h, y):
        return torch.nn.functional.cross_entropy(torch.tensor(h, dtype=torch.float64) @ head.T, torch.tensor(y))

    before = loss(others, others_following).item()
    loss(hidden, following).backward()
    optimizer.step()
    return before, loss(others, others_following).item()


def test_the_closed_form_is_one_step_of_adamw():
    hidden, following = states(0, 200)
    fold = np.arange(200) % 2
    lr = 1e-7
    one, other = fold == 0, fold == 1
    before, after = autograd(hidden[one], following[one], hidden[other], following[other], lr)
    assert before == pytest.approx(np.log(VOCABULARY), rel=1e-12), "at W = 0 every token is as likely as any other"
    found = first_step(hidden, following, fold, [1], VOCABULARY)
    assert found.held_out == pytest.approx((before - after) / lr, rel=1e-5)
    before, after = autograd(hidden[one], following[one], hidden[one], following[one], lr)
    assert found.trained == pytest.approx((before - after) / lr, rel=1e-5)
    before, after = autograd(hidden, following, hidden, following, lr)
    assert first_step_on_itself(hidden, following, VOCABULARY).held_out == pytest.approx(
        (before - after) / lr, rel=1e-5
    )


def test_one_pass_gives_what_a_loop_over_the_folds_gives():
    """Dense gradients of all V rows in float64, made anew for each fold."""
    hidden, following = states(1, 300, tokens=VOCABULARY)
    fold = np.random.default_rng(2).integers(0, 5, 300)

    def gradient(chosen):
        g = np.tile(hidden[chosen].astype(np.float64).mean(0) / VOCABULARY, (VOCABULARY, 1))
        for h, y in zip(hidden[chosen].astype(np.float64), following[chosen], strict=True):
            g[y] -= h / chosen.sum()
        return g

    drops = [(np.sign(gradient(fold != f)) * gradient(fold == f)).sum() for f in range(5)]
    trained = [np.abs(gradient(fold != f)).sum() for f in range(5)]
    sizes = np.bincount(fold)
    found = first_step(hidden, following, fold, range(5), VOCABULARY)
    assert found.held_out == pytest.approx(np.average(drops, weights=sizes), rel=1e-12)
    assert found.trained == pytest.approx(np.average(trained, weights=sizes), rel=1e-12)


def test_a_token_of_one_fold_only_leaves_no_rounding_behind_in_the_others():
    hidden, following = states(3, 120, tokens=10)
    fold = np.arange(120) % 3
    alone = np.where(fold == 0, following + 20, following)  # tokens that no other fold has
    hidden_else, following_else = hidden[fold != 0], following[fold != 0]
    without = first_step_on_itself(hidden_else, following_else, VOCABULARY).held_out
    assert first_step(hidden, alone, fold, [0], VOCABULARY).trained == pytest.approx(without, rel=1e-14)


def test_the_unigram_is_the_cross_entropy_under_smoothed_counts():
    following = np.array([0, 0, 0, 1, 2, 0, 0, 1, 7, 7])
    fold = np.array([0] * 5 + [1] * 5)
    found = unigram(following, fold, [1], VOCABULARY)
    p = lambda c: (c + 3 / VOCABULARY) / (5 + 3)  # noqa: E731
    entropy = -(2 * np.log(p(3)) + np.log(p(1)) + 2 * np.log(p(0))) / 5
    assert found.held_out == pytest.approx(np.log(VOCABULARY) - entropy, rel=1e-12)


def test_what_repeats_itself_falls_further_than_noise():
    random = np.random.default_rng(0)
    constant = [(f"c{i}", [5, 6, 7, 8] * 10) for i in range(20)]
    noise = [(f"n{i}", random.integers(0, VOCABULARY, 40).tolist()) for i in range(20)]
    embedded = random.normal(size=(VOCABULARY, HIDDEN)).astype(np.float32)
    for with_states in (True, False):
        drops = []
        for documents in (constant, noise):
            read = passages(documents, 16, None, 5, 0)
            hidden = np.concatenate([embedded[w[:-1]] for w in read.windows]) if with_states else None
            drops.append(measured(read, hidden, VOCABULARY, 5, 0, True).drop.held_out)
        assert drops[0] > 2 * abs(drops[1])


def documents_of(n, length=60, seed=0):
    random = np.random.default_rng(seed)
    return [(f"d{i}", random.integers(0, 400, length).tolist()) for i in range(n)]


def test_every_document_is_held_out_once_and_whole():
    read = passages(documents_of(13, length=64), 16, 13 * 32, 5, 0)
    fold_D, held = read.folds(5, 0)
    assert held == [0, 1, 2, 3, 4] and sorted(np.bincount(fold_D)) == [2, 2, 3, 3, 3]
    assert sorted(read.ids) == sorted(f"d{i}" for i in range(13))
    assert np.bincount(read.document_W).tolist() == [2] * 13, "all documents are read as much"
    one, other = (read.of(chosen) for chosen in read.halves(0))
    assert not set(one.ids) & set(other.ids) and len(one.ids) + len(other.ids) == 13
    assert read.folds(5, 1)[0].tolist() != fold_D.tolist()


def test_few_documents_are_measured_as_far_as_they_go():
    two = passages(documents_of(2), 16, None, 5, 0)
    assert two.folds(5, 0)[1] == [0, 1] and two.halves(0) == []
    alone = passages(documents_of(1), 16, None, 5, 0)
    assert alone.folds(5, 0)[1] == [1] and alone.halves(0) == [], "cut in two; the end is held out"
    assert sum(map(len, alone.windows)) == 60
    assert passages([("d", [1])], 16, None, 5, 0) is None
    small = passages(documents_of(9), 512, 100, 5, 0)
    assert len(small.ids) >= 5, "one long document never takes all the tokens"


def test_windows_of_one_length_go_together():
    lengths = [7, 3, 7, 7, 3, 9]
    batches = list(in_batches([[0] * n for n in lengths], 14))
    assert batches == [[1, 4], [0, 2], [3], [5]]


@pytest.fixture(scope="module")
def proxy(models, tmp_path_factory):
    return load_proxy(str(models / "proxy"), tmp_path_factory.mktemp("root"))


def test_states_are_those_of_each_window_alone(proxy):
    windows = [d[:n] for (_, d), n in zip(documents_of(6), [20, 20, 7, 20, 7, 33], strict=True)]
    together = hidden_states(proxy, windows)
    alone = np.concatenate([proxy.boundary(w, 0).hidden_LH[:-1].numpy() for w in windows])
    assert together.shape == (sum(map(len, windows)) - 6, proxy.hidden) and together.dtype == np.float32
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_workers_change_no_bit_and_labels_permute_the_drops(proxy):
    torch.set_num_threads(1)
    clusters = [documents_of(8, seed=i) for i in range(5)]

    def run(documents):
        read = passages(documents, 16, 300, 5, 0)
        return measured(read, hidden_states(proxy, read.windows), proxy.vocabulary, 5, 0, True)

    one = list(threads.each(run, clusters, 1))
    assert one == list(threads.each(run, clusters, 3))
    assert one[::-1] == list(threads.each(run, clusters[::-1], 2))


def test_two_whole_draws_agree_better_than_their_halves():
    assert spearman_brown(0.5) == pytest.approx(2 / 3) and spearman_brown(1.0) == 1.0
    assert spearman_brown(-0.2) == -0.2
