"""The sources of a pool, for `grip plan` and `grip status`."""

from collections.abc import Iterator

from grip_assets.settings import Corpus


def lines(corpus: Corpus) -> Iterator[str]:
    """A line for each source; none for a pool at one path."""
    for source in corpus.sources:
        cap = f", at most {source.cap:,} tokens" if source.cap is not None else ""
        what = "kept beside the budget" if source.role == "keep" else "selected from"
        yield f"source {source.name}: {source.path} ({what}{cap})"
