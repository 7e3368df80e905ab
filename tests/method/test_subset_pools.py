"""What is planted in the pools of subset_pools.py, and what scores from token counts alone make of them."""

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from subset_pools import FAITHFUL, GRAMMARS, LENGTH, PARTS, POOLS

from grip_assets.method.attribution import greedy, objective, unigram


def drawn(name, n=30):
    rows, texts = POOLS[name](random.Random(0), n)
    return np.array([row["part"] for row in rows]), [row["text"].split() for row in rows], [t.split() for t in texts]


def features(documents, texts):
    """Chi-squared features of the documents (N, V), the mean of the texts' (V,)."""
    number = {word: i for i, word in enumerate(sorted({word for document in documents for word in document}))}
    counts = [
        np.bincount([number[w] for w in d], minlength=len(number)) for d in (*documents, [w for t in texts for w in t])
    ]
    pool_V = unigram.distribution(np.array(counts[:-1]))
    every_NV = unigram.chi_squared(np.array(counts), pool_V)
    return every_NV[:-1], every_NV[-1]


@pytest.fixture(scope="module")
def by_gamma():
    """Parts of the documents that greedy selections take of the pool ``parts``, by gamma."""
    parts, documents, texts = drawn("parts")
    phi_NV, target_V = features(documents, texts)
    pool = greedy.Pool(lambda: [phi_NV], np.ones(len(phi_NV), np.int64))
    aims = {gamma: objective.Aim(target_V[None], np.ones(1), gamma) for gamma in (0.0, 1.0)}
    return {gamma: Counter(parts[greedy.select(pool, 50, aim, 8).row_M]) for gamma, aim in aims.items()}


def test_in_the_pool_of_grammars_no_count_of_words_tells_them_apart_and_every_pair_does():
    parts, documents, _ = drawn("order", 60)
    words, pairs = {}, {}
    for part in sorted(set(parts)):
        own = [document for document, of in zip(documents, parts, strict=True) if of == part]
        words[part] = Counter(word for document in own for word in document)
        pairs[part] = {pair for pair, n in Counter(p for d in own for p in pairwise(d)).items() if n > LENGTH}
    shares = np.array([[words[g][w] / words[g].total() for w in sorted(words[g])] for g in words])
    assert len(words) == GRAMMARS and np.abs(shares * 12 - 1).max() < 0.2
    assert all(len(found) == 12 for found in pairs.values()), FAITHFUL
    assert sum(len(pairs[a] & pairs[b]) for a in pairs for b in pairs if a < b) <= 12


def test_scores_of_single_documents_take_two_parts_of_six_and_the_greedy_selection_takes_all(by_gamma):
    of_target = {f"part {t}" for t in range(1, PARTS)} | {"part 0", "copies"}
    assert len(by_gamma[0.0]) <= 3
    covered = {part.replace("copies", "part 0") for part in by_gamma[1.0] if part in of_target}
    assert len(covered) == PARTS and by_gamma[1.0]["other"] <= 2


def test_on_the_line_both_scores_order_subsets_alike():
    """The share of the target's topic is all that matters, and both scores rise with it."""
    parts, documents, texts = drawn("line", 40)
    phi_NV, target_V = features(documents, texts)
    share = np.array([int(part.split()[1]) for part in parts])
    means = np.array([phi_NV[share == s].mean(axis=0) for s in range(11)])
    additive = means @ target_V
    assert (np.diff(additive) > 0).all()
    assert (np.diff(additive - (means**2).sum(axis=1) / 2) > 0).all()
