"""What `grip clean` prints."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from grip_assets.report.terminal.forecast import duration
from grip_assets.store.cleaning import Removable
from grip_assets.store.disk import size


def as_text(found: Sequence[Removable], removed: bool) -> Iterator[str]:
    if not found:
        yield "Nothing to remove: every artifact is in force, or something in force was made from it."
        return
    yield f"{'stage':<20} {'what':<17} {'disk':>9} {'took':>9}  {'made':<16}  path"
    for _, items in groupby(found, key=lambda item: item.stage):
        for item in items:
            took = duration(item.seconds) if item.seconds is not None else "-"
            made = datetime.fromtimestamp(item.made).strftime("%Y-%m-%d %H:%M") if item.made is not None else "-"
            yield f"{item.stage:<20} {item.kind:<17} {size(item.n_bytes):>9} {took:>9}  {made:<16}  {item.shown}"
    freed = size(sum(item.n_bytes for item in found))
    if removed:
        yield f"{len(found)} removed, {freed} freed. Their settings stay known: `grip rollback` computes them again."
    else:
        yield (
            f"{len(found)} can be removed, {freed}. Nothing was removed: `grip clean --yes` does it. `--keep N` keeps"
            " the latest N subsets, so that going back to them costs nothing."
        )


def as_data(item: Removable) -> dict[str, Any]:
    """What ``grip clean --json`` prints of it: ``path`` as people name it."""
    return {name: value for name, value in vars(item).items() if name != "shown"} | {"path": item.shown}
