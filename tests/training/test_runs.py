"""Runs of the small model are named by what they train on."""

import polars as pl

from grip_assets.training.runs import Selected, run_on


def test_a_selection_in_another_order_is_the_same_run():
    """New clusters list the same random documents in another order: their model is not trained again."""
    rows = pl.DataFrame({"doc_id": ["a", "b", "c"], "repeats": [1, 2, 1]})
    keys = {run_on(Selected(file), some, 3).key for file, some in (("x", rows), ("y", rows.reverse()))}
    assert len(keys) == 1
    assert run_on(Selected("x"), rows, 4).key not in keys
    assert run_on(Selected("x"), rows.head(2), 3).key not in keys
