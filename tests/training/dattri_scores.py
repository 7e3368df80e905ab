"""Makes dattri_scores.json: the scores of dattri's GradDot on a tiny model, with which ours are compared.

dattri (MIT) is no dependency of the tests. In an environment that has it (`pip install dattri==0.3.0`), in the folder
of the repository:

    PYTHONPATH=. python tests/training/dattri_scores.py
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from grip_assets.training.recipe import Shape
from grip_assets.training.small import new_model

FILE = Path(__file__).with_suffix(".json")
VOCABULARY, LENGTH, DOCUMENTS, ITEMS = 48, 16, 48, 8


def tiny_model():
    """Weights that are large enough for gradients of documents to differ."""
    model = new_model(Shape(VOCABULARY, 16, 2, 2, LENGTH), 0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8 if weight.dim() > 1 else 1)
    return model.eval()


def tokens():
    """(documents, items): int64 (N, LENGTH) and (I, LENGTH). Each begins with the separator 0."""
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(np.full(VOCABULARY - 1, 0.1), 6)
    rows = [rng.choice(VOCABULARY - 1, LENGTH - 1, p=topics[i % 6]) + 1 for i in range(DOCUMENTS + ITEMS)]
    found = np.concatenate([np.zeros((len(rows), 1), np.int64), np.stack(rows)], axis=1)
    return found[:DOCUMENTS], found[DOCUMENTS:]


def dattri_scores():
    """<gradient of an item, gradient of a document>, float32 (N, I), by dattri."""
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.task import AttributionTask
    from torch.utils.data import DataLoader, TensorDataset

    model = tiny_model()
    model.config._attn_implementation = "eager"

    def loss(parameters, data):
        (ids,) = data
        logits = torch.func.functional_call(model, parameters, (ids[None, :-1],), {"use_cache": False}).logits[0]
        return torch.nn.functional.cross_entropy(logits, ids[1:])

    task = AttributionTask(loss, model, {name: weight.detach() for name, weight in model.state_dict().items()})
    attributor = TracInAttributor(task, torch.ones(1), normalized_grad=False)
    attributor.projector_kwargs = None  # exact gradients
    documents, items = (DataLoader(TensorDataset(torch.from_numpy(rows)), 8, shuffle=False) for rows in tokens())
    return attributor.attribute(documents, items).detach().numpy()


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = [[float(f"{score:.6g}") for score in row] for row in dattri_scores()]
    made = {"made by": "tests/training/dattri_scores.py", "dattri": version("dattri"), "scores": rows}
    FILE.write_text(json.dumps(made, indent=1) + "\n")
    sys.stdout.write(f"{FILE}: {len(rows)} documents\n")
