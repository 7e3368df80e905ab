"""What a language model costs, by the prices of a group."""

from typing import Any


def cost(settings: Any, prompt_tokens: float, completion_tokens: float) -> float:
    """By the prices of a group, which are for a million tokens."""
    return ((settings.price_in or 0.0) * prompt_tokens + (settings.price_out or 0.0) * completion_tokens) / 1e6
