"""CHMNet trained and scored on pairs with key points, by the commands."""

from pathlib import Path

import torch
from helpers.layouts import make_pf_pascal
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.core.tensors import read_weights, write_tensors
from lookalike.methods.chm_corr.network import CHMBackbones, CHMNet, join_checkpoint, load_checkpoint


def test_a_checkpoint_survives_the_authors_layout() -> None:
    torch.manual_seed(0)
    branches, chmnet = CHMBackbones(), CHMNet("iso", 1024, 16)
    again, same = load_checkpoint(join_checkpoint(branches, chmnet), "x")
    for old, new in ((branches, again), (chmnet, same)):
        state = new.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in old.state_dict().items())


def test_training_on_pairs_writes_what_scores_and_goes_on(tmp_path: Path) -> None:
    """The whole way on two pairs, from a ResNet-101's file, by the commands."""
    folder = tmp_path / "pairs"
    make_pf_pascal(folder)
    torch.manual_seed(0)
    write_tensors(tmp_path / "resnet101.safetensors", CHMBackbones().source.state_dict())
    out = tmp_path / "chm.safetensors"

    def call(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.output

    small = ("--side", 64, "--epochs", 1, "--batch-size", 2)
    output = call("chmnet", "train", "pf_pascal", folder, tmp_path / "resnet101.safetensors", out, *small)
    assert "best validation PCK@0.1" in output
    first = read_weights(out)
    assert first["backbone.conv1.weight"].shape == (128, 3, 7, 7)
    assert not torch.equal(*first["backbone.conv1.weight"].chunk(2))  # the branches have learned each its own
    assert "PCK@0.05" in call("chmnet", "score", out, "pf_pascal", folder, "--side", 64)
    second = tmp_path / "again.safetensors"
    call("chmnet", "train", "pf_pascal", folder, out, second, *small)
    assert not torch.equal(read_weights(second)["learner.chm4d.weight"], first["learner.chm4d.weight"])
