"""near_duplicates: documents of 2 kB with planted near copies, against datasketch and datatrove on the same documents.

Ours reads the texts from Parquet, signs them, compares candidates by their true similarity and writes its tables.
datasketch gets the words of each document cut by a regular expression, and its LSH index is asked for each document.
datatrove writes signatures and sorts its buckets. Its word tokenizer (spaCy) is replaced by the same expression,
which is faster. All have the same shingles (5 words), 20 bands of 6 slots, and one process.

``quality`` is the share of the planted copies that ours leaves out; the note has theirs.

    python -m grip_assets.bench.near_copies 1000000    # ours alone, on so many documents
"""

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from grip_assets.bench import Peak, Result, interleaved
from grip_assets.engine.make import Chain
from grip_assets.settings import GROUPS, validate
from grip_assets.stages import STAGES
from grip_assets.stages.curation.corpus import CORPUS
from grip_assets.store.artifacts import ArtifactStore
from grip_assets.store.tables import TableWriter, texts

WORDS = 320  # of a document, about 2 kB
COPIES, CHANGED = 0.1, 0.01  # share of the documents that are copies, and of their words that are changed
AT_ONCE = 10_000
PERMUTATIONS, BANDS, SHINGLE = 120, 20, 5


def near_duplicates(quick: bool) -> Iterator[Result]:
    n = 1_000 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        store, pairs = planted(Path(folder), n)
        left_out = ours(store)  # compiles
        documents = list(texts(store.parquet("corpus", "planted", "corpus")))
        for against, theirs in {"datasketch": datasketch, "datatrove": datatrove}.items():
            found: dict[str, set[str]] = {}

            def run(theirs: Any = theirs, found: dict[str, set[str]] = found) -> None:
                found["theirs"] = theirs(documents)

            def again() -> None:
                shutil.rmtree(store.root / "near_duplicates")
                ours(store)

            taken = interleaved(again, run, 1)
            share = found_of(found["theirs"], pairs)
            rate = f"{n / taken.ours_s:,.0f} / {n / taken.theirs_s:,.0f} documents/s"
            note = f"{n:,} documents of 2 kB, {rate}; planted copies found; theirs {share:.1%}"
            yield taken.result("near_duplicates", against, found_of(left_out, pairs), note)


def found_of(left_out: set[str], pairs: list[tuple[str, str]]) -> float:
    """The share of the pairs of which one document is left out."""
    return sum(one in left_out or other in left_out for one, other in pairs) / len(pairs)


def planted(root: Path, n: int) -> tuple[ArtifactStore, list[tuple[str, str]]]:
    """A data folder whose corpus has n documents, and the pairs of a copy and its original."""
    rng, store, pairs = np.random.default_rng(0), ArtifactStore(root), list[tuple[str, str]]()
    vocabulary = np.array([f"w{i:05x}" for i in range(30_000)], dtype=object)
    manifest = {"version": "planted", "stage": "corpus", "inputs": {}, "computed_at": 0, "seconds": 0, "run_id": ""}
    with store.publish("corpus", manifest | {"settings": {}, "metrics": {}}) as draft:
        (draft.folder / "corpus").mkdir()
        with TableWriter(draft.folder / "corpus" / "part-0.parquet", CORPUS) as writer:
            for start in range(0, n, AT_ONCE):
                ids, rows, here = _some(rng, start, min(AT_ONCE, n - start))
                pairs += here
                written = [" ".join(vocabulary[row]) for row in rows]
                sizes = [len(text) for text in written]
                nulls = {field.name: pa.nulls(len(ids), field.type) for field in CORPUS}
                named = {"doc_id": ids, "text": written, "source": ids, "n_bytes": sizes, "n_tokens": sizes}
                writer.write(pa.table(nulls | named, CORPUS))
    return store, pairs


