"""Build a backbone by name and load its weights."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from lookalike.backbones.base import Backbone
from lookalike.backbones.registry import BACKBONES
from lookalike.errors import LookalikeError
from lookalike.settings import BackboneSettings


def make_backbone(settings: BackboneSettings, image_shape: tuple[int, ...]) -> Backbone:
    """Build a backbone and load its weights file, where one is named.

    Raises:
        LookalikeError: the weights file is missing, unreadable or of another network.
    """
    module, name, arguments = BACKBONES[settings.name]
    backbone: Backbone = getattr(importlib.import_module(module), name)(image_shape, **arguments)
    if settings.weights is not None:
        load_weights(backbone, Path(settings.weights))
    return backbone


def load_weights(backbone: Backbone, path: Path) -> None:
    """Load a .safetensors or .pth file; layers that the backbone lacks (a classifier) are left out.

    Raises:
        LookalikeError: the file is missing, unreadable or lacks layers.
    """
    if not path.exists():
        raise LookalikeError(f"weights file {path} is missing; put it there or change backbone.weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the two readers raise many kinds
        raise LookalikeError(f"weights file {path} cannot be read ({error}); fetch it again.") from None
    own = set(backbone.state_dict())
    state = {name.removeprefix("backbone."): value for name, value in state.items()}  # a run's model.safetensors
    prefix = "" if own & set(state) else "network."  # torchvision's own files
    state = {prefix + name: value for name, value in state.items() if prefix + name in own}
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise LookalikeError(f"weights file {path} does not fit the backbone: {error}") from None
