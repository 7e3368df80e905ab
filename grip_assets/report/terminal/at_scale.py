"""What `grip plan --documents` prints: the cost of a curation that is too large to try, stage by stage."""

from collections.abc import Iterator, Sequence

from grip_assets.report.terminal.forecast import duration
from grip_assets.stages.cost_model import NOT_MEASURED, SPREAD, Machines, Model, Pool, StageCost
from grip_assets.store.disk import size

DAY = 86_400


def as_text(costs: Sequence[StageCost], pool: Pool, machines: Machines, model: Model) -> Iterator[str]:
    yield (
        f"{pool.documents:,.0f} documents of {pool.tokens:,.0f} tokens, {pool.clusters:,.0f} clusters, on"
        f" {machines.nodes} nodes of {machines.cores} cores and {machines.gpus} GPUs"
    )
    head = f"{'stage':<18} {'time':>12} {'disk':>9} {'network':>9} {'memory':>9} {'dollars':>10}"
    yield f"{head}  {'works on':<10} figures are"
    for cost in costs:
        yield _line(cost)
    yield _total(costs)
    yield from _notes(costs, machines, model)


def _line(cost: StageCost) -> str:
    amounts = f"{size(cost.disk):>9} {_some(cost.network):>9} {_some(cost.memory):>9} {_money(cost.dollars):>10}"
    return f"{cost.stage:<18} {_time(cost.seconds):>12} {amounts}  {SPREAD[cost.stage]:<10} {cost.basis}"


def _total(costs: Sequence[StageCost]) -> str:
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    money = [cost.dollars for cost in costs if cost.dollars is not None]
    dollars = _money(sum(money)) if money else "-"
    disk, network = sum(cost.disk for cost in costs), sum(cost.network for cost in costs)
    memory = max(cost.memory for cost in costs)
    amounts = f"{size(disk):>9} {_some(network):>9} {_some(memory):>9} {dollars:>10}"
    return f"{'together':<18} {_time(sum(known)):>12} {amounts}"


def _notes(costs: Sequence[StageCost], machines: Machines, model: Model) -> Iterator[str]:
    unknown = [cost.stage for cost in costs if cost.seconds is None]
    if unknown:
        yield (
            f"{', '.join(unknown)}: the rate of a GPU was {NOT_MEASURED}, so neither time nor money has it. Run `python"
            " -m grip_assets.bench.gpu` there, and give its output to --coefficients."
        )
    if machines.node_hour is None:
        yield "No prices: --dollars-per-node-hour and --dollars-per-gpu-hour give the money."
    if machines.nodes > 1 and machines.gbps is None:
        yield "The network counts as fast enough: --network-gbps says how fast that of a node is."
    header = model.header
    sizes = sorted({round(pool.documents) for stage in model.laws for pool, _ in model.points(stage)})
    yield (
        f"The curve was measured on {header.get('date', 'an unknown day')} on {header.get('machine', 'your machine')}"
        f" with {sizes[0]:,} to {sizes[-1]:,} documents; all beyond is a continuation of its formulas (docs/scale.md)."
        " memory is that of the node with the driver; `all nodes` work needs little on the others."
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return NOT_MEASURED
    return duration(seconds) if seconds < 4 * DAY else f"{seconds / DAY:,.0f} days"


def _some(n_bytes: float) -> str:
    return size(n_bytes) if n_bytes else "-"


def _money(dollars: float | None) -> str:
    return "-" if dollars is None else f"{dollars:,.2f}" if dollars < 1_000 else f"{dollars:,.0f}"