def _some(rng: np.random.Generator, start: int, n: int) -> tuple[list[str], np.ndarray, list[tuple[str, str]]]:
    """Ids, numbers of words (n, WORDS), and pairs of a copy and its original."""
    rows = (30_000 * rng.random((n, WORDS)) ** 3).astype(np.int64)  # common words are common
    is_copy = rng.random(n) < COPIES
    is_copy[0] = False
    originals = np.flatnonzero(~is_copy)
    at = np.flatnonzero(is_copy)
    source = rng.choice(originals, len(at))
    copied = rows[source]
    changed = rng.random(copied.shape) < CHANGED
    copied[changed] = rng.integers(0, 30_000, int(changed.sum()))
    rows[at] = copied
    ids = [f"{start + i:032x}" for i in range(n)]
    return ids, rows, [(ids[copy], ids[original]) for copy, original in zip(at, source, strict=True)]


def ours(store: ArtifactStore, **values: Any) -> set[str]:
    """Ids of the documents that the stage leaves out."""
    settings = {group: validate(group, values if group == "near_duplicates" else {}) for group in GROUPS}
    made = Chain(STAGES, store, lambda line: None, "bench").make(
        STAGES["near_duplicates"], settings, {"corpus": "planted"}
    )
    found = pl.scan_parquet(store.parquet("near_duplicates", made.version, "near_duplicates"))
    return set(found.filter(pl.col("doc_id") != pl.col("stands_for")).collect()["doc_id"])


WORD = re.compile(r"\w+")


def _shingles(text: str) -> list[str]:
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + SHINGLE]) for i in range(max(len(words) - SHINGLE + 1, 1))]


def datasketch(documents: list[tuple[str, str]]) -> set[str]:
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, PERMUTATIONS // BANDS)), set()
    for doc, text in documents:
        signature = MinHash(num_perm=PERMUTATIONS)
        signature.update_batch([shingle.encode() for shingle in _shingles(text)])
        if index.query(signature):
            found.add(doc)
        else:
            index.insert(doc, signature)
    return found


def datatrove(documents: list[tuple[str, str]]) -> set[str]:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash
    from datatrove.utils.hashing import HashConfig

    minhash.load_word_tokenizer = lambda language: Splits()
    config = minhash.MinhashConfig(
        SHINGLE, BANDS, PERMUTATIONS // BANDS, hash_config=HashConfig(precision=32, hash_fc="sha1")
    )
    with tempfile.TemporaryDirectory() as folder:
        signs = minhash.MinhashDedupSignature(f"{folder}/signatures", config)
        signs.run(Document(text=text, id=doc) for doc, text in documents)
        pairs = minhash.MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/pairs", config=config)
        for bucket in range(BANDS):
            pairs.run(None, bucket, BANDS)
        minhash.MinhashDedupCluster(f"{folder}/pairs", f"{folder}/remove", config=config).run(None, 0, 1)
        removed = np.frombuffer((Path(folder) / "remove" / "000000.remove").read_bytes(), np.uint32)
    return {documents[row][0] for row in removed}


class Splits:
    """The regular expression in the place of datatrove's word tokenizer."""

    def word_tokenize(self, text: str) -> list[str]:
        return WORD.findall(text.lower())


def alone(n: int) -> None:
    """Ours alone on n documents: seconds, peak memory, planted copies found; then with another threshold."""
    with tempfile.TemporaryDirectory() as folder:
        store, pairs = planted(Path(folder), n)
        for values in ({}, {"threshold": 0.7}):
            with Peak() as memory:
                started = time.perf_counter()
                left_out = ours(store, **values)
                seconds = time.perf_counter() - started
            wrong = len(left_out - {doc for pair in pairs for doc in pair})
            print(
                f"{n:,} documents, {values or 'default settings'}: {seconds:.1f} s, {memory.mb:,.0f} MB,"
                f" {found_of(left_out, pairs):.2%} of the planted copies found, {wrong} others"
            )


if __name__ == "__main__":
    alone(int(sys.argv[1]))
