"""Documents are assigned by the words of clusters, and vectors are made of words alone."""

from collections import Counter

import numpy as np
import pytest

from grip_assets.method.by_words import difference, nearest_by_words
from grip_assets.method.lexical import document_vectors
from grip_assets.method.statistics import proportion

WORDS = [["parse", "field", "line"], ["matrix", "dot", "row"], ["request", "session", "timeout"], ["table", "cell"]]


def documents(n, words=WORDS, seed=0):
    """``n`` documents of each cluster: some of its words, and words that all share."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(words)), n)
    texts = [[*rng.choice(words[k], 6), *rng.choice(["self", "return", "row"], 5)] for k in labels]
    return [Counter(text) for text in texts], labels


def test_good_names_give_accuracy_near_one_and_shuffled_ones_chance():
    counts, labels = documents(100)
    assert np.mean(nearest_by_words(counts, WORDS) == labels) > 0.97
    apart = [["a", "b"], ["c"], ["d"], ["e"]]
    right = nearest_by_words(counts, apart) == labels
    estimate = proportion(right.sum(), len(right))
    assert estimate.low < 1 / 4 < estimate.high, "names that say nothing: all go to the first cluster"


def test_a_word_that_every_cluster_has_decides_nothing():
    counts, labels = documents(50)
    common = [[*words, "self", "return"] for words in WORDS]
    assert np.mean(nearest_by_words(counts, common) == labels) > 0.97


def test_a_cluster_without_words_gets_no_document_but_by_order():
    counts, labels = documents(20)
    found = nearest_by_words(counts, [WORDS[0], [], *WORDS[2:]])
    assert 1 not in found and (found[labels == 0] == 0).all()


def test_the_interval_of_a_difference_is_over_clusters():
    rng = np.random.default_rng(0)
    group_N = np.repeat(np.arange(30), 20)
    better, worse = rng.random(600) < 0.8, rng.random(600) < 0.5
    assert difference(better, worse, group_N).low > 0
    same = difference(rng.random(600) < 0.5, worse, group_N)
    assert same.low < 0 < same.high
    one_name = np.zeros(600, bool)
    one_name[:20] = True  # one cluster of thirty is all of the difference: 20 documents, and no proof
    assert difference(one_name, np.zeros(600, bool), group_N).low == 0
    assert not np.isfinite(difference(better[:60], worse[:60], group_N[:60]).low), "three clusters are too few"


def test_texts_of_the_same_words_are_near_and_others_are_not():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 15)
    texts = [" ".join(rng.choice([*WORDS[k], "self"], 30)) for k in labels]
    x_ND = document_vectors(texts)
    cosine = x_ND @ x_ND.T
    same = labels[:, None] == labels
    assert np.linalg.norm(x_ND, axis=1) == pytest.approx(np.ones(60))
    assert cosine[same].mean() > 0.8 > 0.2 > cosine[~same].mean()
    assert (document_vectors(texts) == x_ND).all()


def test_texts_without_spaces_are_compared_by_their_characters():
    texts = ["数据库索引查询", "数据库索引优化", "天气晴朗温暖", "天气晴朗寒冷", "数据库查询优化", "天气温暖寒冷"]
    x_ND = document_vectors(texts)
    assert x_ND[0] @ x_ND[1] > 0.5 > x_ND[0] @ x_ND[2]


@pytest.mark.parametrize("texts", [["", ""], ["a b c", "1 2 3"], ["one two", "three four"], ["same same"] * 5])
def test_texts_without_a_word_that_counts_have_vectors_too(texts):
    x_ND = document_vectors(texts)
    assert len(x_ND) == len(texts) and np.isfinite(x_ND).all()
