"""Settings of the reports."""

from grip_assets.settings.fields import knob
from grip_assets.settings.group import Group


class Reports(Group):
    """How much the reports compute."""

    name = "reports"

    stability_seeds: int = knob(
        0,
        "Number of other seeds of clustering and probe for the report stability. Each seed runs these parts of the"
        " chain again, and pays for the calls of an LLM judge again. 0: only other seeds of the draw, which is cheap.",
        given=True,
        ge=0,
        le=20,
    )
