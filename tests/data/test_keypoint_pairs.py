"""Pairs with key points: the three layouts, squashing, flips."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.layouts import image_bytes, make_pf_pascal, put

from lookalike.core.errors import LookalikeError
from lookalike.data.keypoint_pairs import Pair, load_batch, read_pairs

CPU = torch.device("cpu")


def make_spair(folder: Path) -> None:
    line = "000001-a-b:cat"
    for split in ("trn", "val", "test"):
        put(folder / "Layout" / "large" / f"{split}.txt", f"{line}\n".encode())
        annotation = {
            "src_imname": "a.jpg",
            "trg_imname": "b.jpg",
            "src_kps": [[5, 6], [20, 10]],
            "trg_kps": [[8, 9], [3, 3]],
            "trg_bndbox": [2, 5, 12, 45],
        }
        put(folder / "PairAnnotation" / split / f"{line}.json", json.dumps(annotation).encode())
    put(folder / "JPEGImages" / "cat" / "a.jpg", image_bytes(0, 30, 40))
    put(folder / "JPEGImages" / "cat" / "b.jpg", image_bytes(0, 50, 20))


def make_pf_willow(folder: Path) -> None:
    put(folder / "PF-dataset" / "car" / "a.png", image_bytes(0, 30, 40, "PNG"))
    put(folder / "PF-dataset" / "car" / "b.png", image_bytes(0, 50, 20, "PNG"))
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
    put(tmp_path / "a.png", image_bytes(0, 10, 10, "PNG"))
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
