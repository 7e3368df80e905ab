"""Sources of features of documents, one file for each family. base.py has their interface."""

from grip_assets.stages.attribution.sources import column, cross_entropy, embedding, gradients, unigram
from grip_assets.stages.attribution.sources.base import Source

SOURCES: dict[str, Source] = {
    "unigram": unigram.measure,
    "cross_entropy": cross_entropy.measure,
    "embedding": embedding.measure,
    "full": gradients.measure,
    "blocks": gradients.measure,
    "head": gradients.measure,
    "factored": gradients.measure,
    "hidden": gradients.measure,
    "column": column.measure,
}
"""The values of settings/attribution.source, except auto, which compares several."""
