"""Read, augment, normalise and batch Fashion-MNIST: ours against torchvision's transforms in a DataLoader.

Both give every training image once, cropped at random after padding by 2, flipped at random, normalised, in batches
of 128. The reference is a torchvision data set with PIL transforms in a DataLoader with two workers. Rounds of the two
are interleaved; medians are reported. Then a whole training epoch of the same network with either.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lookalike.backbones.small_cnn import SmallCNN
from lookalike.contracts.settings import TrainingSettings
from lookalike.data.images import open_images
from lookalike.data.prepared import PreparedData

BATCH, PADDING, WORKERS = 128, 2, 2


class Plain(Dataset[tuple[Tensor, int]]):
    """What torchvision's MNIST does for each image: array to PIL, transforms, label."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row, 0])), int(self.labels[row])


def plain_batches(data: PreparedData, rows: np.ndarray) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """One epoch of the reference."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(data.image_shape[-1], padding=PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean, data.std),
        ]
    )
    plain = Plain(np.ascontiguousarray(data.images[rows]), data.index["label"][rows], transform)
    loader = DataLoader(plain, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return lambda: iter(loader)


def our_batches(data: PreparedData, rows: np.ndarray) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """One epoch of ours."""
    pool = open_images(data, rows, training=TrainingSettings(crop_padding=PADDING, flip=True))

    def epoch() -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for chosen in torch.randperm(len(pool), generator=generator).split(BATCH):
            yield pool.take(chosen, generator), pool.labels[chosen]

    return epoch


def seconds(epoch: Callable[[], Iterator[tuple[Tensor, Tensor]]], step: Callable[[Tensor, Tensor], None]) -> float:
    """Time of one epoch."""
    began = time.perf_counter()
    for images, labels in epoch():
        step(images, labels)
    return time.perf_counter() - began


def make_step(shape: tuple[int, ...]) -> Callable[[Tensor, Tensor], None]:
    """A training step of the default study's network."""
    torch.manual_seed(0)
    network = nn.Sequential(SmallCNN(shape), nn.Linear(SmallCNN.dim, 10))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, nesterov=True)

    def step(images: Tensor, labels: Tensor) -> None:
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Measure and write results/benchmarks/input_pipeline.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("results/data/fashion_mnist"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = PreparedData(options.data)
    rows = data.rows("train")
    epochs = {"plain": plain_batches(data, rows), "ours": our_batches(data, rows)}
    times: dict[str, list[float]] = {f"{name}, {what}": [] for what in ("input", "training") for name in epochs}
    for _ in range(options.rounds + 1):  # the first one warms up
        for name, epoch in epochs.items():
            times[f"{name}, input"].append(seconds(epoch, lambda images, labels: None))
    for _ in range(max(options.rounds // 2, 1)):
        for name, epoch in epochs.items():
            times[f"{name}, training"].append(seconds(epoch, make_step(data.image_shape)))
    medians = {name: statistics.median(values[1:] if "input" in name else values) for name, values in times.items()}
    found = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, 1 thread, {WORKERS} loader workers",
        "images": len(rows),
        "seconds": medians,
        "input_ratio": medians["plain, input"] / medians["ours, input"],
        "training_ratio": medians["plain, training"] / medians["ours, training"],
    }
    target = Path("results/benchmarks/input_pipeline.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
