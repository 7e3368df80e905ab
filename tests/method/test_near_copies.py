"""Near copies in numbers: shingles, signatures, the S-curve of the bands, and who stands for whom."""

import itertools
import re

import numpy as np
import pytest

from grip_assets.method.banding import Bands, choose_bands
from grip_assets.method.near_copies import buckets, stand
from grip_assets.method.shingles import jaccard, shingles, shingling, signatures

P = 120
SLOTS = [3745468882, 3375751035, 3384691092, 3305268626]  # of the sentence below


def cut(*texts: str, unit: str = "words", size: int = 5) -> list[np.ndarray]:
    """The set of shingles of each text."""
    data = [text.encode() for text in texts]
    start = np.cumsum([0, *map(len, data)]).astype(np.int64)
    found, end = shingles(np.frombuffer(b"".join(data), np.uint8), start, shingling(unit, size, 0))
    return [np.unique(found[a:b]) for a, b in itertools.pairwise(end)]


def signed(sets: list[np.ndarray], seed: int = 0) -> np.ndarray:
    return signatures(np.concatenate(sets), np.cumsum([0, *map(len, sets)]), P, seed)


def planted_pairs(similarity: float, n: int, size: int = 240) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pairs of random sets with this Jaccard similarity, to the nearest possible."""
    rng = np.random.default_rng(round(1000 * similarity))
    common = round(size * 2 * similarity / (1 + similarity))
    drawn = rng.integers(0, 1 << 63, (n, 2 * size - common), dtype=np.uint64)
    return [row[:size] for row in drawn], [row[-size:] for row in drawn]


def test_white_space_punctuation_and_case_make_no_difference_between_words():
    one, other = cut("The quick, brown fox\njumps over it.", "the  QUICK brown\t fox jumps   over (it)!")
    assert len(one) == 3 and np.array_equal(one, other)
    assert jaccard(*cut("a b c d e f", "a b c d e g")) == pytest.approx(1 / 3)


def test_the_similarity_is_that_of_sets_of_words():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["ab", "cd", "éf", "g1", "h_"], 60)) for _ in range(6)]
    plain = []
    for text in texts:
        words = re.findall(r"\w+", text)
        plain.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    found = cut(*texts, size=3)
    for a, b in itertools.combinations(range(6), 2):
        assert jaccard(found[a], found[b]) == len(plain[a] & plain[b]) / len(plain[a] | plain[b])


@pytest.mark.parametrize(
    ("text", "unit", "size", "n"),
    [
        ("one two three", "words", 5, 1),  # shorter than a shingle: one of all its words
        ("", "words", 5, 0),
        ("?! \n --", "words", 5, 0),
        ("汉字假名交", "words", 2, 4),  # each character is a word
        ("ab汉cd", "words", 1, 3),
        ("  a \n b  ", "characters", 2, 2),  # "a b"
        (" \n ", "characters", 3, 0),
        ("naïve", "characters", 5, 1),
    ],
)
def test_texts_at_the_edges(text, unit, size, n):
    assert len(cut(text, unit=unit, size=size)[0]) == n


def test_broken_utf8_is_read_to_its_end():
    data = np.frombuffer(b"\xf0\x9f caf\xe9 \xff\xfe \xc3", np.uint8)
    found, end = shingles(data, np.array([0, len(data)]), shingling("words", 1, 0))
    assert len(found) == end[-1]


def test_a_signature_stays_the_same_for_the_same_text_and_seed():
    """Shards keep signatures. If this fails, raise SIGNATURES in stages/curation/near_duplicates.py."""
    (one,) = cut("the quick brown fox jumps over the lazy dog")
    assert [int(value) for value in signed([one])[0, :4]] == SLOTS
    assert np.array_equal(signed([one]), signed([np.concatenate([one[::-1], one])])), "order and repeats"
    assert not np.array_equal(signed([one]), signed([one], seed=1))


def test_the_share_of_equal_slots_estimates_the_similarity():
    for similarity in (0.5, 0.8, 0.95):
        one, other = planted_pairs(similarity, 300)
        true = np.mean([jaccard(np.sort(a), np.sort(b)) for a, b in zip(one, other, strict=True)])
        share = (signed(one) == signed(other)).mean(axis=1)
        deviation = np.sqrt(true * (1 - true) / P)
        assert abs(share.mean() - true) < 5 * deviation / np.sqrt(300)
        assert np.sqrt(np.mean((share - true) ** 2)) < 1.2 * deviation


@pytest.mark.parametrize("bands", [Bands(20, 6), Bands(12, 10), Bands(30, 4)])
def test_pairs_are_found_as_often_as_the_s_curve_says(bands):
    n = 400
    for similarity in (0.4, 0.6, 0.7, 0.8, 0.9):
        one, other = planted_pairs(similarity, n)
        found = (buckets(signed(one), bands) == buckets(signed(other), bands)).any(axis=1).mean()
        true = jaccard(np.sort(one[0]), np.sort(other[0]))
        expected = bands.found(true)
        assert abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / n) + 0.03, (
            similarity,
            found,
            expected,
        )


def test_bands_are_as_few_as_reach_the_recall():
    assert choose_bands(120, 0.8, 0.99) == Bands(20, 6) and Bands(20, 6).found(0.8) > 0.99 > Bands(15, 8).found(0.8)
    assert choose_bands(120, 0.9, 0.99) == Bands(12, 10)
    assert choose_bands(7, 0.3, 0.99) == Bands(7, 1), "the most that the signature can give"
    assert choose_bands(120, 1.0, 0.99) == Bands(1, 120)


def standing(sets: list[np.ndarray], threshold: float, most: int = 100, always: tuple[int, ...] = ()) -> list[int]:
    """Who stands for each set, if all are in one bucket."""
    end = np.cumsum([0, *map(len, sets)])
    places = np.stack([end[:-1], end[1:]], axis=1)
    kept = np.isin(np.arange(len(sets)), always)
    rows = np.zeros(len(sets), np.int64), np.arange(len(sets) + 1)
    return stand(np.concatenate(sets), places, *rows, threshold, kept, most).by_C.tolist()


def run_of(start: int, stop: int) -> np.ndarray:
    return np.arange(start, stop, dtype=np.uint64)


def test_a_chain_does_not_pull_in_what_is_not_like_the_document_that_stands():
    """0 is like 1, and 1 like 2, but 0 is not like 2. So 2 stands for itself, and for 3, which is like it."""
    chain = [run_of(0, 100), run_of(10, 110), run_of(20, 120), run_of(30, 130)]
    assert [round(jaccard(chain[0], other), 2) for other in chain] == [1.0, 0.82, 0.67, 0.54]
    assert standing(chain, 0.8) == [0, 0, 2, 2]


def test_each_document_has_the_most_similar_of_those_that_stand():
    sets = [run_of(0, 100), run_of(12, 112), run_of(8, 108)]
    assert standing(sets, 0.8) == [0, 1, 1]


def test_documents_that_are_always_kept_stand_and_stand_for_others():
    sets = [run_of(0, 100), run_of(0, 100), run_of(1, 101)]
    assert standing(sets, 0.8, always=(0, 1)) == [0, 1, 0]


def test_a_large_bucket_is_compared_with_its_first_documents_only():
    strangers = [run_of(1000 * i, 1000 * i + 10) for i in range(5)]
    assert standing([*strangers, strangers[1], strangers[4]], 0.8, most=3) == [0, 1, 2, 3, 4, 1, 6]


def test_similarity_at_the_threshold_itself_counts():
    assert standing([run_of(0, 10), run_of(0, 8)], 0.8) == [0, 0]
    assert standing([run_of(0, 10), run_of(0, 7)], 0.8) == [0, 1]
    assert standing([run_of(0, 10), run_of(0, 10), run_of(0, 9)], 1.0) == [0, 0, 2]
