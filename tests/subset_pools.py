"""Pools for tests of attribution, in which a good subset is known beforehand. Each has a set of texts to aim at.

- ``order``: four grammars over the same twelve words. In each grammar, every word has its own successor, and in every
  grammar all words are equally frequent. So no count of words tells the grammars apart, and only the order does.
- ``counts``: six topics over the same words, drawn independently, frequent in one and rare in another. There is nothing
  but counts to learn.
- ``parts``: the target needs six topics. Each document of the pool is about one of them, there are most about the
  first, and most of these are near copies of few texts. A score of single documents takes the first topic only.
- ``line``: each document is a mixture of two topics, and the target is the first. The share of that topic is all that
  matters. Redundancy does not matter, so nothing is to be gained by a quadratic term.

The words are of equal lengths and stand between spaces. A byte-level BPE makes one token of each.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

VOWELS, CONSONANTS = "aeiou", "bdfgklmnprstvz"
SYLLABLES = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
LENGTH = 60  # words of a document

Row = dict[str, str]


def words(n: int) -> list[str]:
    """``n`` words of four letters that have no syllable in common where that is possible."""
    return [SYLLABLES[i % 70] + SYLLABLES[(i * 3 + 11 + i // 70) % 70] for i in range(n)]


# Order and counts.

GRAMMARS, FAITHFUL = 4, 0.9  # share of the words that are the successor of the word before


def order(rng: random.Random, n: int) -> tuple[list[Row], list[str]]:
    """``n`` documents of each grammar, and texts of the first."""
    tokens = words(12)
    successor = [_cycle(tokens, grammar) for grammar in range(GRAMMARS)]
    rows = [_row(f"g{g}", _walk(rng, tokens, successor[g])) for g in range(GRAMMARS) for _ in range(n)]
    return rows, [_walk(rng, tokens, successor[0]) for _ in range(40)]


def _cycle(tokens: list[str], grammar: int) -> dict[str, str]:
    """One cycle through all words: its stationary distribution is uniform."""
    shuffled = random.Random(grammar).sample(tokens, len(tokens))
    return dict(zip(shuffled, shuffled[1:] + shuffled[:1], strict=True))


def _walk(rng: random.Random, tokens: list[str], successor: dict[str, str]) -> str:
    """A walk along the cycle that jumps to any word now and then, so all words are equally frequent."""
    walk = [rng.choice(tokens)]
    while len(walk) < LENGTH:
        walk.append(successor[walk[-1]] if rng.random() < FAITHFUL else rng.choice(tokens))
    return " ".join(walk)


def counts(rng: random.Random, n: int) -> tuple[list[Row], list[str]]:
    """``n`` documents of each of six topics, and texts of the first."""
    tokens = words(48)
    topics = [random.Random(t).sample(tokens, len(tokens)) for t in range(6)]
    rows = [_row(f"topic {t}", _ranked(rng, topics[t])) for t in range(6) for _ in range(n)]
    return rows, [_ranked(rng, topics[0]) for _ in range(40)]


def _ranked(rng: random.Random, topic: list[str]) -> str:
    """Words that are the rarer, the later they are in ``topic`` (Zipf's law)."""
    return " ".join(rng.choices(topic, [1 / (rank + 1) for rank in range(len(topic))], k=LENGTH))


# Parts and copies.

PARTS = 6


def parts(rng: random.Random, n: int) -> tuple[list[Row], list[str]]:
    """Near copies of four texts, ``n`` documents of each part and of each of three other topics, and texts of all parts
    of which twice as many are of the first."""
    topics = _topics(PARTS + 3, 12)
    copied = [_bag(rng, topics[0]) for _ in range(4)]
    rows = [_row("copies", _near(rng, rng.choice(copied), topics[0])) for _ in range(3 * n)]
    rows += [_row(f"part {t}", _bag(rng, topics[t])) for t in range(PARTS) for _ in range(n)]
    rows += [_row("other", _bag(rng, topics[t])) for t in range(PARTS, PARTS + 3) for _ in range(n)]
    share = [2.0] + [1.0] * (PARTS - 1)
    return rows, [_bag(rng, rng.choices(topics[:PARTS], share)[0]) for _ in range(80)]


def _near(rng: random.Random, text: str, topic: list[str]) -> str:
    """``text`` with two other words: no exact copy."""
    changed = text.split()
    for place in rng.sample(range(len(changed)), 2):
        changed[place] = rng.choice(topic)
    return " ".join(changed)


def line(rng: random.Random, n: int) -> tuple[list[Row], list[str]]:
    """6 ``n`` documents with shares of the first topic from 0 to 1, and texts of that topic."""
    topics = _topics(2, 12)
    rows = []
    for i in range(6 * n):
        share = (i % 11) / 10
        chosen = [rng.choice(topics[0] if rng.random() < share else topics[1]) for _ in range(LENGTH)]
        rows.append(_row(f"share {i % 11}", " ".join(chosen)))
    return rows, [_bag(rng, topics[0]) for _ in range(40)]


def _topics(n: int, size: int) -> list[list[str]]:
    every = words(n * size)
    return [every[t * size : (t + 1) * size] for t in range(n)]


def _bag(rng: random.Random, topic: list[str]) -> str:
    return " ".join(rng.choices(topic, k=LENGTH))


def _row(part: str, text: str) -> Row:
    return {"part": part, "text": text + "\n"}


POOLS: dict[str, Callable[[random.Random, int], tuple[list[Row], list[str]]]] = {
    "order": order,
    "counts": counts,
    "parts": parts,
    "line": line,
}


def write(root: Path, name: str, n: int = 40, seed: int = 0) -> tuple[Path, Path]:
    """Files of the pool, in a random order, and of the target set."""
    rng = random.Random(seed)
    rows, texts = POOLS[name](rng, n)
    rng.shuffle(rows)
    pool, target = root / f"{name}.jsonl", root / f"{name}-target.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    target.write_text("".join(json.dumps({"text": text + "\n"}) + "\n" for text in texts))
    return pool, target
