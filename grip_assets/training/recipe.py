"""What a small model is, how it is trained, and what it has to predict. Light: no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Architecture; ``context`` in tokens."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    context: int


@dataclass(frozen=True)
class TrainingRecipe:
    """How a model is trained. ``tokens``: read in all; ``batch_tokens``: of a step."""

    tokens: int
    batch_tokens: int
    learning_rate: float
    dtype: str = "bfloat16"
    device: str = "cpu"


@dataclass(frozen=True)
class Item:
    """``text_L`` is predicted, after ``prompt_L``."""

    prompt_L: list[int]
    text_L: list[int]
