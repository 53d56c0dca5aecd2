"""Photographs: the pixels of torchvision's transforms, boxes, random crops, shards that outlive a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import layouts
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from lookalike.contracts.settings import TrainingSettings
from lookalike.core.errors import LookalikeError
from lookalike.data import prepare as prepare_module
from lookalike.data.crops import inside_box, random_crop
from lookalike.data.images import open_images
from lookalike.data.prepare import prepare_data
from lookalike.data.prepared import PreparedData
from lookalike.data.settings import ImageFolderSettings

SIZES = [(40, 30), (30, 40), (33, 33), (24, 61), (57, 25)]  # height, width


def noise(height: int, width: int, seed: int) -> bytes:
    import io

    out = io.BytesIO()
    array = np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def own_images(root: Path, count: int = 5) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            for k in range(count):
                layouts.put(root / split / name / f"{k:03d}.png", noise(*SIZES[k % len(SIZES)], 100 * number + k))
    return root


def prepared(root: Path, path: Path, **options: object) -> PreparedData:
    chosen = ImageFolderSettings(source="image_folder", path=str(path), **options)  # type: ignore[arg-type]
    prepare_data(chosen, root / chosen.prepared)
    return PreparedData(root / chosen.prepared, chosen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_images(tmp_path_factory.mktemp("mine"))


@pytest.mark.parametrize(("size", "resize"), [(16, 20), (24, 24), (17, 23)])
def test_evaluation_sees_what_torchvision_gives(tmp_path: Path, folder: Path, size: int, resize: int) -> None:
    data = prepared(tmp_path, folder, size=size, resize=resize)
    rows = data.rows("test")
    images = open_images(data, rows).load(torch.arange(len(rows)))
    theirs = transforms.Compose(
        [
            transforms.Resize(resize),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    expected = torch.stack([theirs(data.photograph(int(row))) for row in rows])
    torch.testing.assert_close(images, expected, atol=2e-6, rtol=0)


def test_squashed(tmp_path: Path, folder: Path) -> None:
    data = prepared(tmp_path, folder, size=16, fit="squash")
    images = open_images(data, data.rows("test")).raw(torch.arange(3))
    squash = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
    expected = torch.stack([squash(data.photograph(int(row))) for row in data.rows("test")[:3]])
    torch.testing.assert_close(images, expected, atol=1e-6, rtol=0)


def test_random_crops_are_those_of_the_generator(tmp_path: Path, folder: Path) -> None:
    data = prepared(tmp_path, folder, size=16, resize=20)
    images = open_images(data, data.rows("train"), training=TrainingSettings(resized_crop=(0.2, 1), flip=True))
    some = torch.arange(10)
    first = images.load(some, torch.Generator().manual_seed(1))
    assert torch.equal(first, images.load(some, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, images.load(some, torch.Generator().manual_seed(2)))
    assert first.shape == (10, 3, 16, 16)
    assert torch.equal(images.load(some), open_images(data, data.rows("train")).load(some))  # evaluation is not random


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(8, 500),
    height=st.integers(8, 500),
    low=st.floats(0.05, 1),
    draw=st.lists(st.floats(0, 1, exclude_max=True), min_size=40, max_size=40),
)
def test_random_crops_lie_inside(width: int, height: int, low: float, draw: list[float]) -> None:
    left, top, right, bottom = random_crop((width, height), (low, 1.0), draw)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_random_crops_have_the_distribution_of_torchvisions() -> None:
    size = (300, 200)
    random = torch.Generator().manual_seed(0)
    ours = np.array([random_crop(size, (0.08, 1.0), torch.rand(40, generator=random).tolist()) for _ in range(4000)])
    torch.manual_seed(0)
    image = Image.new("RGB", size)
    get = transforms.RandomResizedCrop.get_params
    theirs = np.array([get(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])  # top, left, height, width
    area = (ours[:, 2] - ours[:, 0]) * (ours[:, 3] - ours[:, 1])
    for mine, other in (
        (area, theirs[:, 2] * theirs[:, 3]),
        (ours[:, 0], theirs[:, 1]),
        (ours[:, 1], theirs[:, 0]),
        (np.log((ours[:, 2] - ours[:, 0]) / (ours[:, 3] - ours[:, 1])), np.log(theirs[:, 3] / theirs[:, 2])),
    ):
        both = np.sort(np.concatenate([mine, other]))
        gap = np.abs(
            np.searchsorted(np.sort(mine), both, "right") - np.searchsorted(np.sort(other), both, "right")
        ).max()
        assert gap / 4000 < 0.04  # Kolmogorov-Smirnov, 1 % level 0.036


def test_boxes_stay_inside() -> None:
    assert inside_box(np.array([2.5, 3, 10.2, 200]), (50, 40)) == (2, 3, 13, 40)
    assert inside_box(np.array([60, 3, 10, 2]), (50, 40)) == (60, 3, 61, 5)


def test_the_cache_keeps_the_pixels_of_a_resize(tmp_path: Path) -> None:
    for split in ("train", "test"):
        layouts.put(tmp_path / "mine" / split / "a" / "large.png", noise(600, 400, 1))
        layouts.put(tmp_path / "mine" / split / "a" / "small.png", noise(100, 80, 2))
    plain = prepared(tmp_path, tmp_path / "mine")
    cached = prepared(tmp_path, tmp_path / "mine", cache=True)
    assert cached.folder != plain.folder
    for row in range(len(plain)):
        expected = plain.photograph(row)
        if min(expected.size) > 256:
            expected = transforms.Resize(256)(expected)
        np.testing.assert_array_equal(np.asarray(cached.photograph(row)), np.asarray(expected))
    few = torch.arange(2)
    torch.testing.assert_close(
        open_images(cached, cached.rows("test")).load(few), open_images(plain, plain.rows("test")).load(few)
    )


def test_many_shards_by_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own_images(tmp_path / "mine", 9)
    whole = prepared(tmp_path / "whole", path)
    monkeypatch.setattr(prepare_module, "SHARD", 7)
    parts = prepared(tmp_path / "parts", path)
    assert len([name for name in parts.manifest["files"] if name.endswith(".bin")]) == 6
    for row in range(len(whole)):
        np.testing.assert_array_equal(np.asarray(parts.photograph(row)), np.asarray(whole.photograph(row)))
    np.testing.assert_array_equal(parts.column("sha256"), whole.column("sha256"))


KILLED = """
import sys, time
from pathlib import Path
from lookalike.data import prepare
from lookalike.data.settings import ImageFolderSettings
prepare.SHARD = 7
prepare.os.sched_getaffinity = lambda pid: {0}
slow = prepare.decode
def decode(content, name):
    time.sleep(0.05)
    return slow(content, name)
