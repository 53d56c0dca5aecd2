"""Named tensors on disk as safetensors: whole files, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lookalike.errors import LookalikeError
from lookalike.files import writing


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors and text.

    Raises:
        LookalikeError: the disk is full or not writable; an older file is unchanged.
    """
    on_cpu = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    with writing(path) as temporary:
        try:
            save_file(on_cpu, temporary, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors.

    Raises:
        LookalikeError: the file is missing or truncated.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; run the stage that writes it again.") from None
    except (SafetensorError, OSError) as error:
        raise LookalikeError(f"{path} cannot be read ({error}); delete it and run again.") from None
