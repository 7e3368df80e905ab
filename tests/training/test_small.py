"""The small models of the evaluation: what they cost in bits, and that a training repeats itself."""

import math

import numpy as np
import pytest
import torch

from grip_assets.errors import GripError
from grip_assets.training import small
from grip_assets.training.recipe import Item, Shape, TrainingRecipe

TEXTS = [f"def f{i}(x):\n    return x * {i} + {i % 7}  # añb\n" * 3 for i in range(60)]
RECIPE = TrainingRecipe(tokens=3000, batch_tokens=128, learning_rate=3e-3, dtype="float32")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in every training. Two threads are many times slower for models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer():
    return small.learn_tokenizer(TEXTS, 400)


@pytest.fixture(scope="module")
def shape(tokenizer):
    return Shape(tokenizer.get_vocab_size(), hidden=32, layers=2, heads=2, context=32)


def trained(tokenizer, shape, seed=0, n=60):
    model = small.new_model(shape, seed)
    losses = small.train(model, [np.array(ids) for ids in small.encode(tokenizer, TEXTS[:n])], shape, RECIPE, seed)
    return model, losses


def test_every_text_comes_back_and_no_text_ends_a_document(tokenizer):
    texts = ["naïve 漢字 \t\r\n", f"a{small.END}b", "\x01\ufffe"]
    for text, ids in zip(texts, small.encode(tokenizer, texts), strict=True):
        assert tokenizer.decode(ids, skip_special_tokens=False) == text and 0 not in ids


def test_a_model_learns_and_the_same_seed_learns_the_same(tokenizer, shape):
    (model, losses), (again, same), (_, other) = (trained(tokenizer, shape, seed) for seed in (1, 1, 2))
    assert losses == same and losses != other
    assert losses[-1] < losses[0] - 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_loop_gives_the_bits_of_a_plain_one(tokenizer, shape):
    """Written out, without hooks, and with a look at the loss in each step."""
    documents = [np.array(ids) for ids in small.encode(tokenizer, TEXTS)]
    model, windows = small.new_model(shape, 5), small.pack(documents, shape.context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    order, losses, (steps, per_step) = small._order(len(windows), 5), [], small.pace(shape, RECIPE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * small.rate(step, steps)
        batch = torch.from_numpy(windows[[next(order) for _ in range(per_step)]])
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none").mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    other, found = trained(tokenizer, shape, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert found == [part.mean() for part in np.array_split(losses, 10)]


def test_a_training_of_the_evaluation_that_diverges_names_its_setting(tokenizer, shape):
    documents = [np.array(ids) for ids in small.encode(tokenizer, TEXTS)]
    recipe = TrainingRecipe(3000, 128, 1e12, "float32")
    with pytest.raises(GripError, match=r"settings/evaluation\.learning_rate"):
        small.train(small.new_model(shape, 0), documents, shape, recipe, 0)


def test_a_training_stops_soon_after_its_loss_is_not_finite(shape):
    batches = (small.Batch(np.ones((1, 9), np.int64)) for _ in range(1000))
    values = iter([1.0, 1.0, math.inf, *[1.0] * 1000])
    with pytest.raises(small.Diverged, match="from step 3 on"):
        small.loop(small.new_model(shape, 0), batches, RECIPE, 1000, lambda nats, *_: nats.mean() * 0 + next(values))
    assert 1000 - len(list(batches)) == small.LOOKED_AT


def test_the_first_weights_depend_on_the_seed_alone(shape):
    one = small.new_model(shape, 3)
    torch.rand(7)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), small.new_model(shape, 3).parameters(), strict=True))


def test_bits_are_those_of_a_slow_reading_token_by_token(tokenizer, shape):
    model, _ = trained(tokenizer, shape)
    model.double()
    long, prompt, end, short = small.encode(tokenizer, [TEXTS[3], TEXTS[5], "return x * 5", "x"])
    assert min(len(long), len(prompt)) > shape.context
    items = [Item([], long), Item(prompt, end), Item([], short)]
    found = small.bits(model, items, shape, RECIPE)
    for item, value in zip(items, found, strict=True):
        assert value == pytest.approx(slow_bits(model, item, shape.context), rel=1e-5)


