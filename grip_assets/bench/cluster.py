"""ray: the overhead of GRIP_EXECUTOR=ray on one machine, against the threads of the local executor.

Both embed the same texts, with as many workers as cores. The start of the cluster and of its workers is not in the
times; the first row says how long it takes. The processor time, of all processes, is compared too: it does not depend
on what else the machine does.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from grip_assets.bench import Result, interleaved
from grip_assets.bench.data import real_texts
from grip_assets.models.files import locate
from grip_assets.models.opening import EncoderFiles
from grip_assets.runtime import threads
from grip_assets.runtime.executors import Executor, Local
from grip_assets.runtime.executors import pool as pools
from grip_assets.runtime.executors.ray import Ray
from grip_assets.stages.curation.embeddings import EmbedDocuments
from grip_assets.store.tables import ranges

AT_ONCE = 8  # documents of a shard
TICK = os.sysconf("SC_CLK_TCK")


def ray(quick: bool) -> Iterator[Result]:
    """Quality: 1.0 if both give the same bytes."""
    pools.IDLE = 3600.0  # the same workers all the time, or the time that they have spent would be lost
    with tempfile.TemporaryDirectory() as folder, closing_cluster():
        job, shards = _embedding(Path(folder), 48 if quick else 120)
        processor: defaultdict[str, list[float]] = defaultdict(list)
        found: dict[str, pa.Table] = {}

        def run(name: str, executor: Executor) -> Callable[[], None]:
            def once() -> None:
                before = processor_seconds()
                found[name] = pa.concat_tables(executor.map(job, shards))
                processor[name].append(processor_seconds() - before)

            return once

        started = time.perf_counter()
        run("ray", Ray())()
        first = time.perf_counter() - started
        run("local", Local())()
        taken = interleaved(run("ray", Ray()), run("local", Local()), 1 if quick else 2)
        share = min(processor["ray"][1:]) / min(processor["local"][1:])
        workers, documents = threads.default_workers(), len(found["ray"])
        note = f"{documents} documents embedded, {workers} workers; processor time {share:.2f} times that of local;"
        note += f" cluster and workers start in {first - taken.ours_s:.0f} s"
        yield taken.result("ray", "the local executor", float(found["ray"].equals(found["local"])), note)
        if quick or workers == 1:
            return
        pools.end_workers()
        os.environ["GRIP_WORKERS"] = "1"
        run("one", Ray())()
        started = time.perf_counter()
        run("one", Ray())()
        alone = time.perf_counter() - started
        same = float(found["ray"].equals(found["one"]))
        note = f"{workers} workers against one, on one machine"
        yield Result("ray", "one worker", alone / taken.ours_s, taken.ours_s, alone, same, note)


@contextmanager
def closing_cluster() -> Iterator[None]:
    try:
        yield
    finally:
        pools.shut_down()


def _embedding(folder: Path, n: int) -> tuple[EmbedDocuments, list]:
    texts = real_texts(n)
    frame = pl.DataFrame({"doc_id": [f"{i:06}" for i in range(len(texts))], "text": texts})
    frame.write_parquet(folder / "corpus.parquet", row_group_size=64)
    encoder = EncoderFiles(locate("all-MiniLM-L6-v2"), None, None, 4, "float32")
    sizes = frame["text"].str.len_bytes().to_numpy()
    return EmbedDocuments(str(folder / "corpus.parquet"), encoder, 1), ranges(sizes, AT_ONCE, 1 << 30)


def processor_seconds() -> float:
    """Processor time of this process and all below it, those included that have ended and were waited for."""
    parent: dict[int, int] = {}
    spent: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parent[int(stat.parent.name)], spent[int(stat.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    while more := {pid for pid, above in parent.items() if above in ours and pid not in ours}:
        ours |= more
    return sum(spent[pid] for pid in ours if pid in spent) / TICK
