"""DSIR's importance weights (Xie et al. 2023, eq. 2 and 3), by its authors' package ``data-selection``.

Features are hashed counts of words and pairs of words, in 10,000 buckets. The target and the pool are each a bag of
features, and the log weight of an example is the sum over its features of log p_target - log p_pool. The paper's
examples are chunks of 128 words. For a longer document the sum would mostly reflect its length, so its weight here is
the mean over such chunks.

It makes two passes over the pool, each at about 1.4 MB of text per second and core. The package's own passes read files
and draw unseeded noise. Here its parts get texts from the store, on as many processes as there are workers, and the
draw is in method/selection/baselines.py.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from grip_assets.extras import missing, must_have
from grip_assets.runtime.threads import default_workers

WHAT = "The strategy 'dsir' of settings/evaluation.strategies"
try:
    import regex
except ImportError as error:
    raise missing("evaluation", WHAT, error) from None

Blocks = Callable[[], Iterable[list[str]]]
"""Each call starts a fresh pass over the texts of the pool, in blocks."""

SMOOTHING = 1e-8  # as in the package
CHUNK = 128 + 127  # words, and pairs of words, of an example
# Words as the package's default cuts them, NLTK's WordPunctTokenizer. NLTK's own has a limit of five seconds per text
# since version 3.10, which a long document on a busy machine may exceed, and it cannot be sent to another process.
WORDS = regex.compile(r"\w+|[^\w\s]+")


def package_version() -> str:
    """Version of the package; "" if it is not installed."""
    try:
        return importlib.metadata.version("data-selection")
    except importlib.metadata.PackageNotFoundError:
        return ""


def must_be_there() -> None:
    """GripError if the package is not installed."""
    must_have("evaluation", WHAT, "data_selection", "joblib")


def log_weights(
    blocks: Blocks, n_blocks: int, target: Iterable[str], folder: Path, done: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """(log weight, float64 (N,); whether the document passes the package's filter, 100 words or more, bool (N,)).

    ``folder``: for the package's cache, which stays empty. ``done`` is called with the number of documents of each
    block, in both passes.
    """
    from data_selection import HashedNgramDSIR  # an extra: see must_be_there

    model = HashedNgramDSIR([], [], str(folder), num_proc=1)
    model.tokenizer = WORDS.findall
    with _processes(max(min(default_workers(), n_blocks // 4), 1)) as each:
        pool_F: Any = 0
        for counts_F, n in each(_counts, model, blocks()):
            pool_F = pool_F + counts_F
            done(n)
        target_F, _ = _counts(model, list(target))
        model.target_probs, model.raw_probs = target_F / target_F.sum(), pool_F / pool_F.sum()
        model.log_diff = np.log(model.target_probs + SMOOTHING) - np.log(model.raw_probs + SMOOTHING)
        weight_N, long_N = [], []
        for weight_B, long_B in each(_weights, model, blocks()):
            weight_N.append(weight_B)
            long_N.append(long_B)
            done(len(weight_B))
    return np.concatenate(weight_N), np.concatenate(long_N)


def _counts(model: Any, texts: list[str]) -> tuple[np.ndarray, int]:
    return sum(map(model.featurizer, texts)), len(texts)


def _weights(model: Any, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    features = list(map(model.featurizer, texts))
    lengths_B = np.array([model.get_perexample_metadata({}, f) for f in features])
    weights_B = [model.importance_estimator(f) * min(CHUNK / max(f.sum(), 1), 1) for f in features]
    return np.array(weights_B), model.perexample_metadata_filter(lengths_B)


@contextmanager
def _processes(n: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yields ``each(function, model, blocks)``, which returns results in the order of the blocks.

    The work is pure Python, so threads would wait for each other. It runs in joblib's processes, which do not fork.
    """
    from joblib import Parallel, delayed  # an extra: see must_be_there
    from joblib.externals.loky import get_reusable_executor

    with Parallel(n_jobs=n, return_as="generator") as parallel:
        yield lambda function, model, blocks: parallel(delayed(function)(model, texts) for texts in blocks)
    if n > 1:
        get_reusable_executor().shutdown(wait=True)
