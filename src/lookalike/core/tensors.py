"""Named tensors on disk as safetensors: whole files, no pickle."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lookalike.core.errors import LookalikeError
from lookalike.core.files import writing


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors and text.

    Raises:
        LookalikeError: The disk is full or not writable; an older file is unchanged.
    """
    with writing(path) as temporary:
        save_on(temporary, tensors, metadata)


def save_on(temporary: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors and text to the path that `writing` gave.

    Raises:
        OSError: The disk is full or not writable.
    """
    on_cpu = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    try:
        save_file(on_cpu, temporary, metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of somebody else's weights file: .safetensors, or .pt / .pth as torch writes plain tensors.

    Raises:
        LookalikeError: The file is missing, unreadable, or a pickle of other objects.
    """
    if not path.exists():
        raise LookalikeError(f"weights file {path} is missing; put it there or change the study.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LookalikeError(
            f"weights file {path} holds more than tensors, which would run code when loaded; where you trust it, "
            f"convert it once: python -c \"import torch; torch.save(dict(torch.load('{path}', weights_only=False)), "
            f"'{path.with_suffix('.tensors.pt')}')\"."
        ) from None
    except Exception as error:  # the two readers raise many kinds
        raise LookalikeError(f"weights file {path} cannot be read ({error}); fetch it again.") from None
    for part in ("state_dict", "model"):  # a checkpoint with more in it
        if isinstance(state, dict) and isinstance(state.get(part), dict):
            state = state[part]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise LookalikeError(f"weights file {path} is no table of named tensors; save the network's state_dict().")
    return state


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors.

    Raises:
        LookalikeError: The file is missing or truncated.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; run the stage that writes it again.") from None
    except (SafetensorError, OSError) as error:
        raise LookalikeError(f"{path} cannot be read ({error}); delete it and run again.") from None
