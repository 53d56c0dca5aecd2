"""Build a backbone by name and load its weights."""

from __future__ import annotations

import importlib
from pathlib import Path

from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.backbones.registry import BACKBONES
from lookalike.errors import LookalikeError
from lookalike.settings import BackboneSettings
from lookalike.tensors import read_weights

SHOWN_KEYS = 5


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
    backbone.check_weights(path)
    own = backbone.state_dict()
    # Of a run's model.safetensors the part that is the network.
    state = {backbone.own_name(name.removeprefix("backbone.")): value for name, value in read_weights(path).items()}
    prefix = "" if own.keys() & state.keys() else "network."  # torchvision's own files
    state = {prefix + name: value for name, value in state.items() if prefix + name in own}
    state |= {name: value for name, value in own.items() if name not in state and backbone.may_lack(name)}
    wrong = [f"{name} is missing" for name in own if name not in state]
    wrong += [
        f"{name} is {_sides(state[name])}, not {_sides(value)}"
        for name, value in own.items()
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
