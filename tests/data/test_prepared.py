"""Prepared data, subsets, augmentation; every damage is a clear error."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.studies import make_plan, tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from lookalike.contracts.settings import TrainingSettings
from lookalike.core.errors import LookalikeError
from lookalike.data.images import DeviceImages, open_images
from lookalike.data.prepared import Draw, PreparedData
from lookalike.data.settings import ArraySettings


def test_digits_are_those_of_scikit_learn(digits: Path) -> None:
    data = PreparedData(digits)
    source = load_digits()
    np.testing.assert_array_equal(data.index["label"], source.target)
    np.testing.assert_array_equal(np.rint(data.images[:, 0] / 255 * 16), source.images)
    assert len(data.rows("train")) == 1297
    assert np.bincount(data.index["label"][data.rows("test")]).tolist() == [50] * 10
    manifest = json.loads((digits / "manifest.json").read_text())
    train = source.images[data.rows("train")] / 16
    assert manifest["mean"][0] == pytest.approx(train.mean(), abs=2e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), small=st.integers(10, 600), more=st.integers(0, 600))
def test_subsets_are_nested_and_balanced(digits: Path, seed: int, small: int, more: int) -> None:
    data = PreparedData(digits)

    def subset(count: int) -> np.ndarray:
        plan = make_plan(tiny_study(train_sizes=[count], seed=seed), digits.parent)
        run = plan.run(f"digits/fc/{count}/seed0")
        return data.training_rows(Draw(run.dataset, count, plan.seeds_of(run).draw, run.seed))

    inner, outer = subset(small), subset(small + more)
    assert len(inner) == small
    assert set(inner) <= set(outer) <= set(data.rows("train"))
    counts = np.bincount(data.index["label"][inner], minlength=10)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(inner, subset(small))


def damage(folder: Path, how: str) -> None:
    images = folder / "images.npy"
    if how == "missing":
        images.unlink()
    elif how == "truncated":
        images.write_bytes(images.read_bytes()[:-100])
    elif how == "changed":
        content = bytearray(images.read_bytes())
        content[-1] ^= 255
        images.write_bytes(content)
    elif how == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "lacks images.npy; delete .*manifest.json and run again"),
        ("truncated", "has images.npy of .* bytes, not"),
        ("changed", "another content than manifest.json says"),
        ("no manifest", "manifest.json is missing"),
        ("bad manifest", "manifest.json is not valid JSON"),
    ],
)
def test_damage_is_named(digits: Path, tmp_path: Path, how: str, message: str) -> None:
    shutil.copytree(digits, tmp_path / "copy")
    damage(tmp_path / "copy", how)
    with pytest.raises(LookalikeError, match=message):
        PreparedData(tmp_path / "copy")


def test_normalised_and_augmented_on_the_device(digits: Path) -> None:
    data = PreparedData(digits)
    rows = data.rows("train")
    plain = DeviceImages(data, rows)
    everything = plain.load(torch.arange(len(rows)))
    assert everything.mean().item() == pytest.approx(0, abs=1e-4)
    assert everything.std().item() == pytest.approx(1, abs=1e-3)

    moved = DeviceImages(data, rows, training=TrainingSettings(crop_padding=2, flip=True))
    some = torch.arange(64)
    assert torch.equal(moved.load(some), plain.load(some))  # no generator, no augmentation
    drawn = moved.load(some, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, moved.load(some, torch.Generator().manual_seed(0)))
    for image, source in zip(drawn, plain.images[some], strict=True):
        assert any(torch.equal(image, candidate) for candidate in crops(source, plain))


def crops(source: torch.Tensor, pool: DeviceImages) -> list[torch.Tensor]:
    """Every crop of padding 2, flipped or not, normalised as the pool does."""
    padded = torch.zeros(1, 12, 12, dtype=torch.uint8)
    padded[:, 2:10, 2:10] = source
    candidates = []
    for y in range(5):
        for x in range(5):
            crop = padded[:, y : y + 8, x : x + 8]
            for image in (crop, crop.flip(2)):
                candidates.append(((image.float() - pool._mean) * pool._scale)[0])
    return candidates


def test_small_images_at_another_size_and_in_colour(digits: Path) -> None:
    settings = ArraySettings(source="digits", size=16, channels=3)
    data = PreparedData(digits, settings)
    assert (data.stored_shape, data.image_shape) == ((1, 8, 8), (3, 16, 16))
    assert len(data.mean) == len(data.std) == 3
    images = open_images(data, np.arange(4))
    seen = images.raw(torch.arange(4)) * 255
    assert seen.shape == (4, 3, 16, 16)
    expected = Image.fromarray(np.asarray(data.images[2, 0])).resize((16, 16), Image.Resampling.BILINEAR)
    for channel in range(3):
        assert np.abs(seen[2, channel].numpy() - np.asarray(expected, np.float32)).max() <= 1
    generator = torch.Generator().manual_seed(0)
    assert open_images(data, np.arange(4), training=TrainingSettings(crop_padding=2)).load(
        torch.arange(4), generator
    ).shape == (4, 3, 16, 16)
