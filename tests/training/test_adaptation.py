"""G5: the hand-written step against autograd, what is frozen stays frozen, and check 6 of the specification."""

import numpy as np
import pytest
import torch

from grip_assets.errors import GripError
from grip_assets.models.proxy import load_proxy
from grip_assets.runtime import threads
from grip_assets.training.adaptation import Batch, adapt, head_loss, probe_batch


@pytest.fixture(scope="module")
def proxy(models, tmp_path_factory):
    return load_proxy(str(models / "proxy"), tmp_path_factory.mktemp("root"))


def windows(seed, n=6, length=20, vocabulary=400):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, length).tolist() for _ in range(n)]


def batch_of(seed, **k):
    return Batch(windows(seed, **k), windows(seed + 100, n=2))


def test_the_gradient_is_that_of_autograd():
    torch.manual_seed(0)
    hidden, following = torch.randn(50, 8, dtype=torch.float64, requires_grad=True), torch.randint(0, 30, (50,))
    head = torch.randn(30, 8, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(hidden @ head.T, following)
    loss.backward()
    for micro_batch in (7, 50, 1000):
        grad, grad_hidden = torch.zeros_like(head), torch.full_like(hidden, torch.nan)
        found = head_loss(head.detach(), hidden.detach(), following, micro_batch, grad, grad_hidden)
        assert found == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(grad, head.grad, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(grad_hidden, hidden.grad, rtol=1e-12, atol=1e-14)


def plain(proxy, batch, depth, steps=5, lr=1e-3, std=0.05, seed=3):
    """The obvious loop: full forward each step, autograd, all windows of one length in one batch."""
    import copy

    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.Parameter(torch.empty(proxy.vocabulary, proxy.hidden).normal_(0, std, generator=generator))
    body = copy.deepcopy(proxy.body)
    layers = list(body.layers)[len(body.layers) - depth :]
    for layer in torch.nn.ModuleList(layers).named_parameters() if depth else []:
        name, p = layer
        p.requires_grad_(True)
        with torch.no_grad():
            p.normal_(0, std, generator=generator) if p.dim() > 1 else p.fill_(0 if name.endswith("bias") else 1)
    learned = [p for layer in layers for p in layer.parameters()] + [head]
    optimizer = torch.optim.AdamW(learned, lr=lr)

    def loss(rows):
        ids = torch.tensor(rows)
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        return torch.nn.functional.cross_entropy((hidden @ head.T).flatten(0, 1), ids[:, 1:].flatten())

    curve = []
    for _ in range(steps):
        curve.append(loss(batch.evaluate).item())
        optimizer.zero_grad()
        loss(batch.train).backward()
        optimizer.step()
    return [*curve, loss(batch.evaluate).item()]


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_the_probe_is_the_plain_loop_and_leaves_the_proxy_as_it_was(proxy, depth):
    before = {name: p.clone() for name, p in proxy.model.state_dict().items()}
    assert proxy.model.lm_head.weight.data_ptr() == proxy.model.get_input_embeddings().weight.data_ptr(), (
        "the head is tied"
    )
    got = adapt(proxy, batch_of(0), depth, 1e-3, 5, 0.05, 3, micro_batch=17)
    np.testing.assert_allclose(got.evaluate, plain(proxy, batch_of(0), depth), rtol=2e-5)
    assert got.train[-1] < got.train[0]
    assert all(torch.equal(p, before[name]) for name, p in proxy.model.state_dict().items())


@pytest.mark.parametrize("depth", [0, 2])
def test_workers_and_micro_batches_change_nothing(proxy, depth):
    torch.set_num_threads(1)
    batches = [batch_of(i) for i in range(6)]
    run = lambda batch: adapt(proxy, batch, depth, 1e-3, 3, 0.02, 0)  # noqa: E731
    assert list(threads.each(run, batches, 1)) == list(threads.each(run, batches, 3))
    whole = adapt(proxy, batches[0], depth, 1e-3, 3, 0.02, 0, micro_batch=10_000)
    np.testing.assert_allclose(run(batches[0]).evaluate, whole.evaluate, rtol=1e-5)
    parts = adapt(proxy, batches[0], depth, 1e-3, 3, 0.02, 0, micro_batch=5)
    np.testing.assert_allclose(parts.evaluate, whole.evaluate, rtol=1e-5)


def test_all_clusters_start_from_one_initialisation(proxy):
    """Same evaluation documents, other training documents: the loss at step 0 is the same number."""
    same = windows(7, n=2)
    first, second = (adapt(proxy, Batch(windows(i), same), 2, 1e-3, 2, 0.02, 0) for i in (1, 2))
    assert first.evaluate[0] == second.evaluate[0]
    assert first.evaluate[-1] != second.evaluate[-1]


def test_constant_text_falls_faster_than_noise(proxy):
    """Check 6: a memorisable cluster and one of uniform tokens; the multiplier goes to the second."""
    constant = Batch([[5, 6, 7, 8] * 5] * 6, [[5, 6, 7, 8] * 5] * 2)
    noise = batch_of(0)
    drops = []
    for batch in (constant, noise):
        curve = adapt(proxy, batch, 0, 1e-2, 10, 0.02, 0)
        drops.append(curve.evaluate[0] - curve.evaluate[-1])
    assert drops[0] > drops[1]
    r = 1 + 2 * np.exp(-np.maximum(drops, 0) / np.maximum(drops, 0).mean())
    assert r[1] > r[0]


def test_held_out_documents_are_never_trained_on():
    documents = [(f"d{i}", [i] * (5 + 30 * i)) for i in range(1, 9)]
    batch = probe_batch(documents, 16, None, True, 0)
    trained, kept = ({t for w in part for t in w} for part in (batch.train, batch.evaluate))
    assert not trained & kept and trained | kept == set(range(1, 9))
    assert max(map(len, batch.train)) <= 16
    alone = probe_batch([("d", list(range(50)))], 16, None, True, 0)
    assert not {t for w in alone.train for t in w} & {t for w in alone.evaluate for t in w}
    both = probe_batch(documents, 16, None, False, 0)
    assert both.evaluate is both.train


def test_a_cap_is_met_exactly_and_shared_by_the_documents():
    documents = [(f"d{i}", [i] * 500) for i in range(10)]
    batch = probe_batch(documents, 32, 300, True, 0)
    assert sum(map(len, batch.train)) == 240 and sum(map(len, batch.evaluate)) == 60
    assert len({w[0] for w in batch.train}) == 8, "every training document has a window"


def test_a_loss_that_is_not_finite_names_the_setting(proxy):
    with pytest.raises(GripError, match=r"settings/adaptation.learning_rate"):
        adapt(proxy, batch_of(0), 0, 1e38, 4, 0.02, 0)


def test_a_reset_deeper_than_the_proxy_is_refused(proxy):
    with pytest.raises(GripError, match="reset_depth is 5; the proxy has 4 blocks"):
        adapt(proxy, batch_of(0), 5, 1e-3, 1, 0.02, 0)


@pytest.mark.parametrize("family", ["gpt2", "neox"])
def test_other_families_of_proxies_work(family):
    import transformers as t

    from grip_assets.models.proxy import Proxy

    if family == "gpt2":
        model = t.GPT2LMHeadModel(t.GPT2Config(vocab_size=400, n_embd=32, n_layer=3, n_head=2, n_positions=64))
    else:
        model = t.GPTNeoXForCausalLM(
            t.GPTNeoXConfig(
                vocab_size=400,
                hidden_size=32,
                num_hidden_layers=3,
                num_attention_heads=2,
                intermediate_size=64,
            )
        )
    proxy = Proxy(None, model.eval())
    for depth in (0, 2):
        curve = adapt(proxy, batch_of(0), depth, 1e-2, 5, 0.02, 0)
        assert curve.train[-1] < curve.train[0]
