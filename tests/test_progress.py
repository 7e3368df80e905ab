"""The progress lines of long work: the time left is right, or it is not there."""

import pytest

from grip_assets.runtime import progress
from grip_assets.runtime.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines_of(clock, amounts, total, unit="tokens", every=5.0):
    """The lines of work that does ``amounts`` at these seconds after its start."""
    lines = []
    work = Progress("training", total, unit, lines.append, every)
    for at, amount in amounts:
        clock[0] = 1000.0 + at
        work.advance(amount)
    return lines


def test_what_is_loaded_before_the_first_step_does_not_count_as_slow_work(clock):
    """A step of 256 tokens comes after 20 s of imports, then 100 steps a second. 1,024,000 tokens take 40 s."""
    steps = [(20 + i / 100, 256) for i in range(2501)]
    lines = lines_of(clock, steps, 1_024_000)
    assert lines[0] == "training: 256 of 1,024,000 tokens (0%)", "nothing is known yet"
    assert not any("left" in line for line in lines[:4])
    assert lines[-1].endswith("25,600/s, 15 s left"), lines[-1]


def test_two_workers_that_end_together_are_not_taken_for_one_twice_as_fast(clock):
    """Each of two workers needs 60 s for a unit, and one ends a second after the other."""
    ends = [(t + 60 * i, 1) for i in range(1, 11) for t in (0, 1)]
    lines = lines_of(clock, ends, 40, "fits", 0.0)
    assert "left" not in lines[1]
    left = [line for line in lines if "left" in line]
    assert all(" min " in line for line in left), left
    assert left[-1].endswith("2.1/min, 9 min 29 s left"), left[-1]


def test_work_that_starts_at_once_has_a_time_left_in_its_first_line(clock):
    assert lines_of(clock, [(i / 10, 10) for i in range(1, 60)], 1000)[0].endswith("(50%), 100/s, 5 s left")


def test_that_everything_is_opened_is_no_work(clock):
    """Executors report 0 when the models are opened."""
    lines = lines_of(clock, [(0, 0), (30, 100), (35, 0), (61, 100)], 1000)
    assert ["left" in line for line in lines] == [False, False, True]


def test_all_that_is_done_has_no_time_left(clock):
    assert lines_of(clock, [(1, 5), (6, 5)], 10)[0].endswith("1/s, 0 s left")


@pytest.mark.parametrize(("seconds", "said"), [(7.4, "7 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_read_as_people_say_them(seconds, said):
    assert duration(seconds) == said
