"""The on-disk support store: named tensors with the hashes of what they were made from."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lookalike.errors import LookalikeError
from lookalike.files import digest, sha256, write_text
from lookalike.tensors import write_tensors


def save_tensors(path: Path, tensors: dict[str, Tensor], origin: dict[str, str]) -> None:
    """Write tensors with their origin (hashes of weights, data, settings).

    Beside it goes `<path>.sha256`, so that a damaged file is noticed and not computed with.
    """
    write_tensors(path, tensors, {"origin": json.dumps(origin, sort_keys=True)})
    write_text(path.with_suffix(".sha256"), sha256(path) + "\n")


def load_tensors(path: Path, origin: dict[str, str]) -> dict[str, Tensor]:
    """Read tensors back.

    Args:
        path: of the store.
        origin: what they must have been made from.

    Raises:
        LookalikeError: the file is missing or damaged, or was made from something else.
    """
    again = f"delete {path.parent} and run again"
    try:
        expected = path.with_suffix(".sha256").read_text().strip()
        damaged = sha256(path) != expected
    except FileNotFoundError:
        raise LookalikeError(f"support store {path} is missing or incomplete; {again}.") from None
    if damaged:
        raise LookalikeError(f"support store {path} is damaged (its sha256 differs); {again}.")
    try:
        with safe_open(path, "pt") as handle:
            found = json.loads((handle.metadata() or {}).get("origin", "{}"))
            different = [key for key in origin if found.get(key) != origin[key]]
            if different:
                raise LookalikeError(
                    f"support store {path} was made from other {', '.join(different)} than the run has now; {again}."
                )
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise LookalikeError(f"support store {path} cannot be read ({error}); {again}.") from None


def origin_of(weights: Path, data_hash: str, settings: dict[str, object]) -> dict[str, str]:
    """The hashes that tie a store to weights, data and settings.

    Raises:
        LookalikeError: the weights file is missing.
    """
    if not weights.exists():
        raise LookalikeError(f"{weights} is missing; run the stage that writes it, or put the file there.")
    return {
        "weights": sha256(weights),
        "data": data_hash,
        "settings": digest(settings),
    }
