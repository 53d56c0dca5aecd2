"""Build a run's classifier, fresh for training or with its weights for everything after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

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
    """The run's classifier with random weights, drawn from the run's own seed."""
    method = load_method(run.settings["method"])
    settings = method.Settings.model_validate(run.settings)
    owner = run.source or run
    backbone = BackboneSettings.model_validate(owner.settings["backbone"])
    with torch.random.fork_rng():
        torch.manual_seed(run.seed_for("weights"))
        classifier: Classifier = method.Model(settings, make_backbone(backbone, data.image_shape), data.n_classes)
    return classifier


def load_classifier(run: RunSpec, data: PreparedData) -> Classifier:
    """The run's classifier in evaluation mode, weights loaded.

    Raises:
        LookalikeError: the weights file is missing, truncated or of another network.
    """
    classifier = build_classifier(run, data)
    if run.weights is not None:
        state = read_tensors(run.weights)
        if not run.trained:  # a frozen backbone: the part of the source's network that is shared
            state = {name: value for name, value in state.items() if name.startswith("backbone.")}
        try:
            classifier.load_state_dict(state)
        except RuntimeError as error:
            raise LookalikeError(
                f"{run.weights} does not fit the model {run.model!r} ({str(error).splitlines()[-1].strip()}); "
                "delete it and run again."
            ) from None
    return classifier.eval().requires_grad_(False)
