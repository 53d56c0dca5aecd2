"""Somebody else's weights: read however a program saved them, refused with a way out where they are none."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_weights


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("part", ["", "state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "model.", "_orig_mod.module."])
def test_a_table_of_tensors_is_found_whatever_is_around_it(tmp_path: Path, part: str, wrapper: str) -> None:
    expected = network().state_dict()
    state = {wrapper + name: value for name, value in expected.items()}
    torch.save({part: state, "epoch": 3, "arch": "mine"} if part else state, tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth")
    assert list(read) == list(expected)
    assert all(torch.equal(read[name], value) for name, value in expected.items())
    save_file(state, tmp_path / "w.safetensors")
    assert set(read_weights(tmp_path / "w.safetensors")) == set(expected)


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
def test_the_line_that_converts_a_file_works(tmp_path: Path, kind: str) -> None:
    """A whole network, and a checkpoint with settings inside; the path holds a quote and a space."""
    path = tmp_path / "it's mine.pth"
    settings = re.compile("x")  # an object that no table of tensors holds
    torch.save(network() if kind == "network" else {"state_dict": network().state_dict(), "args": settings}, path)
    with pytest.raises(LookalikeError, match="where you trust it, convert it once and name") as refused:
        read_weights(path)
    command = shlex.split(str(refused.value).partition(": python -c ")[2])
    subprocess.run([sys.executable, "-c", *command], check=True)
    assert set(read_weights(path.with_suffix(".tensors.pt"))) == set(network().state_dict())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer .*; run `git lfs pull`"),
        (b"\n<!DOCTYPE html><html>", "is a web page and no network"),
        (b"PAR1...", "is a table and no network"),
        (b"", r"cannot be read \(.*\); fetch it again"),
        (b"\x80\x04junk", r"weights file .*w\.pth (cannot be read|holds more than tensors)"),
    ],
)
def test_files_of_another_kind_are_called_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(LookalikeError, match=message):
        read_weights(tmp_path / "w.pth")


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(LookalikeError, match="is no regular file; give the path of a network's file"):
            read_weights(path)
