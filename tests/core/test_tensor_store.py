"""Named tensors on disk, with what they follow from."""

from pathlib import Path

import pytest
import torch

from lookalike.core.errors import LookalikeError
from lookalike.core.tensor_store import load_tensors, save_tensors


def test_store_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "support.safetensors"
    tensors = {"features": torch.randn(4, 3), "labels": torch.arange(4)}
    save_tensors(path, tensors, {"weights": "a", "data": "b"})
    for name, value in load_tensors(path, {"weights": "a", "data": "b"}).items():
        assert torch.equal(value, tensors[name])
    with pytest.raises(LookalikeError, match="follows from other weights"):
        load_tensors(path, {"weights": "z", "data": "b"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(LookalikeError, match="is damaged"):
        load_tensors(path, {})
    path.unlink()
    with pytest.raises(LookalikeError, match="is missing"):
        load_tensors(path, {})
