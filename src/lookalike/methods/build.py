"""Build a run's classifier, fresh for training or with its weights for everything after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lookalike.backbones.build import make_backbone
from lookalike.contracts.classifier import Classifier
from lookalike.contracts.settings import BackboneSettings, MethodSettings
from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_tensors
from lookalike.methods.registry import METHODS


@dataclass(frozen=True)
class NetworkFiles:
    """Where the weights of a classifier lie.

    Attributes:
        backbone: Settings of the network.
        weights: File of what the run trained; None where it trains nothing.
        giver: File of the run that gives the frozen network; None for a network of its own.
    """

    backbone: BackboneSettings
    weights: Path | None
    giver: Path | None


def build_classifier(
    settings: MethodSettings, files: NetworkFiles, image_shape: tuple[int, ...], n_classes: int, seed: int
) -> Classifier:
    """A classifier with random weights; a frozen backbone has its giver's.

    Args:
        settings: The model's entry of the study.
        files: The network and its weights.
        image_shape: (C, H, W) of the images.
        n_classes: Number of classes.
        seed: Seed of the random weights.

    Raises:
        LookalikeError: A weights file is missing, damaged or of another network.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = METHODS[settings.method].classifier_class()(
            settings, make_backbone(files.backbone, image_shape), n_classes
        )
    if files.giver is not None:
        network = read_tensors(files.giver)
        backbone = {n.removeprefix("backbone."): v for n, v in network.items() if n.startswith("backbone.")}
        _load(classifier.backbone, backbone, files.giver)
    return classifier


def load_classifier(
    settings: MethodSettings, files: NetworkFiles, image_shape: tuple[int, ...], n_classes: int, seed: int
) -> Classifier:
    """A classifier in evaluation mode, weights loaded.

    Args:
        settings: The model's entry of the study.
        files: The network and its weights.
        image_shape: (C, H, W) of the images.
        n_classes: Number of classes.
        seed: Seed of weights that no file has.

    Raises:
        LookalikeError: A weights file is missing, damaged or of another network.
    """
    classifier = build_classifier(settings, files, image_shape, n_classes, seed)
    if files.weights is not None:
        _load(classifier, read_tensors(files.weights), files.weights)
    return classifier.eval().requires_grad_(False)


def _load(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise LookalikeError(
            f"{path} does not fit the model ({str(error).splitlines()[-1].strip()}); delete it and run again."
        ) from None
