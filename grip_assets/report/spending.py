"""What an LLM judge would ask and cost, before anything is spent."""

from collections.abc import Sequence

import polars as pl

from grip_assets.assets.judge_report import REPEATS, sample
from grip_assets.assets.quality_scores import price, to_documents
from grip_assets.models.judge import judge_for
from grip_assets.recompute import Settings, Step
from grip_assets.settings import Quality
from grip_assets.store.artifacts import ArtifactStore

UNKNOWN = "judge: what it would ask is known once probe_set is there; quality.max_calls and quality.max_cost cap it"


def spending(all_settings: Settings, steps: Sequence[Step], store: ArtifactStore) -> list[str]:
    """Lines for a plan; none where nothing would be asked. Nothing is sent, and no key is needed."""
    settings = all_settings["quality"]
    assert isinstance(settings, Quality)
    step = {s.asset: s for s in steps}
    if settings.judge == "static" or step["quality_scores"].action == "reuse":
        return []
    probe = step["probe_set"].version
    if probe is None or not store.has("probe_set", probe):
        return [UNKNOWN]
    from grip_assets.models.llm.judge import LlmJudge

    documents = pl.read_parquet(store.parquet("probe_set", probe, "probe_documents"))
    with judge_for(settings, store.root, "", print) as judge:
        assert isinstance(judge, LlmJudge)
        first = judge.forecast(to_documents(documents))
        again = judge.forecast(to_documents(sample(documents, settings.seed, settings.repeats, REPEATS)), repeat=1)
    calls = first.calls + again.calls
    prompt, answer = first.prompt_tokens + again.prompt_tokens, first.completion_tokens + again.completion_tokens
    priced = settings.price_in is not None or settings.price_out is not None
    cost = f"about {price(settings, prompt, answer):,.2f}" if priced else "price unknown (quality.price_in, price_out)"
    caps = [f"{n:,} calls" for n in [settings.max_calls] if n is not None]
    caps += [f"cost {n:g}" for n in [settings.max_cost] if n is not None]
    lines = [
        f"judge: {len(documents):,} documents, of which {len(documents) - first.calls:,} are answered already;"
        f" {settings.repeats:,} judged twice",
        f"       {calls:,} calls to {settings.model}, about {prompt:,.0f} prompt and {answer:,.0f} answer tokens,"
        f" {cost}; failed requests come on top. Cap: {' and '.join(caps) or 'none'}",
    ]
    if settings.target_error is not None:
        lines.append(f"       and further documents until every standard error is at most {settings.target_error:g}")
    return lines
