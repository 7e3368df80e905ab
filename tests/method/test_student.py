"""n-grams of texts, and the classifier that learns from them."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from grip_assets.method.ngrams import grams
from grip_assets.method.student import fit, macro_f1, probabilities

WORDS = ["matrix row column", "request session await", "parse line field", "table index key"]


def texts(n, seed=0, classes=4):
    """Texts of ``classes`` topics, which share most of their words; and the topics."""
    rng = np.random.default_rng(seed)
    topic_N = np.arange(n) % classes
    filler = [f"word{i}" for i in range(50)]
    some = [" ".join([*rng.choice(filler, 30), *rng.choice(WORDS[topic].split(), 6)]) for topic in topic_N]
    return some, topic_N


def buckets(text):
    return set(grams([text]).bucket_J.tolist())


def test_words_end_where_names_of_code_do():
    assert buckets("readHTTPHeader_field") == buckets("read httpheader FIELD")
    assert buckets("utf8") == buckets("utf 8") and buckets("ab ba") != buckets("ba ab"), "pairs have an order"
    assert buckets("漢字") == buckets("漢 字") and len(buckets("漢字")) == 3
    assert not buckets("") and not buckets(" ,;!") and len(buckets("über")) == 1


def test_counts_are_of_the_whole_text_and_no_text_changes_another():
    one = grams(["a b a", "c"])
    assert len(one) == 2 and one.count_J[: one.start_N[1]].sum() == 5, "three words and two pairs"
    other = grams(["c"])
    assert one.bucket_J[one.start_N[1] :].tolist() == other.bucket_J.tolist()


@pytest.mark.parametrize("classes", [2, 4])
def test_planted_topics_are_told_apart(classes):
    some, topic_N = texts(200, classes=classes)
    learned = fit(grams(some), topic_N, np.full(classes, 1 / classes))
    others, wanted_N = texts(100, seed=1, classes=classes)
    share_NC = probabilities(learned, grams(others))
    assert np.abs(share_NC.sum(1) - 1).max() < 1e-5
    assert (share_NC.argmax(1) == wanted_N).mean() > 0.97


def test_a_text_without_known_words_has_the_teachers_shares():
    some, topic_N = texts(200)
    prior_C = np.array([0.7, 0.1, 0.1, 0.1])
    plain, corrected = (fit(grams(some), topic_N, prior_C, correct) for correct in (False, True))
    shift_C = probabilities(corrected, grams(["zzz"]))[0] / probabilities(plain, grams(["zzz"]))[0]
    assert np.allclose(shift_C / shift_C[0], prior_C / prior_C[0], rtol=1e-4)
    assert np.allclose(plain.weight_FC, corrected.weight_FC)


def test_one_class_and_texts_without_a_common_word_are_labelled():
    alone = fit(grams(["a b", "c d"]), np.zeros(2, int), np.ones(1))
    assert probabilities(alone, grams(["a", ""])).tolist() == [[1.0], [1.0]]
    nothing = fit(grams(["", ""]), np.array([0, 1]), np.array([0.9, 0.1]))
    assert np.allclose(probabilities(nothing, grams(["a"])), [[0.9, 0.1]])


def test_neither_threads_nor_blocks_change_a_bit():
    some, topic_N = texts(120)
    prior_C = np.full(4, 0.25)
    with threadpool_limits(2):
        one = fit(grams(some), topic_N, prior_C)
    with threadpool_limits(1):
        other = fit(grams(some), topic_N, prior_C)
    assert one.name == other.name
    whole = probabilities(one, grams(some))
    parts = np.concatenate([probabilities(one, grams(some[i : i + 7])) for i in range(0, 120, 7)])
    assert whole.tobytes() == parts.tobytes()


def test_small_classes_count_as_much_as_large_ones_in_macro_f1():
    right = np.array([0] * 8 + [1] * 2)
    assert macro_f1(right, right) == 1
    assert macro_f1(right, np.zeros(10, int)) == pytest.approx((16 / 18 + 0) / 2)
