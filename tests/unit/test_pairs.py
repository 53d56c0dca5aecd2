"""Pairs with key points: the three layouts, squashing, flips, and training and scoring by the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import mat, pixels, put
from PIL import Image
from typer.testing import CliRunner

from lookalike.cli import app
from lookalike.data.keypoint_pairs import Pair, load_batch, read_pairs
from lookalike.errors import LookalikeError
from lookalike.methods.chm_corr.network import Branches, Learner, join_checkpoint, load_checkpoint
from lookalike.tensors import read_weights, write_tensors

CPU = torch.device("cpu")
POINTS = np.array([[5.0, 6.0], [20.0, 10.0], [np.nan, np.nan]])
MOVED = np.array([[8.0, 9.0], [np.nan, np.nan], [3.0, 3.0]])


def image(path: Path, width: int, height: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(height, width, seed)).save(path)


def make_pf_pascal(folder: Path) -> None:
    image(folder / "JPEGImages" / "a.jpg", 40, 30)
    image(folder / "JPEGImages" / "b.jpg", 20, 50)
    put(folder / "Annotations" / "bicycle" / "a.mat", mat(kps=POINTS))
    put(folder / "Annotations" / "bicycle" / "b.mat", mat(kps=MOVED))
    row = "PF/JPEGImages/a.jpg,PF/JPEGImages/b.jpg,2.0"
    put(folder / "trn_pairs.csv", f"source_image,target_image,class,flip\n{row},1\n{row},0\n".encode())
    for split in ("val", "test"):
        put(folder / f"{split}_pairs.csv", f"source_image,target_image,class\n{row}\n".encode())


def make_spair(folder: Path) -> None:
    line = "000001-a-b:cat"
    for split in ("trn", "val", "test"):
        put(folder / "Layout" / "large" / f"{split}.txt", f"{line}\n".encode())
        told = {
            "src_imname": "a.jpg",
            "trg_imname": "b.jpg",
            "src_kps": [[5, 6], [20, 10]],
            "trg_kps": [[8, 9], [3, 3]],
            "trg_bndbox": [2, 5, 12, 45],
        }
        put(folder / "PairAnnotation" / split / f"{line}.json", json.dumps(told).encode())
    image(folder / "JPEGImages" / "cat" / "a.jpg", 40, 30)
    image(folder / "JPEGImages" / "cat" / "b.jpg", 20, 50)


def make_pf_willow(folder: Path) -> None:
    image(folder / "PF-dataset" / "car" / "a.png", 40, 30)
    image(folder / "PF-dataset" / "car" / "b.png", 20, 50)
    numbers = [*range(10), *range(10, 20), *range(5, 15), *range(0, 40, 4)]
    row = ",".join(["PF-WILLOW/PF-dataset/car/a.png", "PF-WILLOW/PF-dataset/car/b.png", *map(str, numbers)])
    put(folder / "test_pairs.csv", f"imageA,imageB,{','.join(map(str, range(40)))}\n{row}\n".encode())


def test_pf_pascal(tmp_path: Path) -> None:
    make_pf_pascal(tmp_path)
    flipped, plain = read_pairs("pf_pascal", tmp_path, "trn")
    assert (flipped.flip, plain.flip) == (True, False)
    assert plain.points.tolist() == [[5, 6]]  # the one point that is known in both
    assert plain.moved.tolist() == [[8, 9]]
    batch = load_batch([flipped, plain], 32, CPU)
    assert batch.source.shape == (2, 3, 32, 32)
    assert torch.allclose(batch.points[1, 0], torch.tensor([5 / 40 * 2 - 1, 6 / 30 * 2 - 1]))
    assert torch.allclose(batch.moved[1, 0], torch.tensor([8 / 20 * 2 - 1, 9 / 50 * 2 - 1]))
    assert torch.allclose(batch.points[0, 0] * torch.tensor([-1.0, 1.0]), batch.points[1, 0])
    assert torch.equal(batch.source[0], batch.source[1].flip(-1))
    assert batch.tolerance.tolist() == [2, 2]  # the image's side


def test_spair_and_willow_judge_by_the_object(tmp_path: Path) -> None:
    make_spair(tmp_path / "spair")
    (pair,) = read_pairs("spair71k", tmp_path / "spair", "val")
    assert pair.moved.tolist() == [[8, 9], [3, 3]]
    assert load_batch([pair], 32, CPU).tolerance.item() == pytest.approx(2 * 40 / 50)  # taller than wide when squashed
    make_pf_willow(tmp_path / "willow")
    (pair,) = read_pairs("pf_willow", tmp_path / "willow", "test")
    assert pair.points[3].tolist() == [3, 13]
    assert pair.moved[3].tolist() == [8, 12]
    assert pair.extent.tolist() == [9, 36]
    assert load_batch([pair], 32, CPU).tolerance.item() == pytest.approx(2 * 36 / 50)


def test_pairs_of_unequal_numbers_of_points(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 10, 10)
    both = [Pair(tmp_path / "a.png", tmp_path / "a.png", np.ones((n, 2)), np.ones((n, 2))) for n in (1, 3)]
    assert load_batch(both, 16, CPU).valid.tolist() == [[True, False, False], [True, True, True]]


@pytest.mark.parametrize(
    ("layout", "split", "message"),
    [
        ("pf_pascal", "test", r"holds no JPEGImages; give the folder that the archive unpacks to"),
        ("spair71k", "trn", r"holds no large"),
        ("pf_willow", "val", r"pf_willow has test pairs only, not val"),
        ("pf_willow", "test", r"holds no test_pairs.csv"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, layout: str, split: str, message: str) -> None:
    with pytest.raises(LookalikeError, match=message):
        read_pairs(layout, tmp_path, split)


def test_a_checkpoint_survives_the_authors_layout() -> None:
    torch.manual_seed(0)
    branches, learner = Branches(), Learner("iso", 1024, 16)
    again, same = load_checkpoint(join_checkpoint(branches, learner), "x")
    for old, new in ((branches, again), (learner, same)):
        state = new.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in old.state_dict().items())


def test_training_on_pairs_writes_what_scores_and_goes_on(tmp_path: Path) -> None:
    """The whole way on two pairs, from a ResNet-101's file, by the commands."""
    folder = tmp_path / "pairs"
    make_pf_pascal(folder)
    torch.manual_seed(0)
    write_tensors(tmp_path / "resnet101.safetensors", Branches().source.state_dict())
    out = tmp_path / "chm.safetensors"

    def call(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.output

    small = ("--side", 64, "--epochs", 1, "--batch-size", 2)
    said = call("train-matching", "pf_pascal", folder, tmp_path / "resnet101.safetensors", out, *small)
    assert "best validation PCK@0.1" in said
    first = read_weights(out)
    assert first["backbone.conv1.weight"].shape == (128, 3, 7, 7)
    assert not torch.equal(*first["backbone.conv1.weight"].chunk(2))  # the branches have learned each its own
    assert "PCK@0.05" in call("score-matching", out, "pf_pascal", folder, "--side", 64)
    second = tmp_path / "again.safetensors"
    call("train-matching", "pf_pascal", folder, out, second, *small)
    assert not torch.equal(read_weights(second)["learner.chm4d.weight"], first["learner.chm4d.weight"])
