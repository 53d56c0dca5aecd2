"""Named tensors on disk as safetensors: whole files, no pickle."""

from __future__ import annotations

import pickle
import shlex
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


# Where training programs keep a network's tensors among other things, and what wrappers put before their names.
PARTS = ("state_dict", "model_state_dict", "model", "network", "net")
WRAPPERS = ("_orig_mod.", "module.", "model.", "network.", "net.")
# What other files begin with that are saved under a network's name.
NO_WEIGHTS = {
    b"version https://git-lfs": "is a Git LFS pointer and not the file that it stands for; run `git lfs pull` there",
    b"<": "is a web page and no network; open its address in a browser, and fetch the file that the page offers",
    b"PAR1": "is a table and no network; give the file of the network",
}
CONVERT = (
    "import torch; x = torch.load({path!r}, weights_only=False, map_location='cpu'); "
    "x = next((x[k] for k in {parts} if k in x), x) if isinstance(x, dict) else x; "
    "x = x if isinstance(x, dict) else x.state_dict(); "
    "torch.save({{k: v for k, v in x.items() if torch.is_tensor(v)}}, {target!r})"
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of somebody else's weights file: .safetensors, or .pt / .pth as torch writes plain tensors.

    A table of tensors inside a checkpoint is found by its usual names, and what `DataParallel`, `torch.compile` or
    Lightning put before all names is taken off.

    Raises:
        LookalikeError: The file is missing, unreadable, no file of a network, or a pickle of other objects.
    """
    if not path.exists():
        raise LookalikeError(f"weights file {path} is missing; put it there or change the study.")
    if not path.is_file():
        raise LookalikeError(f"weights file {path} is no regular file; give the path of a network's file.")
    with open(path, "rb") as handle:
        begin = handle.read(200).lstrip()
    for mark, what in NO_WEIGHTS.items():
        if begin.startswith(mark):
            raise LookalikeError(f"weights file {path} {what}.")
    try:
        if path.suffix == ".safetensors":
            return _unwrapped(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        target = str(path.with_suffix(".tensors.pt"))
        command = CONVERT.format(path=str(path), parts=PARTS, target=target)
        raise LookalikeError(
            f"weights file {path} holds more than tensors, which would run code when loaded; where you trust it, "
            f"convert it once and name {target}: python -c {shlex.quote(command)}"
        ) from None
    except Exception as error:  # the two readers raise many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise LookalikeError(f"weights file {path} cannot be read ({reason}); fetch it again.") from None
    if isinstance(state, dict) and not all(isinstance(value, Tensor) for value in state.values()):
        state = next((state[part] for part in PARTS if isinstance(state.get(part), dict)), state)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise LookalikeError(f"weights file {path} is no table of named tensors; save the network's state_dict().")
    return _unwrapped(state)


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without what wrappers put before all of their names."""
    while wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in state)), ""):
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
        if not state or any(not name for name in state):
            break
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
