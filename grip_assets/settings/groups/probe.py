"""Settings of the probe set."""

from grip_assets.settings.fields import knob
from grip_assets.settings.group import Group


class Probe(Group):
    """The size of the probe set, and its share of each cluster by Neyman's allocation [paper eq. 4]."""

    name = "probe"

    fraction: float = knob(0.005, "Size of the probe set as a share of the documents.", "|P|/N", gt=0, le=1)
    min_per_cluster: int = knob(8, "Least number of probe documents per cluster (or all that it has).", ge=1)
    min_for_adaptation: int = knob(
        40,
        "Least number of documents per cluster that the proxy reads (or all that it has). Documents beyond the probe"
        " set are not judged.",
        ge=1,
    )
    seed: int = knob(0, "Seed of the draw.", ge=0)
