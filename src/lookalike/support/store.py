"""The on-disk support store: named tensors with the hashes of what they were made from."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lookalike.errors import LookalikeError
from lookalike.files import digest, sha256, writing


def save_tensors(path: Path, tensors: dict[str, Tensor], origin: dict[str, str]) -> None:
    """Write tensors with their origin (hashes of weights, data, settings).

    Beside it goes `<path>.sha256`, so that a damaged file is noticed and not computed with.
    """
    with writing(path) as temporary:
        save_file(
            {name: value.detach().contiguous().cpu() for name, value in tensors.items()},
            temporary,
            {"origin": json.dumps(origin, sort_keys=True)},
        )
    with writing(path.with_suffix(".sha256")) as temporary:
        temporary.write_text(sha256(path) + "\n")


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


def origin_of(weights: Path | None, data_hash: str, settings: dict[str, object]) -> dict[str, str]:
    """The hashes that tie a store to weights, data and settings."""
    return {
        "weights": sha256(weights) if weights is not None else "pretrained",
        "data": data_hash,
        "settings": digest(settings),
    }
