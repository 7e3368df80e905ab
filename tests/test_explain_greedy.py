"""What `grip explain` says of a document under a greedy selection."""

import pytest
from attributed import COPIES, TAKEN, Attributed, doc

from grip_assets.report.terminal import greedy
from grip_assets.store.catalog import connect

TURN = {
    "rank": None, "gain": -0.05, "covered": 0.1, "alignment": 0.2, "taken": 15, "end_gain": 0.01,
    "of_the_cluster": False, "source": "unigram",
}  # fmt: skip


def said(**changes) -> tuple[str, list[str]]:
    turn = TURN | changes
    return greedy.why(turn), greedy.lines(turn)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rank": 3, "gain": 0.1}, "it was number 3 of 15 that were taken, by what it adds to those before"),
        ({}, "what it has was covered by documents that were taken before, so others added more"),
        ({"alignment": -0.2, "covered": -0.1}, "its features point away from the targets"),
        ({"alignment": 0.005, "covered": 0.0, "gain": 0.005}, "it would add less than the documents that were taken"),
        ({"gain": 0.02}, "it did not fit into what was left of the budget when its turn came"),
        ({"end_gain": None}, "the budget of its cluster ended before its turn came"),
    ],
)
def test_the_reason_is_the_turn_what_was_covered_or_the_budget(changes, why):
    assert said(**changes)[0].startswith(why)


def test_by_cross_entropy_a_document_is_compared_with_an_average_one_of_the_pool():
    why, lines = said(source="cross_entropy", alignment=-0.2, covered=-0.15)
    assert why == "its tokens predict the targets no better than those of an average document of the pool"
    assert "by cross-entropy, against an average token of the pool, which has 0" in lines[-1] and "%" not in lines[1]
    assert len(said()[1]) == 2 and "(50% of it)" in said()[1][1], "other sources have no such line"


def test_the_turn_of_a_document_is_read_from_the_selection_in_force(tmp_path):
    with connect(Attributed().write(tmp_path / "greedy")) as connection:
        connection.execute("CREATE TEMP TABLE selection_thresholds AS SELECT NULL::INTEGER AS cluster_id")
        taken, covered = (greedy.of_document(connection, doc(i)) for i in (0, 1))
        assert (taken["rank"], taken["taken"], taken["source"]) == (1, TAKEN, "unigram")
        assert covered["rank"] is None and COPIES > 1 and greedy.why(covered).startswith("what it has was covered")
        assert greedy.of_document(connection, "unknown") is None and greedy.lines(None) == []
    with connect(Attributed(rule="draw").write(tmp_path / "draw")) as connection:
        assert greedy.of_document(connection, doc(0)) is None
