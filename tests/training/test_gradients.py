"""Features of documents at a model, against slow ones: one document at a time, plain autograd, float64."""

import copy
import json

import dattri_scores
import numpy as np
import pytest
import torch
import transformers

from grip_assets.errors import GripError
from grip_assets.method.agreement import rank_correlation
from grip_assets.method.attribution import surrogate
from grip_assets.method.attribution.sketching import SKETCHES
from grip_assets.training.gradients import Collector, Passage, adam_scales, features, second_moments, width
from grip_assets.training.projecting import Factors, projection_of
from grip_assets.training.recipe import Item, Shape
from grip_assets.training.small import new_model

CONTEXT, VOCABULARY, DIM = 16, 48, 32
torch.set_num_threads(1)
LENGTHS = (1, 5, 16, 17, 40, 3, 90, 16)


def llama(seed=0, scale=10):
    """Untrained weights times ``scale``: near zero, gradients would hardly differ."""
    model = new_model(Shape(VOCABULARY, 16, 2, 2, CONTEXT), seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale if weight.dim() > 1 else 1)
    return model


def gpt2():
    torch.manual_seed(0)
    size = {"vocab_size": VOCABULARY, "n_positions": 2 * CONTEXT, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = transformers.GPT2Config(**size, tie_word_embeddings=False)
    return transformers.GPT2LMHeadModel(config).eval()


def passages(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [Passage(f"document {i}", Item([], rng.integers(1, VOCABULARY, n).tolist())) for i, n in enumerate(lengths)]


def made(model, source, documents, context=CONTEXT, projection=None, **options):
    with Collector(model, source) as collector:
        return features(collector, documents, context, 0, projection, **options)


# ------------------------------------------------------------------------------------------------------- the slow ones


def slow_windows(item, context):
    """(tokens, predicted) of each window: the last one ends with the text, and is as long as the others."""
    joined = [0, *item.prompt_L, *item.text_L]
    ends = [min(end, len(joined)) for end in range(context + 1, len(joined) + context, context)]
    done = 1
    for end in ends:
        yield joined[max(end - context - 1, 0) : end], end - done
        done = end


def slow_loss(model, item, context):
    """Nats per predicted token. ``model``: float64."""
    total = 0
    for tokens, predicted in slow_windows(item, context):
        ids = torch.tensor([tokens])
        logits = model(input_ids=ids[:, :-1]).logits[0]
        nats = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        total = total + nats[len(nats) - predicted :].sum()
    return total / len(item.text_L)


def slow_gradient(model, item, context=CONTEXT, only=lambda name: True):
    """Name to gradient, float64, by autograd through the whole model."""
    model = copy.deepcopy(model).double().eval()
    chosen = {name: weight for name, weight in model.named_parameters() if only(name)}
    found = torch.autograd.grad(slow_loss(model, item, context), list(chosen.values()))
    return {name: gradient.numpy().ravel() for name, gradient in zip(chosen, found, strict=True)}


def untied(model):
    """The same model, whose head is a matrix of its own."""
    model = copy.deepcopy(model)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return model


def whole(parts):
    return np.concatenate(list(parts.values()))


def near(found, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5 * max(np.abs(expected).max(), 1e-12))


OF_BLOCKS = {"full": lambda name: True, "blocks": lambda name: ".layers." in name or ".h." in name}


# ------------------------------------------------------------------------------------------------------------ promises


@pytest.mark.parametrize("build", [llama, gpt2])
@pytest.mark.parametrize("source", ["full", "blocks"])
def test_gradients_of_documents_are_those_of_autograd(build, source):
    model = build()
    for passage, feature in zip(passages(), made(model, source, passages()), strict=True):
        slow = whole(slow_gradient(model, passage.item, only=OF_BLOCKS[source]))
        near(feature.sketch_K, slow)
        assert feature.norm == pytest.approx(np.linalg.norm(slow), rel=1e-4)
        assert feature.n_tokens == len(passage.item.text_L)


@pytest.mark.parametrize("build", [llama, gpt2])
def test_the_head_is_taken_by_a_forward_pass_as_if_it_were_not_tied(build):
    model = build()
    alone = untied(model)
    for passage, feature in zip(passages(), made(model, "head", passages()), strict=True):
        near(feature.sketch_K, whole(slow_gradient(alone, passage.item, only=lambda name: "lm_head" in name)))


def test_a_tied_head_in_full_has_the_gradients_of_both_of_its_uses():
    model = llama()
    (feature,) = made(model, "full", passages((20,)))
    apart = slow_gradient(untied(model), passages((20,))[0].item)
    both = apart["model.embed_tokens.weight"] + apart["lm_head.weight"]
    near(feature.sketch_K[: len(both)], both)


def test_factored_gradients_are_random_products_of_the_layers_gradients():
    model, factors = llama(), Factors(4, seed=3)
    for passage, feature in zip(passages(), made(model, "factored", passages(), factors=factors), strict=True):
        expected = np.zeros((4, 4))
        for name, gradient in slow_gradient(model, passage.item, only=lambda name: "proj" in name).items():
            layer = name.removesuffix(".weight")
            weight = model.get_submodule(layer).weight
            p_in = factors.factor(f"{layer}.in", weight.shape[1], torch.device("cpu")).double().numpy()
            p_out = factors.factor(f"{layer}.out", weight.shape[0], torch.device("cpu")).double().numpy()
            expected += p_out.T @ gradient.reshape(weight.shape) @ p_in
        near(feature.sketch_K, expected.ravel())


def test_hidden_is_the_mean_state_that_enters_the_head():
    model = llama()
    slow = copy.deepcopy(model).double()
    for passage, feature in zip(passages(), made(model, "hidden", passages()), strict=True):
        states = []
        for tokens, predicted in slow_windows(passage.item, CONTEXT):
            last = slow.model(input_ids=torch.tensor([tokens[:-1]])).last_hidden_state[0]
            states.append(last[len(last) - predicted :])
        near(feature.sketch_K, torch.cat(states).mean(0).detach().numpy())


@pytest.mark.parametrize("kind", ["countsketch", "sjlt", "rademacher"])
def test_projected_gradients_are_the_sketches_of_the_exact_ones(kind):
    model = llama()
    documents = passages((3, 40, 16, 80))
    found = made(model, "full", documents, projection=projection_of(kind, 10_000, DIM, seed=5))
    for passage, feature in zip(documents, found, strict=True):
        parts = slow_gradient(model, passage.item)
        expected = sum(
            SKETCHES[kind](len(values), DIM, 5, name).apply(values[None])[0] for name, values in parts.items()
        )
        near(feature.sketch_K, expected)
        assert feature.norm == pytest.approx(np.linalg.norm(whole(parts)), rel=1e-4)


def test_a_document_has_the_same_bits_whatever_it_is_batched_with():
    model, documents = llama(), passages(seed=1)
    others = passages((700, 2, 30, 16, 16, 9, 120), seed=2)
    for source, kind in [("full", "countsketch"), ("head", "rademacher"), ("factored", None), ("hidden", None)]:
        how = {"projection": kind and projection_of(kind, 10_000, DIM, 0), "factors": None}
        if source == "factored":
            how["factors"] = Factors(4, 0)
        together = made(model, source, [*others, *documents], **how)[len(others) :]
        for alone, shared in zip((made(model, source, [d], **how)[0] for d in documents), together, strict=True):
            assert np.array_equal(alone.sketch_K, shared.sketch_K), source
            assert alone.norm == shared.norm


def test_only_the_text_of_an_item_counts_and_its_prompt_is_read():
    model, rng = llama(), np.random.default_rng(4)
    item = Item(rng.integers(1, VOCABULARY, 7).tolist(), rng.integers(1, VOCABULARY, 6).tolist())
    (feature,) = made(model, "full", [Passage("item", item)])
    slow = copy.deepcopy(model).double()
    ids = torch.tensor([[0, *item.prompt_L, *item.text_L]])
    nats = torch.nn.functional.cross_entropy(slow(input_ids=ids[:, :-1]).logits[0], ids[0, 1:], reduction="none")
    gradient = torch.autograd.grad(nats[7:].mean(), list(slow.parameters()))
    near(feature.sketch_K, torch.cat([part.flatten() for part in gradient]).numpy())


def test_a_gradient_that_is_not_finite_names_its_document():
    model = llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("nan")
    bad = Passage("document with 7", Item([], [3, 7, 4]))
    with pytest.raises(GripError, match="The gradient of document with 7 is not finite"):
        made(untied_head_of_zeros(model), "blocks", [Passage("fine", Item([], [3, 4, 5])), bad])


def untied_head_of_zeros(model):
    """With a finite head, a document without the broken token has finite gradients."""
    model = untied(model)
    with torch.no_grad():
        model.lm_head.weight[7] = 0
    return model


def test_the_model_is_left_as_it_was():
    model = llama()
    before = [weight.clone() for weight in model.parameters()]
    made(model, "full", passages((5, 60)))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_16_bit_model_warns_and_is_read_in_float32():
    model = llama().to(torch.bfloat16)
    with pytest.warns(UserWarning, match="16-bit"):
        (feature,) = made(model, "full", passages((9,)))
    near(feature.sketch_K, whole(slow_gradient(model.float(), passages((9,))[0].item)))


def test_a_layer_that_mixes_documents_is_refused():
    class Other(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, states):
            return self.inner(states.flatten(0, 1)).view(*states.shape[:-1], -1)

    model = llama()
    mlp = model.model.layers[0].mlp
    mlp.down_proj = Other(mlp.down_proj)
    with pytest.raises(GripError, match="down_proj"):
        made(model, "full", passages((5,)))


def test_adams_scales_divide_by_the_root_of_the_second_moments():
    model, documents = llama(), passages((4, 30, 12))
    with Collector(model, "blocks") as collector:
        moments = second_moments(collector, documents, CONTEXT, 0)
        scales = adam_scales(moments)
        scaled = features(
            collector, documents, CONTEXT, 0, scales={name: torch.from_numpy(values) for name, values in scales.items()}
        )
        plain = features(collector, documents, CONTEXT, 0)
        assert width(collector) == len(plain[0].sketch_K)
    slow = [whole(slow_gradient(model, d.item, only=OF_BLOCKS["blocks"])) for d in documents]
    root = np.sqrt(np.mean(np.square(slow), axis=0))
    for feature, gradient in zip(scaled, slow, strict=True):
        near(feature.sketch_K, gradient / np.sqrt(root + 0.1 * root.mean()))


def test_additive_scores_agree_with_those_of_dattri():
    """dattri's GradDot of the same model and texts; dattri_scores.py made the file."""
    theirs_NI = np.array(json.loads(dattri_scores.FILE.read_text())["scores"])
    documents, items = (
        [Passage(f"{i}", Item([], row[1:].tolist())) for i, row in enumerate(rows)] for rows in dattri_scores.tokens()
    )
    model, length = dattri_scores.tiny_model(), dattri_scores.LENGTH
    document_NP, item_IP = (
        np.stack([f.sketch_K for f in made(model, "full", some, length)]) for some in (documents, items)
    )
    ours_IN = surrogate.utility(item_IP, document_NP, gamma=0, s_T=np.ones(len(items)))
    np.testing.assert_allclose(ours_IN.T, theirs_NI, rtol=1e-3, atol=1e-3 * np.abs(theirs_NI).max())
    for ours_N, theirs_N in zip(ours_IN, theirs_NI.T, strict=True):
        assert rank_correlation(ours_N, theirs_N) > 0.99