def test_a_prompt_that_fits_is_read_whole(shape):
    model = small.new_model(shape, 0)
    rng = np.random.default_rng(0)
    prompt, text = (rng.integers(1, shape.vocabulary, n).tolist() for n in (shape.context - 6, 5))
    logits = model.eval()(input_ids=torch.tensor([[0, *prompt, *text]])).logits[0].log_softmax(-1)
    whole = -sum(logits[len(prompt) + i, token].item() for i, token in enumerate(text)) / math.log(2)
    recipe = TrainingRecipe(1, 1, 1e-3, "float32")
    assert small.bits(model, [Item(prompt, text)], shape, recipe)[0] == pytest.approx(whole, rel=1e-5)


def slow_bits(model, item, context):
    """One token at a time; windows begin half a context before the first token that is new to them."""
    joined, bits = [0, *item.prompt_L, *item.text_L], 0.0

    def begin(at):
        return max(min(at - context // 2, len(joined) - context - 1), 0)

    first = at = len(joined) - len(item.text_L)
    for i in range(first, len(joined)):
        if i > begin(at) + context:
            at = i
        logits = model.eval()(input_ids=torch.tensor([joined[begin(at) : i]])).logits[0, -1]
        bits -= torch.log_softmax(logits, 0)[joined[i]].item() / math.log(2)
    return bits


def test_windows_hold_every_token_once_as_a_target():
    documents = [np.arange(1, 12), np.arange(20, 26)]
    windows = small.pack(documents, 5)
    assert windows.tolist() == [[0, 1, 2, 3, 4, 5], [5, 6, 7, 8, 9, 10], [10, 11, 0, 20, 21, 22]]
    with pytest.raises(GripError, match=r"budget\.total"):
        small.pack([np.arange(3)], 50)


def test_heads_that_do_not_divide_the_width_are_refused(shape):
    with pytest.raises(GripError, match=r"evaluation\.heads"):
        small.new_model(Shape(400, 32, 1, 3, 32), 0)


def test_the_rate_warms_up_and_ends_at_a_tenth():
    rates = [small.rate(step, 100) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == 1 and rates[-1] == pytest.approx(0.1, abs=0.01)
    assert small.rate(0, 1) == 1


def test_a_program_passes_only_if_its_test_does():
    from grip_assets.sources.benchmarks import problems
    from grip_assets.training.solving import first_function, passes

    problem = problems("humaneval")[0]
    assert passes(problem, problem.solution)
    assert not passes(problem, "    return None\n")
    assert not passes(problem, "    while True: pass\n")
    assert not passes(problem, "    x = [0] * (1 << 28)\n" + problem.solution), "more memory than it may have"
    assert not passes(problem, "    while True: print('a' * 65536)\n"), "more output than a file may have"
    assert first_function("    return 1\n\ndef g():\n    pass") == "    return 1\n"


def test_what_a_model_writes_is_run_and_counted(tokenizer, shape, monkeypatch):
    from grip_assets.training import solving

    model, _ = trained(tokenizer, shape)
    problem = solving.problems("humaneval")[0]
    monkeypatch.setattr(solving, "problems", lambda name: [problem])
    monkeypatch.setattr(solving, "LONGEST", 8)
    items = ["held_out:a", f"humaneval:{problem.id}", "target:b"]
    assert solving.solved(model, tokenizer, "cpu", items).rows() == [(items[1], False)]
    monkeypatch.setattr(solving, "complete", lambda *given: small.encode(tokenizer, [problem.solution])[0])
    assert solving.solved(model, tokenizer, "cpu", items)["solved"].all()
    assert solving.solved(model, tokenizer, "cpu", ["held_out:a"]).is_empty()
