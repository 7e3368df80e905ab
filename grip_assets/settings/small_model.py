"""The fields of a small model and of its training, which mixing, evaluation and attribution have alike.

Descriptions and bounds are here, once. Each group has defaults of its own.
"""

from typing import Any, Literal

from grip_assets.settings.fields import knob

Precision = Literal["float32", "bfloat16"]
Trainer = Literal["cpu", "cuda"]

MODEL: dict[str, dict[str, Any]] = {
    "vocabulary": {
        "description": "Size of the vocabulary: a byte-level BPE that is learned on the pool.",
        "ge": 300,
    },
    "hidden": {"description": "Width of the model, a Llama.", "gt": 0},
    "layers": {"description": "Number of blocks of the model.", "gt": 0},
    "heads": {"description": "Number of attention heads. It must divide hidden.", "gt": 0},
    "context": {"description": "Tokens per training window.", "ge": 16},
}
TRAINING: dict[str, dict[str, Any]] = {
    "tokens": {"gt": 0},
    "batch_tokens": {"description": "Tokens per training step.", "gt": 0},
    "learning_rate": {
        "description": "Peak learning rate. It rises over the first tenth of the steps, then falls by a cosine to a"
        " tenth.",
        "gt": 0,
    },
    "dtype": {"description": "Number format of matrix products. Weights are float32."},
    "device": {
        "description": "Device on which models are trained, unless GRIP_DEVICE names one. Results differ by rounding.",
        "hashed_as": "cpu",
    },
}


def of_the_model(name: str, default: Any, **own: Any) -> Any:
    """A field of the model's shape. ``own``: traits of ``knob`` that only this group has."""
    return knob(**{"default": default, "part": "model", **MODEL[name], **own})


def of_the_training(name: str, default: Any, **own: Any) -> Any:
    """A field of how it is trained. ``own``: traits of ``knob`` that only this group has."""
    return knob(**{"default": default, "part": "training", **TRAINING[name], **own})
