"""What happens to the settings of a run after a stage has refused them."""

import dagster as dg

from grip_assets.errors import GripError, Unfinished
from grip_assets.orchestration import past
from grip_assets.orchestration.data_folder import Data

AGAIN = "Do what the message says, then *Re-execute from failure*: what is finished is reused."
ANEW = "The settings are those from before this run. Launch the job again, with other values."


def refuse(context: dg.AssetExecutionContext, data: Data, error: GripError) -> dg.Failure:
    """The failure to raise. The settings that the run changed go back to their earlier values.

    Otherwise the next run, or a schedule, would fail with them again. After an ``Unfinished`` they stay, since no
    setting is the reason.
    """
    undone = []
    if not isinstance(error, Unfinished):
        data.mark()
        with data.alone():
            undone = past.go_back(context.instance, context.run_id, f"refused by run {context.run_id}: {error}")
    if not undone:
        return dg.Failure(str(error), {"next": dg.MetadataValue.md(AGAIN)}, allow_retries=False)
    said = f"{error}\nNothing of this stays in force; the run had set {past.listed(undone)}."
    return dg.Failure(said, {"next": dg.MetadataValue.md(ANEW)}, allow_retries=False)
