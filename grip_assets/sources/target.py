"""What the subset is meant for: the user's target set (settings/evaluation.target), or the benchmarks' problems."""

from collections.abc import Iterator

from grip_assets.errors import GripError
from grip_assets.settings import Corpus, Evaluation
from grip_assets.sources.benchmarks import FILES, content_hash, problems
from grip_assets.sources.documents import RawDocument
from grip_assets.sources.pool import Pool, open_pool


def target_texts(settings: Evaluation) -> Iterator[str]:
    """Documents of the target set; of the benchmarks each problem as it stands when solved, prompt and solution."""
    if settings.target is None:
        yield from (p.prompt + p.solution for name in FILES for p in problems(name))
        return
    found = [document.text for document in _pool(settings.target).read() if isinstance(document, RawDocument)]
    if not found:
        raise GripError(f"settings/evaluation.target '{settings.target}' holds no document. Check the path.")
    yield from found


def target_facts(settings: Evaluation) -> dict[str, str]:
    """What changes when the target does, for a recipe."""
    if settings.target is None:
        return {name: content_hash(name) for name in FILES}
    return {"target": _pool(settings.target).fingerprint()}


def _pool(path: str) -> Pool:
    """Read as a pool is, with its defaults."""
    try:
        return open_pool(path, None, None, None, Corpus().max_bytes, None, 0)
    except GripError as error:
        raise GripError(str(error).replace("settings/corpus.path", "settings/evaluation.target")) from None
