"""The section of the report about the evaluation, on planted tables: who is on the front, who wins where."""

import polars as pl

from grip_assets.report.page.evaluation import front, gains, marks_with_names, wins
from grip_assets.report.terminal import recommended


def ladder() -> pl.DataFrame:
    """random has 3.0 on both sets. Its rows have no difference to itself."""
    rows = [("held_out", "random", 3.0, None, 0.0, 5), ("python", "random", 2.0, None, 0.0, 5)]
    rows += [("held_out", "grip", 2.94, -0.06, 1500.0, 5), ("python", "grip", 2.02, 0.02, 1500.0, 5)]
    rows += [("held_out", "cheap", 2.97, -0.03, 60.0, 3), ("python", "cheap", 1.9, -0.1, 60.0, 3)]
    rows += [("held_out", "dear", 2.98, -0.02, 9000.0, 5), ("python", "dear", 2.0, 0.0, 9000.0, 5)]
    schema = ["set", "strategy", "bits_per_byte", "to_random", "seconds", "seeds"]
    found = pl.DataFrame(rows, schema, orient="row")
    half = pl.when(pl.col("strategy") == "dear").then(0.05).otherwise(0.01)
    return found.with_columns(to_random_low=pl.col("to_random") - half, to_random_high=pl.col("to_random") + half)


def test_a_gain_is_a_share_of_the_loss_of_random_with_its_interval_turned():
    row = gains(ladder()).filter(set="held_out", strategy="grip").row(0, named=True)
    assert (round(row["gain"], 4), round(row["low"], 4), round(row["high"], 4)) == (0.02, 0.0167, 0.0233)


def test_the_front_has_who_gains_most_for_the_cost():
    assert front(gains(ladder()).filter(set="held_out"))["strategy"].to_list() == ["cheap", "grip"]
    assert front(gains(ladder()).filter(set="python"))["strategy"].to_list() == ["cheap"], "random is at no cost"


def test_who_wins_where_marks_what_is_sure_and_fewer_seeds():
    rows = {row["strategy"]: row for row in wins(ladder(), ["held_out", "python"])}
    assert list(rows) == ["grip", "cheap (3 seeds)", "dear"]
    assert (rows["grip"]["held_out"], rows["grip"]["python"]) == ("+2.0%*", "−1.0%*")
    assert rows["dear"]["held_out"] == "+0.7%", "0 is in its interval"


def test_the_terminal_says_the_sentence_that_decides_first_and_the_price_elsewhere():
    found = pl.DataFrame(
        {
            "set": ["held_out", "python"],
            "decides": [True, False],
            "strategy": ["grip", "cheap"],
            "words": ["On this pool, use profile grip.", "On this pool, use profile cheap."],
        }
    )
    assert recommended.sentences(found)[0] == "On this pool, use profile grip."
    lines = recommended.winners(ladder(), found)
    assert lines[2].split() == ["grip", "−2.0%*", "+1.0%*"] and lines[3].split() == ["cheap", "−1.0%*", "−5.0%*"]
    assert recommended.winners(ladder(), found.head(1)) == [], "one set has no elsewhere"


def test_marks_in_one_place_share_a_name_and_neighbours_have_theirs_on_different_sides():
    rows = pl.DataFrame({"strategy": ["a", "b", "c", "d"], "x": [1.0, 2.0, 1.0, 1.5], "y": [0.1, 0.2, 0.1, 0.1]})
    marks = marks_with_names(rows, "x", "y", {"a", "b", "c", "d"})
    assert marks["text"] == ["a, c", "b", "", "d"] and marks["hovertext"] == ["a", "b", "c", "d"]
    sides = marks["textposition"]
    assert sides[0] == sides[2] and len(set(sides)) == 3
    assert marks_with_names(rows, "x", "y", {"c"})["text"] == ["c", "", "", ""], "the others are named when pointed at"
