"""Plain values that describe a small model, its training, and the items that it predicts. Light: no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The architecture of a model. ``context``: tokens per window."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    context: int


def wide(shape: Shape) -> int:
    """Width of the middle of a block: 8/3 of the model's, as a multiple of 64."""
    return -(-shape.hidden * 8 // 3 // 64) * 64


def parameters(shape: Shape) -> int:
    """Number of parameters of a model. The head is tied to the embedding."""
    block = 4 * shape.hidden**2 + 3 * shape.hidden * wide(shape) + 2 * shape.hidden
    return shape.vocabulary * shape.hidden + shape.layers * block + shape.hidden


@dataclass(frozen=True)
class TrainingRecipe:
    """How a model is trained. ``tokens``: in all steps together. ``batch_tokens``: per step."""

    tokens: int
    batch_tokens: int
    learning_rate: float
    dtype: str = "bfloat16"
    device: str = "cpu"


def pace(shape: Shape, recipe: TrainingRecipe) -> tuple[int, int]:
    """(steps of a training, windows of each step). There is at least one of each."""
    windows = max(recipe.batch_tokens // shape.context, 1)
    return max(recipe.tokens // (windows * shape.context), 1), windows


@dataclass(frozen=True)
class Item:
    """Token ids. The model predicts ``text_L`` after ``prompt_L``."""

    prompt_L: list[int]
    text_L: list[int]
