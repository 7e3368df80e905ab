"""What an LLM judge would ask and cost, before anything is spent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from grip_assets.engine.costs import Size
from grip_assets.engine.plan import Step
from grip_assets.engine.stage import Settings
from grip_assets.errors import GripError
from grip_assets.judges.base import judge_for
from grip_assets.settings import Clustering, Probe, Quality
from grip_assets.stages.curation.quality_scores import to_documents
from grip_assets.stages.reports.judge_report import REPEATS, sample
from grip_assets.store.artifacts import ArtifactStore

if TYPE_CHECKING:
    from grip_assets.judges.llm import Forecast

UNKNOWN = "judge: what it would ask is known once the corpus is read; quality.max_calls and quality.max_cost cap it"
RUBRIC_TOKENS = 900


def spending(
    all_settings: Settings, steps: Sequence[Step], store: ArtifactStore, size: Size | None = None
) -> list[str]:
    """Lines for a plan; none where nothing would be asked. Nothing is sent, and no key is needed."""
    settings = Quality.of(all_settings)
    step = {s.asset: s for s in steps}
    if settings.judge != "llm" or step["quality_scores"].action != "compute":
        return []
    versions = {asset: s.version for asset, s in step.items() if s.version and store.has(asset, s.version)}
    if "probe_set" in versions:
        said, forecast = _exact(settings, store, versions["probe_set"])
    elif "corpus" in versions:
        said, forecast = _estimate(all_settings, *_counts(store.manifest("corpus", versions["corpus"])))
    elif size is not None:
        said, forecast = _estimate(all_settings, size.documents, size.tokens)
    else:
        return [UNKNOWN, *_not_ready()]
    priced = settings.price_in is not None or settings.price_out is not None
    cost = f"about {settings.cost(forecast.prompt_tokens, forecast.completion_tokens):,.2f}"
    caps = [f"{n:,} calls" for n in [settings.max_calls] if n is not None]
    caps += [f"cost {n:g}" for n in [settings.max_cost] if n is not None]
    lines = [
        f"judge: {said}; {settings.repeats:,} judged twice",
        f"       {forecast.calls:,} calls to {settings.model}, about {forecast.prompt_tokens:,.0f} prompt and"
        f" {forecast.completion_tokens:,.0f} answer tokens,"
        f" {cost if priced else 'price unknown (quality.price_in, price_out)'};"
        f" failed requests come on top. Cap: {' and '.join(caps) or 'none'}",
    ]
    if settings.target_error is not None:
        lines.append(f"       and further documents until every standard error is at most {settings.target_error:g}")
    return lines + _not_ready()


def _not_ready() -> list[str]:
    """What is wrong with the way to the endpoint, by which a run would stop before anything is computed."""
    try:
        from grip_assets.llm.endpoint import endpoint  # optional: the extra llm

        endpoint()
    except GripError as error:
        return [f"       a run would stop: {error}"]
    return []


def _exact(settings: Quality, store: ArtifactStore, probe: str) -> tuple[str, "Forecast"]:
    """From the probe's documents and the answers that are there."""
    from grip_assets.judges.llm import Forecast, LlmJudge

    documents = pl.read_parquet(store.parquet("probe_set", probe, "probe_documents"))
    with judge_for(settings, store.root, "", print) as judge:
        assert isinstance(judge, LlmJudge)
        first = judge.forecast(to_documents(documents))
        again = judge.forecast(to_documents(sample(documents, settings.seed, settings.repeats, REPEATS)), repeat=1)
    both = zip(vars(first).values(), vars(again).values(), strict=True)
    said = f"{len(documents):,} documents, of which {len(documents) - first.calls:,} are answered already"
    return said, Forecast(*(a + b for a, b in both))


def _counts(corpus: dict[str, Any]) -> tuple[int, int]:
    return corpus["tables"]["corpus"]["rows"], corpus["metrics"]["tokens"]


def _estimate(settings: Settings, n: int, tokens: int) -> tuple[str, "Forecast"]:
    """From the size of the corpus, where there is no probe yet; as if no answer were there."""
    from grip_assets.judges.llm import TOKENS_PER_ANSWER, TOKENS_PER_CHAR, Forecast
    from grip_assets.method.partition.kmeans import choose_k

    quality, probe, clustering = Quality.of(settings), Probe.of(settings), Clustering.of(settings)
    clusters = choose_k(n, clustering.k)
    documents = min(max(round(probe.fraction * n), probe.min_per_cluster * clusters), n)
    shown = min(tokens / n, quality.windows * quality.window_chars * TOKENS_PER_CHAR)
    calls = documents + min(quality.repeats, documents)
    said = f"about {documents:,} documents (there is no probe set yet; this is an estimate)"
    return said, Forecast(calls, calls * (shown + RUBRIC_TOKENS), calls * TOKENS_PER_ANSWER)
