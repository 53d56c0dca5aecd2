"""Train the study's adversarial patch against a run."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lookalike.contracts.classifier import Classifier
from lookalike.contracts.features import Features
from lookalike.core.errors import LookalikeError
from lookalike.core.tensor_store import save_tensors
from lookalike.methods.embedding import embed
from lookalike.stages.opening import open_run
from lookalike.stages.task import Task
from lookalike.training.adversarial_patch import train_patch


def train_adversarial_patch(task: Task) -> str:
    """Write adversarial_patch.safetensors of a run: `patch` (C, s, s) in [0, 1] and `mask` (s, s).

    Returns:
        On how many images the target reached its confidence in the last epoch.

    Raises:
        LookalikeError: The study has no patch, data or weights are missing, the model has no gradient, or the target is
            no class.
    """
    settings, run = task.plan.adversarial_patch, task.run
    if settings is None:
        raise LookalikeError(
            f"study {task.plan.name} has no patch; write adversarial_patch: {{model: {run.model}, target: 0}}."
        )
    opened = open_run(task)
    if settings.target >= opened.data.n_classes:
        raise LookalikeError(
            f"adversarial_patch.target is {settings.target}, but {run.dataset} has {opened.data.n_classes} classes."
        )
    classifier, device = opened.classifier(), opened.device()
    classifier.embed_on(device)
    images = opened.training_images(device)
    classifier.build_support(embed(classifier, images), opened.seeds.of_run("support"))
    log_probs = differentiable(classifier, task.plan.models[run.model].modes[0], run.model)
    patch, mask, reached = train_patch(log_probs, images, settings, opened.seeds.of_run("patch"))
    save_tensors(run.adversarial_patch, {"patch": patch.cpu(), "mask": mask.cpu()}, run.origin)
    return f"the target reached its confidence on {reached:.0%} of the images"


def differentiable(classifier: Classifier, mode: str, model: str) -> Callable[[Tensor], Tensor]:
    """Normalised images -> log-probabilities, with a gradient."""

    def log_probs(images: Tensor) -> Tensor:
        queries = Features.unlabelled(classifier.embed(images).cpu())
        values = classifier.predict(queries, mode).log_probs
        if not values.requires_grad and images.requires_grad:
            raise LookalikeError(f"adversarial_patch.model {model} has no gradient to follow; name a model such as fc.")
        return values

    return log_probs
