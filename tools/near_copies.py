"""Figures of docs/pools.md and docs/decisions.md about near copies.

``python -m tools.near_copies FOLDER`` signs the files of a folder with rensa and with datasketch. It prints their speed
and how far the estimated similarity of planted copies is from the true one. It draws docs/near-copies.png: how
often pairs of each similarity are found, as measured and by the formula.
"""

import re
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from grip_assets.method.banding import Bands
from grip_assets.method.near_copies import buckets
from grip_assets.method.shingles import jaccard, shingles, shingling, signatures
from grip_assets.store.artifacts import REPOSITORY

PERMUTATIONS, SIZE, SETTINGS = 120, 5, {"threshold 0.7": Bands(30, 4), "0.8": Bands(20, 6), "0.9": Bands(12, 10)}
CHANGED = (0.01, 0.02, 0.05, 0.1)  # shares of the words that a copy has changed
Sign = Callable[[list[str]], np.ndarray]
WORD = re.compile(r"\w+")


def sets(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    data = [text.encode(errors="replace") for text in texts]
    start = np.cumsum([0, *map(len, data)]).astype(np.int64)
    return shingles(np.frombuffer(b"".join(data), np.uint8), start, shingling("words", SIZE, 0))


def rensa(texts: list[str]) -> np.ndarray:
    return signatures(*sets(texts), PERMUTATIONS, 0)


def datasketch(texts: list[str]) -> np.ndarray:
    from datasketch import MinHash

    def sign(text: str) -> np.ndarray:
        words = WORD.findall(text.lower())
        made = MinHash(num_perm=PERMUTATIONS)
        made.update_batch([" ".join(words[i : i + SIZE]).encode() for i in range(max(len(words) - SIZE + 1, 1))])
        return made.hashvalues

    return np.array([sign(text) for text in texts])


def speed(sign: Sign, texts: list[str]) -> float:
    """Megabytes of text a second of processor time."""
    started = time.process_time()
    sign(texts)
    return sum(len(text.encode(errors="replace")) for text in texts) / 1e6 / (time.process_time() - started)


def copies(texts: list[str]) -> tuple[list[str], list[str]]:
    """Beginnings of documents, and copies of them in which words are changed."""
    rng, ones, others = np.random.default_rng(0), [], []
    for text in texts:
        words = WORD.findall(text.lower())[:400]
        for share in CHANGED if len(words) == 400 else ():
            ones.append(" ".join(words))
            others.append(" ".join(f"q{rng.integers(1 << 30)}" if rng.random() < share else word for word in words))
    return ones, others


def agreement(sign: Sign, ones: list[str], others: list[str]) -> tuple[float, float, float]:
    """Mean and root mean square of the error of the estimated similarity, and the error that theory expects."""
    found = [[np.unique(rows[a:b]) for a, b in pairwise(end)] for rows, end in (sets(ones), sets(others))]
    true = np.array([jaccard(a, b) for a, b in zip(*found, strict=True)])
    error = (sign(ones) == sign(others)).mean(axis=1) - true
    return error.mean(), np.sqrt((error**2).mean()), np.sqrt((true * (1 - true) / PERMUTATIONS).mean())


def measured(bands: Bands, similarity: float, n: int = 1000, size: int = 240) -> tuple[float, float]:
    """(true similarity, share of n planted pairs that the bands find)."""
    rng = np.random.default_rng(round(1000 * similarity))
    common = round(size * 2 * similarity / (1 + similarity))
    drawn = rng.integers(0, 1 << 63, (n, 2 * size - common), dtype=np.uint64)
    end = np.arange(n + 1) * size
    one, other = (signatures(np.ascontiguousarray(half).ravel(), end, PERMUTATIONS, 0)
                  for half in (drawn[:, :size], drawn[:, -size:]))  # fmt: skip
    return common / (2 * size - common), float((buckets(one, bands) == buckets(other, bands)).any(axis=1).mean())


def picture(file: Path) -> None:
    from matplotlib.figure import Figure  # only for this

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    line = np.linspace(0, 1, 200)
    for number, (name, bands) in enumerate(SETTINGS.items()):
        label = f"{name}: {bands.n} bands of {bands.rows}"
        axes.plot(line, [bands.found(s) for s in line], color=f"C{number}", label=label)
        found = [measured(bands, s) for s in np.arange(0.1, 1, 0.05)]
        axes.plot(*zip(*found, strict=True), "o", color=f"C{number}", markersize=4)
        print(f"{label}: largest distance to the formula {max(abs(f - bands.found(s)) for s, f in found):.3f}")
    axes.set(xlabel="Jaccard similarity of a pair", ylabel="share of the pairs that are compared")
    axes.legend(title="lines: the formula; points: measured")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    files = sorted(file for file in Path(sys.argv[1]).rglob("*") if file.is_file())
    every = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    rensa(every[:2])  # compiles
    pairs = copies(every)
    for sign, some in ((rensa, every), (datasketch, every[:100])):
        bias, error, expected = agreement(sign, *pairs if sign is rensa else (side[:400] for side in pairs))
        print(f"{sign.__name__}: {speed(sign, some):.2f} MB/s; error of {bias:+.4f} in the mean, {error:.4f} rms"
              f" (by theory {expected:.4f})")  # fmt: skip
    picture(REPOSITORY / "docs" / "near-copies.png")
