"""The sources of a pool: what they are, for `grip plan` and `grip status`, and what came of them, after a run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grip_assets.report.page.inert import visible
from grip_assets.settings import Corpus


def lines(corpus: Corpus) -> Iterator[str]:
    """A line for each source; none for a pool at one path."""
    for source in corpus.sources:
        cap = f", at most {source.cap:,} tokens" if source.cap is not None else ""
        weight = f", with weight {source.weight:g}" if source.weight != 1 else ""
        what = "kept beside the budget" if source.role == "keep" else "selected from"
        yield f"source {source.name}: {source.path} ({what}{cap}{weight})"


def found(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each row of questions/by_source."""
    for r in rows:
        rejected = f"; {r['n_rejected']:,} rejected ({r['reasons']})" if r["n_rejected"] else ""
        held_out = f"; {r['n_held_out']:,} held out" if r["n_held_out"] else ""
        copies = f"; {r['near_copies']:,} near copies" if r["near_copies"] else ""
        kept = " (all are kept)" if r["role"] == "keep" else ""
        yield (
            f"  {visible(r['source'])}: {r['n_read']:,} read{rejected}{held_out}{copies}; {r['n_docs']:,} documents"
            f" with {r['tokens']:,} tokens; out {r['n_selected']:,} with {r['tokens_selected']:,} tokens{kept}"
        )
