"""A pool of three grammars, for tests of mixers: one is that of the target, one is noise, and one is known after a page.

The texts are drawn from a seed. The grammars share no words, so no grammar helps to predict another.

- ``target``: sentences with nested clauses whose verbs agree with their subjects. A small model gets better at them for
  as long as it reads them.
- ``noise``: digits with spaces between them, each drawn independently. After a few steps, a model knows all that there is
  to know: that all digits are equally likely. The loss then stays at the entropy, log2(10) bits for each digit.
- ``known``: one line, over and over. After a few steps, the loss is nearly 0, and it stays there.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

NOUNS = ["fox", "baker", "tower", "river", "clock", "poet", "wagon", "garden", "sailor", "lantern", "bishop", "violin"]
VERBS = ["follow", "carry", "paint", "guard", "admire", "visit", "repair", "borrow", "forget", "polish"]
ADJECTIVES = ["old", "quiet", "narrow", "golden", "clever", "broken", "distant", "heavy"]
PLACES = ["near", "behind", "under", "beyond"]
LINE = "NOTICE: this section is intentionally left blank; see page 7 of the manual.\n"

NATURAL = {"known": 0.45, "noise": 0.25, "target": 0.3}  # shares of bytes
BYTES = 700  # of a document


def subject(rng: random.Random, depth: int) -> tuple[str, str]:
    """A noun phrase, and the ending of a verb that agrees with it."""
    plural = rng.random() < 0.5
    noun = rng.choice(NOUNS) + ("s" if plural else "")
    words = ["those" if plural else "that", *rng.sample(ADJECTIVES, rng.choice([0, 0, 1, 2])), noun]
    if depth and rng.random() < 0.5:
        inner, ending = subject(rng, depth - 1)
        words += ["whom", inner, rng.choice(VERBS) + ending]
    elif rng.random() < 0.3:
        words += [rng.choice(PLACES), "the", rng.choice(NOUNS)]
    return " ".join(words), "" if plural else "s"


def sentence(rng: random.Random) -> str:
    one, ending = subject(rng, 2)
    other, _ = subject(rng, 1)
    return f"{one} {rng.choice(VERBS)}{ending} {other}.\n"


def target(rng: random.Random) -> str:
    return _filled(rng, sentence)


def noise(rng: random.Random) -> str:
    return _filled(rng, lambda rng: " ".join(rng.choices("0123456789", k=30)) + "\n")


def known(rng: random.Random) -> str:
    return f"# {rng.getrandbits(40):x}\n" + _filled(rng, lambda rng: LINE)


def _filled(rng: random.Random, line: Callable[[random.Random], str]) -> str:
    text = ""
    while len(text) < BYTES:
        text += line(rng)
    return text


GRAMMARS: dict[str, Callable[[random.Random], str]] = {"known": known, "noise": noise, "target": target}


def documents(n: int, seed: int = 0) -> list[dict[str, str]]:
    """About ``n`` rows (grammar, text), in a random order, with the shares ``NATURAL``."""
    rng = random.Random(seed)
    rows = [{"grammar": name, "text": GRAMMARS[name](rng)} for name in NATURAL for _ in range(round(n * NATURAL[name]))]
    rng.shuffle(rows)
    return rows


def write(root: Path, n: int = 900) -> tuple[Path, Path]:
    """Files of the pool and of the user's target set: other sentences of the target's grammar."""
    rng = random.Random(1)
    pool, aim = root / "grammars.jsonl", root / "target.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in documents(n)))
    aim.write_text("".join(json.dumps({"text": target(rng)}) + "\n" for _ in range(24)))
    return pool, aim
