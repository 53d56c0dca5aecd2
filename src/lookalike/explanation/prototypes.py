"""Show the prototypes of a run: as pictures, by training images, and by what each is worth."""

from __future__ import annotations

import torch

from lookalike.determinism import generator
from lookalike.devices import best_device
from lookalike.errors import LookalikeError
from lookalike.methods.protoflow.classifier import Model
from lookalike.methods.protoflow.interpret import between, pictures, pruned_accuracy, sample_pictures
from lookalike.plan import RunSpec
from lookalike.support.precompute import load_run
from lookalike.tensors import write_tensors

TEMPERATURES = (0.5, 0.75, 1.0)
SAMPLED_CLASSES, WAYS, STEPS, POINTS = 10, 4, 8, 20


@torch.no_grad()
def show_prototypes(run: RunSpec, split: str) -> None:
    """Write prototypes/<set>.safetensors of a run.

    Its tensors, of C classes with K prototypes each and images (channels, H, W) uint8:

    * `picture` (C, K, image): the inverse of each mean;
    * `samples` (C', K, T, image): at each of `temperatures` (T,), of the first ten classes;
    * `between` (P, steps, image): on the way between the most used prototypes of two classes, `ends` (P, 2);
    * `nearest` (C, K, N) image ids and `usage` (C, K): mean responsibility over training images of the class;
    * `pruned` (points, 2): prototypes kept and accuracy on the set, the least used taken away first.

    Raises:
        LookalikeError: the method has no prototypes; data, weights or support are missing or damaged.
    """
    _, model, queries = load_run(run, split)
    if not isinstance(model, Model):
        raise LookalikeError(f"{run.id} has no prototypes to show; protoflow models have.")
    pruned = pruned_accuracy(model, queries, POINTS)
    model.embed_on(best_device(run.plan.runs_per_gpu))
    most_used = model.usage.argmax(1).tolist()
    pairs = [(label, (label + 1) % model.n_classes) for label in range(min(WAYS, model.n_classes))]
    made = generator(run.seed_for("prototypes"))
    write_tensors(
        run.prototypes(split),
        {
            "picture": pictures(model.backbone.flow, model.prototypes.means().flatten(0, 1)).unflatten(
                0, model.usage.shape
            ),
            "samples": sample_pictures(model, min(SAMPLED_CLASSES, model.n_classes), TEMPERATURES, made),
            "temperatures": torch.tensor(TEMPERATURES),
            "between": between(model, [((a, most_used[a]), (b, most_used[b])) for a, b in pairs], STEPS),
            "ends": torch.tensor(pairs),
            "nearest": model.nearest,
            "usage": model.usage,
            "pruned": pruned,
        },
    )