prepare.decode = decode
chosen = ImageFolderSettings(source="image_folder", path=sys.argv[1])
prepare.prepare_data(chosen, Path(sys.argv[2]))
"""


def test_a_killed_preparation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own_images(tmp_path / "mine", 9)
    monkeypatch.setattr(prepare_module, "SHARD", 7)
    chosen = ImageFolderSettings(source="image_folder", path=str(path))
    target = tmp_path / "data"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(target)])
    deadline = time.time() + 60
    while not (target / ".shards" / "1.json").exists():
        assert time.time() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (target / "manifest.json").exists()
    with pytest.raises(LookalikeError, match=r"manifest\.json is missing"):
        PreparedData(target)
    kept = (target / "images-00001.bin").stat().st_mtime_ns
    prepare_data(chosen, target)
    assert (target / "images-00001.bin").stat().st_mtime_ns == kept
    fresh = prepared(tmp_path / "fresh", path)
    again = PreparedData(target, chosen)
    assert again.manifest["files"] == fresh.manifest["files"]
    assert again.hash == fresh.hash


def test_a_damaged_shard_is_named(tmp_path: Path, folder: Path) -> None:
    data = prepared(tmp_path, folder)
    shard = data.folder / "images-00000.bin"
    content = bytearray(shard.read_bytes())
    content[100] ^= 255
    shard.write_bytes(content)
    with pytest.raises(LookalikeError, match=r"has images-00000.bin with another content than manifest.json says"):
        PreparedData(data.folder, data.settings)


def test_test_images_that_are_training_images_are_counted(tmp_path: Path) -> None:
    path = own_images(tmp_path / "mine")
    layouts.put(path / "test/dog/copy.png", (path / "train/cat/000.png").read_bytes())
    data = prepared(tmp_path, path)
    train = {data.column("sha256")[row] for row in data.rows("train")}
    expected = sum(data.column("sha256")[row] in train for row in data.rows("test"))
    assert json.loads((data.folder / "manifest.json").read_text())["test_images_in_training"] == expected > 0


@pytest.mark.long
def test_a_million_rows_are_listed_filtered_and_drawn(tmp_path: Path) -> None:
    """The index of ImageNet's size in a process of its own: peak memory below 1 GB."""
    code = Path(__file__).parents[2] / "benchmarks" / "large_index.py"
    done = subprocess.run(
        [sys.executable, str(code), "--rows", "1281167", "--folder", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["rows"] == 1281167
    assert report["peak_mb"] < 1000
