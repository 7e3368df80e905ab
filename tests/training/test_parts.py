"""A training in parts: what each part reads, and that four parts are one training, bit for bit."""

import numpy as np
import polars as pl

from grip_assets.training.closed_loop import PARTS, next_documents, part_of, steps_of, tokens_of
from grip_assets.training.recipe import Shape, TrainingRecipe, pace

SHAPE = Shape(vocabulary=300, hidden=32, layers=1, heads=1, context=16)
RECIPE = TrainingRecipe(tokens=640, batch_tokens=32, learning_rate=1e-3, dtype="float32")


def test_the_parts_have_all_steps_once():
    for steps in (1, 7, 20, 21):
        assert [s for number in range(PARTS) for s in steps_of(number, steps)] == list(range(steps))
    assert sum(tokens_of(number, SHAPE, RECIPE) for number in range(PARTS)) == 640


def test_a_part_reads_what_was_not_read_in_the_order_of_the_selection():
    order = pl.DataFrame({"doc_id": ["a", "b", "c", "d"], "n_tokens": [10, 10, 10, 10]})
    own = pl.Series([10, 10, 10, 10])
    assert next_documents(order, set(), 15, own) == (("a", "b"), False)
    assert next_documents(order, {"a", "b"}, 15, own) == (("c", "d"), False)
    assert next_documents(order, {"a", "b", "c"}, 15, own) == (("d", "a"), True), (
        "again only where nothing else is left"
    )


def test_a_part_is_named_by_all_that_was_read_before_it():
    one, other = part_of(0, 0, ("a",), None, None), part_of(0, 0, ("b",), None, None)
    assert part_of(0, 1, ("c",), one, b"x").key != part_of(0, 1, ("c",), other, b"x").key
    assert part_of(0, 1, ("c",), one, b"x").key == part_of(0, 1, ("c",), one, b"y").key
    assert part_of(1, 0, ("a",), None, None).key != one.key


def test_a_training_in_parts_is_the_training_bit_for_bit():
    """Weights, state of the optimizer and learning rate go over, so the same batches give the same model."""
    import io

    import torch

    from grip_assets.training.small import Batch, loop, new_model, optimizer_of, run_steps

    steps, per_step = pace(SHAPE, RECIPE)
    rng = np.random.default_rng(0)
    batches = [Batch(rng.integers(0, 300, (per_step, SHAPE.context + 1))) for _ in range(steps)]
    whole = new_model(SHAPE, 3)
    losses_T = loop(whole, batches, RECIPE, steps)
    state, found_T = None, torch.zeros(steps, dtype=torch.float64)
    for number in range(PARTS):
        model = new_model(SHAPE, 3)
        optimizer = optimizer_of(model, RECIPE)
        if state is not None:
            kept = torch.load(io.BytesIO(state), weights_only=True)
            model.load_state_dict(kept["model"])
            optimizer.load_state_dict(kept["optimizer"])
        some = steps_of(number, steps)
        run_steps(model, optimizer, batches[some.start : some.stop], RECIPE, steps, some, found_T)
        held = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, held)
        state = held.getvalue()
    assert np.array_equal(found_T.numpy(), losses_T)
    for one, other in zip(whole.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
