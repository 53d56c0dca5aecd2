"""The on-disk store: named tensors with the hashes of what they follow from."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lookalike.core.errors import LookalikeError
from lookalike.core.files import sha256, write_text, writing
from lookalike.core.tensors import save_on


def save_tensors(path: Path, tensors: dict[str, Tensor], origin: dict[str, str]) -> None:
    """Write tensors with their origin (hashes of weights, data, settings).

    Beside it goes `<path>.sha256`, so that a damaged file is noticed and not computed with.
    """
    with writing(path) as temporary:
        save_on(temporary, tensors, {"origin": json.dumps(origin, sort_keys=True)})
        # Before the store itself has its name: where that is there, it is complete.
        write_text(path.with_suffix(".sha256"), sha256(temporary) + "\n")


def load_tensors(path: Path, origin: dict[str, str]) -> dict[str, Tensor]:
    """Read tensors back.

    Args:
        path: Path of the store.
        origin: Hashes of what they must follow from.

    Raises:
        LookalikeError: The file is missing or damaged, or follows from something else.
    """
    again = "delete it and run again"
    try:
        expected = path.with_suffix(".sha256").read_text().strip()
        damaged = sha256(path) != expected
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing or incomplete; {again}.") from None
    if damaged:
        raise LookalikeError(f"{path} is damaged (its sha256 differs); {again}.")
    try:
        with safe_open(path, "pt") as handle:
            stored = json.loads((handle.metadata() or {}).get("origin", "{}"))
            different = [key for key in origin if stored.get(key) != origin[key]]
            if different:
                raise LookalikeError(f"{path} follows from other {', '.join(different)} than the run has now; {again}.")
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise LookalikeError(f"{path} cannot be read ({error}); {again}.") from None
