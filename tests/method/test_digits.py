"""Features of anything: the greedy selection on pictures of digits, judged by a classifier that is trained on them.

The target is held-out pictures of a few classes. What the additive score takes looks most like their mean, and some
classes look more like it than others. So the selection has none of a class, and the classifier cannot know it.
"""

import numpy as np
import pytest
from digits import images

from grip_assets.method.attribution import greedy, objective
from grip_assets.method.statistics import mean

TAKEN, SEEDS, ROUNDS = 40, 10, 8


def selected(data, classes, gamma):
    phi_NF = data.x_NP[data.pool].astype(np.float32)
    target_F = data.x_NP[data.of(data.aim, classes)].mean(axis=0)
    pool = greedy.Pool(lambda: [phi_NF], np.ones(len(phi_NF), np.int64))
    found = greedy.select(pool, TAKEN, objective.Aim(target_F[None], np.ones(1), gamma), ROUNDS)
    return data.pool[found.row_M]


@pytest.fixture(scope="module")
def accuracies():
    """Accuracy on the classes of the target: (seed) for greedy, additive and random selections, by classes."""
    found = {}
    for classes in ((1, 7, 9), (0, 1, 2, 3, 4), (3, 8)):
        every = [images(seed) for seed in range(SEEDS)]
        rows = {
            "greedy": [selected(data, classes, 1.0) for data in every],
            "additive": [selected(data, classes, 0.0) for data in every],
            "random": [data.pool[:TAKEN] for data in every],
        }
        found[classes] = {
            name: np.array([data.accuracy(taken, classes) for data, taken in zip(every, of_name, strict=True)])
            for name, of_name in rows.items()
        }
    return found


@pytest.mark.parametrize("other", ["additive", "random"])
def test_greedy_covers_classes_of_pictures_that_other_selections_miss(accuracies, other):
    gain = mean(accuracies[1, 7, 9]["greedy"] - accuracies[1, 7, 9][other])
    assert gain.low > 0.02, str(gain)


def test_where_classes_differ_much_the_additive_score_is_worse_than_a_random_selection(accuracies):
    found = accuracies[0, 1, 2, 3, 4]
    assert mean(found["additive"] - found["random"]).high < -0.1
    assert mean(found["greedy"] - found["additive"]).low > 0.1


def test_for_two_alike_classes_redundancy_is_a_smaller_matter(accuracies):
    """No verdict holds everywhere: here the gain over additive scores is small beside that over random pictures."""
    found = accuracies[3, 8]
    gain, over_random = (mean(found["greedy"] - found[other]) for other in ("additive", "random"))
    assert over_random.low > 0.05 and gain.value < over_random.value
