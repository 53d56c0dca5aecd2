"""Analysis `prototypes`: prototypes as pictures, by training images, and by what each is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lookalike.core.determinism import make_generator
from lookalike.methods.analysis_input import AnalysisInput
from lookalike.methods.protoflow.classifier import ProtoFlowClassifier
from lookalike.methods.protoflow.interpret import between, pictures, pruned_accuracy, sample_pictures

TEMPERATURES = (0.5, 0.75, 1.0)
SAMPLED_CLASSES, WAYS, STEPS, POINTS = 10, 4, 8, 20
KEPT = (1.0, 0.5, 0.0)  # shares of the prototypes that are not the best of their class


@torch.no_grad()
def show_prototypes(given: AnalysisInput) -> dict[str, torch.Tensor]:
    """Tensors of C classes with K prototypes each and images (channels, H, W) uint8.

    * `picture` (C, K, image): the inverse of each mean;
    * `samples` (C', K, T, image): at each of `temperatures` (T,), of the first ten classes;
    * `between` (P, steps, image): on the way between the most used prototypes of two classes, `ends` (P, 2);
    * `nearest` (C, K, N) image ids and `usage` (C, K): mean responsibility over training images of the class;
    * `pruned` (points, 2): prototypes kept and accuracy on the set, the least used taken away first.
    """
    model = given.classifier
    assert isinstance(model, ProtoFlowClassifier)
    most_used = model.usage.argmax(1).tolist()
    pairs = [(label, (label + 1) % model.n_classes) for label in range(min(WAYS, model.n_classes))]
    generator = make_generator(given.seeds.of_run("prototypes"))
    means = pictures(model.backbone.flow, model.prototypes.means().flatten(0, 1))
    return {
        "picture": means.unflatten(0, model.usage.shape),
        "samples": sample_pictures(model, min(SAMPLED_CLASSES, model.n_classes), TEMPERATURES, generator),
        "temperatures": torch.tensor(TEMPERATURES),
        "between": between(model, [((a, most_used[a]), (b, most_used[b])) for a, b in pairs], STEPS),
        "ends": torch.tensor(pairs),
        "nearest": model.nearest,
        "usage": model.usage,
        "pruned": pruned_accuracy(model, given.queries, POINTS),
    }


def summarise_prototypes(tensors: dict[str, np.ndarray], metrics: dict[str, float]) -> list[dict[str, Any]]:
    """One row: accuracy with fewer prototypes, bits a dimension, and the way there and back."""
    pruned = tensors["pruned"]  # from all prototypes down to one a class
    share = (pruned[:, 0] - pruned[-1, 0]) / max(pruned[0, 0] - pruned[-1, 0], 1)
    nearest = {kept: int(np.abs(share - kept).argmin()) for kept in KEPT}
    return [
        {
            "prototypes": pruned[0, 0],
            **{f"accuracy_{kept:g}": pruned[row, 1] for kept, row in nearest.items()},
            **{name: metrics[name] for name in ("bits_per_dim", "reconstruction_error", "changed_pixels")},
        }
    ]
