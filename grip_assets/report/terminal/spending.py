"""The calls and costs of a language model, as judge and as namer of clusters, before anything is spent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from grip_assets.engine.plan import Step
from grip_assets.engine.stage import Settings
from grip_assets.errors import GripError
from grip_assets.judges.choose import judge_for
from grip_assets.method import intruders
from grip_assets.method.partition.base import choose_k
from grip_assets.settings import Clustering, Probe, Quality, Taxonomy
from grip_assets.stages.costs import Size
from grip_assets.stages.curation.quality_scores import to_documents
from grip_assets.stages.reports.judge_report import REPEATS, sample
from grip_assets.stages.reports.name_accuracy import KINDS
from grip_assets.store.artifacts import ArtifactStore

if TYPE_CHECKING:
    from grip_assets.llm.asker import Forecast

UNKNOWN = "judge: the number of calls is known once the corpus is read; quality.max_calls and quality.max_cost cap it"
RUBRIC_TOKENS = 900


def spending(
    all_settings: Settings, steps: Sequence[Step], store: ArtifactStore, size: Size | None = None
) -> list[str]:
    """Lines for a plan; none if no model would be asked. Nothing is sent, and no key is needed."""
    computed = {step.asset for step in steps if step.action == "compute"}
    lines = []
    if Taxonomy.of(all_settings).names == "llm" and "taxonomy" in computed:
        lines += _naming(all_settings, steps, store, size)
    if Taxonomy.of(all_settings).names == "llm" and "cluster_report" in computed:
        lines += _checking(all_settings, steps, store, size)
    settings = Quality.of(all_settings)
    if settings.judge == "llm" and "quality_scores" in computed:
        known = _known(all_settings, steps, store, size)
        lines += _lines(settings, *known) if known else [UNKNOWN]
    return [*lines, *_not_ready()] if lines else []


def _naming(all_settings: Settings, steps: Sequence[Step], store: ArtifactStore, size: Size | None) -> list[str]:
    """The calls for the names of clusters: at most one for each, since answers that are kept are not asked again."""
    settings = Taxonomy.of(all_settings)
    if Clustering.of(all_settings).effective().method == "column":
        return []
    n = clusters_of(all_settings, steps, store, size)
    if n is None:
        return ["names: one call for each cluster; their number is known once the corpus is read"]
    return [f"names: at most {n:,} calls to {settings.model}, one for each cluster. Cap: {_caps(settings)}"]


def _checking(all_settings: Settings, steps: Sequence[Step], store: ArtifactStore, size: Size | None) -> list[str]:
    """The calls of cluster_report: names from three other kinds of documents, held-out documents, and trials."""
    settings, n = Taxonomy.of(all_settings), clusters_of(all_settings, steps, store, size)
    if n is None:
        return []
    kinds = 1 if Clustering.of(all_settings).effective().method == "column" else len(KINDS)
    trials = n * min(settings.trials, max(intruders.MOST // max(n, 1), 1))
    held_out = settings.held_out_docs * kinds + n * (kinds - 1) * bool(settings.held_out_docs)
    return [
        f"cluster_report: at most {trials + held_out:,} calls to {settings.model}, within the same cap."
        " Lower taxonomy.trials and taxonomy.held_out_docs to ask less"
    ]


def clusters_of(all_settings: Settings, steps: Sequence[Step], store: ArtifactStore, size: Size | None) -> int | None:
    """The number of clusters, or the most that there can be; None while the size of the pool is not known."""
    versions = {s.asset: s.version for s in steps if s.version and store.has(s.asset, s.version)}
    if "clusters" in versions:
        return int(store.manifest("clusters", versions["clusters"])["tables"]["centroids"]["rows"])
    if "corpus" in versions:
        n = _counts(store.manifest("corpus", versions["corpus"]))[0]
    elif size is not None:
        n = size.documents
    else:
        return None
    return choose_k(n, Clustering.of(all_settings).k)


def _known(
    all_settings: Settings, steps: Sequence[Step], store: ArtifactStore, size: Size | None
) -> tuple[str, "Forecast"] | None:
    """The documents to judge, in words, and the forecast of calls. None while the size of the pool is not known."""
    versions = {s.asset: s.version for s in steps if s.version and store.has(s.asset, s.version)}
    if "probe_set" in versions:
        return _exact(Quality.of(all_settings), store, versions["probe_set"])
    if "corpus" in versions:
        return _estimate(all_settings, *_counts(store.manifest("corpus", versions["corpus"])))
    return None if size is None else _estimate(all_settings, size.documents, size.tokens)


def _lines(settings: Quality, documents: str, forecast: "Forecast") -> list[str]:
    lines = [
        f"judge: {documents}; {settings.repeats:,} judged twice",
        f"       {forecast.calls:,} calls to {settings.model}, about {forecast.prompt_tokens:,.0f} prompt and"
        f" {forecast.completion_tokens:,.0f} answer tokens, {_cost(settings, forecast)};"
        f" failed requests come on top. Cap: {_caps(settings)}",
    ]
    if settings.target_error is not None:
        lines.append(f"       and further documents until every standard error is at most {settings.target_error:g}")
    return lines


def _cost(settings: Quality, forecast: "Forecast") -> str:
    if settings.price_in is None and settings.price_out is None:
        return "price unknown (quality.price_in, price_out)"
    return f"about {settings.cost(forecast.prompt_tokens, forecast.completion_tokens):,.2f}"


def _caps(settings: Quality | Taxonomy) -> str:
    calls = None if settings.max_calls is None else f"{settings.max_calls:,} calls"
    cost = None if settings.max_cost is None else f"cost {settings.max_cost:g}"
    return " and ".join(filter(None, (calls, cost))) or "none"


def _not_ready() -> list[str]:
    """One line if a run would stop at once, because the endpoint's variables are missing or wrong."""
    try:
        from grip_assets.llm.endpoint import endpoint  # optional: the extra llm

        endpoint()
    except GripError as error:
        return [f"       a run would stop: {error}"]
    return []


def _exact(settings: Quality, store: ArtifactStore, probe: str) -> tuple[str, "Forecast"]:
    """The forecast from the documents of the probe set and the answers that are stored already."""
    from grip_assets.judges.llm import LlmJudge  # heavy: loads the HTTP client
    from grip_assets.llm.asker import Forecast

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
    """The forecast from the size of the corpus, before there is a probe set. Stored answers are not counted."""
    from grip_assets.llm.asker import TOKENS_PER_ANSWER, TOKENS_PER_CHAR, Forecast  # heavy: loads the HTTP client

    quality, probe, clustering = Quality.of(settings), Probe.of(settings), Clustering.of(settings)
    clusters = choose_k(n, clustering.k)
    documents = min(max(round(probe.fraction * n), probe.min_per_cluster * clusters), n)
    shown = min(tokens / n, quality.windows * quality.window_chars * TOKENS_PER_CHAR)
    calls = documents + min(quality.repeats, documents)
    said = f"about {documents:,} documents (there is no probe set yet; this is an estimate)"
    return said, Forecast(calls, calls * (shown + RUBRIC_TOKENS), calls * TOKENS_PER_ANSWER)
