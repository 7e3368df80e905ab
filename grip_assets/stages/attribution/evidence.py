"""What the other scores of a subset may use (method/attribution/baselines.py): sketches, vectors and token counts.

Only documents of some trial are read, so memory depends on the trials and not on the pool.
Shapes: U documents that some trial has, S subsets, T targets, F numbers of a sketch, V tokens of the vocabulary.
"""

import importlib.metadata
import importlib.util
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from grip_assets.engine.stage import Work
from grip_assets.method.attribution import baselines, unigram
from grip_assets.method.attribution.baselines import BASELINES, Evidence
from grip_assets.method.attribution.choice import GRADIENTS
from grip_assets.settings import Attribution
from grip_assets.stages.attribution.attribution_targets import usable
from grip_assets.stages.attribution.measured import Trials
from grip_assets.stages.attribution.scores import Sketches
from grip_assets.store.tables import texts
from grip_assets.training.runs import tokenizer_in

TEXTS_AT_ONCE = 512
EMBEDDING = "embedding"


@dataclass(frozen=True)
class Scored:
    """What a baseline predicts, (T, S), and the seconds that it took, with those of what it reads. ``source``: of the
    sketches that it reads; "" for none."""

    name: str
    predicted_TS: np.ndarray
    seconds: float
    source: str


def scored(work: Work, sketches: Sketches, calibration: Trials, check: Trials) -> Iterator[Scored]:
    """Each baseline that is possible, on the ``check`` subsets. ``calibration``: the subsets that a baseline may learn
    from."""
    source = gradient_source(Attribution.of(work.settings).sources)
    evidence, seconds = _evidence(work, sketches, calibration, check, source)
    for name in baselines.possible(evidence):
        started, needs = time.monotonic(), BASELINES[name].needs
        predicted_TS = BASELINES[name].score(evidence)
        took = time.monotonic() - started + sum(seconds.get(need, 0.0) for need in needs)
        reads = source if "phi_NF" in needs else EMBEDDING if "embedding_ND" in needs else ""
        yield Scored(name, predicted_TS, took, reads)


def gradient_source(sources: Sequence[str]) -> str:
    """The gradients that the baselines read, the fullest that were sketched; "" if none were."""
    return next((source for source in GRADIENTS if source in sources), "")


def _evidence(
    work: Work, sketches: Sketches, calibration: Trials, check: Trials, gradients: str
) -> tuple[Evidence, dict[str, float]]:
    """The evidence, and the seconds that its fields took by the name of the field."""
    every = [*calibration.members, *check.members]
    rows_U = np.unique(np.concatenate([np.zeros(0, np.int64), *every]))
    ids_U = sketches.documents["doc_id"].gather(rows_U)
    settings = Attribution.of(work.settings)
    found = Evidence(
        [np.searchsorted(rows_U, rows) for rows in check.members],
        check.ids,
        check.tokens_N[rows_U],
        len(sketches.targets),
        calibration_members=[np.searchsorted(rows_U, rows) for rows in calibration.members] or None,
        calibration_utility_TS=calibration.utility_TS if calibration.members else None,
        seed=settings.seed,
    )
    seconds: dict[str, float] = {}
    aims = _aims(work, sketches.targets)
    for part in (
        lambda: _of_source(sketches, gradients, rows_U, "phi_NF", "target_TF"),
        lambda: _of_source(
            sketches, EMBEDDING if EMBEDDING in settings.sources else "", rows_U, "embedding_ND", "target_embedding_TD"
        ),
        lambda: _counts(work, aims, ids_U),
        lambda: _dsir(work, aims, ids_U),
    ):
        started = time.monotonic()
        values = part()
        found = replace(found, **values)
        seconds |= dict.fromkeys(list(values)[:1], time.monotonic() - started)
    assert seconds.keys() <= {field.name for field in fields(Evidence)}
    return found, seconds


def _of_source(sketches: Sketches, source: str, rows_U: np.ndarray, documents: str, targets: str) -> dict[str, Any]:
    """Sketches of the documents ``rows_U`` and of the targets, under these names; nothing without a source."""
    if not source:
        return {}
    found, at = [], 0
    for phi_BF in sketches.blocks(source):
        first, last = np.searchsorted(rows_U, [at, at + len(phi_BF)])
        found.append(phi_BF[rows_U[first:last] - at].astype(np.float32))
        at += len(phi_BF)
    return {documents: np.concatenate(found), targets: sketches.target_TF(source)}


def _aims(work: Work, targets: Sequence[str]) -> list[list[str]]:
    """The texts that shape each target."""
    items = work.frame("attribution_items").filter(half="aim")
    shaped = usable(items)
    return [shaped.filter(target=name)["text"].to_list() for name in targets]


def _counts(work: Work, aims: list[list[str]], ids_U: pl.Series) -> dict[str, Any]:
    """Token counts of the documents, of the targets, and the distribution of all these documents. Nothing if a target
    has no text."""
    if not all(aims):
        return {}
    tokenizer = tokenizer_in(work.files("attribution_tokenizer"))
    size = tokenizer.get_vocab_size()
    place = {doc: u for u, doc in enumerate(ids_U)}
    counts_UV = _counted(
        tokenizer, ((place[doc], text) for doc, text in texts(work.files("corpus"), place)), len(place), size
    )
    named = ((t, text) for t, of_target in enumerate(aims) for text in of_target)
    targets_TV = _counted(tokenizer, named, len(aims), size)
    return {"counts_NV": counts_UV, "target_counts_TV": targets_TV, "pool_V": unigram.distribution(counts_UV)}


def _counted(tokenizer: Any, rows: Iterator[tuple[int, str]], n: int, size: int) -> Any:
    """Token counts of the texts of each of ``n`` rows, as a sparse matrix (n, V)."""
    from scipy.sparse import csr_matrix  # slow to import

    at, tokens, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float64)]
    for row, text in rows:
        found, n_found = np.unique(np.array(tokenizer.encode(text).ids, np.int64), return_counts=True)
        at.append(np.full(len(found), row))
        tokens.append(found)
        times.append(n_found.astype(np.float64))
    return csr_matrix((np.concatenate(times), (np.concatenate(at), np.concatenate(tokens))), (n, size))


def _dsir(work: Work, aims: list[list[str]], ids_U: pl.Series) -> dict[str, Any]:
    """DSIR's log weight of the documents for each target. Nothing if its package is not installed, or if a target has
    no text."""
    if not (dsir_version() and all(aims)):
        return {}
    from grip_assets.method.selection.dsir import log_weights  # optional packages

    place = {doc: u for u, doc in enumerate(ids_U)}
    ordered = [text for _, text in sorted(texts(work.files("corpus"), place), key=lambda row: place[row[0]])]
    blocks = [ordered[i : i + TEXTS_AT_ONCE] for i in range(0, len(ordered), TEXTS_AT_ONCE)]
    found = []
    for of_target in aims:
        with tempfile.TemporaryDirectory(dir=work.draft.folder) as folder:
            found.append(log_weights(lambda: blocks, len(blocks), of_target, Path(folder), lambda n: None)[0])
    return {"dsir_TN": np.array(found)}


def dsir_version() -> str:
    """The version of DSIR's package; "" if a package that it needs is not installed."""
    if not all(importlib.util.find_spec(module) for module in ("data_selection", "joblib", "regex")):
        return ""
    return importlib.metadata.version("data-selection")
