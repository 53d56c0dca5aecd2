"""Build a backbone by name and load its weights."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import Tensor

from lookalike.backbones.registry import BACKBONES
from lookalike.contracts.backbone import Backbone
from lookalike.contracts.settings import BackboneSettings, Settings
from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_weights, write_tensors

SHOWN_KEYS = 5


def make_backbone(settings: BackboneSettings, image_shape: tuple[int, ...]) -> Backbone:
    """Build a backbone and load its weights file, where one is named.

    Raises:
        LookalikeError: The weights file is missing, unreadable or of another network.
    """
    row = BACKBONES[settings.name]
    backbone: Backbone = getattr(importlib.import_module(row.module), row.network)(image_shape, **row.arguments)
    if settings.weights is not None:
        load_weights(backbone, Path(settings.weights))
    return backbone


def load_weights(backbone: Backbone, path: Path) -> None:
    """Load a .safetensors or .pth file; layers that the backbone lacks (a classifier) are left out.

    Raises:
        LookalikeError: The file is missing, unreadable or lacks layers.
    """
    backbone.check_weights(path)
    expected = backbone.state_dict()
    # Of a run's model.safetensors the part that is the network.
    state = {backbone.own_name(name.removeprefix("backbone.")): value for name, value in read_weights(path).items()}
    prefix = "" if expected.keys() & state.keys() else "network."  # torchvision's own files
    state = {prefix + name: value for name, value in state.items() if prefix + name in expected}
    state |= {name: value for name, value in expected.items() if name not in state and backbone.may_lack(name)}
    wrong = [f"{name} is missing" for name in expected if name not in state]
    wrong += [
        f"{name} is {_sides(state[name])}, not {_sides(value)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if wrong:
        more = f", and {len(wrong) - SHOWN_KEYS} more" if len(wrong) > SHOWN_KEYS else ""
        raise LookalikeError(
            f"weights file {path} does not fit the backbone: {'; '.join(wrong[:SHOWN_KEYS])}{more}; choose the "
            "backbone it belongs to."
        )
    backbone.load_state_dict(state)


def _sides(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def write_random_weights(settings: BackboneSettings, n_classes: int, path: Path) -> None:
    """Write a random network with a classifier, as a published file has one, for a study in small."""
    backbone = make_backbone(BackboneSettings(name=settings.name), (3, 64, 64))
    state = dict(backbone.state_dict())
    state |= {
        "fc.weight": torch.randn(n_classes, backbone.dim) / backbone.dim**0.5,
        "fc.bias": torch.zeros(n_classes),
    }
    write_tensors(path, state)


def write_random_resnet50(settings: Settings, n_classes: int, path: Path) -> None:
    """Write a random ResNet-50, for a study in small."""
    write_random_weights(BackboneSettings(name="resnet50"), n_classes, path)
