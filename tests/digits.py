"""scikit-learn's digits as a pool of images: 1,797 pictures of 8 x 8 pixels, each with a text stub for a document.

The features are the pixels. A target is the set of held-out images of some classes. A selection is judged by a
classifier that is trained on the selected images with their labels, which no selection sees.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from grip_assets.sources.documents import name_of

HELD_OUT = 600


class Images(NamedTuple):
    """``x_NP``: pixels from 0 to 1; ``y_N``: classes. Rows: ``pool``, ``aim`` (they shape a target), and ``measure``."""

    x_NP: np.ndarray
    y_N: np.ndarray
    pool: np.ndarray
    aim: np.ndarray
    measure: np.ndarray

    def of(self, rows: np.ndarray, classes: list[int]) -> np.ndarray:
        return rows[np.isin(self.y_N[rows], classes)]

    def accuracy(self, rows: np.ndarray, classes: list[int]) -> float:
        """Share of the measuring images of ``classes`` that the nearest selected image names right."""
        judge = KNeighborsClassifier(1).fit(self.x_NP[rows], self.y_N[rows])
        measured = self.of(self.measure, classes)
        return float(judge.score(self.x_NP[measured], self.y_N[measured]))


def images(seed: int) -> Images:
    """The images, of which other ones are held out under each seed."""
    x_NP, y_N = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x_NP))
    out = order[:HELD_OUT]
    return Images(x_NP / 16, y_N, order[HELD_OUT:], out[::2], out[1::2])


def text(row: int) -> str:
    return f"picture {row:04} of a digit\n"


def write(root: Path, data: Images, classes: list[int]) -> tuple[Path, Path, Path]:
    """Files of the pool, of a target set ``digits``, and of vectors: of documents by doc_id, of the target by name."""
    pool, target, vectors = (root / name for name in ("digits.jsonl", "target.jsonl", "vectors.parquet"))
    aimed = data.of(data.aim, classes)
    for file, rows in ((pool, data.pool), (target, aimed)):
        file.write_text("".join(json.dumps({"text": text(i), "row": str(i)}) + "\n" for i in rows))
    table = pl.DataFrame(
        {
            "doc_id": [name_of(text(i)) for i in data.pool] + [""] * len(aimed),
            "target": [None] * len(data.pool) + ["digits"] * len(aimed),
            "vector": data.x_NP[np.concatenate([data.pool, aimed])].astype(np.float32).tolist(),
        }
    )
    table.write_parquet(vectors)
    return pool, target, vectors
