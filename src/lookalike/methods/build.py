"""Build a run's classifier, fresh for training or with its weights for everything after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lookalike.backbones.build import make_backbone
from lookalike.errors import LookalikeError
from lookalike.methods.registry import load_method
from lookalike.settings import BackboneSettings
from lookalike.tensors import read_tensors

if TYPE_CHECKING:
    from lookalike.data.prepared import PreparedData
    from lookalike.methods.base import Classifier
    from lookalike.plan import RunSpec


def build_classifier(run: RunSpec, data: PreparedData) -> Classifier:
    """The run's classifier with random weights, drawn from the run's own seed; a frozen backbone has its source's."""
    method = load_method(run.settings["method"])
    settings = method.Settings.model_validate(run.settings)
    backbone = BackboneSettings.model_validate(run.owner.settings["backbone"])
    with torch.random.fork_rng():
        torch.manual_seed(run.seed_for("weights"))
        classifier: Classifier = method.Model(settings, make_backbone(backbone, data.image_shape), data.n_classes)
    if run.source is not None and run.source.weights is not None:
        network = read_tensors(run.source.weights)
        own = {n.removeprefix("backbone."): v for n, v in network.items() if n.startswith("backbone.")}
        _load(classifier.backbone, own, run.source)
    return classifier


def load_classifier(run: RunSpec, data: PreparedData) -> Classifier:
    """The run's classifier in evaluation mode, weights loaded.

    Raises:
        LookalikeError: the weights file is missing, truncated or of another network.
    """
    classifier = build_classifier(run, data)
    if run.trained:
        assert run.weights is not None
        _load(classifier, read_tensors(run.weights), run)
    return classifier.eval().requires_grad_(False)


def _load(network: nn.Module, state: dict[str, Tensor], run: RunSpec) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise LookalikeError(
            f"{run.weights} does not fit the model {run.model!r} ({str(error).splitlines()[-1].strip()}); "
            "delete it and run again."
        ) from None
