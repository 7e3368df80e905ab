"""The table that `grip plan` prints."""

from collections.abc import Iterator

from grip_assets.stages.costs import Cost, Forecast
from grip_assets.store.disk import size


def as_text(forecast: Forecast) -> Iterator[str]:
    yield f"{'asset':<20} {'action':<8} {'about':>9} {'disk':>9}  {'figures are':<27} why"
    for cost in forecast.costs:
        about, disk = (duration(cost.seconds), size(cost.n_bytes)) if cost.action == "compute" else ("-", "-")
        yield f"{cost.asset:<20} {cost.action:<8} {about:>9} {disk:>9}  {cost.basis or '-':<27} {cost.why}"
    n, stages = len(forecast.to_compute), len(forecast.costs)
    if not n:
        yield f"0 of {stages} assets to compute; the run takes a few seconds"
        return
    pool = forecast.size
    if pool and not pool.known:
        yield (
            f"the pool was never read. Estimated from the listing of its files: {pool.documents:,} documents,"
            f" {size(pool.n_bytes)}, {pool.tokens:,} tokens"
        )
    yield from _sampled(forecast)
    yield from forecast.notes
    kinds = {cost.basis.split(" from")[0] for cost in forecast.to_compute}
    yield (
        f"{n - 2} of {stages - 2} assets to compute, the report and the run itself: about {duration(forecast.seconds)},"
        f" {size(forecast.n_bytes)} of disk ({size(forecast.free_bytes)} free); {', '.join(sorted(kinds))}."
        " Documents that were embedded before are not embedded again."
    )
    if forecast.n_bytes > forecast.free_bytes:
        yield "there is not enough room on the disk: `grip clean` lists what can be removed"


def _sampled(forecast: Forecast) -> Iterator[str]:
    """With settings/embedding.sample: how many documents are embedded and how many are not, with the cost of each."""
    pool = forecast.size
    if pool is None or pool.vectors == pool.documents:
        return
    of = {cost.asset: cost for cost in forecast.costs}
    by = "by their column" if of["student"].action == "unused" else f"by the student ({_cost(of['student'])})"
    yield (
        f"about {pool.vectors:,} documents are embedded ({_cost(of['embeddings'])}), and the other"
        f" {pool.documents - pool.vectors:,} are labelled {by}"
    )


def _cost(cost: Cost) -> str:
    return duration(cost.seconds) if cost.action == "compute" else "made before"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:,.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
    minutes = seconds / 60
    return f"{minutes:,.0f} min" if minutes < 100 else f"{minutes / 60:,.1f} h"
